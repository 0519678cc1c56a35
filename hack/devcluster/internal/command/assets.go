package command

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/hack/devcluster/internal/binaries"
)

func assetsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "assets DIR",
		Short: "Make the folder that KUBEBUILDER_ASSETS wants",
		Long: `assets makes links to this binary in DIR, named etcd, kube-apiserver, kubectl and like the other
programs in it, and prints DIR: the folder that controller-runtime's envtest starts its API server from.`,
		Example: `  export KUBEBUILDER_ASSETS=$(devcluster assets bin/assets)`,
		Args:    oneArg("the folder to make"),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			executable, err := os.Executable()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			for _, name := range binaries.Names() {
				if err := link(executable, filepath.Join(dir, name)); err != nil {
					return err
				}
			}
			fmt.Fprintln(c.OutOrStdout(), dir)
			return nil
		},
	}
}

// link makes or replaces a link, and leaves alone what is none.
func link(to, path string) error {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSymlink == 0 {
			return fmt.Errorf("%s is there already and is not a link: remove it, or choose another folder", path)
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return os.Symlink(to, path)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of Kubernetes",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "Kubernetes", binaries.Version())
			return err
		},
	}
}

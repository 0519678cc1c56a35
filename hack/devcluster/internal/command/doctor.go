package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/hack/devcluster/internal/doctor"
)

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine lacks for a cluster, and the mend",
		Long: `doctor tries all that a cluster needs of the kernel, changes nothing, and prints for
whatever is missing how to mend it. Its exit code is 0 when nothing is.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ill := false
			for _, f := range doctor.Check(os.DirFS("/"), os.Geteuid(), doctor.Try) {
				if f.Problem == "" {
					fmt.Fprintf(c.OutOrStdout(), "ok       %s\n", f.Subject)
					continue
				}
				ill = true
				fmt.Fprintf(c.OutOrStdout(), "missing  %s: %s\n         mend: %s\n", f.Subject, f.Problem, f.Mend)
			}
			if ill {
				return exitCode(1)
			}
			return nil
		},
	}
}

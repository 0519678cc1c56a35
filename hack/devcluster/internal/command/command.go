// Package command is devcluster's command line.
package command

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/xinhari/xinhari/hack/devcluster/internal/binaries"
)

// exitCode ends the program with a code and no message: it was said already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs the command line of this process and returns its exit code.
func Main() int {
	// Libraries of Kubernetes registered flags for every program; this one has its own.
	pflag.CommandLine = pflag.NewFlagSet("devcluster", pflag.ContinueOnError)
	err := root().Execute()
	code, said := errors.AsType[exitCode](err)
	switch {
	case err == nil:
		return 0
	case said:
		return int(code)
	}
	fmt.Fprintf(os.Stderr, "devcluster: %v\n", err)
	return 1
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "devcluster",
		Short: "A real Kubernetes control plane, and pods as processes, for laptops and CI",
		Long: `devcluster runs a Kubernetes cluster for as long as one command: a real API server,
etcd, controllers and scheduler in Linux namespaces of their own, with pods as plain
processes. No containers, no downloads, no root. Nothing of it stays behind.`,
		Example: `  devcluster run -- kubectl get nodes              one command in a fresh cluster
  devcluster up                                    a shell in one
  devcluster doctor                                what is missing on this machine`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       binaries.Version(),
		Args:          noSuchCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },

		SuggestionsMinimumDistance: 2,
	}
	c.SetVersionTemplate("Kubernetes {{.Version}}\n")
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: `%s --help` tells the flags", err, c.CommandPath())
	})
	c.AddCommand(runCommand(), upCommand(), doctorCommand(), assetsCommand(), versionCommand())
	c.AddCommand(insideCommands()...)
	return c
}

// noSuchCommand tells what may have been meant.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	meant := "`devcluster --help` lists them"
	if names := c.SuggestionsFor(args[0]); len(names) > 0 {
		meant = "did you mean " + strings.Join(names, " or ") + "?"
	}
	return fmt.Errorf("unknown command %q: %s", args[0], meant)
}

// Command xinhari is the command line tool: it finds and calls services.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/internal/version"
)

// Exit codes.
const (
	exitFailed      = 1 // the service answered with an error
	exitUsage       = 2 // the command line is wrong
	exitUnavailable = 3 // nobody could be asked
)

// exitError is an error with an exit code.
type exitError struct {
	code int
	err  error
}

// formattedError is an error in the output format that was asked for.
type formattedError struct {
	error
	text string
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run runs one command line and returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var formatted *formattedError
	if errors.As(err, &formatted) {
		fmt.Fprint(s.err, formatted.text)
	} else {
		fmt.Fprintln(s.err, "xinhari:", err)
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	// Cobra's own errors are about the command line.
	fmt.Fprintf(s.err, "See %s --help.\n", command.CommandPath())
	return exitUsage
}

func newRoot(s streams) *cobra.Command {
	o := &options{streams: s}
	root := &cobra.Command{
		Use:   "xinhari",
		Short: "Find and call services",
		Long: `xinhari finds and calls services.

On a laptop it finds them as they find each other: by mDNS on the loopback
interface. In a pod it asks the Kubernetes API under the pod's own account.

Exit codes: 0 done, 1 the service answered with an error, 2 the command line
is wrong, 3 nobody could be asked.`,
		Example: `  xinhari services
  xinhari describe hello
  xinhari call hello Greeter/Hello '{"name":"Joe"}'
  xinhari call inventory.shop shop.v1.Inventory/Get @request.json --timeout 2s`,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		// Not cobra.NoArgs, which does not suggest the command that was meant.
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			err := fmt.Errorf("unknown command %q", args[0])
			if meant := c.SuggestionsFor(args[0]); len(meant) > 0 {
				err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(meant, " or "))
			}
			return err
		},
	}
	root.SuggestionsMinimumDistance = 2
	flags := root.PersistentFlags()
	flags.StringVarP(&o.output, "output", "o", "", "output format: table, json or yaml (default: what suits the command)")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "namespace of services that are named without one (default XINHARI_NAMESPACE, else \"default\")")
	flags.DurationVar(&o.timeout, "timeout", defaultTimeout, "how long the command may take")
	root.AddCommand(newCall(o), newDescribe(o), newServices(o), newStatus(o), newStream(o), newVersion(o))
	return root
}

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/hack/devcluster/internal/audit"
)

// auditName is the log of the API server that says who did what.
const auditName = "audit"

func logsCommand() *cobra.Command {
	var follow bool
	var output string
	c := &cobra.Command{
		Use:   "logs COMPONENT",
		Short: "Print the log of a component, or who did what (audit)",
		Long: `logs prints the log of a component of the control plane or of a node, of devcluster (the other
parts), or audit: each request to the API server in a line, with user, verb, object, status code
and duration. -o json prints audit as it is stored.`,
		Example: `  devcluster logs kube-scheduler
  devcluster logs audit | grep ' system:node:node-1 '
  devcluster logs audit -f -o json | jq .objectRef.resource`,
		Args: oneArg("a component, audit or devcluster"),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("-o %s: there are text and json", output)
			}
			file, err := openLog(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			out := c.OutOrStdout()
			if args[0] == auditName && output == "text" {
				out = audit.NewWriter(out)
			}
			if !follow {
				_, err = io.Copy(out, file)
				return err
			}
			return followLog(c.Context(), out, file)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is logged later, until interrupted")
	c.Flags().StringVarP(&output, "output", "o", "text", "of audit: text or json")
	return c
}

// openLog opens a log by its name. Its error names those there are.
func openLog(name string) (*os.File, error) {
	dir, err := dir()
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(dir, "logs", filepath.Base(name)+".log"))
	if !errors.Is(err, os.ErrNotExist) {
		return file, err
	}
	logs, _ := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
	for i, log := range logs {
		logs[i] = strings.TrimSuffix(filepath.Base(log), ".log")
	}
	return nil, fmt.Errorf("no log of %q: there are %s", name, strings.Join(logs, ", "))
}

// followLog copies until ctx ends. A log that became another file, as the
// audit log does when it is full, is read from the other's beginning.
func followLog(ctx context.Context, out io.Writer, file *os.File) error {
	name := file.Name()
	defer func() { file.Close() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.Copy(out, file); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if replaced(name, file) {
			if _, err := io.Copy(out, file); err != nil { // what came in before it was
				return err
			}
			next, err := os.Open(name)
			if err != nil {
				return err
			}
			file.Close()
			file = next
		}
	}
}

func replaced(name string, file *os.File) bool {
	there, err := os.Stat(name)
	if err != nil {
		return false
	}
	open, err := file.Stat()
	return err == nil && !os.SameFile(there, open)
}

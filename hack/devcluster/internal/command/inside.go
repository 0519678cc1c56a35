package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/hack/devcluster/internal/cluster"
	"github.com/xinhari/xinhari/hack/devcluster/internal/control"
	"github.com/xinhari/xinhari/hack/devcluster/internal/controlplane"
)

// errOutside is told to who uses a command of the inside outside.
var errOutside = errors.New("this works in a running cluster: start it from what `devcluster run` runs, or from the shell of `devcluster up`")

// insideCommands are those that act on the cluster that they are called in.
func insideCommands() []*cobra.Command {
	component := func(verb, short, long string) *cobra.Command {
		return &cobra.Command{
			Use:       verb + " COMPONENT",
			Short:     short,
			Long:      long + "\nComponents: " + strings.Join(controlplane.Names(), ", ") + ", node-1, node-2, ...",
			Example:   "  devcluster " + verb + " kube-apiserver\n  devcluster " + verb + " node-2",
			Args:      oneArg("a component: " + strings.Join(controlplane.Names(), ", ") + ", or a node"),
			ValidArgs: controlplane.Names(),
			RunE: func(c *cobra.Command, args []string) error {
				client, err := newClient()
				if err != nil {
					return err
				}
				return client.Component(c.Context(), args[0], verb)
			},
		}
	}
	return append(faultCommands(),
		component("stop", "Stop a component or a node, until `devcluster start`",
			`stop ends a component of the control plane. A node ends as a machine that loses power: it and its
pods are gone without a word to those they were connected with. About 50 s later the node is not ready,
and pods that tolerate that for no longer (default: 5 minutes) are deleted, and replaced by controllers.`),
		component("start", "Start a stopped component or node, or wake a paused one",
			"start undoes stop and pause. The pods of a node that was stopped start again, unless they were deleted."),
		component("pause", "Freeze a component or a node's agent, until `devcluster start`",
			`pause freezes a component: connections stay open and nothing answers. Of a node only the agent is
frozen, as if its kubelet hung: its pods go on.`),
		logsCommand())
}

func oneArg(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return fmt.Errorf("give %s", what)
		}
		return nil
	}
}

func dir() (string, error) {
	dir := os.Getenv(cluster.DirEnv)
	if dir == "" {
		return "", errOutside
	}
	return dir, nil
}

func newClient() (*control.Client, error) {
	dir, err := dir()
	if err != nil {
		return nil, err
	}
	return control.NewClient(filepath.Join(dir, "control.sock")), nil
}

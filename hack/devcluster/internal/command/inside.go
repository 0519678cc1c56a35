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
	component := func(verb, short string) *cobra.Command {
		return &cobra.Command{
			Use:       verb + " COMPONENT",
			Short:     short,
			Long:      short + ". Components: " + strings.Join(controlplane.Names(), ", ") + ".",
			Example:   "  devcluster " + verb + " kube-apiserver",
			Args:      oneArg("a component: " + strings.Join(controlplane.Names(), ", ")),
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
	pod := func(verb, short, long string) *cobra.Command {
		var namespace string
		c := &cobra.Command{
			Use:     verb + " POD",
			Short:   short,
			Long:    long,
			Example: "  devcluster " + verb + " inventory-5d4f8-x2x7k --namespace shop\n  devcluster " + verb + " 10.244.0.7",
			Args:    oneArg("a pod, by name or address"),
			RunE: func(c *cobra.Command, args []string) error {
				client, err := newClient()
				if err != nil {
					return err
				}
				return client.Pod(c.Context(), namespace, args[0], verb)
			},
		}
		c.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the pod")
		return c
	}
	return []*cobra.Command{
		component("stop", "Stop a component of the control plane, until `devcluster start`"),
		component("start", "Start a stopped component, or wake a paused one"),
		component("pause", "Freeze a component: connections stay open and nothing answers, until `devcluster start`"),
		pod("cut", "Cut a pod off the network",
			"cut drops all packets from and to a pod without closing any connection, as an unplugged cable does, until `devcluster heal`."),
		pod("heal", "Put a pod that was cut off back on the network", "heal undoes `devcluster cut`."),
		logsCommand(),
	}
}

func oneArg(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
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

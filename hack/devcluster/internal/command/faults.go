package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/hack/devcluster/internal/control"
	"github.com/xinhari/xinhari/hack/devcluster/internal/faults"
)

const sidesHelp = `
POD is NAME, NAMESPACE/NAME or pod/NAME; NODE is its name. Each may be an address instead, which also
works while the API server does not.`

// faultCommands break the network, mend it, and tell how it is broken.
func faultCommands() []*cobra.Command {
	return []*cobra.Command{cutCommand(), healCommand(), slowCommand(), loseCommand(), faultsCommand()}
}

func namespaceFlag(c *cobra.Command, namespace *string) *cobra.Command {
	c.Flags().StringVarP(namespace, "namespace", "n", "default", "namespace of pods that are given by name alone")
	return c
}

func cutCommand() *cobra.Command {
	f := control.Fault{Verb: "cut"}
	return namespaceFlag(&cobra.Command{
		Use:   "cut POD|NODE [POD|NODE|kube-apiserver|ADDRESS]",
		Short: "Cut a pod or a node off from all others, or from one",
		Long: `cut drops all packets between one side and another, or all others, until ` + "`devcluster heal`" + `. No
connection is closed and nobody is told, as when a switch far away fails. The pods of a node that is cut
off still reach each other; it becomes not ready about 50 s later. A fault ends with its pod.
` + sidesHelp,
		Example: `  devcluster cut inventory-5d4f8-x2x7k --namespace shop
  devcluster cut etcd-0 etcd-1                 those two from each other
  devcluster cut node-1 node-2
  devcluster cut 10.244.1.7 kube-apiserver`,
		Args: sides(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			f.Of = args[0]
			if len(args) > 1 {
				f.From = args[1]
			}
			return fault(c, f)
		},
	}, &f.Namespace)
}

func slowCommand() *cobra.Command {
	f := control.Fault{Verb: "slow"}
	c := namespaceFlag(&cobra.Command{
		Use:   "slow POD|NODE DELAY",
		Short: "Hold back what a pod or a node sends",
		Long: `slow holds each packet that leaves a pod or a node for DELAY, such as 50ms, until ` + "`devcluster heal`" + ` or a
DELAY of 0. Packets keep their order. It needs the device /dev/net/tun.
` + sidesHelp,
		Example: "  devcluster slow web-0 50ms\n  devcluster slow node-2 200ms --jitter 100ms\n  devcluster slow web-0 0",
		Args:    sideAnd("a delay, such as 50ms"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			f.Of = args[0]
			if f.Delay, err = time.ParseDuration(args[1]); err != nil {
				return fmt.Errorf("%q is no delay, such as 50ms", args[1])
			}
			return fault(c, f)
		},
	}, &f.Namespace)
	c.Flags().DurationVar(&f.Jitter, "jitter", 0, "the delay of each packet is up to this shorter or longer")
	return c
}

func loseCommand() *cobra.Command {
	f := control.Fault{Verb: "lose"}
	return namespaceFlag(&cobra.Command{
		Use:   "lose POD|NODE PERCENT",
		Short: "Lose a share of what a pod or a node sends",
		Long: `lose drops a share of the packets that leave a pod or a node, by chance, until ` + "`devcluster heal`" + ` or a
share of 0. It needs the device /dev/net/tun.
` + sidesHelp,
		Example: "  devcluster lose web-0 5%\n  devcluster lose web-0 0",
		Args:    sideAnd("a share, such as 5%"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			f.Of = args[0]
			f.Percent, err = strconv.ParseFloat(strings.TrimSuffix(args[1], "%"), 64)
			if err != nil || math.IsNaN(f.Percent) || math.IsInf(f.Percent, 0) {
				return fmt.Errorf("%q is no share, such as 5%%", args[1])
			}
			return fault(c, f)
		},
	}, &f.Namespace)
}

func fault(c *cobra.Command, f control.Fault) error {
	client, err := newClient()
	if err != nil {
		return err
	}
	return client.Fault(c.Context(), f)
}

func healCommand() *cobra.Command {
	var h control.Healing
	c := namespaceFlag(&cobra.Command{
		Use:   "heal [POD|NODE [POD|NODE|kube-apiserver|ADDRESS]]",
		Short: "End faults: of a pod or a node, between two, or all",
		Long: `heal ends all faults that a pod or a node has a part in, or, of two, the cut between them, or, without
arguments, all. Where there are none it does nothing.
` + sidesHelp,
		Example: "  devcluster heal web-0\n  devcluster heal node-1 node-2\n  devcluster heal web-0 --only slow\n  devcluster heal",
		Args:    sides(0, 2),
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains([]string{"", faults.Cut, faults.Slow, faults.Lose}, h.Verb) {
				return errors.New("--only: give cut, slow or lose")
			}
			if h.Verb != "" && len(args) == 0 {
				return errors.New("--only: name the pod or the node as well, whose " + h.Verb + " is to end")
			}
			client, err := newClient()
			if err != nil {
				return err
			}
			h.Sides = args
			return client.Heal(c.Context(), h)
		},
	}, &h.Namespace)
	c.Flags().StringVar(&h.Verb, "only", "", "end only the fault that this command made with the same arguments: cut, slow or lose")
	c.Flags().BoolVar(&h.MissingIsOK, "ignore-not-found", false, "a pod that is gone is no error: its faults are, too")
	return c
}

func faultsCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "faults",
		Short: "List the faults in effect",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := newClient()
			if err != nil {
				return err
			}
			list, err := client.Faults(c.Context())
			if err != nil {
				return err
			}
			switch output {
			case "table":
				return faultTable(c.OutOrStdout(), list)
			case "json":
				encoder := json.NewEncoder(c.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(shown(list))
			}
			return errors.New("--output: give table or json")
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return c
}

// shownFault is a fault for people and programs.
type shownFault struct {
	Verb    string  `json:"verb"`
	Of      string  `json:"of"`
	From    string  `json:"from,omitempty"`
	Delay   string  `json:"delay,omitempty"`
	Jitter  string  `json:"jitter,omitempty"`
	Percent float64 `json:"percent,omitempty"`
}

func shown(list []control.Fault) []shownFault {
	all := []shownFault{}
	for _, f := range list {
		s := shownFault{Verb: f.Verb, Of: f.Of, From: f.From, Percent: f.Percent}
		if f.Delay != 0 {
			s.Delay = f.Delay.String()
		}
		if f.Jitter != 0 {
			s.Jitter = f.Jitter.String()
		}
		all = append(all, s)
	}
	return all
}

func faultTable(w io.Writer, list []control.Fault) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "VERB\tOF\tHOW")
	for _, f := range shown(list) {
		how := "from all"
		switch {
		case f.From != "":
			how = "from " + f.From
		case f.Jitter != "":
			how = f.Delay + " ± " + f.Jitter
		case f.Delay != "":
			how = f.Delay
		case f.Percent != 0:
			how = strconv.FormatFloat(f.Percent, 'g', -1, 64) + " %"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", f.Verb, f.Of, how)
	}
	return table.Flush()
}

func sides(least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return errors.New("give a pod or a node, by name or address, or two of them")
		}
		return nil
	}
}

func sideAnd(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 2 {
			return errors.New("give a pod or a node, by name or address, and " + what)
		}
		return nil
	}
}

package command

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/hack/devcluster/internal/cluster"
	"github.com/xinhari/xinhari/hack/devcluster/internal/sandbox"
)

func runCommand() *cobra.Command {
	var o cluster.Options
	c := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARGUMENT...]",
		Short: "Run a command in a fresh cluster",
		Long: `run makes a cluster, runs COMMAND in it, and ends the cluster when COMMAND ends, with
COMMAND's exit code. COMMAND keeps its working folder and sees the host's files; its
network is the cluster's, so it reaches pods and ClusterIPs, and nothing outside.
KUBECONFIG is set, and kubectl, devcluster and the programs of --images are on PATH.`,
		Example: `  devcluster run -- kubectl get nodes
  devcluster run --images bin -- ./test.sh
  devcluster run -- sh -c 'kubectl create namespace shop && kubectl get namespaces'`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return unmade(errors.New("say what to run: devcluster run -- COMMAND (or `devcluster up` for a shell)"))
			}
			o.Command = args
			return runCluster(o)
		},
	}
	clusterFlags(c, &o)
	return c
}

func upCommand() *cobra.Command {
	var o cluster.Options
	c := &cobra.Command{
		Use:   "up [flags]",
		Short: "Open a shell in a fresh cluster",
		Long:  `up is run with a shell ($SHELL, else sh) as its command. The cluster ends with the shell.`,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			shell := os.Getenv("SHELL")
			if shell == "" {
				shell = "/bin/sh"
			}
			o.Command = []string{shell}
			o.Hint = `This shell is in the cluster, which ends with it. Try:
  kubectl get nodes,pods -A
  kubectl create deployment hello --image=xinhari.local/hello:dev   (--images has a program hello)
  devcluster logs kube-apiserver
  devcluster stop kube-apiserver; devcluster start kube-apiserver`
			return runCluster(o)
		},
	}
	clusterFlags(c, &o)
	return c
}

func clusterFlags(c *cobra.Command, o *cluster.Options) {
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return unmade(c.Root().FlagErrorFunc()(c, err))
	})
	c.Flags().StringVar(&o.Images, "images", "", "folder of programs: image xinhari.local/NAME:dev is the program NAME in it")
	c.Flags().IntVar(&o.Nodes, "nodes", 1, fmt.Sprintf("number of nodes, up to %d", cluster.MaxNodes))
	c.Flags().StringSliceVar(&o.Zones, "zones", nil, "zones of the nodes, in turn, as a,b,c; without it one node has none, and several are in zone-a, zone-b and zone-c")
	c.Flags().StringVar(&o.Kubeconfig, "kubeconfig", "", "file to write for programs outside of the cluster, which reach the API server by a port of 127.0.0.1; removed with the cluster")
	c.Flags().StringSliceVar(&o.FeatureGates, "feature-gates", nil, "Kubernetes feature gates for all components: NAME=true|false,... (AllBeta=true: every beta feature)")
	c.Flags().StringSliceVar(&o.RuntimeConfig, "runtime-config", nil, "API versions to turn on or off: api/beta=true, or GROUP/VERSION=true|false,...")
	c.Flags().StringVar(&o.Logs, "keep-logs", "", "folder that gets the logs of the cluster, to read when it is gone")
}

func runCluster(o cluster.Options) error {
	status, err := cluster.Run(o)
	if err != nil {
		return unmade(err)
	}
	if status == 0 {
		return nil
	}
	return exitCode(status)
}

// unmade says why there is no cluster, by an exit code that is not taken for that of a command in it.
func unmade(err error) error {
	fmt.Fprintf(os.Stderr, "devcluster: %v\n", err)
	if errors.Is(err, sandbox.ErrNamespaces) {
		fmt.Fprintln(os.Stderr, "devcluster: `devcluster doctor` says how to mend that")
	}
	return exitCode(sandbox.StatusSetup)
}

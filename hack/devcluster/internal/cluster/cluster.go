// Package cluster puts a cluster together: it starts a sandbox, and inside it
// the network, the control plane, DNS, the proxy and the nodes, then runs a
// command there, and ends all with it.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/controlplane"
	"github.com/xinhari/xinhari/hack/devcluster/internal/sandbox"
)

// DirEnv is the environment variable that holds the folder of the cluster for
// programs in it: kubeconfig, logs/NAME.log, logs/audit.log, control.sock.
const DirEnv = "DEVCLUSTER_DIR"

// Domain is the DNS domain of every cluster.
const Domain = "cluster.local"

const supervisorName = "devcluster-supervisor"

// Options say what cluster to make and what to run in it. Command is required.
type Options struct {
	Command []string // program and arguments
	Images  string   // folder of images: xinhari.local/NAME:dev is the program NAME in it; empty: none
	Nodes   int      // how many nodes; 0: one
	Zones   []string // zones of the nodes, in turn; nil: none for one node, else zone-a, zone-b and zone-c
	Logs    string   // folder that keeps the logs; empty: they end with the cluster
	Hint    string   // printed when the cluster is ready

	Kubeconfig    string   // file that is written for programs of the host while the cluster lives; empty: none
	FeatureGates  []string // NAME=true or NAME=false, for all components
	RuntimeConfig []string // API versions to turn on or off, as kube-apiserver's --runtime-config
}

// task is what the supervisor is told.
type task struct {
	Options
	Dir      string // working folder of the command
	Terminal bool   // the command becomes the terminal's foreground process group
}

// Lookup returns the main function of the cluster's own program called name.
func Lookup(name string) (main func(), ok bool) {
	if name == supervisorName {
		return supervise, true
	}
	return nil, false
}

// Run makes a cluster, runs the command in it and returns its exit code when nothing of the cluster is left.
func Run(o Options) (status int, err error) {
	dir, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	if o.Images != "" {
		if o.Images, err = filepath.Abs(o.Images); err != nil {
			return 0, err
		}
		if info, err := os.Stat(o.Images); err != nil || !info.IsDir() {
			return 0, fmt.Errorf("--images: %s is not a folder", o.Images)
		}
	}
	if err := o.checkNodes(); err != nil {
		return 0, err
	}
	if err := controlplane.CheckFeatureGates(o.FeatureGates); err != nil {
		return 0, fmt.Errorf("--feature-gates: %w", err)
	}
	var files []*os.File
	if o.Kubeconfig != "" {
		host, err := openHostPort(o.Kubeconfig)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, host.close()) }()
		o.Kubeconfig = host.kubeconfig
		files = []*os.File{host.listener}
	}
	t := task{Options: o, Dir: dir, Terminal: inForeground()}
	input, err := json.Marshal(t)
	if err != nil {
		return 0, err
	}
	return sandbox.Run(sandbox.Options{
		Program:    supervisorName,
		Input:      input,
		Files:      files,
		Logs:       o.Logs,
		Resolv:     fmt.Sprintf("nameserver %s\nsearch default.svc.%[2]s svc.%[2]s %[2]s\noptions ndots:5\n", dnsAddr(), Domain),
		Foreground: t.Terminal,
	})
}

// inForeground reports whether this process may read from a terminal.
func inForeground() bool {
	group, err := unix.IoctlGetInt(int(os.Stdin.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// Command devcluster runs a real Kubernetes control plane, and pods as host
// processes, in Linux namespaces of its own.
package main

import (
	"os"
	"path/filepath"

	"github.com/xinhari/xinhari/hack/devcluster/internal/binaries"
	"github.com/xinhari/xinhari/hack/devcluster/internal/cluster"
	"github.com/xinhari/xinhari/hack/devcluster/internal/command"
	"github.com/xinhari/xinhari/hack/devcluster/internal/doctor"
	"github.com/xinhari/xinhari/hack/devcluster/internal/node"
	"github.com/xinhari/xinhari/hack/devcluster/internal/sandbox"
)

// main is many programs: the name that the binary was started under tells which.
func main() {
	binaries.SetVersion()
	name := filepath.Base(os.Args[0])
	for _, lookup := range []func(string) (func(), bool){binaries.Lookup, sandbox.Lookup, cluster.Lookup, node.Lookup, doctor.Lookup} {
		if run, ok := lookup(name); ok {
			run()
			return
		}
	}
	os.Exit(command.Main())
}

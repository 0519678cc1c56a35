// Command devcluster runs a real Kubernetes control plane, and pods as host
// processes, in Linux namespaces of its own.
package main

import (
	"os"
	"path/filepath"

	"github.com/xinhari/xinhari/hack/devcluster/internal/binaries"
)

func main() {
	if run, ok := binaries.Lookup(filepath.Base(os.Args[0])); ok {
		run()
	}
}

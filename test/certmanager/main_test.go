package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/xinhari/xinhari/test/devcluster"
)

// bin is where `make build devcluster helm` and `make test-certmanager` build what is needed here.
var bin = filepath.Join("..", "..", "bin")

// TestMain runs the tests in a cluster of their own, unless they are in one.
func TestMain(m *testing.M) {
	if devcluster.Running() {
		os.Exit(m.Run())
	}
	status, err := inCluster()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func inCluster() (int, error) {
	// Looked at, they are also among the files that a kept result of the tests depends on.
	for _, name := range []string{"devcluster", "helm", "operator", "certmanager-controllers"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return 0, fmt.Errorf("%w: `make test-certmanager` builds it", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(filepath.Join(bin, "devcluster"), append([]string{"run", "--images", bin, "--", self}, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

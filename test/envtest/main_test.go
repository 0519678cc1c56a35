// Package envtest holds tests of the CRDs and the controllers on a real API server.
//
// It promises nothing to other packages. It needs the programs etcd and kube-apiserver in the folder that
// KUBEBUILDER_ASSETS names, and one API server serves all its tests.
package envtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/xinhari/xinhari/internal/apiservertest"
)

// admin is a client configuration with all rights on the API server that TestMain started.
var admin *rest.Config

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "xinhari-envtest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	auditLog = filepath.Join(dir, "audit.log")
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	server, err := apiservertest.Open(apiservertest.Options{
		CRDs:  filepath.Join("..", "..", "config", "crd"),
		Flags: map[string]string{"audit-policy-file": policy, "audit-log-path": auditLog},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	admin = server.Admin
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

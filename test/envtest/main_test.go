// Package envtest holds tests of the CRDs and the controllers on a real API server.
//
// It promises nothing to other packages. It needs the programs etcd and kube-apiserver in the folder that
// KUBEBUILDER_ASSETS names, and one API server serves all its tests.
package envtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// admin is a client configuration with all rights on the API server that TestMain started.
var admin *rest.Config

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if _, err := os.Stat(filepath.Join(assets, "kube-apiserver")); assets == "" || err != nil {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS names no folder with kube-apiserver: run `make assets` and set it to the absolute path of bin/assets")
		return 1
	}
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

	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "..", "config", "crd")},
		ErrorIfCRDPathMissing: true,
		BinaryAssetsDirectory: assets,
	}
	args := env.ControlPlane.GetAPIServer().Configure()
	args.Set("audit-policy-file", policy)
	args.Set("audit-log-path", auditLog)
	if admin, err = env.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "starting the API server: %v\n", errors.Join(err, env.Stop()))
		return 1
	}
	code := m.Run()
	if err := env.Stop(); err != nil {
		fmt.Fprintf(os.Stderr, "stopping the API server: %v\n", err)
		return 1
	}
	return code
}

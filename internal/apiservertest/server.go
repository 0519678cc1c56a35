// Package apiservertest runs a real Kubernetes API server for tests, kills it
// and starts it again on the same data, and cuts the way to it.
//
// It needs the programs etcd and kube-apiserver in the folder that
// KUBEBUILDER_ASSETS names. Nothing else of a control plane runs: no
// controller fills EndpointSlices, and no account gets a token.
package apiservertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// Options are the options of Open and New; the zero value is good.
type Options struct {
	// CRDs is a folder of CustomResourceDefinitions to install; "" is none.
	CRDs string

	// Flags are those of kube-apiserver, beside what it needs to start.
	Flags map[string]string
}

// Server is a running API server.
type Server struct {
	// Admin is a client configuration with all rights.
	Admin *rest.Config

	folder      string // of certificates, which outlive a kill
	environment *envtest.Environment
}

// patience bounds each start and stop; machines that run tests are busy.
const patience = time.Minute

// Open starts an API server, which Stop ends.
func Open(o Options) (*Server, error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if _, err := os.Stat(filepath.Join(assets, "kube-apiserver")); assets == "" || err != nil {
		return nil, errors.New("KUBEBUILDER_ASSETS names no folder with kube-apiserver: run `make assets` and set it to the absolute path of bin/assets")
	}
	folder, err := os.MkdirTemp("", "xinhari-apiserver-")
	if err != nil {
		return nil, err
	}
	e := &envtest.Environment{
		BinaryAssetsDirectory:    assets,
		ControlPlaneStartTimeout: patience,
		ControlPlaneStopTimeout:  patience,
	}
	if o.CRDs != "" {
		e.CRDDirectoryPaths, e.ErrorIfCRDPathMissing = []string{o.CRDs}, true
	}
	s := &Server{folder: folder, environment: e}
	api := e.ControlPlane.GetAPIServer()
	api.CertDir = folder
	for name, value := range o.Flags {
		api.Configure().Set(name, value)
	}
	if s.Admin, err = e.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the API server: %w", err), s.Stop())
	}
	return s, nil
}

// New starts an API server that is stopped when the test ends.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Stop ends the API server and removes its data.
func (s *Server) Stop() error {
	err := s.environment.Stop()
	if err != nil {
		err = fmt.Errorf("stop the API server: %w", err)
	}
	return errors.Join(err, os.RemoveAll(s.folder))
}

// Kill ends the API server at once, as a lost machine would, and returns when
// nobody listens any more.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	address := s.environment.ControlPlane.GetAPIServer().SecureServing
	pid, err := childWith("--secure-port=" + address.Port)
	if err != nil {
		t.Fatalf("find the API server's process: %v", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill the API server: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address.HostPort())
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the killed API server still listens: %v", err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// childWith returns the child of this process that has the argument.
func childWith(argument string) (int, error) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that ended meanwhile
		}
		for child := range strings.FieldsSeq(string(children)) {
			cmdline, err := os.ReadFile(filepath.Join("/proc", child, "cmdline"))
			if err == nil && slices.Contains(strings.Split(string(cmdline), "\x00"), argument) {
				return strconv.Atoi(child)
			}
		}
	}
	return 0, fmt.Errorf("no child has the argument %s", argument)
}

// Restart starts a killed API server again, on the same data and address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.environment.ControlPlane.GetAPIServer().Start(); err != nil {
		t.Fatalf("start the API server again: %v", err)
	}
}

// Account returns a client configuration with the rights of a ServiceAccount.
func (s *Server) Account(namespace, name string) *rest.Config {
	c := rest.CopyConfig(s.Admin)
	c.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + name,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}
	return c
}

// Client returns a client with all rights and no cache, for Kubernetes' own
// kinds and ours.
func (s *Server) Client(t testing.TB) client.Client {
	t.Helper()
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, xinhariv1alpha1.AddToScheme} {
		if err := add(all); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(s.Admin, client.Options{Scheme: all})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Package interop tries servers and clients of pkg/rpc with those of others,
// unmodified: grpcurl, curl, connect-go, grpc-go's interoperability tests both
// ways, and Connect's conformance suite.
package interop

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/xinhari/xinhari/internal/watchtest"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// program returns the path of what `make test-interop` builds.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: `make test-interop` builds it", err)
	}
	return path
}

// server is one of pkg/rpc, with or without TLS.
type server struct {
	addr   string
	caller *identity.Source // nil: there is no TLS
}

type greeting struct {
	Name string `json:"name"`
	N    int64  `json:"n"`
}

// failure has details of several kinds, one of them twice.
func failure() error {
	st, err := status.New(codes.FailedPrecondition, "no “teapot”: 100%\n").WithDetails(
		&errdetails.ErrorInfo{Reason: "GONE", Domain: "shop", Metadata: map[string]string{"item": "teapot"}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)},
	)
	if err != nil {
		return err
	}
	return st.Err()
}

// serve starts a server with grpc-go's test service and plain handlers.
func serve(t *testing.T, secure bool) *server {
	t.Helper()
	s := &server{}
	options := rpc.ServerOptions{Anonymous: func() bool { return !secure }}
	if secure {
		dir := filepath.Join(t.TempDir(), "ca")
		s.caller = source(t, "caller", dir)
		options.Transport = identity.MutualTLS(source(t, "test", dir).Current, identity.MutualTLSOptions{})
	}
	r, err := rpc.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(r, interop.NewTestServer())
	reflection.Register(r)
	if err := errors.Join(
		rpc.Handle(r, "Greeter/Hello", func(_ context.Context, g *greeting) (*greeting, error) {
			return &greeting{Name: "Hello " + g.Name, N: g.N}, nil
		}),
		rpc.Handle(r, "Greeter/Fail", func(context.Context, *greeting) (*greeting, error) { return nil, failure() }),
	); err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = lis.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.Serve(lis) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(r.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return s
}

// source returns an identity of the CA in dir.
func source(t *testing.T, name, dir string) *identity.Source {
	t.Helper()
	s, err := localsource.New(name, localsource.Options{Dir: dir, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	watchtest.Run(t, s.Run)
	select {
	case <-s.Ready():
	case <-time.After(10 * time.Second):
		t.Fatalf("no credentials: %v", s.Err())
	}
	return s
}

// tls returns the TLS of somebody else's client; nil if there is none.
func (s *server) tls() *tls.Config {
	if s.caller == nil {
		return nil
	}
	return identity.ClientConfig(s.caller.Current, identity.ServiceName("default", "test"), identity.ClientOptions{})
}

// url returns the address of a method.
func (s *server) url(path string) string {
	if s.caller == nil {
		return "http://" + s.addr + path
	}
	return "https://" + s.addr + path
}

// client returns an HTTP client for one version of HTTP.
func (s *server) client(t *testing.T, h2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	protocols.SetUnencryptedHTTP2(h2)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: s.tls()}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// files writes the caller's certificate, its key and the roots as programs want them.
func (s *server) files(t *testing.T) (certificate, key, roots string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, ders ...[]byte) string {
		var out []byte
		for _, der := range ders {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, out, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := s.caller.Current()
	var bundle [][]byte
	for _, root := range own.Bundle() {
		bundle = append(bundle, root.Raw)
	}
	return write("tls.crt", "CERTIFICATE", own.Certificate().Certificate...),
		write("tls.key", "PRIVATE KEY", pkcs8(t, own.Certificate().PrivateKey)),
		write("ca.crt", "CERTIFICATE", bundle...)
}

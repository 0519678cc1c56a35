// Package bare has a server and a client of grpc-go as its users set it up,
// with its default settings and mutual TLS. It links nothing of this repository.
package bare

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/role"
)

// EnvFolder is the environment variable that names the folder of ca.crt and
// of NAME.crt and NAME.key of Server and Client.
const EnvFolder = "BENCH_TLS"

// What the two sides' certificates are for. Authority is what the server's
// says.
const (
	Server    = "bench"
	Client    = "bench-client"
	Authority = "bench.default.svc"
)

// Subject is grpc.NewServer and grpc.NewClient with round_robin.
func Subject() role.Subject {
	encoding.RegisterCodec(jsonCodec{})
	return role.Subject{Serve: serve, Dial: dial, Pod: pod}
}

// alpn is what grpc-go wants to see negotiated.
const alpn = "h2"

// config is a TLS configuration with the certificate of name, and the CA's.
func config(name string) (*tls.Config, *x509.CertPool, error) {
	folder := os.Getenv(EnvFolder)
	own, err := tls.LoadX509KeyPair(filepath.Join(folder, name+".crt"), filepath.Join(folder, name+".key"))
	if err != nil {
		return nil, nil, fmt.Errorf("bare: %s: %w", EnvFolder, err)
	}
	ca, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	if err != nil {
		return nil, nil, fmt.Errorf("bare: %s: %w", EnvFolder, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, Certificates: []tls.Certificate{own}, SessionTicketsDisabled: true,
	}, roots, nil
}

func serve(ctx context.Context, impl load.Service) (netip.AddrPort, role.Stop, error) {
	c, roots, err := config(Server)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, roots
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, nil, fmt.Errorf("bare: %w", err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(c)))
	testgrpc.RegisterTestServiceServer(server, impl)
	server.RegisterService(plainService(), impl)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	stop := func(context.Context) error {
		server.Stop()
		return <-served
	}
	return lis.Addr().(*net.TCPAddr).AddrPort(), stop, nil
}

func dial(_ context.Context, servers []netip.AddrPort) (load.Client, role.Stop, error) {
	c, roots, err := config(Client)
	if err != nil {
		return nil, nil, err
	}
	c.ServerName, c.RootCAs = Authority, roots
	var state resolver.State
	for _, s := range servers {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: s.String()}}})
	}
	r := manual.NewBuilderWithScheme("bench")
	r.InitialState(state)
	cc, err := grpc.NewClient("bench:///servers",
		grpc.WithResolvers(r),
		grpc.WithTransportCredentials(credentials.NewTLS(c)),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithNoProxy(),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("bare: %w", err)
	}
	var n atomic.Uint64
	return client{cc, func() (grpc.ClientConnInterface, func() error, error) {
		next := servers[n.Add(1)%uint64(len(servers))]
		cc, err := grpc.NewClient("passthrough:///"+next.String(), grpc.WithTransportCredentials(credentials.NewTLS(c)), grpc.WithNoProxy())
		if err != nil {
			return nil, nil, err
		}
		return cc, cc.Close, nil
	}}, func(context.Context) error { return cc.Close() }, nil
}

// pod is a server and its client in one process.
func pod(ctx context.Context, impl load.Service) (load.Client, role.Stop, error) {
	addr, stop, err := serve(ctx, impl)
	if err != nil {
		return nil, nil, err
	}
	conn, closeConn, err := dial(ctx, []netip.AddrPort{addr})
	if err != nil {
		_ = stop(ctx) // the dial's error is the one to know
		return nil, nil, err
	}
	return conn, func(ctx context.Context) error {
		if err := closeConn(ctx); err != nil {
			return err
		}
		return stop(ctx)
	}, nil
}

// client is a connection that spreads calls, and makes others to one server each.
type client struct {
	*grpc.ClientConn
	dial func() (grpc.ClientConnInterface, func() error, error)
}

// Dial implements load.Client.
func (c client) Dial() (grpc.ClientConnInterface, func() error, error) { return c.dial() }

// Package subject has what is compared: bare grpc-go and this repository's
// runtime, each as a server and as a client of several servers. Both speak
// mutual TLS with certificates of one CA, that of the runtime's local profile,
// and the same settings.
package subject

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

// Kind is one of the compared.
type Kind string

// The compared.
const (
	Bare Kind = "bare" // grpc-go with round_robin
	Own  Kind = "own"  // svc.Conn and RegisterService
)

// Stop ends a server or a client and waits for what it has started.
type Stop func(context.Context) error

// Serve serves impl on a free port of loopback.
func Serve(ctx context.Context, kind Kind, impl testgrpc.TestServiceServer) (netip.AddrPort, Stop, error) {
	switch kind {
	case Bare:
		return serveBare(ctx, impl)
	case Own:
		return serveOwn(ctx, impl)
	}
	return netip.AddrPort{}, nil, unknown(kind)
}

// Dial returns a connection that spreads calls evenly over the servers.
func Dial(ctx context.Context, kind Kind, servers []netip.AddrPort) (grpc.ClientConnInterface, Stop, error) {
	switch kind {
	case Bare:
		return dialBare(ctx, servers)
	case Own:
		return dialOwn(ctx, servers)
	}
	return nil, nil, unknown(kind)
}

func unknown(kind Kind) error { return fmt.Errorf("subject %q: want %s or %s", kind, Bare, Own) }

// certificate returns a running source of the certificate of the service
// called name.
func certificate(ctx context.Context, name string) (*identity.Source, func(), error) {
	source, err := localsource.New(name, localsource.Options{Namespace: namespace})
	if err != nil {
		return nil, nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	broken := make(chan error, 1)
	var renewing sync.WaitGroup
	renewing.Go(func() { broken <- source.Run(running) })
	stop := func() { cancel(); renewing.Wait() }
	select {
	case <-source.Ready():
		return source, stop, nil
	case err = <-broken:
	case <-ctx.Done():
		err = ctx.Err()
	}
	stop()
	return nil, nil, fmt.Errorf("certificate of %s: %w", name, err)
}

// alpn is what grpc-go wants to see negotiated.
const alpn = "h2"

func serveBare(ctx context.Context, impl testgrpc.TestServiceServer) (netip.AddrPort, Stop, error) {
	source, done, err := certificate(ctx, serviceName)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		done()
		return netip.AddrPort{}, nil, fmt.Errorf("bare server: %w", err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(
		identity.ServerConfig(source.Current, identity.ServerOptions{NextProtos: []string{alpn}}))))
	testgrpc.RegisterTestServiceServer(server, impl)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	stop := func(context.Context) error {
		server.Stop()
		done()
		return <-served
	}
	return lis.Addr().(*net.TCPAddr).AddrPort(), stop, nil
}

func dialBare(ctx context.Context, servers []netip.AddrPort) (grpc.ClientConnInterface, Stop, error) {
	source, done, err := certificate(ctx, clientName)
	if err != nil {
		return nil, nil, err
	}
	// As grpc-go's users set it up: the standard library verifies.
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, ServerName: identity.ServiceName(namespace, serviceName),
		RootCAs: source.Current().Roots(), Certificates: []tls.Certificate{source.Current().Certificate()}, SessionTicketsDisabled: true,
	}
	var state resolver.State
	for _, s := range servers {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: s.String()}}})
	}
	r := manual.NewBuilderWithScheme("bench")
	r.InitialState(state)
	cc, err := grpc.NewClient("bench:///servers",
		grpc.WithResolvers(r),
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithNoProxy(),
	)
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("bare client: %w", err)
	}
	next := inTurn(servers)
	return &client{cc, func() (grpc.ClientConnInterface, func() error, error) {
		cc, err := grpc.NewClient("passthrough:///"+next().String(), grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithNoProxy())
		if err != nil {
			return nil, nil, err
		}
		return cc, cc.Close, nil
	}}, func(context.Context) error { done(); return cc.Close() }, nil
}

// What servers and clients are called.
const (
	serviceName = "bench"
	clientName  = "bench-client"
	namespace   = "default"
)

// options are those of both sides, with the servers known to discovery.
func options(servers []netip.AddrPort) (xinhari.Options, error) {
	endpoints := make([]discovery.Endpoint, len(servers))
	for i, s := range servers {
		endpoints[i].Addresses = []netip.AddrPort{s}
	}
	static, err := staticdiscovery.New(map[discovery.Service][]discovery.Endpoint{{Namespace: namespace, Name: serviceName}: endpoints}, discovery.Options{})
	return xinhari.Options{
		Profile:      xinhari.Local,
		Namespace:    namespace,
		Address:      "127.0.0.1:0",
		AdminAddress: "off",
		Discovery:    static,
		Logger:       slog.New(slog.DiscardHandler),
	}, err
}

func serveOwn(ctx context.Context, impl testgrpc.TestServiceServer) (netip.AddrPort, Stop, error) {
	o, err := options(nil)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	svc, err := xinhari.New(serviceName, o)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	testgrpc.RegisterTestServiceServer(svc, impl)
	if err := svc.Start(ctx); err != nil {
		return netip.AddrPort{}, nil, err
	}
	return svc.Addr().(*net.TCPAddr).AddrPort(), svc.Close, nil
}

func dialOwn(ctx context.Context, servers []netip.AddrPort) (grpc.ClientConnInterface, Stop, error) {
	o, err := options(servers)
	if err != nil {
		return nil, nil, err
	}
	svc, err := xinhari.New(clientName, o)
	if err != nil {
		return nil, nil, err
	}
	if err := svc.Start(ctx); err != nil {
		return nil, nil, err
	}
	transport := identity.MutualTLS(svc.Identity().Current, identity.MutualTLSOptions{})
	service := discovery.Service{Namespace: namespace, Name: serviceName}
	next := inTurn(servers)
	return &client{svc.Conn(serviceName), func() (grpc.ClientConnInterface, func() error, error) {
		one, err := staticdiscovery.New(map[discovery.Service][]discovery.Endpoint{service: {{Addresses: []netip.AddrPort{next()}}}}, discovery.Options{})
		if err != nil {
			return nil, nil, err
		}
		conn, err := rpc.NewConn(service, one, rpc.ConnOptions{Transport: transport})
		if err != nil {
			return nil, nil, err
		}
		return conn, conn.Close, nil
	}}, svc.Close, nil
}

// client is a connection that spreads calls, and makes others to one server each.
type client struct {
	grpc.ClientConnInterface
	dial func() (grpc.ClientConnInterface, func() error, error)
}

// Dial implements load.Dialer.
func (c *client) Dial() (grpc.ClientConnInterface, func() error, error) { return c.dial() }

// inTurn returns the servers one after the other, to any number of goroutines.
func inTurn(servers []netip.AddrPort) func() netip.AddrPort {
	var n atomic.Uint64
	return func() netip.AddrPort { return servers[n.Add(1)%uint64(len(servers))] }
}

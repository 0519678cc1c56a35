// Package subject has what is compared: bare grpc-go and this repository's
// runtime, each as a server and as a client of several servers, without TLS.
package subject

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
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
		return dialBare(servers)
	case Own:
		return dialOwn(ctx, servers)
	}
	return nil, nil, unknown(kind)
}

func unknown(kind Kind) error { return fmt.Errorf("subject %q: want %s or %s", kind, Bare, Own) }

func serveBare(ctx context.Context, impl testgrpc.TestServiceServer) (netip.AddrPort, Stop, error) {
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, nil, fmt.Errorf("bare server: %w", err)
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, impl)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	stop := func(context.Context) error {
		server.Stop()
		return <-served
	}
	return lis.Addr().(*net.TCPAddr).AddrPort(), stop, nil
}

func dialBare(servers []netip.AddrPort) (grpc.ClientConnInterface, Stop, error) {
	var state resolver.State
	for _, s := range servers {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: s.String()}}})
	}
	r := manual.NewBuilderWithScheme("bench")
	r.InitialState(state)
	cc, err := grpc.NewClient("bench:///servers",
		grpc.WithResolvers(r),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithNoProxy(),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("bare client: %w", err)
	}
	return cc, func(context.Context) error { return cc.Close() }, nil
}

// What our servers are called.
const (
	serviceName = "bench"
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
	svc, err := xinhari.New("bench-client", o)
	if err != nil {
		return nil, nil, err
	}
	if err := svc.Start(ctx); err != nil {
		return nil, nil, err
	}
	return svc.Conn(serviceName), svc.Close, nil
}

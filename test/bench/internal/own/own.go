// Package own has a server and a client of this repository's runtime, with
// what is on by default: identity, and an admin port with metrics.
package own

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/role"
)

// What servers and clients are called.
const (
	serverName = "bench"
	clientName = "bench-client"
	podName    = "bench-own"
	namespace  = "default"
)

// Subject is svc.Conn, RegisterService and rpc.Handle.
func Subject() role.Subject { return role.Subject{Serve: serve, Dial: dial, Pod: pod} }

// options are those of both sides, with the servers known to discovery.
func options(servers []netip.AddrPort) (xinhari.Options, error) {
	endpoints := make([]discovery.Endpoint, len(servers))
	for i, s := range servers {
		endpoints[i].Addresses = []netip.AddrPort{s}
	}
	static, err := staticdiscovery.New(map[discovery.Service][]discovery.Endpoint{{Namespace: namespace, Name: serverName}: endpoints}, discovery.Options{})
	return xinhari.Options{
		Profile:      xinhari.Local,
		Namespace:    namespace,
		Address:      "127.0.0.1:0",
		AdminAddress: "127.0.0.1:0",
		Discovery:    static,
		Logger:       slog.New(slog.DiscardHandler),
	}, err
}

func register(svc *xinhari.Service, impl load.Service) error {
	testgrpc.RegisterTestServiceServer(svc, impl)
	return rpc.Handle(svc, load.PlainMethod, impl.Plain)
}

func serve(ctx context.Context, impl load.Service) (netip.AddrPort, role.Stop, error) {
	o, err := options(nil)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	svc, err := xinhari.New(serverName, o)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	if err := register(svc, impl); err != nil {
		return netip.AddrPort{}, nil, err
	}
	if err := svc.Start(ctx); err != nil {
		return netip.AddrPort{}, nil, err
	}
	return svc.Addr().(*net.TCPAddr).AddrPort(), svc.Close, nil
}

func dial(ctx context.Context, servers []netip.AddrPort) (load.Client, role.Stop, error) {
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
	service := discovery.Service{Namespace: namespace, Name: serverName}
	var n atomic.Uint64
	return client{svc.Conn(serverName), func() (grpc.ClientConnInterface, func() error, error) {
		next := servers[n.Add(1)%uint64(len(servers))]
		one, err := staticdiscovery.New(map[discovery.Service][]discovery.Endpoint{service: {{Addresses: []netip.AddrPort{next}}}}, discovery.Options{})
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

// pod is one Service with all of the profile's defaults, which calls itself.
func pod(ctx context.Context, impl load.Service) (load.Client, role.Stop, error) {
	svc, err := xinhari.New(podName, xinhari.Options{})
	if err != nil {
		return nil, nil, err
	}
	if err := register(svc, impl); err != nil {
		return nil, nil, err
	}
	if err := svc.Start(ctx); err != nil {
		return nil, nil, err
	}
	return client{ClientConnInterface: svc.Conn(podName)}, svc.Close, nil
}

// client is a connection that spreads calls, and makes others to one server each.
type client struct {
	grpc.ClientConnInterface
	dial func() (grpc.ClientConnInterface, func() error, error)
}

// Dial implements load.Client.
func (c client) Dial() (grpc.ClientConnInterface, func() error, error) { return c.dial() }

// Plain implements load.Client.
func (c client) Plain(ctx context.Context, m *load.Message) (*load.Message, error) {
	return rpc.Call[load.Message](ctx, c, load.PlainMethod, m)
}

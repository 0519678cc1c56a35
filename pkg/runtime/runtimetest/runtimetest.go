// Package runtimetest runs Services in a test, in memory: no ports, no mDNS,
// no cluster.
package runtimetest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/memorydiscovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

// Network is a network of Services in memory.
type Network struct {
	t         testing.TB
	discovery *discovery.Discovery
	ca        string // folder of the network's own CA

	mu        sync.Mutex
	next      int
	listeners map[string]*bufconn.Listener
}

// New returns a network without services.
func New(t testing.TB) *Network {
	return &Network{
		t:         t,
		ca:        filepath.Join(t.TempDir(), "ca"),
		discovery: memorydiscovery.New(discovery.Options{}),
		listeners: map[string]*bufconn.Listener{},
	}
}

// Service returns a Service of this network, which the test registers with,
// starts and calls from. It is closed when the test ends. Of the options,
// those that choose profile, network, addresses and discovery are the
// network's own; without others its identity is spiffe://local/ns/<namespace>/sa/<name>,
// which all services of the network trust; without a logger the service logs to the test.
func (n *Network) Service(name string, o xinhari.Options) *xinhari.Service {
	n.t.Helper()
	o.Profile, o.Network, o.Discovery = xinhari.Test, n, n.discovery
	o.Address, o.AdminAddress = "127.0.0.1:0", "off"
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(n.t.Output(), nil))
	}
	if o.Identity == nil && o.Transport == nil {
		source, err := localsource.New(name, localsource.Options{
			Dir: n.ca, Namespace: o.Namespace, Source: identity.SourceOptions{Logger: o.Logger},
		})
		if err != nil {
			n.t.Fatal(err)
		}
		o.Identity = source
	}
	s, err := xinhari.New(name, o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			n.t.Errorf("close %s: %v", name, err)
		}
	})
	return s
}

// Start starts the services, or fails the test.
func (n *Network) Start(services ...*xinhari.Service) {
	n.t.Helper()
	for _, s := range services {
		if err := s.Start(n.t.Context()); err != nil {
			n.t.Fatal(err)
		}
	}
}

// bufferSize is that of each direction of a connection, in bytes.
const bufferSize = 256 << 10

// Listen implements runtime.Network.
func (n *Network) Listen(context.Context, string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(n.next>>8)), Port: 1024 + n.next&255} // of TEST-NET-1: nobody's
	lis := bufconn.Listen(bufferSize)
	n.listeners[addr.String()] = lis
	return &listener{Listener: lis, addr: addr, network: n}, nil
}

// Dial implements runtime.Network.
func (n *Network) Dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	lis, ok := n.listeners[address]
	n.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("dial %s: connection refused", address)
	}
	return lis.DialContext(ctx)
}

type listener struct {
	*bufconn.Listener
	addr    net.Addr
	network *Network
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Close() error {
	l.network.mu.Lock()
	delete(l.network.listeners, l.addr.String())
	l.network.mu.Unlock()
	return l.Listener.Close()
}

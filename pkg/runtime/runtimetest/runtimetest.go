package runtimetest

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/memorydiscovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
	"github.com/xinhari/xinhari/pkg/middleware"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

// Network is a network of Services in memory. It is safe for concurrent use.
type Network struct {
	t         testing.TB
	discovery *discovery.Discovery
	ca        string // folder of the network's own CA

	mu       sync.Mutex
	hosts    map[netip.Addr]*host
	services map[*xinhari.Service]*host
	wires    map[*wire]struct{} // those that are not closed
	said     []statement        // of faults
	changed  chan struct{}      // closed and replaced when more is said
}

// New returns a network without services, for the time of the test.
func New(t testing.TB) *Network {
	return &Network{
		t:         t,
		ca:        filepath.Join(t.TempDir(), "ca"),
		discovery: memorydiscovery.New(discovery.Options{}),
		hosts:     map[netip.Addr]*host{},
		services:  map[*xinhari.Service]*host{},
		wires:     map[*wire]struct{}{},
		changed:   make(chan struct{}),
	}
}

// Service returns a Service of this network, which the test registers with,
// starts and calls from; several of one name are instances of one service. It
// is closed when the test ends, in a network without faults. Of the options,
// those that choose profile, network, addresses, discovery and signals are the
// network's own; without others its identity is spiffe://local/ns/<namespace>/sa/<name>,
// which all services of the network trust; without a logger the service logs to the test.
func (n *Network) Service(name string, o xinhari.Options) *xinhari.Service {
	n.t.Helper()
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	h := n.newHost(discovery.Service{Namespace: o.Namespace, Name: name})
	o.Profile, o.Network, o.Discovery = xinhari.Test, h, n.discovery
	o.Address, o.AdminAddress = "127.0.0.1:0", "off"
	o.NoSignals = true // go test has them; and os/signal ends the process when it is first used in a bubble
	o.Middleware = append([]middleware.Middleware{n.failing(h)}, o.Middleware...)
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
	n.mu.Lock()
	n.services[s] = h
	n.mu.Unlock()
	n.t.Cleanup(func() {
		n.Everywhere().Heal()
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

// Kill ends what a Service has with the network, as kill -9 does with a
// process: its connections are reset, no others are made, and nobody is told
// of its end, so that others still find it and are refused, until its Close. Its
// handlers run on as far as they do not heed their contexts. A new Service of
// the same name is its restart.
func (n *Network) Kill(s *xinhari.Service) {
	n.t.Helper()
	n.mu.Lock()
	h, ok := n.services[s]
	if !ok {
		n.mu.Unlock()
		n.t.Fatalf("runtimetest: service %s is of another network", s.Name())
	}
	h.dead = true
	var ends []*end
	for w := range n.wires {
		for _, e := range w.ends {
			if e.host == h {
				ends = append(ends, e)
			}
		}
	}
	n.mu.Unlock()
	for _, e := range ends {
		e.wire.mu.Lock()
		e.abort(syscall.ECONNRESET)
		e.wire.mu.Unlock()
	}
}

// Package proxy makes ClusterIPs and node ports work: it listens on every port
// of every Service that has endpoints and passes connections and datagrams on to one of
// them in turn, or always the same for a client where the Service says so. It is a userspace proxy, so it needs no rights beyond its
// network namespace; in return callees see its address instead of the caller's.
//
// A Service without endpoints refuses connections. Traffic policies and load
// balancers are not done.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"

	"github.com/xinhari/xinhari/hack/devcluster/internal/netns"
)

// retryBusy is how often an address that another program listens on is tried again.
const retryBusy = time.Second

// Options say what a proxy follows and where it is. The latter may be left out.
type Options struct {
	Services corelisters.ServiceLister
	Slices   discoverylisters.EndpointSliceLister
	Changes  <-chan struct{} // gets a value after any change of either
	Logger   *slog.Logger

	// Namespace is where it listens, and where it connects from; nil: the caller's.
	Namespace *netns.Namespace
	// Nodes are the addresses that have the node ports, and where they are; nil: none has.
	Nodes map[netip.Addr]*netns.Namespace
	// Source is the address that it has to speak from for a client; nil: any of its own.
	Source func(client netip.Addr) netip.Addr
}

// frontend is a port of a ClusterIP or of a node.
type frontend struct {
	protocol corev1.Protocol
	addr     netip.AddrPort
}

// forwarder serves one frontend.
type forwarder interface {
	// run serves until ctx ends, and then waits for its connections, which end with life.
	run(ctx, life context.Context)
	// update replaces where new connections go.
	update(target)
}

// Run serves until ctx ends.
func Run(ctx context.Context, o Options) error {
	p := &proxy{Options: o, running: make(map[frontend]*running)}
	defer p.group.Wait()
	retry := time.NewTicker(retryBusy)
	defer retry.Stop()
	for {
		busy, err := p.sync(ctx)
		if err != nil {
			return err
		}
		var again <-chan time.Time
		if busy {
			again = retry.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.Changes:
		case <-again:
		}
	}
}

type proxy struct {
	Options
	group   sync.WaitGroup
	running map[frontend]*running
}

type running struct {
	forwarder
	stop context.CancelFunc
}

// sync starts, updates and stops forwarders. Busy says that an address could not be had.
func (p *proxy) sync(ctx context.Context) (busy bool, err error) {
	services, err := p.Services.List(labels.Everything())
	if err != nil {
		return false, err
	}
	slices, err := p.Slices.List(labels.Everything())
	if err != nil {
		return false, err
	}
	wanted := desired(services, slices, p.Nodes)
	for f, r := range p.running {
		if _, ok := wanted[f]; !ok {
			r.stop()
			delete(p.running, f)
		}
	}
	for f, t := range wanted {
		if r, ok := p.running[f]; ok {
			r.update(t)
			continue
		}
		forwarder, err := p.listen(f, t)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			busy = true
			continue
		case err != nil:
			p.Logger.Error("ClusterIP not served", "address", f.addr, "protocol", f.protocol, "error", err)
			busy = true
			continue
		}
		own, stop := context.WithCancel(ctx)
		p.running[f] = &running{forwarder: forwarder, stop: stop}
		p.group.Go(func() { forwarder.run(own, ctx) })
	}
	return busy, nil
}

func (p *proxy) listen(f frontend, t target) (forwarder, error) {
	out := &outlet{in: p.Namespace, namespace: p.Namespace, source: p.Source}
	if namespace, ok := p.Nodes[f.addr.Addr()]; ok {
		out.in = namespace
	}
	if f.protocol == corev1.ProtocolUDP {
		return listenUDP(out, f.addr, t)
	}
	return listenTCP(out, f.addr, t)
}

// Package memorydiscovery is a source of endpoints within one process: what
// is announced to it is found through it. It is for tests.
package memorydiscovery

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/xinhari/xinhari/pkg/discovery"
)

// New returns a source that knows nothing yet.
func New(o discovery.Options) *discovery.Discovery {
	return discovery.New(&driver{instances: map[int]discovery.Instance{}, changed: make(chan struct{})}, o)
}

type driver struct {
	mu        sync.Mutex
	next      int
	instances map[int]discovery.Instance
	changed   chan struct{} // closed and replaced at each change
}

func (*driver) Name() string { return "memory" }

// find returns the endpoints of the service and a channel that is closed when
// they may have changed.
func (d *driver) find(service discovery.Service) ([]discovery.Endpoint, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var endpoints []discovery.Endpoint
	for _, i := range d.instances {
		if i.Service == service {
			endpoints = append(endpoints, discovery.Endpoint{Addresses: []netip.AddrPort{i.Address}, Version: i.Version})
		}
	}
	slices.SortFunc(endpoints, func(a, b discovery.Endpoint) int { return a.Addresses[0].Compare(b.Addresses[0]) })
	return endpoints, d.changed
}

func (d *driver) Watch(ctx context.Context, service discovery.Service, set func(discovery.Snapshot)) error {
	for {
		endpoints, changed := d.find(service)
		set(discovery.Snapshot{Endpoints: endpoints, Known: len(endpoints) > 0, Synced: time.Now()})
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *driver) Announce(ctx context.Context, i discovery.Instance, known func()) error {
	d.mu.Lock()
	id := d.next
	d.next++
	d.instances[id] = i
	d.notify()
	d.mu.Unlock()
	known()
	<-ctx.Done()
	d.mu.Lock()
	delete(d.instances, id)
	d.notify()
	d.mu.Unlock()
	return nil
}

// notify wakes the watches. The caller holds mu.
func (d *driver) notify() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *driver) List(context.Context) ([]discovery.Service, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var services []discovery.Service
	for _, i := range d.instances {
		services = append(services, i.Service)
	}
	return services, nil
}

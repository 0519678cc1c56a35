// Package staticdiscovery is a source of endpoints that are written down: for
// tests, and for services that no other source can see.
package staticdiscovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xinhari/xinhari/pkg/discovery"
)

// New returns a source that knows the services of the table and no others.
// An endpoint without an address is an error.
func New(table map[discovery.Service][]discovery.Endpoint, o discovery.Options) (*discovery.Discovery, error) {
	d := driver{}
	for service, endpoints := range table {
		for _, e := range endpoints {
			if len(e.Addresses) == 0 {
				return nil, fmt.Errorf("static discovery: service %s: %w", service, errNoAddress)
			}
		}
		d[service] = slices.Clone(endpoints)
	}
	return discovery.New(d, o), nil
}

var errNoAddress = errors.New("an endpoint has no address")

type driver map[discovery.Service][]discovery.Endpoint

func (driver) Name() string { return "static" }

func (d driver) Watch(ctx context.Context, service discovery.Service, set func(discovery.Snapshot)) error {
	endpoints, ok := d[service]
	set(discovery.Snapshot{Endpoints: endpoints, Known: ok, Synced: time.Now()})
	<-ctx.Done()
	return nil
}

func (d driver) List(context.Context) ([]discovery.Service, error) {
	services := make([]discovery.Service, 0, len(d))
	for s := range d {
		services = append(services, s)
	}
	return services, nil
}

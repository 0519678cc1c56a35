// Package discovery says where the instances of a service are.
//
// A source of endpoints is a [Driver]: Kubernetes, mDNS, a static table, or
// several of them by [Fallback]. [Discovery] is what the rest of the runtime
// holds: it keeps a driver watching, keeps the last good snapshot for as long
// as the driver is out of reach, without limit of age, and can say who was
// asked and what they knew when a service has no endpoints.
//
// The package promises that a snapshot is whole and never changes, and that
// the newest is delivered; snapshots in between may be skipped. It does not
// say who an endpoint is (pkg/identity does), nor which one to call
// (pkg/balancer does).
package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Service names a service.
type Service struct {
	Namespace string
	Name      string
}

// String returns the name as it is written in Conn and in cluster DNS:
// "inventory.shop".
func (s Service) String() string { return s.Name + "." + s.Namespace }

// ParseService reads "inventory" or "inventory.shop"; the first is of the
// namespace given.
func ParseService(s, namespace string) (Service, error) {
	name, ns, ok := strings.Cut(s, ".")
	if !ok {
		ns = namespace
	}
	if !dnsLabel(name) || !dnsLabel(ns) {
		return Service{}, fmt.Errorf("discovery: service %q: want %q or %q, each a DNS label", s, "name", "name.namespace")
	}
	return Service{Namespace: ns, Name: name}, nil
}

// dnsLabel reports whether s is a label as RFC 1123 has it, in lower case.
func dnsLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// State is what a source says of an endpoint's willingness to serve.
type State int

const (
	// Ready endpoints take calls.
	Ready State = iota
	// Draining endpoints are about to stop and still serve: they are called
	// only when none is ready.
	Draining
	// NotReady endpoints exist and do not serve.
	NotReady
	// Foreign endpoints trust others than this process does: a connection to
	// them would be refused, and is never tried.
	Foreign
)

// Endpoint is one instance of a service.
type Endpoint struct {
	// Addresses are those of the one instance, the preferred first.
	Addresses []netip.AddrPort
	State     State
	Zone      string // topology zone, "" = not known
	Version   string // subset of the Service, "" = none
}

// Has reports whether addr is one of the endpoint's.
func (e Endpoint) Has(addr netip.Addr) bool {
	return slices.ContainsFunc(e.Addresses, func(a netip.AddrPort) bool { return a.Addr() == addr })
}

// Snapshot is what is known of a service. It and its endpoints are never
// changed once delivered.
type Snapshot struct {
	// Endpoints are all instances, whatever their state.
	Endpoints []Endpoint

	// Usable are the endpoints to call: those that are ready; if there are
	// none, those that drain; if there are none of these either, those that
	// still exist of the ones that were usable last. Discovery sets it, not
	// the driver.
	Usable []Endpoint

	// Known is true if the source has the service, be it without instances.
	Known bool

	// Source names the driver whose endpoints these are.
	Source string

	// Synced is when the source last confirmed the endpoints; zero = never.
	Synced time.Time

	// Err is why the source cannot be asked now; the endpoints are then the
	// last good ones.
	Err error

	// Detail is what the source knows besides, for messages: "knows hello, shop".
	Detail string
}

// Reason explains, for a person, why service has no endpoints.
func (s Snapshot) Reason(service Service) error {
	var b strings.Builder
	fmt.Fprintf(&b, "no instance of service %s is known: %s", service, s.Source)
	switch {
	case s.Err != nil && s.Synced.IsZero():
		fmt.Fprintf(&b, " has not answered: %v", s.Err)
	case s.Err != nil:
		fmt.Fprintf(&b, " last answered at %s: %v", s.Synced.UTC().Format(time.RFC3339), s.Err)
	case s.Synced.IsZero():
		b.WriteString(" has not answered yet")
	case s.Known:
		b.WriteString(" knows the service, and no instance of it")
	default:
		b.WriteString(" does not know it")
	}
	if s.Detail != "" {
		fmt.Fprintf(&b, " (%s)", s.Detail)
	}
	return errors.New(b.String())
}

// Options are the options of New; the zero value is good.
type Options struct {
	// Logger is told when a source is lost and found again; nil is silent.
	Logger *slog.Logger
}

// Discovery is a source of endpoints. It is safe for concurrent use.
type Discovery struct {
	driver Driver
	logger *slog.Logger
}

// New returns a Discovery that asks driver. Opener functions of the driver
// packages call it.
func New(driver Driver, o Options) *Discovery {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Discovery{driver: driver, logger: o.Logger}
}

// Name returns the driver's name.
func (d *Discovery) Name() string { return d.driver.Name() }

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Watch calls set with what is known of the service, now (not yet synced) and
// at each change, from one goroutine at a time. A driver that fails is asked again, ever more
// slowly, while its last snapshot is kept. Watch blocks until ctx ends and
// then returns nil.
func (d *Discovery) Watch(ctx context.Context, service Service, set func(Snapshot)) error {
	last := Snapshot{Source: d.driver.Name()}
	set(last) // who is being asked, for the reason of those who cannot wait
	retry := firstRetry
	for {
		err := d.driver.Watch(ctx, service, func(s Snapshot) {
			if s.Source == "" {
				s.Source = d.driver.Name()
			}
			if s.Err == nil {
				retry = firstRetry
			} else if s.Synced.IsZero() && !last.Synced.IsZero() {
				// A driver that started again knows nothing yet.
				s.Endpoints, s.Known, s.Synced = last.Endpoints, last.Known, last.Synced
			}
			s.Usable = usable(s.Endpoints, last.Usable)
			last = s
			set(s)
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what a driver says when its context ends is no news
		}
		if err == nil {
			err = errors.New("the watch ended")
		}
		if last.Err == nil {
			d.logger.Warn("discovery is out of reach; the last known endpoints are kept",
				"source", d.driver.Name(), "service", service.String(), "endpoints", len(last.Endpoints), "error", err)
		}
		last.Err = err
		set(last)
		// ± 20 %: what one failure parted must not come back in step.
		wait := time.Duration(float64(retry) * (0.8 + 0.4*rand.Float64()))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		retry = min(2*retry, lastRetry)
	}
}

// Announce makes the instance known until ctx ends, where the driver needs to
// be told of instances, and calls known once others can find it. Where the
// driver finds instances by itself it calls known at once and waits for ctx.
func (d *Discovery) Announce(ctx context.Context, i Instance, known func()) error {
	if a, ok := d.driver.(Announcer); ok {
		return a.Announce(ctx, i, known)
	}
	known()
	<-ctx.Done()
	return nil
}

// ErrUnsupported is returned for what a driver cannot do.
var ErrUnsupported = errors.New("discovery: the source cannot do this")

// List returns the services that the source knows, sorted, or ErrUnsupported.
func (d *Discovery) List(ctx context.Context) ([]Service, error) {
	l, ok := d.driver.(Lister)
	if !ok {
		return nil, fmt.Errorf("list services: %s: %w", d.driver.Name(), ErrUnsupported)
	}
	services, err := l.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list services: %s: %w", d.driver.Name(), err)
	}
	slices.SortFunc(services, compareServices)
	return slices.Compact(services), nil
}

// usable returns which of the endpoints to call, where last were so far.
func usable(endpoints, last []Endpoint) []Endpoint {
	for _, state := range []State{Ready, Draining} {
		if in := filter(endpoints, func(e Endpoint) bool { return e.State == state }); len(in) > 0 {
			return in
		}
	}
	return filter(endpoints, func(e Endpoint) bool {
		return e.State != Foreign && slices.ContainsFunc(last, func(l Endpoint) bool { return slices.Equal(l.Addresses, e.Addresses) })
	})
}

func filter(endpoints []Endpoint, keep func(Endpoint) bool) []Endpoint {
	var kept []Endpoint
	for _, e := range endpoints {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

func compareServices(a, b Service) int {
	return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
}

// Package mdnsdiscovery finds services of one machine, or of one network link,
// by multicast DNS (RFC 6762) and DNS service discovery (RFC 6763), without
// any server.
//
// Instances announce themselves as _xinhari._tcp, answer queries, and say
// goodbye when they stop. Watches browse continuously and keep a cache: a call
// causes no query. An instance that dies without a goodbye is dropped when its
// records run out, at most 10 s later; until then the balancer finds that it
// cannot be reached.
//
// The default is the loopback interface, which works without any network, and
// on which only addresses of the loopback network are believed. Names heard
// by mDNS prove nothing about who is there.
package mdnsdiscovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xinhari/xinhari/pkg/discovery"
)

// Options are the options of New; the zero value is good.
type Options struct {
	// Interface is the name of the network interface; "" is the loopback one.
	Interface string

	// Trust returns a short name of the roots that this process trusts, such as
	// a fingerprint, once it has some; "" if there is nothing to tell. It goes
	// with announcements, and instances under another one are Foreign. nil
	// tells nothing and takes everybody.
	Trust func(context.Context) string

	// Logger is told of datagrams that are no DNS messages; nil is silent.
	Logger *slog.Logger
}

// New returns a source of endpoints that browses. It does no I/O.
func New(o Options) *discovery.Discovery {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return discovery.New(&driver{options: o}, discovery.Options{Logger: o.Logger})
}

const (
	// ttl is the life of our records. RFC 6762 section 10 recommends 75
	// minutes for most; ours are short so that a crash is noticed soon.
	ttl = 10 * time.Second

	// refresh is when a browser asks again: at 80 % of the records' life
	// (RFC 6762 section 5.2).
	refresh = ttl * 8 / 10

	// settle is how long a browser listens before silence means that there is
	// no such service: instances of one machine answer within milliseconds.
	settle = time.Second
)

type driver struct{ options Options }

func (*driver) Name() string { return "mDNS" }

func (d *driver) trust(ctx context.Context) string {
	if d.options.Trust == nil {
		return ""
	}
	return d.options.Trust(ctx)
}

// Watch implements discovery.Driver.
func (d *driver) Watch(ctx context.Context, service discovery.Service, set func(discovery.Snapshot)) error {
	settled := false
	var last []discovery.Endpoint
	d.trust(ctx) // so that nothing is delivered before it is known who is Foreign
	return d.browse(ctx, func(c *cache, changed, quiet bool) {
		endpoints := c.endpoints(service, d.trust(ctx))
		if !settled && !quiet && len(endpoints) == 0 {
			return
		}
		if settled && !changed {
			return
		}
		if settled && len(endpoints) > 0 && slices.EqualFunc(endpoints, last, equalEndpoints) {
			return // a change of another service
		}
		settled, last = true, endpoints
		set(discovery.Snapshot{
			Endpoints: endpoints,
			Known:     len(endpoints) > 0,
			Synced:    time.Now(),
			Detail:    c.describe(d.where()) + foreign(endpoints),
		})
	})
}

func equalEndpoints(a, b discovery.Endpoint) bool {
	return slices.Equal(a.Addresses, b.Addresses) && a.Version == b.Version && a.State == b.State
}

// List implements discovery.Lister.
func (d *driver) List(ctx context.Context) ([]discovery.Service, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var services []discovery.Service
	err := d.browse(ctx, func(c *cache, _, quiet bool) {
		if quiet {
			services = c.services()
			cancel()
		}
	})
	return services, err
}

func (d *driver) where() string {
	if d.options.Interface == "" {
		return "the loopback interface"
	}
	return "interface " + d.options.Interface
}

// browse asks for instances and tells of the cache after each message and
// each expiry: whether anything changed, and whether those there are have had
// the time to answer. It returns nil when ctx ends.
func (d *driver) browse(ctx context.Context, tell func(c *cache, changed, quiet bool)) error {
	s, err := open(d.options.Interface)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages := s.receive(ctx, d.options.Logger)
	query, err := browseQuery()
	if err != nil {
		return err
	}
	c := newCache(s.loopback)

	// The first queries follow each other fast, for packets get lost; then
	// the interval grows to that which keeps the cache fresh.
	interval := 100 * time.Millisecond
	ask := time.NewTimer(0)
	defer ask.Stop()
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	settled := false
	expire := time.NewTimer(ttl)
	defer expire.Stop()
	for {
		changed := false
		select {
		case <-ctx.Done():
			return nil
		case <-ask.C:
			if err := s.send(query); err != nil {
				return fmt.Errorf("mDNS query: %w", err)
			}
			ask.Reset(interval)
			interval = min(3*interval, refresh)
		case <-quiet.C:
			settled, changed = true, true
		case m, ok := <-messages:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("mDNS: the socket was closed")
			}
			changed = c.apply(m, time.Now())
		case <-expire.C:
			changed = c.expire(time.Now())
		}
		expire.Reset(c.untilExpiry(time.Now()))
		if changed {
			tell(c, changed, settled)
		}
	}
}

// Announce implements discovery.Announcer.
func (d *driver) Announce(ctx context.Context, i discovery.Instance, known func()) error {
	s, err := open(d.options.Interface)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addrs, err := s.announced(i.Address)
	if err != nil {
		return err
	}
	r := record{
		// Unique on the link without probing for it (RFC 6762 section 8.1
		// lets go of probing for names that are random enough).
		instance: fmt.Sprintf("%s-%016x", truncate(i.Service.Name, 40), rand.Uint64()),
		service:  i.Service,
		version:  i.Version,
		trust:    d.trust(ctx),
		port:     i.Address.Port(),
		addrs:    addrs,
	}
	alive, err := r.announcement(ttl)
	if err != nil {
		return fmt.Errorf("mDNS announcement: %w", err)
	}
	goodbye, err := r.announcement(0)
	if err != nil {
		return fmt.Errorf("mDNS announcement: %w", err)
	}
	messages := s.receive(ctx, d.options.Logger)
	again := time.NewTimer(time.Second) // RFC 6762 section 8.3: at least twice
	defer again.Stop()
	if err := s.send(alive); err != nil {
		return fmt.Errorf("mDNS announcement: %w", err)
	}
	defer func() { _ = s.send(goodbye) }()
	known()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			err = s.send(alive)
		case m, ok := <-messages:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("mDNS: the socket was closed")
			}
			if m.asks(r.instance) {
				err = s.send(alive)
			}
		}
		if err != nil {
			d.options.Logger.Warn("mDNS answer", "service", i.Service.String(), "error", err)
			err = nil
		}
	}
}

func truncate(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.TrimRight(s, "-")
}

// announced are the addresses at which others on the interface reach a
// listener: its own, or the interface's if it listens on all.
func (s *socket) announced(listener netip.AddrPort) ([]netip.Addr, error) {
	addr := listener.Addr().Unmap().WithZone("")
	if listener.Port() == 0 {
		return nil, errors.New("mDNS: the listener has no port")
	}
	if !addr.IsUnspecified() {
		if s.loopback && !addr.IsLoopback() {
			return nil, fmt.Errorf("mDNS: %s is announced on the loopback interface, where nobody can use it: "+
				"listen on 127.0.0.1, or name the interface in the options", listener)
		}
		return []netip.Addr{addr}, nil
	}
	ifaddrs, err := s.iface.Addrs()
	if err != nil {
		return nil, fmt.Errorf("mDNS: %w", err)
	}
	var addrs []netip.Addr
	for _, a := range ifaddrs {
		prefix, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(prefix.IP)
		if ip = ip.Unmap(); ok && !ip.IsLinkLocalUnicast() && (ip.Is4() || addr.Is6()) {
			addrs = append(addrs, ip)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("mDNS: interface %s has no address", s.iface.Name)
	}
	return addrs, nil
}

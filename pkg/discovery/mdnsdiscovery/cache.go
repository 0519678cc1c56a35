package mdnsdiscovery

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/xinhari/xinhari/pkg/discovery"
)

const (
	// maxInstances bounds the cache against a flood of announcements.
	maxInstances = 10000

	// maxTTL bounds how long anybody's word is believed.
	maxTTL = 2 * time.Minute
)

// cache is what a browser has heard. It has one user.
type cache struct {
	loopback  bool // only loopback addresses are believed
	instances map[string]cached
}

type cached struct {
	record
	expires time.Time
}

func newCache(loopback bool) *cache {
	return &cache{loopback: loopback, instances: map[string]cached{}}
}

// apply takes a message in and reports whether it told anything new.
func (c *cache) apply(m message, now time.Time) (changed bool) {
	for _, f := range m.records {
		known, ok := c.instances[f.instance]
		if f.ttl == 0 {
			delete(c.instances, f.instance)
			changed = changed || ok
			continue
		}
		if c.loopback {
			f.addrs = slices.DeleteFunc(slices.Clone(f.addrs), func(a netip.Addr) bool { return !a.IsLoopback() })
		}
		if len(f.addrs) == 0 || (!ok && len(c.instances) >= maxInstances) {
			continue
		}
		changed = changed || !ok || !reflect.DeepEqual(known.record, f.record)
		c.instances[f.instance] = cached{f.record, now.Add(min(f.ttl, maxTTL))}
	}
	return changed
}

// expire forgets what ran out.
func (c *cache) expire(now time.Time) (changed bool) {
	for name, r := range c.instances {
		if !r.expires.After(now) {
			delete(c.instances, name)
			changed = true
		}
	}
	return changed
}

// untilExpiry is the time until the next record runs out.
func (c *cache) untilExpiry(now time.Time) time.Duration {
	next := now.Add(maxTTL)
	for _, r := range c.instances {
		if r.expires.Before(next) {
			next = r.expires
		}
	}
	return max(next.Sub(now), time.Millisecond)
}

// endpoints returns the instances of the service, in a stable order. Those that
// say that they trust others than own, if own is not empty, are Foreign.
func (c *cache) endpoints(service discovery.Service, own string) []discovery.Endpoint {
	var names []string
	for name, r := range c.instances {
		if r.service == service {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var endpoints []discovery.Endpoint
	for _, name := range names {
		r := c.instances[name]
		e := discovery.Endpoint{Version: r.version}
		if own != "" && r.trust != "" && r.trust != own {
			e.State = discovery.Foreign
		}
		for _, a := range r.addrs {
			e.Addresses = append(e.Addresses, netip.AddrPortFrom(a, r.port))
		}
		endpoints = append(endpoints, e)
	}
	return endpoints
}

func (c *cache) services() []discovery.Service {
	var services []discovery.Service
	for _, r := range c.instances {
		services = append(services, r.service)
	}
	return services
}

// foreign says that there are instances that cannot be called, and the way out.
func foreign(endpoints []discovery.Endpoint) string {
	n := 0
	for _, e := range endpoints {
		if e.State == discovery.Foreign {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d of its instances are under another CA: set XINHARI_CA_DIR to the same folder for both", n)
}

// describe lists what was heard, for messages.
func (c *cache) describe(where string) string {
	services := c.services()
	if len(services) == 0 {
		return "heard no service on " + where
	}
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = s.String()
	}
	slices.Sort(names)
	names = slices.Compact(names)
	const most = 10
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return "heard on " + where + ": " + strings.Join(names, ", ")
}

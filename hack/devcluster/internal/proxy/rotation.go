package proxy

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// target is what serves a frontend.
type target struct {
	backends []netip.AddrPort
	affinity time.Duration // how long after its last connection a client keeps its backend; 0: it does not
}

// rotation gives out backends in turn.
type rotation struct {
	mu   sync.Mutex
	to   target
	next int
	kept map[netip.Addr]kept // by client; those that ran out stay, as the cluster has few addresses
}

// kept is the backend of a client.
type kept struct {
	backend netip.AddrPort
	last    time.Time
}

func (r *rotation) update(t target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = t
	if t.affinity == 0 {
		r.kept = nil
	}
}

func (r *rotation) pick(client netip.Addr, now time.Time) netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.kept[client]
	if !ok || now.Sub(k.last) > r.to.affinity || !slices.Contains(r.to.backends, k.backend) {
		r.next++
		k.backend = r.to.backends[r.next%len(r.to.backends)]
	}
	if r.to.affinity > 0 {
		if r.kept == nil {
			r.kept = make(map[netip.Addr]kept)
		}
		r.kept[client] = kept{backend: k.backend, last: now}
	}
	return k.backend
}

package runtimetest

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/middleware"
)

// Link is a part of the network, of which faults are said: the ways between
// some of its services. What was said last of a way holds, until Heal or the
// test's end.
type Link struct {
	network *Network
	ways    ways
}

// Between returns the ways between two services, in both directions. Names are
// as in Service.Conn: "inventory" of the namespace default, or
// "inventory.shop"; they mean all instances. The services must have been made.
func (n *Network) Between(a, b string) *Link {
	n.t.Helper()
	return &Link{n, ways{a: n.known(a), b: n.known(b)}}
}

// OneWay returns the way from one service to another, and not the way back.
func (n *Network) OneWay(from, to string) *Link {
	n.t.Helper()
	return &Link{n, ways{a: n.known(from), b: n.known(to), oneWay: true}}
}

// Around returns all ways from and to a service.
func (n *Network) Around(name string) *Link {
	n.t.Helper()
	return &Link{n, ways{a: n.known(name)}}
}

// Everywhere returns all ways of the network.
func (n *Network) Everywhere() *Link { return &Link{network: n} }

// known returns the service of that name, or ends the test.
func (n *Network) known(name string) discovery.Service {
	n.t.Helper()
	service, err := discovery.ParseService(name, "default")
	if err != nil {
		n.t.Fatalf("runtimetest: %v", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for _, h := range n.hosts {
		if h.service == service {
			return service
		}
		names = append(names, h.service.String())
	}
	slices.Sort(names)
	n.t.Fatalf("runtimetest: no service %s is in this network, which has [%s]: make it with Service first",
		service, strings.Join(slices.Compact(names), " "))
	return service
}

// Delay has everything take d longer from one service to the other: a round
// trip between two services 2·d. It holds for what is sent from now on; 0 is none.
func (l *Link) Delay(d time.Duration) {
	l.network.t.Helper()
	if d < 0 {
		l.network.t.Fatalf("runtimetest: a delay of %v", d)
	}
	l.say(delay, func(f *faults) { f.delay = d })
}

// Partition lets nothing through, and tells nobody. What is sent waits, and
// arrives if the link is healed in time; an end whose bytes nobody confirms
// gives its connection up after 2 s, and an attempt to connect fails after 3 s,
// as the runtime's connections do.
func (l *Link) Partition() { l.say(partition, func(f *faults) { f.cut = true }) }

// Refuse breaks the connections there are and refuses new ones, as where
// nobody listens any more.
func (l *Link) Refuse() {
	l.say(refuse, func(f *faults) { f.refuse = true })
	l.Break()
}

// Fail has every call that arrives over the link end with code, before its
// handler runs. Connections stay as they are.
func (l *Link) Fail(code codes.Code) {
	l.network.t.Helper()
	if code == codes.OK {
		l.network.t.Fatal("runtimetest: calls cannot fail with codes.OK; Heal has them succeed")
	}
	l.say(fail, func(f *faults) { f.code = code })
}

// Break resets the connections there are, once. New ones are made.
func (l *Link) Break() {
	for _, w := range l.network.wiresOf(l.ways) {
		w.mu.Lock()
		for _, e := range w.ends {
			e.drop()
			e.fail(syscall.ECONNRESET)
		}
		w.mu.Unlock()
	}
}

// Heal ends all faults of the link.
func (l *Link) Heal() { l.say(heal, func(f *faults) { *f = faults{} }) }

// ways are some of the ways from one service to another.
type ways struct {
	a, b   discovery.Service // the zero Service is any
	oneWay bool
}

func (w ways) has(from, to discovery.Service) bool {
	switch {
	case w.a == discovery.Service{}:
		return true
	case w.b == discovery.Service{}:
		return from == w.a || to == w.a
	case w.oneWay:
		return from == w.a && to == w.b
	}
	return from == w.a && to == w.b || from == w.b && to == w.a
}

// covers reports whether all of v are among w.
func (w ways) covers(v ways) bool {
	switch {
	case w.a == discovery.Service{}:
		return true
	case v.a == discovery.Service{}:
		return false
	case v.b == discovery.Service{}: // all around one service
		return w == v
	}
	return w.has(v.a, v.b) && (v.oneWay || w.has(v.b, v.a))
}

// faults are those of the way from one service to another.
type faults struct {
	delay  time.Duration
	cut    bool
	refuse bool
	code   codes.Code
}

// about is what a statement is about.
type about int

const (
	delay about = iota
	partition
	refuse
	fail
	heal
)

// statement is what a test said of some ways.
type statement struct {
	ways  ways
	about about
	apply func(*faults)
}

// say notes what holds from now on, and has it hold.
func (l *Link) say(what about, apply func(*faults)) {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	n.said = slices.DeleteFunc(n.said, func(s statement) bool {
		return (what == heal || what == s.about) && l.ways.covers(s.ways)
	})
	n.said = append(n.said, statement{l.ways, what, apply})
	for len(n.said) > 0 && n.said[0].about == heal { // nothing was said before
		n.said = n.said[1:]
	}
	for w := range n.wires {
		n.shape(w)
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// faults returns what holds of a way. The caller holds mu.
func (n *Network) faults(from, to discovery.Service) faults {
	var f faults
	for _, s := range n.said {
		if s.ways.has(from, to) {
			s.apply(&f)
		}
	}
	return f
}

// shape makes a wire what holds of its ways. The caller holds mu.
func (n *Network) shape(w *wire) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.ends {
		f := n.faults(e.peer.host.service, e.host.service)
		e.shape(f.delay, f.cut)
	}
	for _, e := range w.ends {
		e.watchLoss()
	}
}

// wiresOf returns the connections over any of the ways.
func (n *Network) wiresOf(ways ways) []*wire {
	n.mu.Lock()
	defer n.mu.Unlock()
	var wires []*wire
	for w := range n.wires {
		if ways.has(w.ends[0].host.service, w.ends[1].host.service) {
			wires = append(wires, w)
		}
	}
	return wires
}

// failing ends the calls that a test wants to fail.
func (n *Network) failing(to *host) middleware.Middleware {
	return func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, o *middleware.Operation) error {
			if o.Side != middleware.Server {
				return next(ctx, o)
			}
			if from, ok := peer.FromContext(ctx); ok {
				if code := n.codeOf(from.Addr, to); code != codes.OK {
					return status.Errorf(code, "runtimetest: calls to %s fail, as the test said", to.service)
				}
			}
			return next(ctx, o)
		}
	}
}

package faults_test

import (
	"errors"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/faults"
	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
	"github.com/xinhari/xinhari/hack/devcluster/internal/network/networktest"
)

func TestMain(m *testing.M) { os.Exit(networktest.Main(m)) }

// world is two nodes, with two pods on the first and one on the second.
type world struct {
	*networktest.Cluster
	set       *faults.Set
	a, b, far *networktest.Place
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Cluster: networktest.New(t, 2)}
	var members []faults.Member
	for _, n := range w.Nodes {
		members = append(members, faults.Member{
			Name: n.Addr.String(), Addr: n.Addr, Pods: n.Ranges[0], Namespace: n.Namespace,
			Part: func(parted bool) error { return w.Network.Connect(n.Member, !parted) },
		})
	}
	w.set = faults.New(members, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := w.set.Close(); err != nil {
			t.Error(err)
		}
	})
	w.a, w.b, w.far = w.Nodes[0].Pod(t), w.Nodes[0].Pod(t), w.Nodes[1].Pod(t)
	for _, p := range []*networktest.Place{w.a, w.b, w.far, w.Nodes[0].Place(), w.Nodes[1].Place(), networktest.Here()} {
		p.Echo(t, p.Addr)
	}
	networktest.Here().Echo(t, networktest.Own())
	return w
}

func podOf(p *networktest.Place) faults.Side { return faults.Side{Kind: faults.Pod, Addr: p.Addr} }

func nodeOf(n *networktest.Node) faults.Side { return faults.Side{Kind: faults.Node, Addr: n.Addr} }

func (w *world) add(t *testing.T, f faults.Fault) {
	t.Helper()
	if err := w.set.Add(f); err != nil {
		if errors.Is(err, faults.ErrNoDevice) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
}

func TestCut(t *testing.T) {
	w := newWorld(t)
	one, two := w.Nodes[0], w.Nodes[1]
	cluster, server := networktest.Here(), &networktest.Place{Addr: networktest.Own()}
	a, b, far := podOf(w.a), podOf(w.b), podOf(w.far)
	first, second := nodeOf(one), nodeOf(two)
	api := faults.Side{Kind: faults.Server, Addr: networktest.Own()}
	type link struct{ from, to *networktest.Place }
	tests := []struct {
		name        string
		fault       faults.Fault
		gone, there []link
	}{
		{
			name:  "a pod from all",
			fault: faults.Fault{Of: a},
			gone:  []link{{w.a, w.b}, {w.b, w.a}, {w.a, w.far}, {w.far, w.a}, {w.a, server}, {cluster, w.a}, {w.a, one.Place()}, {one.Place(), w.a}},
			there: []link{{w.b, w.far}, {cluster, w.b}, {one.Place(), w.b}, {w.a, w.a}},
		},
		{
			name:  "two pods of a node",
			fault: faults.Fault{Of: a, From: &b},
			gone:  []link{{w.a, w.b}, {w.b, w.a}},
			there: []link{{w.a, w.far}, {w.far, w.b}, {cluster, w.a}, {one.Place(), w.a}, {w.a, server}},
		},
		{
			name:  "pods of two nodes",
			fault: faults.Fault{Of: far, From: &a},
			gone:  []link{{w.a, w.far}, {w.far, w.a}},
			there: []link{{w.a, w.b}, {w.far, w.b}, {cluster, w.far}},
		},
		{
			name:  "a node from all",
			fault: faults.Fault{Of: first},
			gone:  []link{{w.a, w.far}, {w.far, w.b}, {cluster, w.a}, {cluster, one.Place()}, {one.Place(), server}, {w.a, server}},
			there: []link{{w.a, w.b}, {one.Place(), w.a}, {w.a, one.Place()}, {cluster, w.far}},
		},
		{
			name:  "two nodes",
			fault: faults.Fault{Of: first, From: &second},
			gone:  []link{{w.a, w.far}, {w.far, w.a}, {one.Place(), two.Place()}, {two.Place(), one.Place()}, {one.Place(), w.far}, {w.a, two.Place()}},
			there: []link{{w.a, w.b}, {cluster, w.a}, {cluster, one.Place()}, {two.Place(), w.far}, {w.a, server}},
		},
		{
			name:  "a pod and another node",
			fault: faults.Fault{Of: a, From: &second},
			gone:  []link{{w.a, w.far}, {w.far, w.a}, {w.a, two.Place()}, {two.Place(), w.a}},
			there: []link{{w.b, w.far}, {w.a, w.b}, {two.Place(), w.far}},
		},
		{
			name:  "a pod and its own node",
			fault: faults.Fault{Of: first, From: &a},
			gone:  []link{{w.a, one.Place()}, {one.Place(), w.a}, {w.a, w.b}},
			there: []link{{w.a, w.far}, {cluster, w.a}, {one.Place(), w.b}, {cluster, w.b}},
		},
		{
			name:  "a pod and the API server",
			fault: faults.Fault{Of: a, From: &api},
			gone:  []link{{w.a, server}},
			there: []link{{w.b, server}, {cluster, w.a}, {w.a, w.far}},
		},
		{
			name:  "a node and the API server",
			fault: faults.Fault{Of: api, From: &first},
			gone:  []link{{w.a, server}, {one.Place(), server}},
			there: []link{{w.far, server}, {w.a, w.far}, {cluster, w.a}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.fault.Verb = faults.Cut
			w.add(t, test.fault)
			for _, l := range test.gone {
				l.from.Reaches(t, l.to.Addr, false)
			}
			for _, l := range test.there {
				l.from.Reaches(t, l.to.Addr, true)
			}
			if err := w.set.Heal(test.fault.Of); err != nil {
				t.Fatal(err)
			}
			for _, l := range append(test.gone, test.there...) {
				l.from.Reaches(t, l.to.Addr, true)
			}
		})
	}
}

// What the proxy sends for a pod is dropped as what the pod sends.
func TestCutHoldsBehindTheProxy(t *testing.T) {
	w := newWorld(t)
	far := podOf(w.far)
	w.add(t, faults.Fault{Verb: faults.Cut, Of: podOf(w.a), From: &far})
	proxied := func(client, to netip.Addr) error {
		return w.Proxy.Namespace.Do(func() error {
			dialer := net.Dialer{Timeout: 300 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: network.Alias(client).AsSlice()}}
			conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(to, networktest.Port).String())
			if err == nil {
				conn.Close()
			}
			return err
		})
	}
	for _, test := range []struct {
		from, to *networktest.Place
		want     bool
	}{{w.a, w.far, false}, {w.far, w.a, false}, {w.b, w.far, true}, {w.a, w.b, true}} {
		if err := proxied(test.from.Addr, test.to.Addr); (err == nil) != test.want {
			t.Errorf("for %s to %s: %v, want a connection: %v", test.from.Addr, test.to.Addr, err, test.want)
		}
	}
}

// say sends a word over an echo's connection and waits for it.
func say(conn net.Conn, timeout time.Duration) error {
	conn.SetDeadline(time.Now().Add(timeout))
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}

func TestConnectionsSurviveCuts(t *testing.T) {
	w := newWorld(t)
	for _, link := range []struct {
		name     string
		from, to *networktest.Place
		fault    faults.Fault
	}{
		{"between pods", w.a, w.far, faults.Fault{Verb: faults.Cut, Of: podOf(w.far)}},
		{"from a node to its pod", w.Nodes[0].Place(), w.a, faults.Fault{Verb: faults.Cut, Of: podOf(w.a)}},
		{"of a node", w.a, w.far, faults.Fault{Verb: faults.Cut, Of: nodeOf(w.Nodes[0])}},
	} {
		t.Run(link.name, func(t *testing.T) {
			conn, err := link.from.Dial(link.to.Addr, networktest.Port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := say(conn, 5*time.Second); err != nil {
				t.Fatal(err)
			}
			w.add(t, link.fault)
			if err := say(conn, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("over a cut link: %v", err)
			}
			if err := w.set.Heal(link.fault.Of); err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Errorf("the answer over the healed link: %v", err)
			}
		})
	}
}

// trip is the shortest of some round trips.
func trip(t *testing.T, from, to *networktest.Place) time.Duration {
	t.Helper()
	conn, err := from.Dial(to.Addr, networktest.Port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	best := time.Hour
	for range 5 {
		begun := time.Now()
		if err := say(conn, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(begun))
	}
	return best
}

func TestSlow(t *testing.T) {
	w := newWorld(t)
	const delay = 50 * time.Millisecond
	for _, test := range []struct {
		name     string
		of       faults.Side
		from, to *networktest.Place
		slow     bool
	}{
		{"a pod's", podOf(w.a), w.a, w.far, true},
		{"to a pod", podOf(w.a), w.b, w.a, true}, // its answers
		{"of others", podOf(w.a), w.b, w.far, false},
		{"a pod's to its node", podOf(w.a), w.a, w.Nodes[0].Place(), true},
		{"what leaves a node", nodeOf(w.Nodes[0]), w.a, w.far, true},
		{"a node's own", nodeOf(w.Nodes[0]), w.Nodes[0].Place(), networktest.Here(), true},
		{"what stays in a node", nodeOf(w.Nodes[0]), w.a, w.b, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := trip(t, test.from, test.to)
			w.add(t, faults.Fault{Verb: faults.Slow, Of: test.of, Delay: delay})
			got := trip(t, test.from, test.to)
			switch {
			case test.slow && got < delay:
				t.Errorf("round trip = %v, want %v at least", got, delay)
			case test.slow && got > before+10*delay, !test.slow && got >= before+delay:
				t.Errorf("round trip = %v, %v before", got, before)
			}
			w.add(t, faults.Fault{Verb: faults.Slow, Of: test.of})
			if left := w.set.List(); len(left) != 0 {
				t.Errorf("faults after a delay of 0: %v", left)
			}
			if got := trip(t, test.from, test.to); got >= before+delay {
				t.Errorf("round trip = %v after the end, %v before", got, before)
			}
		})
	}
}

// lost sends datagrams to an echo and tells how many do not come back.
func lost(t *testing.T, from, to *networktest.Place, n int) int {
	t.Helper()
	var conn *net.UDPConn
	err := from.Namespace.Do(func() (err error) {
		conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr, networktest.Port)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	back := 0
	for range n {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		// One after the other, so that no buffer is full.
		conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 8)); err == nil {
			back++
		}
	}
	return n - back
}

func TestLose(t *testing.T) {
	w := newWorld(t)
	w.add(t, faults.Fault{Verb: faults.Lose, Of: podOf(w.a), Share: 0.2})
	if n := lost(t, w.a, w.far, 2000); n < 200 || n > 600 {
		t.Errorf("%d of 2000 datagrams are lost, want about 400", n)
	}
	if n := lost(t, w.b, w.far, 200); n > 5 {
		t.Errorf("%d of 200 datagrams of another pod are lost", n)
	}
}

func TestFaultsEndWithTheirPod(t *testing.T) {
	w := newWorld(t)
	second := nodeOf(w.Nodes[1])
	a, b, far := podOf(w.a), podOf(w.b), podOf(w.far)
	w.add(t, faults.Fault{Verb: faults.Cut, Of: a})
	w.add(t, faults.Fault{Verb: faults.Cut, Of: far, From: &a})
	w.add(t, faults.Fault{Verb: faults.Cut, Of: b, From: &second})
	if err := w.Nodes[0].Attacher.Detach(w.a.Addr); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(w.set.List()) > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("faults of a pod that is gone: %v", w.set.List())
		}
	}
	if left := w.set.List(); left[0].Of != b {
		t.Errorf("left: %v", left)
	}
	w.far.Reaches(t, w.b.Addr, false)
	if err := w.set.Add(faults.Fault{Verb: faults.Cut, Of: a}); !errors.Is(err, faults.ErrUnknown) {
		t.Errorf("cut of a pod that is gone: %v", err)
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	a := podOf(w.a)
	api := faults.Side{Kind: faults.Server, Addr: networktest.Own()}
	for _, f := range []faults.Fault{
		{Verb: faults.Cut, Of: a, From: &a},
		{Verb: faults.Cut, Of: api},
		{Verb: faults.Cut, Of: api, From: &faults.Side{Kind: faults.Address, Addr: network.Cluster()}},
		{Verb: faults.Slow, Of: api, Delay: time.Second},
		{Verb: faults.Slow, Of: a, Delay: -time.Second},
		{Verb: faults.Slow, Of: a, Delay: time.Hour},
		{Verb: faults.Slow, Of: a, Delay: time.Second, Jitter: time.Minute},
		{Verb: faults.Lose, Of: a, Share: 1.1},
		{Verb: faults.Lose, Of: a, Share: math.NaN()},
		{Verb: faults.Cut, Of: a, From: &faults.Side{Kind: faults.Address, Addr: netip.IPv6Loopback()}},
		{Verb: faults.Cut, Of: faults.Side{Kind: faults.Pod, Addr: netip.MustParseAddr("10.244.77.1")}},
	} {
		if err := w.set.Add(f); err == nil {
			t.Errorf("%+v: no error", f)
		}
	}
	if left := w.set.List(); len(left) != 0 {
		t.Errorf("in effect: %v", left)
	}
}

// Faults of one pod that overlap begin and end in any order, each for itself.
func TestOverlap(t *testing.T) {
	w := newWorld(t)
	a, b, far, server := podOf(w.a), podOf(w.b), podOf(w.far), nodeOf(w.Nodes[1])
	all := faults.Fault{Verb: faults.Cut, Of: a}
	pairs := []faults.Fault{{Verb: faults.Cut, Of: a, From: &server}, {Verb: faults.Cut, Of: far, From: &a}}
	for _, order := range [][]faults.Fault{{pairs[0], pairs[1], all}, {all, pairs[0], pairs[1]}, {pairs[0], all, pairs[1]}} {
		for _, f := range order {
			w.add(t, f)
		}
		w.a.Reaches(t, b.Addr, false)
		if err := w.set.End(all); err != nil {
			t.Fatal(err)
		}
		w.a.Reaches(t, b.Addr, true)
		w.a.Reaches(t, far.Addr, false)
		w.far.Reaches(t, a.Addr, false)
		w.add(t, all)
		for _, f := range pairs {
			if err := w.set.End(f); err != nil {
				t.Fatal(err)
			}
		}
		w.a.Reaches(t, b.Addr, false)
		if err := w.set.End(all); err != nil {
			t.Fatal(err)
		}
		w.a.Reaches(t, far.Addr, true)
		w.a.Reaches(t, b.Addr, true)
	}
	if left := w.set.List(); len(left) != 0 {
		t.Errorf("in effect: %v", left)
	}
}

// Without faults a node is as before the first one.
func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	rules := func() (all []string) {
		handle, err := netlink.NewHandleAt(netns.NsHandle(w.Nodes[0].Namespace.FD()), unix.NETLINK_ROUTE)
		if err != nil {
			t.Fatal(err)
		}
		defer handle.Close()
		list, err := handle.RuleList(unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		links, err := handle.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			all = append(all, r.String())
		}
		for _, l := range links {
			all = append(all, l.Attrs().Name)
		}
		return all
	}
	before := rules()
	for range 3 {
		far := podOf(w.far)
		w.add(t, faults.Fault{Verb: faults.Cut, Of: podOf(w.a)})
		w.add(t, faults.Fault{Verb: faults.Cut, Of: podOf(w.a), From: &far})
		w.add(t, faults.Fault{Verb: faults.Cut, Of: nodeOf(w.Nodes[0])})
		w.add(t, faults.Fault{Verb: faults.Slow, Of: podOf(w.a), Delay: time.Millisecond})
		w.add(t, faults.Fault{Verb: faults.Lose, Of: nodeOf(w.Nodes[0]), Share: 1})
		if len(w.set.List()) != 5 {
			t.Errorf("in effect: %v", w.set.List())
		}
		if err := w.set.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	if after := rules(); len(after) != len(before) {
		t.Errorf("before %q, after %q", before, after)
	}
	w.a.Reaches(t, w.far.Addr, true)
}

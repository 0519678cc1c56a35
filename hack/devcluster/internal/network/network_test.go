package network_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
	"github.com/xinhari/xinhari/hack/devcluster/internal/network/networktest"
)

func TestMain(m *testing.M) { os.Exit(networktest.Main(m)) }

func TestEveryoneReachesEveryone(t *testing.T) {
	c := networktest.New(t, 2)
	service := netip.MustParseAddr("10.96.7.7")
	places := map[string]*networktest.Place{
		"a pod":                    c.Nodes[0].Pod(t),
		"another pod of that node": c.Nodes[0].Pod(t),
		"a pod of another node":    c.Nodes[1].Pod(t),
		"a node":                   c.Nodes[0].Place(),
		"another node":             c.Nodes[1].Place(),
		"the cluster":              networktest.Here(),
	}
	targets := map[string]netip.Addr{
		"a ClusterIP of the cluster": networktest.Own(),
		"a ClusterIP of the proxy":   service,
	}
	for name, p := range places {
		targets[name] = p.Addr
		p.Echo(t, p.Addr)
	}
	networktest.Here().Echo(t, networktest.Own())
	(&networktest.Place{Namespace: c.Proxy.Namespace}).Echo(t, service)
	for from, p := range places {
		for to, addr := range targets {
			conn, err := p.Dial(addr, networktest.Port)
			if err != nil {
				t.Errorf("from %s to %s: %v", from, to, err)
				continue
			}
			// Nobody on the way speaks for the caller; to itself anyone may be anyone.
			if local := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); local != p.Addr && (from != "the cluster" || addr != networktest.Own()) {
				t.Errorf("from %s to %s: as %s, want %s", from, to, local, p.Addr)
			}
			conn.Close()
		}
	}
}

func TestLoopbacksAreApart(t *testing.T) {
	c := networktest.New(t, 1)
	pod := c.Nodes[0].Pod(t)
	here := netip.MustParseAddr("127.0.0.1")
	networktest.Here().Echo(t, here)
	if conn, err := pod.Dial(here, networktest.Port); err == nil {
		conn.Close()
		t.Error("a pod reaches the loopback address of the cluster")
	}
}

func TestPartedNode(t *testing.T) {
	c := networktest.New(t, 2)
	a, b, far := c.Nodes[0].Pod(t), c.Nodes[0].Pod(t), c.Nodes[1].Pod(t)
	for _, p := range []*networktest.Place{a, b, far, networktest.Here()} {
		p.Echo(t, p.Addr)
	}
	if err := c.Network.Connect(c.Nodes[0].Member, false); err != nil {
		t.Fatal(err)
	}
	a.Reaches(t, far.Addr, false)
	far.Reaches(t, a.Addr, false)
	networktest.Here().Reaches(t, c.Nodes[0].Addr, false)
	a.Reaches(t, b.Addr, true)
	far.Reaches(t, network.Cluster(), true)
	if err := c.Network.Connect(c.Nodes[0].Member, true); err != nil {
		t.Fatal(err)
	}
	a.Reaches(t, far.Addr, true)
}

func TestAddressesAreNotSoonReused(t *testing.T) {
	c := networktest.New(t, 1)
	state := filepath.Join(t.TempDir(), "last")
	var seen []netip.Addr
	for range 2 { // The second is opened anew.
		err := c.Nodes[0].Namespace.Do(func() error {
			n, err := network.OpenNode(c.Nodes[0].Addr, c.Nodes[0].Ranges[0], state)
			if err != nil {
				return err
			}
			node := &networktest.Node{Member: c.Nodes[0].Member, Attacher: n}
			first := node.Pod(t)
			if err := errors.Join(n.Detach(first.Addr), n.Detach(first.Addr)); err != nil {
				t.Errorf("detach twice: %v", err)
			}
			seen = append(seen, first.Addr, node.Pod(t).Addr)
			return n.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, addr := range seen {
		if want := netip.AddrFrom4([4]byte{10, 244, 1, byte(2 + i)}); addr != want {
			t.Errorf("address %d = %s, want %s", i, addr, want)
		}
	}
}

func TestAPodIsGoneWithItsCable(t *testing.T) {
	c := networktest.New(t, 1)
	pod := c.Nodes[0].Pod(t)
	pod.Echo(t, pod.Addr)
	networktest.Here().Reaches(t, pod.Addr, true)
	if err := c.Nodes[0].Attacher.Detach(pod.Addr); err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp4", netip.AddrPortFrom(pod.Addr, networktest.Port).String(), 300*time.Millisecond)
	if err == nil {
		conn.Close()
		t.Error("a detached pod is reached")
	}
}

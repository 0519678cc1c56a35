package network

import (
	"errors"
	"net/netip"
	"testing"
)

func TestNext(t *testing.T) {
	tests := []struct{ name, addr, want string }{
		{"the first after the gateway", "10.244.3.1", "10.244.3.2"},
		{"in the middle", "10.244.3.7", "10.244.3.8"},
		{"the last before the broadcast address", "10.244.3.253", "10.244.3.254"},
		{"from the beginning", "10.244.3.254", "10.244.3.2"},
	}
	for _, test := range tests {
		if got := next(netip.MustParseAddr(test.addr), NodeRange(3)); got.String() != test.want {
			t.Errorf("%s: after %s comes %s, want %s", test.name, test.addr, got, test.want)
		}
	}
}

func TestFullNode(t *testing.T) {
	n := &Node{pods: NodeRange(1), used: map[netip.Addr]bool{}, last: gateway(NodeRange(1))}
	for range 253 {
		if _, err := n.take(); err != nil {
			t.Fatal(err)
		}
	}
	if addr, err := n.take(); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, %v", addr, err)
	}
	free := netip.MustParseAddr("10.244.1.9")
	delete(n.used, free)
	if addr, err := n.take(); err != nil || addr != free {
		t.Errorf("got %v, %v, want the one free address", addr, err)
	}
}

func TestPodAddr(t *testing.T) {
	addr := netip.MustParseAddr("10.244.50.254")
	if got, ok := PodAddr(PodLink(addr)); !ok || got != addr {
		t.Errorf("got %s, %v, want %s", got, ok, addr)
	}
	for _, name := range []string{"eth0", "pod", "pod1", "pod1.2.3", "pod300.1", "pod01.2"} {
		if addr, ok := PodAddr(name); ok {
			t.Errorf("%s is the cable of %s", name, addr)
		}
	}
}

func TestAlias(t *testing.T) {
	for _, test := range []struct{ addr, want string }{{"10.244.1.7", "10.246.1.7"}, {"10.245.0.11", "10.247.0.11"}} {
		got := Alias(netip.MustParseAddr(test.addr))
		if got.String() != test.want || !Aliases().Contains(got) {
			t.Errorf("alias of %s = %s, want %s in %s", test.addr, got, test.want, Aliases())
		}
	}
}

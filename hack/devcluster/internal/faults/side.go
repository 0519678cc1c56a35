package faults

import (
	"fmt"
	"net/netip"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
)

// Kind is what a side is.
type Kind int

const (
	// Pod is a pod with an address of its own.
	Pod Kind = iota
	// Node is a node with all its pods.
	Node
	// Server is the API server.
	Server
	// Address is any other address.
	Address
)

// Side is what a fault is about. Two are the same if kind and address are.
type Side struct {
	Kind Kind
	Addr netip.Addr
	Name string // for people; empty: the address
}

// String names the side for people.
func (s Side) String() string {
	if s.Name == "" {
		return s.Addr.String()
	}
	return s.Name
}

func (s Side) same(other Side) bool { return s.Kind == other.Kind && s.Addr == other.Addr }

// ranges are all addresses that packets of the side bear, as others see them:
// its own, and those that the proxy of ClusterIPs speaks for it from.
func (s Side) ranges(nodes []Member) []netip.Prefix {
	own := []netip.Prefix{netip.PrefixFrom(s.Addr, 32)}
	if s.Kind == Node {
		own = append(own, rangeOf(s.Addr, nodes))
	}
	if !network.Pods().Contains(s.Addr) && !network.Nodes().Contains(s.Addr) {
		return own
	}
	all := own
	for _, r := range own {
		all = append(all, netip.PrefixFrom(network.Alias(r.Addr()), r.Bits()))
	}
	return all
}

func rangeOf(addr netip.Addr, nodes []Member) netip.Prefix {
	for _, n := range nodes {
		if n.Addr == addr {
			return n.Pods
		}
	}
	return netip.PrefixFrom(addr, 32)
}

// home is the index of the node that the side's packets pass: its own.
func (s Side) home(nodes []Member) (int, bool) {
	for i, n := range nodes {
		if s.Kind == Node && n.Addr == s.Addr || s.Kind == Pod && n.Pods.Contains(s.Addr) {
			return i, true
		}
	}
	return 0, false
}

// checkPair refuses what cannot be parted.
func checkPair(a, b Side, nodes []Member) error {
	if a.same(b) {
		return fmt.Errorf("%s cannot be cut off from itself", a)
	}
	_, first := a.home(nodes)
	if _, second := b.home(nodes); !first && !second {
		return fmt.Errorf("neither %s nor %s is a pod or a node", a, b)
	}
	return nil
}

// Package network is the cluster's network, as that of real machines: each
// node has a network namespace of its own, a cable from there to a bridge, and
// a range of pod addresses. Pods hang on their node by a cable each, and every
// packet from and to a pod is routed by the node. Nodes have a route to each
// other's pods.
//
//	cluster 10.245.0.1 ─┐
//	proxy   10.245.0.2 ─┼─ xinhari0 ─┬─ node-1 10.245.0.11 ─┬─ pod 10.244.1.2
//	                    (bridge)     └─ node-2 10.245.0.12  └─ pod 10.244.1.3
//
// Who lives at which hardware address is fixed, so that nothing is asked for
// and no connection fails for the lack of an answer.
//
// There is no way out of the network: pods reach each other, and what listens
// in the other namespaces.
package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/netns"
)

const bridgeName = "xinhari0"

// Uplink is the name of a node's, the proxy's and a pod's end of its cable.
const Uplink = "eth0"

// Network is the bridge with what hangs on it. Members are added one after the other.
type Network struct {
	netlink *netlink.Handle
	bridge  netlink.Link
	own     []netip.Addr
	locals  []*netlink.Route
	members []*Member
}

// Member is a namespace on the bridge.
type Member struct {
	// Namespace is the member's own.
	Namespace *netns.Namespace
	// Addr is the member's address.
	Addr netip.Addr
	// Ranges are the addresses that are reached through the member.
	Ranges []netip.Prefix

	port   netlink.Link    // of the bridge
	handle *netlink.Handle // in Namespace
	uplink netlink.Link    // in Namespace
}

// New makes the bridge in the caller's network namespace, the cluster's, which
// must not have one. Of the ClusterIPs, own are local there.
func New(own ...netip.Addr) (*Network, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	n := &Network{netlink: handle, own: own}
	if err := n.open(); err != nil {
		handle.Close()
		return nil, err
	}
	return n, nil
}

func (n *Network) open() error {
	if err := setUpLoopback(n.netlink); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	// A fixed address, since a bridge otherwise takes that of a port, and changes it.
	attrs.HardwareAddr = hardwareAddr(Cluster())
	if err := n.netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("add bridge %s: %w", bridgeName, err)
	}
	var err error
	if n.bridge, err = n.netlink.LinkByName(bridgeName); err != nil {
		return fmt.Errorf("find bridge %s: %w", bridgeName, err)
	}
	if err := setUp(n.netlink, n.bridge, netip.PrefixFrom(Cluster(), Nodes().Bits())); err != nil {
		return err
	}
	for _, addr := range n.own {
		route, err := addLocal(n.netlink, netip.PrefixFrom(addr, 32))
		if err != nil {
			return err
		}
		n.locals = append(n.locals, route)
	}
	return nil
}

// AddNode adds node i, which counts from 1 and is new.
func (n *Network) AddNode(i int) (*Member, error) {
	if i < 1 || i > MaxNodes {
		return nil, fmt.Errorf("node %d: there can be 1 to %d", i, MaxNodes)
	}
	m := &Member{Addr: NodeAddr(i), Ranges: []netip.Prefix{NodeRange(i)}}
	if err := n.add(m, fmt.Sprintf("node%d", i)); err != nil {
		return nil, fmt.Errorf("add node %d: %w", i, err)
	}
	return m, nil
}

// AddProxy adds the namespace in which every ClusterIP but those of New, and
// every alias, is a local address. There is one at most.
func (n *Network) AddProxy() (*Member, error) {
	m := &Member{Addr: Proxy(), Ranges: []netip.Prefix{Services(), Aliases()}}
	err := n.add(m, "proxy")
	for _, r := range m.Ranges {
		if err == nil {
			_, err = addLocal(m.handle, r)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("add the proxy: %w", err)
	}
	return m, nil
}

func (n *Network) add(m *Member, link string) (err error) {
	if m.Namespace, err = netns.New(); err != nil {
		return err
	}
	n.members = append(n.members, m)
	if err := m.Namespace.Do(prepare); err != nil {
		return err
	}
	if m.port, err = n.connect(m, link); err != nil {
		return err
	}
	if err := m.Namespace.Do(func() error { return m.open(n.own) }); err != nil {
		return err
	}
	for _, r := range m.Ranges {
		if err := addRoute(n.netlink, n.bridge, r, m.Addr); err != nil {
			return err
		}
	}
	if err := introduce(n.netlink, n.bridge, m.Addr); err != nil {
		return err
	}
	for _, other := range n.members {
		if other == m {
			continue
		}
		if err := errors.Join(m.meet(other), other.meet(m)); err != nil {
			return err
		}
	}
	return nil
}

// connect lays a cable from the bridge to the member.
func (n *Network) connect(m *Member, name string) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.MasterIndex = n.bridge.Attrs().Index
	// The member's end is made inside its namespace, so it never shows here.
	cable := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         Uplink,
		PeerHardwareAddr: hardwareAddr(m.Addr),
		PeerNamespace:    netlink.NsFd(m.Namespace.FD()),
	}
	if err := n.netlink.LinkAdd(cable); err != nil {
		return nil, fmt.Errorf("add veth: %w", err)
	}
	port, err := n.netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find veth: %w", err)
	}
	if err := n.netlink.LinkSetUp(port); err != nil {
		return nil, fmt.Errorf("set veth up: %w", err)
	}
	return port, nil
}

// open sets the member's side up. It runs in its namespace. The addresses of
// clusters are the cluster's own ClusterIPs.
func (m *Member) open(clusters []netip.Addr) (err error) {
	if m.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	if err := setUpLoopback(m.handle); err != nil {
		return err
	}
	if m.uplink, err = m.handle.LinkByName(Uplink); err != nil {
		return fmt.Errorf("find %s: %w", Uplink, err)
	}
	if err := setUp(m.handle, m.uplink, netip.PrefixFrom(m.Addr, Nodes().Bits())); err != nil {
		return err
	}
	if err := introduce(m.handle, m.uplink, Cluster()); err != nil {
		return err
	}
	for _, addr := range clusters {
		if err := addRoute(m.handle, m.uplink, netip.PrefixFrom(addr, 32), Cluster()); err != nil {
			return err
		}
	}
	return addRoute(m.handle, m.uplink, netip.PrefixFrom(netip.IPv4Unspecified(), 0), Cluster())
}

// meet tells the member where another is and what is behind it.
func (m *Member) meet(other *Member) error {
	if err := introduce(m.handle, m.uplink, other.Addr); err != nil {
		return err
	}
	for _, r := range other.Ranges {
		if err := addRoute(m.handle, m.uplink, r, other.Addr); err != nil {
			return err
		}
	}
	return nil
}

// States of a bridge's port, from linux/if_bridge.h.
const (
	portDisabled   = 0
	portForwarding = 3
)

// Connect joins the member with the bridge, or parts it from that: then all
// packets are lost in either direction, and neither side sees a change.
func (n *Network) Connect(m *Member, connected bool) error {
	state := byte(portDisabled)
	if connected {
		state = portForwarding
	}
	// A request of its own opens its socket on the calling thread, which is
	// in the cluster's namespace as every thread is that Go gives out.
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(m.port.Attrs().Index)
	req.AddData(msg)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	port.AddRtAttr(nl.IFLA_BRPORT_STATE, []byte{state})
	req.AddData(port)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("set the bridge port of %s: %w", m.Addr, err)
	}
	return nil
}

// Close removes the bridge and the cables, and lets go of the members' namespaces.
func (n *Network) Close() error {
	defer n.netlink.Close()
	var errs []error
	for _, m := range slices.Backward(n.members) {
		if m.port != nil {
			errs = append(errs, n.netlink.LinkDel(m.port))
		}
		if m.handle != nil {
			m.handle.Close()
		}
		errs = append(errs, m.Namespace.Close())
	}
	for _, route := range n.locals {
		errs = append(errs, n.netlink.RouteDel(route))
	}
	return errors.Join(append(errs, n.netlink.LinkDel(n.bridge))...)
}

// prepare sets what a namespace has of the host's settings to what routing
// between pods needs. It runs in the namespace.
func prepare() error {
	for _, setting := range []struct{ name, value string }{
		{"ip_forward", "1"},
		{"conf/all/rp_filter", "0"}, // what faults delay comes back from where it does not live
		{"conf/default/rp_filter", "0"},
		{"ip_early_demux", "0"}, // what is for a node's own socket may have to be routed elsewhere first
		{"conf/all/send_redirects", "0"},
		{"conf/default/send_redirects", "0"},
		{"ip_unprivileged_port_start", "0"}, // as in pods
	} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+setting.name, []byte(setting.value), 0); err != nil {
			return err
		}
	}
	return nil
}

func setUpLoopback(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

func setUp(h *netlink.Handle, link netlink.Link, addr netip.Prefix) error {
	name := link.Attrs().Name
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
		return fmt.Errorf("give %s its address: %w", name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// addLocal makes every address of a range one of the namespace's own.
func addLocal(h *netlink.Handle, r netip.Prefix) (*netlink.Route, error) {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find lo: %w", err)
	}
	route := &netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Dst:       ipNet(r),
		Type:      unix.RTN_LOCAL,
		Scope:     netlink.SCOPE_HOST,
		Table:     unix.RT_TABLE_LOCAL,
	}
	if err := h.RouteAdd(route); err != nil {
		return nil, fmt.Errorf("make %s local: %w", r, err)
	}
	return route, nil
}

func addRoute(h *netlink.Handle, link netlink.Link, to netip.Prefix, via netip.Addr) error {
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: via.AsSlice()}
	if err := h.RouteAdd(route); err != nil {
		return fmt.Errorf("route %s via %s: %w", to, via, err)
	}
	return nil
}

// introduce tells for good at which hardware address a neighbour is.
func introduce(h *netlink.Handle, link netlink.Link, neighbour netip.Addr) error {
	entry := &netlink.Neigh{
		LinkIndex:    link.Attrs().Index,
		State:        netlink.NUD_PERMANENT,
		IP:           neighbour.AsSlice(),
		HardwareAddr: hardwareAddr(neighbour),
	}
	if err := h.NeighSet(entry); err != nil {
		return fmt.Errorf("introduce %s: %w", neighbour, err)
	}
	return nil
}

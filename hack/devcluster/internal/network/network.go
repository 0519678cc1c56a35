// Package network is the cluster's network: a bridge in the cluster's network
// namespace, and a virtual cable from it to the namespace of each pod.
//
// Addresses are handed out in turn, so that one is not soon another pod's.
// Cutting a pod off drops its packets silently in both directions: sockets
// and links stay as they are, as when a far switch fails.
//
// There is no way out of the network: pods reach each other, and what listens
// in the cluster's namespace.
package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const bridgeName = "xinhari0"

var (
	gateway = netip.MustParsePrefix("10.244.0.1/16")
	// services are local addresses of the cluster's namespace: whatever
	// proxies a Service can listen on its ClusterIP.
	services = netip.MustParsePrefix("10.96.0.0/16")
)

// Errors that callers tell apart.
var (
	// ErrFull says that every address is in use.
	ErrFull = errors.New("every address of the pod network is in use")
	// ErrUnknown says that no pod has the address.
	ErrUnknown = errors.New("no pod has this address")
)

// Network is the pod network. Its methods may be called concurrently.
type Network struct {
	netlink *netlink.Handle
	bridge  netlink.Link
	route   *netlink.Route // of the ClusterIPs

	mu   sync.Mutex
	used map[netip.Addr]bool
	last netip.Addr
}

// New makes the bridge and the routes in the caller's network namespace,
// which must have none of them yet.
func New() (*Network, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	n := &Network{netlink: handle, used: map[netip.Addr]bool{}, last: gateway.Addr()}
	if err := n.open(); err != nil {
		handle.Close()
		return nil, err
	}
	return n, nil
}

func (n *Network) open() error {
	lo, err := n.netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := n.netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	// A fixed address, since a bridge otherwise takes that of a port, and
	// changes it, to the harm of the pods' neighbour caches.
	attrs.HardwareAddr = hardwareAddr(gateway.Addr())
	if err := n.netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("add bridge %s: %w", bridgeName, err)
	}
	if n.bridge, err = n.netlink.LinkByName(bridgeName); err != nil {
		return fmt.Errorf("find bridge %s: %w", bridgeName, err)
	}
	if err := n.netlink.AddrAdd(n.bridge, &netlink.Addr{IPNet: ipNet(gateway)}); err != nil {
		return fmt.Errorf("give bridge %s its address: %w", bridgeName, err)
	}
	if err := n.netlink.LinkSetUp(n.bridge); err != nil {
		return fmt.Errorf("set bridge %s up: %w", bridgeName, err)
	}
	n.route = &netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Dst:       ipNet(services),
		Type:      unix.RTN_LOCAL,
		Scope:     netlink.SCOPE_HOST,
		Table:     unix.RT_TABLE_LOCAL,
	}
	if err := n.netlink.RouteAdd(n.route); err != nil {
		return fmt.Errorf("route %s: %w", services, err)
	}
	return nil
}

// Gateway is the address of the cluster's namespace on the pod network.
func (n *Network) Gateway() netip.Addr { return gateway.Addr() }

// Close removes the bridge, what hangs on it, and the route. Pods that are still attached
// lose their network.
func (n *Network) Close() error {
	defer n.netlink.Close()
	n.mu.Lock()
	addrs := make([]netip.Addr, 0, len(n.used))
	for addr := range n.used {
		addrs = append(addrs, addr)
	}
	n.mu.Unlock()
	var errs []error
	for _, addr := range addrs {
		errs = append(errs, n.Detach(addr))
	}
	errs = append(errs, n.netlink.LinkDel(n.bridge), n.netlink.RouteDel(n.route))
	return errors.Join(errs...)
}

// Attach connects the network namespace of the task pid, which may be a
// thread, and returns its address.
func (n *Network) Attach(pid int) (netip.Addr, error) {
	addr, err := n.take()
	if err != nil {
		return netip.Addr{}, err
	}
	if err := n.attach(addr, pid); err != nil {
		n.Detach(addr)
		return netip.Addr{}, fmt.Errorf("attach %s: %w", addr, err)
	}
	return addr, nil
}

func (n *Network) attach(addr netip.Addr, pid int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = linkName(addr)
	attrs.MasterIndex = n.bridge.Attrs().Index
	// The pod's end is made inside the pod's namespace, so it never shows here.
	cable := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         "eth0",
		PeerHardwareAddr: hardwareAddr(addr),
		PeerNamespace:    netlink.NsPid(pid),
	}
	if err := n.netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	near, err := n.netlink.LinkByName(attrs.Name)
	if err != nil {
		return fmt.Errorf("find veth: %w", err)
	}
	if err := n.netlink.LinkSetUp(near); err != nil {
		return fmt.Errorf("set veth up: %w", err)
	}
	return configure(addr, pid)
}

// Detach takes a pod off the network and frees its address. An address that no
// pod has is no error.
func (n *Network) Detach(addr netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.used[addr] {
		return nil
	}
	link, err := n.netlink.LinkByName(linkName(addr))
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing): // Gone with the pod's namespace.
	case err != nil:
		return fmt.Errorf("detach %s: %w", addr, err)
	default:
		if err := n.netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("detach %s: %w", addr, err)
		}
	}
	delete(n.used, addr)
	return nil
}

// Cut drops every packet from and to the pod until Heal. It is ErrUnknown when
// no pod has the address.
func (n *Network) Cut(addr netip.Addr) error {
	return n.setPortState(addr, portDisabled)
}

// Heal ends a Cut. It is ErrUnknown when no pod has the address.
func (n *Network) Heal(addr netip.Addr) error {
	return n.setPortState(addr, portForwarding)
}

// States of a bridge's port, from linux/if_bridge.h.
const (
	portDisabled   = 0
	portForwarding = 3
)

// setPortState sets the state of a port of the bridge, which the netlink
// package has no function for. A disabled port passes nothing in either
// direction, and neither end of the cable sees a change.
func (n *Network) setPortState(addr netip.Addr, state uint8) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.used[addr] {
		return fmt.Errorf("%s: %w", addr, ErrUnknown)
	}
	link, err := n.netlink.LinkByName(linkName(addr))
	if err != nil {
		return fmt.Errorf("find the link of %s: %w", addr, err)
	}
	// A request of its own opens its socket on the calling thread, which is
	// in the cluster's namespace as every thread is that Go gives out.
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(link.Attrs().Index)
	req.AddData(msg)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	port.AddRtAttr(nl.IFLA_BRPORT_STATE, []byte{state})
	req.AddData(port)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("set the bridge port of %s: %w", addr, err)
	}
	return nil
}

// take reserves the next free address after the last one taken.
func (n *Network) take() (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr := n.last
	for range 1 << (32 - gateway.Bits()) {
		addr = next(addr)
		if addr != gateway.Addr() && !n.used[addr] {
			n.used[addr] = true
			n.last = addr
			return addr, nil
		}
	}
	return netip.Addr{}, ErrFull
}

// next is the address after addr on the pod network, without the network's own
// and its broadcast address.
func next(addr netip.Addr) netip.Addr {
	broadcast := netip.AddrFrom4([4]byte{10, 244, 255, 255})
	if addr = addr.Next(); addr == broadcast {
		return gateway.Masked().Addr().Next()
	}
	return addr
}

// linkName is the name of the near end of a pod's cable.
func linkName(addr netip.Addr) string {
	b := addr.As4()
	return fmt.Sprintf("pod%d.%d", b[2], b[3])
}

// hardwareAddr follows from the address, so that a neighbour's cache is right
// even for an address that is used again.
func hardwareAddr(addr netip.Addr) net.HardwareAddr {
	b := addr.As4()
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

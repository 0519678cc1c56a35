package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrFull says that every address of a node's range is in use.
var ErrFull = errors.New("every pod address of the node is in use")

// Node attaches pods to the network namespace of a node. Its methods may be
// called concurrently.
//
// Addresses are handed out in turn, so that one is not soon another pod's.
type Node struct {
	netlink *netlink.Handle
	addr    netip.Addr
	pods    netip.Prefix
	state   string

	mu   sync.Mutex
	used map[netip.Addr]bool
	last netip.Addr
}

// OpenNode attaches pods to the caller's namespace, whose own address is addr,
// with addresses of the range pods. The file state, when it is given, has the
// next opener go on after the address that was last taken.
func OpenNode(addr netip.Addr, pods netip.Prefix, state string) (*Node, error) {
	n := &Node{addr: addr, pods: pods, state: state, used: map[netip.Addr]bool{}, last: gateway(pods)}
	if state != "" {
		text, err := os.ReadFile(state)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		default:
			if last, err := netip.ParseAddr(strings.TrimSpace(string(text))); err == nil && pods.Contains(last) {
				n.last = last
			}
		}
	}
	if err := prepare(); err != nil {
		return nil, err
	}
	var err error
	if n.netlink, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return n, nil
}

// Addr is the address of the node.
func (n *Node) Addr() netip.Addr { return n.addr }

// Close takes every pod off the network.
func (n *Node) Close() error {
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
	return errors.Join(errs...)
}

// Attach connects the network namespace of the task pid, which may be a
// thread, and returns its address.
func (n *Node) Attach(pid int) (netip.Addr, error) {
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

func (n *Node) attach(addr netip.Addr, pid int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = PodLink(addr)
	attrs.HardwareAddr = hardwareAddr(gateway(n.pods))
	cable := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         Uplink,
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
	if err := introduce(n.netlink, near, addr); err != nil {
		return err
	}
	// A node that speaks to its pod is itself, whatever other addresses there are.
	route := &netlink.Route{LinkIndex: near.Attrs().Index, Dst: host(addr), Src: n.addr.AsSlice(), Scope: netlink.SCOPE_LINK}
	if err := n.netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("route to the pod: %w", err)
	}
	return configure(addr, gateway(n.pods), pid)
}

// configure sets up the pod's side: lo, the address, and the route to all else.
func configure(addr, gateway netip.Addr, pid int) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open the namespace of %d: %w", pid, err)
	}
	defer ns.Close()
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("open netlink in the namespace of %d: %w", pid, err)
	}
	defer handle.Close()
	if err := setUpLoopback(handle); err != nil {
		return err
	}
	eth, err := handle.LinkByName(Uplink)
	if err != nil {
		return fmt.Errorf("find %s: %w", Uplink, err)
	}
	if err := setUp(handle, eth, netip.PrefixFrom(addr, 32)); err != nil {
		return err
	}
	if err := introduce(handle, eth, gateway); err != nil {
		return err
	}
	toGateway := &netlink.Route{LinkIndex: eth.Attrs().Index, Dst: host(gateway), Scope: netlink.SCOPE_LINK}
	if err := handle.RouteAdd(toGateway); err != nil {
		return fmt.Errorf("route to the gateway: %w", err)
	}
	return addRoute(handle, eth, netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway)
}

// Detach takes a pod off the network and frees its address. An address that no
// pod has is no error.
func (n *Node) Detach(addr netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.used[addr] {
		return nil
	}
	link, err := n.netlink.LinkByName(PodLink(addr))
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

// take reserves the next free address after the last one taken.
func (n *Node) take() (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr := n.last
	for range 1 << (32 - n.pods.Bits()) {
		if addr = next(addr, n.pods); n.used[addr] {
			continue
		}
		if n.state != "" {
			if err := os.WriteFile(n.state, []byte(addr.String()+"\n"), 0o644); err != nil {
				return netip.Addr{}, err
			}
		}
		n.used[addr] = true
		n.last = addr
		return addr, nil
	}
	return netip.Addr{}, ErrFull
}

// next is the address after addr, from that after the gateway's to the one
// before the broadcast address.
func next(addr netip.Addr, pods netip.Prefix) netip.Addr {
	if addr = addr.Next(); !pods.Contains(addr.Next()) || !pods.Contains(addr) {
		return gateway(pods).Next()
	}
	return addr
}

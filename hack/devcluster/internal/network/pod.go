package network

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// configure sets up the pod's side: lo, the address, and the default route.
func configure(addr netip.Addr, pid int) error {
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
	lo, err := handle.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := handle.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	eth, err := handle.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := handle.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, gateway.Bits()))}); err != nil {
		return fmt.Errorf("give eth0 its address: %w", err)
	}
	if err := handle.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set eth0 up: %w", err)
	}
	route := netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway.Addr().AsSlice()}
	if err := handle.RouteAdd(&route); err != nil {
		return fmt.Errorf("add the default route: %w", err)
	}
	return nil
}

package network

import (
	"fmt"
	"net"
	"net/netip"
)

// MaxNodes is how many nodes a network can have.
const MaxNodes = 200

// firstNode is the last byte of the address before that of the first node.
const firstNode = 10

// Cluster is the address of the cluster's namespace, in which the control
// plane, DNS and the command are.
func Cluster() netip.Addr { return netip.AddrFrom4([4]byte{10, 245, 0, 1}) }

// Proxy is the address of the namespace that serves ClusterIPs.
func Proxy() netip.Addr { return netip.AddrFrom4([4]byte{10, 245, 0, 2}) }

// NodeAddr is the address of node i, which counts from 1.
func NodeAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 245, 0, byte(firstNode + i)}) }

// NodeRange is the range of the pods of node i, which counts from 1.
func NodeRange(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24)
}

// Pods is the range of all pods.
func Pods() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244}), 16) }

// Nodes is the range of all nodes, and of Cluster and Proxy.
func Nodes() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 245}), 16) }

// Services is the range of ClusterIPs.
func Services() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 96}), 16) }

// Aliases is the range of the addresses under which the proxy speaks for its callers.
func Aliases() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 246}), 15) }

// Alias is the address from which the proxy passes on what addr, of a pod or of
// a node, sent to a ClusterIP. So whom a connection is from can be told, and
// dropped, behind the proxy as well.
func Alias(addr netip.Addr) netip.Addr {
	b := addr.As4()
	b[1] += 2
	return netip.AddrFrom4(b)
}

// gateway is the address of a pod's next hop. Nobody has it: the next hop
// needs none.
func gateway(pods netip.Prefix) netip.Addr { return pods.Masked().Addr().Next() }

// PodLink is the name of a pod's cable at its node.
func PodLink(addr netip.Addr) string {
	b := addr.As4()
	return fmt.Sprintf("pod%d.%d", b[2], b[3])
}

// PodAddr is the address of the pod whose cable at its node is called name.
func PodAddr(name string) (netip.Addr, bool) {
	b := [4]byte{10, 244}
	if n, err := fmt.Sscanf(name, "pod%d.%d", &b[2], &b[3]); n != 2 || err != nil {
		return netip.Addr{}, false
	}
	addr := netip.AddrFrom4(b)
	return addr, PodLink(addr) == name
}

// hardwareAddr follows from the address, so that a neighbour's entry is right
// even for an address that is used again.
func hardwareAddr(addr netip.Addr) net.HardwareAddr {
	b := addr.As4()
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// host is the range of one address.
func host(addr netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(addr, 32)) }

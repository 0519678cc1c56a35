package runtime

import (
	"context"
	"net"
	"net/netip"
)

// tcp is the ordinary network.
type tcp struct{}

func (tcp) Listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

// Dial is left to pkg/rpc, which sets the sockets up for it.
func (tcp) Dial(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed }

// dialer returns the network's Dial, or nil for pkg/rpc's own.
func dialer(n Network) func(context.Context, string) (net.Conn, error) {
	if _, ok := n.(tcp); ok {
		return nil
	}
	return n.Dial
}

// addrPort returns the address that a listener listens on.
func addrPort(lis net.Listener) (netip.AddrPort, error) {
	return netip.ParseAddrPort(lis.Addr().String())
}

package runtime

import (
	"context"
	"net"
	"net/netip"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// tcp is the ordinary network.
type tcp struct{}

func (tcp) Listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

func (tcp) Dial(ctx context.Context, address string) (net.Conn, error) {
	return rpc.DialTCP(ctx, address)
}

// addrPort returns the address that a listener listens on.
func addrPort(lis net.Listener) (netip.AddrPort, error) {
	return netip.ParseAddrPort(lis.Addr().String())
}

package rpc

import (
	"context"
	"net"
	"time"
)

const (
	// lossTimeout is how long sent data may stay unacknowledged before the
	// kernel gives the connection up (TCP_USER_TIMEOUT, RFC 5482): a peer that
	// vanished without a word is noticed by the first call that it does not
	// answer, and not by a later keepalive.
	lossTimeout = 2 * time.Second

	// dialTimeout bounds one attempt to connect.
	dialTimeout = 3 * time.Second
)

// DialTCP connects to address over TCP, as connections to services want it:
// a peer that vanishes is noticed soon.
func DialTCP(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, Control: controlSocket}
	return d.DialContext(ctx, "tcp", address)
}

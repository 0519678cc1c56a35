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

	// aliveAfter is how long a connection may be silent until the kernel asks
	// the server's whether it is still there, aliveEvery how long it waits for
	// an answer. A machine that is gone is noticed after both.
	aliveAfter = 10 * time.Second
	aliveEvery = lossTimeout
)

// DialTCP connects to address over TCP, as connections to services want it:
// a peer that vanishes is noticed soon.
func DialTCP(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, Control: controlSocket,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: aliveAfter, Interval: aliveEvery, Count: keepaliveProbes}}
	return d.DialContext(ctx, "tcp", address)
}

package identity

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// AcceptPlaintext returns secure, but for servers that take connections
// without TLS as well, from whom allowed says so at their first byte; such
// peers are anonymous. Others without TLS are refused with ErrPlaintext, and
// clients of HTTP/1 are told why. What clients do is secure's.
func AcceptPlaintext(secure Transport, allowed func(peer net.Addr) bool) Transport {
	return &sniffing{secure: secure, allowed: allowed}
}

type sniffing struct {
	secure  Transport
	allowed func(net.Addr) bool
}

func (s *sniffing) Client(namespace, name string) credentials.TransportCredentials {
	return s.secure.Client(namespace, name)
}

// recordHandshake is the first byte of a TLS connection: the type of the
// record that holds the ClientHello (RFC 8446, section 5.1). No HTTP request
// and no connection of Plaintext begins with it.
const recordHandshake = 0x16

func (s *sniffing) Accept(ctx context.Context, conn net.Conn) (Accepted, error) {
	var first [1]byte
	if err := readFull(ctx, conn, first[:]); err != nil {
		return Accepted{}, err
	}
	again := &prefixedConn{Conn: conn, prefix: first[:]}
	switch {
	case first[0] == recordHandshake:
		return s.secure.Accept(ctx, again)
	case s.allowed(conn.RemoteAddr()):
		return plaintext{}.Accept(ctx, again)
	}
	if 'A' <= first[0] && first[0] <= 'Z' {
		refuse(conn)
	}
	return Accepted{}, fmt.Errorf("%w: only mutual TLS is served here", ErrPlaintext)
}

// refuse tells a client of HTTP/1, which might be a person's, what is wrong.
// A client of HTTP/2 takes it for garbage, and for an end.
func refuse(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+
		"This port takes mutual TLS only. In a cluster, spec.identity.mode: Permissive of the Service lets plaintext in.\n")
	// What the client already sent must be read, or closing would reset the
	// connection and with it the answer.
	_, _ = io.CopyN(io.Discard, conn, 64<<10)
}

// readFull fills p from conn, within ctx. It leaves conn without a deadline.
func readFull(ctx context.Context, conn net.Conn, p []byte) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetReadDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.ReadFull(conn, p); err != nil {
		return err
	}
	if !stop() { // ctx ended first
		return context.Canceled
	}
	return conn.SetReadDeadline(time.Time{})
}

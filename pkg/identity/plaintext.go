package identity

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// preamble stands where a TLS client would offer ProtocolGRPC by ALPN: the
// first bytes that our clients send on a connection without TLS. Neither an
// HTTP request nor a TLS ClientHello begins with a zero byte, so the first
// byte tells our clients from all others, and no web page can send it.
const preamble = "\x00" + ProtocolGRPC + "\n"

// Plaintext returns a transport without security. Peers are anonymous.
func Plaintext() Transport { return plaintext{} }

type plaintext struct{}

func (plaintext) Client(_, _ string) credentials.TransportCredentials { return plaintextCredentials{} }

func (plaintext) Accept(ctx context.Context, conn net.Conn) (Accepted, error) {
	var first [len(preamble)]byte
	if err := readFull(ctx, conn, first[:1]); err != nil {
		return Accepted{}, err
	}
	if first[0] != preamble[0] {
		return Accepted{Conn: &prefixedConn{Conn: conn, prefix: first[:1]}, AuthInfo: PlaintextInfo{}}, nil
	}
	if err := readFull(ctx, conn, first[1:]); err != nil {
		return Accepted{}, err
	}
	if string(first[:]) != preamble {
		return Accepted{}, errors.New("identity: the peer speaks neither HTTP nor this protocol")
	}
	return Accepted{Conn: conn, Protocol: ProtocolGRPC, AuthInfo: PlaintextInfo{}}, nil
}

// PlaintextInfo tells of a peer that nothing is known of.
type PlaintextInfo struct{ credentials.CommonAuthInfo }

// AuthType implements credentials.AuthInfo.
func (PlaintextInfo) AuthType() string { return "plaintext" }

// plaintextCredentials sends the preamble and is otherwise grpc-go's insecure
// credentials.
type plaintextCredentials struct{}

func (plaintextCredentials) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetWriteDeadline(deadline); err != nil {
			return nil, nil, err
		}
	}
	if _, err := io.WriteString(conn, preamble); err != nil {
		return nil, nil, err
	}
	if err := conn.SetWriteDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	return conn, PlaintextInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
}

func (plaintextCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("identity: these credentials are a client's")
}

func (plaintextCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "plaintext"}
}

func (c plaintextCredentials) Clone() credentials.TransportCredentials { return c }

func (plaintextCredentials) OverrideServerName(string) error { return nil }

// prefixedConn is a connection from which the first bytes were already read.
type prefixedConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixedConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// NetConn returns the connection beneath.
func (c *prefixedConn) NetConn() net.Conn { return c.Conn }

package identity_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xinhari/xinhari/pkg/identity"
)

const preamble = "\x00" + identity.ProtocolGRPC + "\n"

// oneWay is the server's end of a connection on which a peer sent all it will.
type oneWay struct {
	net.Conn
	sent io.Reader
}

func (c oneWay) Read(p []byte) (int, error)     { return c.sent.Read(p) }
func (oneWay) Write(p []byte) (int, error)      { return len(p), nil }
func (oneWay) Close() error                     { return nil }
func (oneWay) SetDeadline(time.Time) error      { return nil }
func (oneWay) SetReadDeadline(time.Time) error  { return nil }
func (oneWay) SetWriteDeadline(time.Time) error { return nil }
func (oneWay) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// FuzzAccept holds of whatever a peer may send first: nobody is identified by
// it; who is not allowed is not accepted; and who is is read whole, but for the
// preamble of our own clients, which nothing else passes for.
func FuzzAccept(f *testing.F) {
	for _, first := range []string{"", preamble, preamble + "PRI", "\x00xinhari", "\x00xinhari-grpc\r", "POST / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x00\x01\x01", "\x15\x03\x03\x00\x02\x01\x00", "\x80\x2e\x01"} {
		f.Add([]byte(first), true)
		f.Add([]byte(first), false)
	}
	ca := newCA(f)
	secure := transport(ca.credentials(orders))
	f.Fuzz(func(t *testing.T, sent []byte, allowed bool) {
		accept := identity.AcceptPlaintext(secure, func(net.Addr) bool { return allowed }).Accept
		got, err := accept(context.Background(), oneWay{sent: bytes.NewReader(sent)})
		if err != nil {
			if allowed && len(sent) > 0 && sent[0] != 0x16 && sent[0] != 0 {
				t.Fatalf("refused %q: %v", sent, err)
			}
			return
		}
		p, ok := identity.PeerOf(got.AuthInfo)
		switch {
		case !allowed:
			t.Fatalf("accepted %q", sent)
		case !ok || p != (identity.Peer{Anonymous: true}):
			t.Fatalf("%q makes the peer %v, %v", sent, p, ok)
		}
		own := strings.HasPrefix(string(sent), preamble)
		if own != (got.Protocol == identity.ProtocolGRPC) {
			t.Fatalf("%q has protocol %q", sent, got.Protocol)
		}
		rest, err := io.ReadAll(got.Conn)
		if want := strings.TrimPrefix(string(sent), preamble); err != nil || string(rest) != want {
			t.Fatalf("of %q there is %q to read, %v", sent, rest, err)
		}
	})
}

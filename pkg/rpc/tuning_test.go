package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// preface is what our clients send first on a connection without TLS.
const preface = "\x00" + identity.ProtocolGRPC + "\n"

// windows are what a side of a connection grants in its first frames, bytes.
type windows struct{ stream, connection uint32 }

// granted reads the frames of conn up to the first that is about neither.
func granted(t *testing.T, framer *http2.Framer) windows {
	t.Helper()
	w := windows{stream: 65535, connection: 65535}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if f.IsAck() {
				return w
			}
			if size, ok := f.Value(http2.SettingInitialWindowSize); ok {
				w.stream = size
			}
			// The other side says no more until it has heard of us.
			if err := framer.WriteSettings(); err != nil {
				t.Fatal(err)
			}
		case *http2.WindowUpdateFrame:
			w.connection += f.Increment
		default:
			return w
		}
	}
}

func deadline(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
}

func TestServerGrantsItsWindows(t *testing.T) {
	for _, c := range []struct {
		name    string
		options rpc.ServerOptions
		want    windows
	}{
		{"those that calls between services want", rpc.ServerOptions{}, windows{1 << 20, 4 << 20}},
		{"grpc-go's", rpc.ServerOptions{DynamicWindows: true}, windows{65535, 65535}},
		{"the user's", rpc.ServerOptions{GRPC: []grpc.ServerOption{
			grpc.StaticStreamWindowSize(128 << 10), grpc.StaticConnWindowSize(256 << 10),
		}}, windows{128 << 10, 256 << 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, c.options, nil)
			conn, err := net.Dial("tcp", s.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			deadline(t, conn)
			if _, err := io.WriteString(conn, preface+http2.ClientPreface); err != nil {
				t.Fatal(err)
			}
			framer := http2.NewFramer(conn, conn)
			if err := framer.WriteSettings(); err != nil {
				t.Fatal(err)
			}
			if got := granted(t, framer); got != c.want {
				t.Errorf("granted %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestClientGrantsItsWindows(t *testing.T) {
	for _, c := range []struct {
		name    string
		options rpc.ConnOptions
		want    windows
	}{
		{"those that calls between services want", rpc.ConnOptions{}, windows{1 << 20, 4 << 20}},
		{"grpc-go's", rpc.ConnOptions{DynamicWindows: true}, windows{65535, 65535}},
		{"the user's", rpc.ConnOptions{GRPC: []grpc.DialOption{
			grpc.WithStaticStreamWindowSize(128 << 10), grpc.WithStaticConnWindowSize(256 << 10),
		}}, windows{128 << 10, 256 << 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = lis.Close() }()
			ownConn(t, c.options, netip.MustParseAddrPort(lis.Addr().String()))
			conn, err := lis.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			deadline(t, conn)
			if _, err := io.ReadFull(conn, make([]byte, len(preface+http2.ClientPreface))); err != nil {
				t.Fatal(err)
			}
			if got := granted(t, http2.NewFramer(conn, conn)); got != c.want {
				t.Errorf("granted %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestNewServerStartsNothing holds that the goroutines that wait for calls
// come with Serve and go with Shutdown.
func TestNewServerStartsNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)

	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	conn, err := net.Dial("tcp", lis.Addr().String()) // it serves
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

func TestShutdownBeforeServe(t *testing.T) {
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(lis); !errors.Is(err, rpc.ErrServerClosed) {
		t.Errorf("Serve = %v, want %v", err, rpc.ErrServerClosed)
	}
}

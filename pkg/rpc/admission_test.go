package rpc_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// clock is a wall clock that a test moves on.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// foreignTLS connects as a gRPC client of somebody else does.
func foreignTLS(t *testing.T, s *testServer, config *tls.Config, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+s.addr.String(), append(options, grpc.WithTransportCredentials(credentials.NewTLS(config)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// clientConfig is one of the caller, with a certificate or without.
func clientConfig(t *testing.T, s *identity.Source, anonymous bool) *tls.Config {
	t.Helper()
	config, err := identity.ClientConfig(s.Current(), identity.ServiceName("default", "test"), identity.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if anonymous {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	}
	return config
}

func call(ctx context.Context, cc grpc.ClientConnInterface) error {
	_, err := testgrpc.NewTestServiceClient(cc).UnaryCall(ctx, &testgrpc.SimpleRequest{})
	return err
}

func TestCallersWithoutACertificateAreRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller := source(t, "caller", dir, time.Hour)
	served := source(t, "test", dir, time.Hour)
	var permissive atomic.Bool
	s := newServer(t, rpc.ServerOptions{
		Transport: identity.AcceptPlaintext(mutual(served), func(net.Addr) bool { return permissive.Load() }),
		Anonymous: permissive.Load,
	}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	anonymous := foreignTLS(t, s, clientConfig(t, caller, true))

	for _, c := range []struct {
		name string
		call func() error
	}{
		{"unary", func() error { return call(ctx, anonymous) }},
		{"stream", func() error {
			stream, err := testgrpc.NewTestServiceClient(anonymous).FullDuplexCall(ctx)
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}},
		{"a method that there is not", func() error { return anonymous.Invoke(ctx, "/a/b", &testgrpc.Empty{}, &testgrpc.Empty{}) }},
		{"health, which any identity may ask", func() error {
			return anonymous.Invoke(ctx, "/grpc.health.v1.Health/Check", &testgrpc.Empty{}, &testgrpc.Empty{})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.call(); status.Code(err) != codes.Unauthenticated {
				t.Errorf("error %v, want Unauthenticated", err)
			}
		})
	}
	t.Run("JSON over TLS", func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: clientConfig(t, caller, true)}}
		defer client.CloseIdleConnections()
		answer, err := client.Post("https://"+s.addr.String()+"/Echo/Echo", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("status %s", answer.Status)
		}
	})
	t.Run("gRPC without TLS", func(t *testing.T) {
		if err := call(ctx, foreignConn(t, s.addr)); status.Code(err) != codes.Unavailable {
			t.Errorf("error %v", err)
		}
	})
	t.Run("our client without TLS", func(t *testing.T) {
		if err := call(ctx, ownConn(t, rpc.ConnOptions{}, s.addr)); status.Code(err) != codes.Unavailable {
			t.Errorf("error %v", err)
		}
	})
	t.Run("curl without TLS is told why", func(t *testing.T) {
		conn, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, "POST /Echo/Echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "mutual TLS") {
			t.Errorf("%s: %s, %v", answer.Status, text, err)
		}
	})
	t.Run("with a certificate they are served", func(t *testing.T) {
		for name, cc := range map[string]grpc.ClientConnInterface{
			"our client":          ownConn(t, rpc.ConnOptions{Transport: mutual(caller)}, s.addr),
			"another gRPC client": foreignTLS(t, s, clientConfig(t, caller, false)),
		} {
			if err := call(ctx, cc); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := cc.Invoke(ctx, "/a/b", &testgrpc.Empty{}, &testgrpc.Empty{}); status.Code(err) != codes.Unimplemented {
				t.Errorf("%s, a method that there is not: %v", name, err)
			}
		}
	})
	t.Run("while Permissive they are served, and refused after it", func(t *testing.T) {
		permissive.Store(true)
		for name, cc := range map[string]grpc.ClientConnInterface{
			"TLS": anonymous, "our client without TLS": ownConn(t, rpc.ConnOptions{}, s.addr), "another without TLS": foreignConn(t, s.addr),
		} {
			if err := call(ctx, cc); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			defer func() {
				if err := call(ctx, cc); status.Code(err) != codes.Unauthenticated {
					t.Errorf("%s, afterwards on the connection that there is: %v", name, err)
				}
			}()
		}
		if code, body := post(t, s.addr, "/Echo/Echo", "{}"); code != http.StatusOK {
			t.Errorf("curl: %d %s", code, body)
		}
		permissive.Store(false)
	})
}

// An identity ends with its certificate, also on connections that it opened
// in time: the call is refused, and the connection goes.
func TestAnExpiredCallerOnAnOldConnection(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, 24*time.Hour)
	type dialer func(context.Context, string) (net.Conn, error)
	for name, connect := range map[string]func(*testing.T, *testServer, dialer) grpc.ClientConnInterface{
		"our client": func(t *testing.T, s *testServer, dial dialer) grpc.ClientConnInterface {
			return ownConn(t, rpc.ConnOptions{Transport: mutual(caller), Dial: dial}, s.addr)
		},
		"another gRPC client": func(t *testing.T, s *testServer, dial dialer) grpc.ClientConnInterface {
			return foreignTLS(t, s, clientConfig(t, caller, false), grpc.WithContextDialer(dial))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var c clock
			closed := make(chan struct{}, 1)
			s := newServer(t, rpc.ServerOptions{Transport: mutual(served), Now: c.now}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cc := connect(t, s, func(ctx context.Context, address string) (net.Conn, error) {
				conn, err := rpc.DialTCP(ctx, address)
				return watchedConn{conn, closed}, err
			})
			if err := call(ctx, cc); err != nil {
				t.Fatal(err)
			}
			c.advance(29 * time.Minute / 2) // sooner than the connection is to be replaced
			if err := call(ctx, cc); err != nil {
				t.Fatalf("before the end: %v", err)
			}
			c.advance(time.Hour)
			if err := call(ctx, cc); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "expired") {
				t.Errorf("after the end: %v", err)
			}
			select {
			case <-closed:
			case <-time.After(5 * time.Second): // before it would end by itself
				t.Error("the connection stays")
			}
		})
	}
}

// watchedConn tells when it is closed, by whichever side.
type watchedConn struct {
	net.Conn
	closed chan struct{}
}

func (c watchedConn) tell() {
	select {
	case c.closed <- struct{}{}:
	default:
	}
}

func (c watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.tell()
	}
	return n, err
}

func (c watchedConn) Close() error {
	c.tell()
	return c.Conn.Close()
}

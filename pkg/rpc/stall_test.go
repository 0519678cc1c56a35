package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
)

// TestStalledWritesEnd holds that a peer that takes nothing, or next to
// nothing, loses its connection, and one that is merely slow does not.
func TestStalledWritesEnd(t *testing.T) {
	const timeout = time.Minute
	for _, tt := range []struct {
		name  string
		each  int           // bytes that the peer takes
		every time.Duration // so often
		want  bool          // the connection ends
	}{
		{"nothing", 0, 0, true},
		{"a byte now and then", 1, timeout / 3, true},
		{"slowly", writePiece, timeout - time.Second, false},
		{"at once", 1 << 20, time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				l := &link{Conn: here}
				l.limitWrites(timeout)
				defer func() { _ = l.Close() }()
				began := time.Now()
				wrote := make(chan time.Duration, 1)
				go func() {
					_, err := l.Write(make([]byte, 10*writePiece))
					if (err != nil) != tt.want {
						t.Errorf("the write: %v", err)
					}
					wrote <- time.Since(began)
				}()
				var reading sync.WaitGroup
				reading.Go(func() {
					for tt.each > 0 {
						time.Sleep(tt.every)
						if _, err := io.ReadFull(there, make([]byte, tt.each)); err != nil {
							return
						}
					}
				})
				if took := <-wrote; tt.want && (took < timeout || took > 2*timeout) {
					t.Errorf("it took %v", took)
				}
				_ = there.Close()
				reading.Wait()
			})
		})
	}
}

// TestUnservedConnectionsEnd holds that a peer without a certificate keeps no
// connection where nobody without one is served.
func TestUnservedConnectionsEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		served func(time.Duration) bool
		ends   time.Duration // at the latest; 0 = never
	}{
		{"never served", func(time.Duration) bool { return false }, unservedTimeout},
		{"served", func(time.Duration) bool { return true }, 0},
		{"served no longer", func(at time.Duration) bool { return at < time.Hour }, time.Hour + unservedTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				l := &link{Conn: here}
				defer func() { _ = l.Close() }()
				began := time.Now()
				l.endUnserved(func() bool { return tt.served(time.Since(began)) })
				var ended atomic.Int64
				go func() {
					_, _ = there.Read(make([]byte, 1))
					ended.Store(int64(time.Since(began)))
				}()
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if at := time.Duration(ended.Load()); (at == 0) != (tt.ends == 0) || at > tt.ends {
					t.Errorf("it ended after %v, want %v", at, tt.ends)
				}
				_ = there.Close()
			})
		})
	}
}

// pipeListener is a net.Listener of connections in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(ctx context.Context, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- here:
		return there, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	return nil, errors.Join(here.Close(), there.Close(), net.ErrClosed)
}

// TestTheAcceptorEndsUnservedConnections holds that a server does it: a client
// without a certificate, which connects anew when it has lost its connection.
func TestTheAcceptorEndsUnservedConnections(t *testing.T) {
	for _, tt := range []struct {
		name   string
		served bool
		dials  int32 // in three and a half times unservedTimeout
	}{
		{"served", true, 1},
		{"not served", false, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, err := NewServer(ServerOptions{Anonymous: func() bool { return tt.served }})
				if err != nil {
					t.Fatal(err)
				}
				lis := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
				ended := make(chan error, 1)
				go func() { ended <- server.Serve(lis) }()
				service := discovery.Service{Namespace: "default", Name: "test"}
				where, err := staticdiscovery.New(map[discovery.Service][]discovery.Endpoint{
					service: {{Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}}},
				}, discovery.Options{})
				if err != nil {
					t.Fatal(err)
				}
				var dials atomic.Int32
				conn, err := NewConn(service, where, ConnOptions{Dial: func(ctx context.Context, address string) (net.Conn, error) {
					dials.Add(1)
					return lis.dial(ctx, address)
				}})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(unservedTimeout*7/2 + 10*time.Second) // and some back-off
				if got := dials.Load(); got != tt.dials {
					t.Errorf("connected %d times, want %d", got, tt.dials)
				}
				if err := errors.Join(conn.Close(), server.Shutdown(t.Context()), <-ended); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

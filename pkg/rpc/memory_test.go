package rpc

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
)

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

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- here:
		return there, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	return nil, errors.Join(here.Close(), there.Close(), net.ErrClosed)
}

// inMemory returns a client of a new server, for bubbles of fake time, and how
// often it has connected. change, unless nil, registers services.
func inMemory(t *testing.T, so ServerOptions, co ConnOptions, change func(*Server)) (*Conn, *atomic.Int32) {
	t.Helper()
	server, err := NewServer(so)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(server)
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
	dials := new(atomic.Int32)
	co.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
		dials.Add(1)
		return lis.dial(ctx)
	}
	conn, err := NewConn(service, where, co)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(conn.Close(), server.Shutdown(context.Background()), <-ended); err != nil {
			t.Error(err)
		}
	})
	return conn, dials
}

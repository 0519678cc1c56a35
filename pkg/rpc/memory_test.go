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

// PipeListener is a net.Listener whose connections are made in memory: by Dial,
// or whatever is put into Conns.
type PipeListener struct {
	Conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewPipeListener returns one that is open.
func NewPipeListener() *PipeListener {
	return &PipeListener{Conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *PipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.Conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *PipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (*PipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// Dial returns the client's end of a new connection.
func (l *PipeListener) Dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.Conns <- here:
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
	lis := NewPipeListener()
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
		return lis.Dial(ctx)
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

package proxy

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	dialTimeout = 2 * time.Second
	dialTries   = 3 // endpoints tried for one connection
)

type tcpForwarder struct {
	rotation
	out      *outlet
	listener *net.TCPListener
}

func listenTCP(out *outlet, addr netip.AddrPort, t target) (*tcpForwarder, error) {
	var listener *net.TCPListener
	err := out.in.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		return nil, err
	}
	f := &tcpForwarder{out: out, listener: listener}
	f.update(t)
	return f, nil
}

// Forward passes connections of the listener on to one address until ctx ends, which ends them.
func Forward(ctx context.Context, listener *net.TCPListener, to netip.AddrPort) {
	f := &tcpForwarder{out: &outlet{}, listener: listener}
	f.update(target{backends: []netip.AddrPort{to}})
	f.run(ctx, ctx)
}

func (f *tcpForwarder) run(ctx, life context.Context) {
	stop := context.AfterFunc(ctx, func() { f.listener.Close() })
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	for {
		client, err := f.listener.AcceptTCP()
		if ctx.Err() != nil {
			if err == nil {
				reset(client)
			}
			return
		}
		if err != nil {
			// Out of descriptors, most likely: others end in the meantime.
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		group.Go(func() { f.forward(life, client) })
	}
}

// forward connects a client with a backend until both are done.
func (f *tcpForwarder) forward(ctx context.Context, client *net.TCPConn) {
	backend := f.dial(ctx, client)
	if backend == nil {
		reset(client)
		return
	}
	stop := context.AfterFunc(ctx, func() { reset(client); reset(backend) })
	defer stop()
	defer client.Close()
	defer backend.Close()
	var group sync.WaitGroup
	group.Go(func() { pipe(backend, client) })
	group.Go(func() { pipe(client, backend) })
	group.Wait()
}

func (f *tcpForwarder) dial(ctx context.Context, client *net.TCPConn) *net.TCPConn {
	from := client.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	for range dialTries {
		if conn, err := f.out.dialTCP(ctx, from, f.pick(from, time.Now())); err == nil {
			return conn
		}
	}
	return nil
}

// pipe copies one direction. An end is passed on as an end, a failure as a failure.
func pipe(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		reset(to)
		reset(from)
		return
	}
	to.CloseWrite()
}

// reset closes a connection so that the other side sees it broken, not ended.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

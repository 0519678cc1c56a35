package runtimetest

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/xinhari/xinhari/pkg/discovery"
)

// host is where one Service runs, and its runtime.Network.
type host struct {
	network *Network
	service discovery.Service
	addr    netip.Addr

	// The network's mu holds for these.
	dead      bool
	listeners map[int]*listener // by port
	next      int               // port
}

// subnet is where hosts have their addresses: it is for tests of networks, and
// nobody's (RFC 2544).
const subnet = 198<<24 | 18<<16

// firstPort is the first that is given away.
const firstPort = 1024

// newHost returns a host of its own for a Service.
func (n *Network) newHost(service discovery.Service) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], subnet+uint32(len(n.hosts)+1))
	h := &host{network: n, service: service, addr: netip.AddrFrom4(raw), listeners: map[int]*listener{}, next: firstPort}
	n.hosts[h.addr] = h
	return h
}

// port returns an address of its own. The caller holds the network's mu.
func (h *host) port() *net.TCPAddr {
	h.next++
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.addr, uint16(firstPort+(h.next-firstPort)%(1<<16-firstPort))))
}

// Listen implements runtime.Network.
func (h *host) Listen(context.Context, string) (net.Listener, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	addr := h.port()
	l := &listener{host: h, addr: addr, conns: make(chan net.Conn, backlog), closed: make(chan struct{})}
	h.listeners[addr.Port] = l
	return l, nil
}

// Dial implements runtime.Network.
func (h *host) Dial(ctx context.Context, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	remote := net.TCPAddrFromAddrPort(to)
	fault := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Addr: remote, Err: err} }
	trying, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for far := false; ; {
		conn, wait, changed, err := h.connect(remote, far)
		switch {
		case err != nil:
			return nil, fault(err)
		case conn != nil:
			return conn, nil
		}
		var arrives <-chan time.Time
		if wait > 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			arrives = timer.C
		}
		select {
		case <-arrives:
			far = true
		case <-changed:
			far = false // what was under way may be lost: it is sent again
		case <-trying.Done():
			if ctx.Err() != nil {
				return nil, fault(ctx.Err())
			}
			return nil, fault(syscall.ETIMEDOUT)
		}
	}
}

// connect makes a connection, or says what to wait for: a time, if it is not
// 0, or a change of the network. far is true once the way there and back was
// waited for.
func (h *host) connect(remote *net.TCPAddr, far bool) (conn net.Conn, wait time.Duration, changed <-chan struct{}, err error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	to, ok := n.hosts[remote.AddrPort().Addr()]
	if h.dead {
		return nil, 0, nil, syscall.ENETDOWN
	}
	if !ok {
		return nil, 0, nil, syscall.EHOSTUNREACH
	}
	there, back := n.faults(h.service, to.service), n.faults(to.service, h.service)
	switch {
	case there.cut || back.cut:
		return nil, 0, n.changed, nil
	case !far && there.delay+back.delay > 0:
		return nil, there.delay + back.delay, n.changed, nil
	}
	l, ok := to.listeners[remote.Port]
	if !ok || to.dead || there.refuse {
		return nil, 0, nil, syscall.ECONNREFUSED
	}
	var w *wire
	w = newWire(h, to, h.port(), remote, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.wires, w)
	})
	select {
	case l.conns <- w.ends[1]:
	default: // as many wait as may
		return nil, 0, nil, syscall.ECONNREFUSED
	}
	n.wires[w] = struct{}{}
	n.shape(w)
	return w.ends[0], 0, nil, nil
}

// codeOf returns what calls from an address to a host end with; OK if nothing
// was said of it.
func (n *Network) codeOf(from net.Addr, to *host) codes.Code {
	tcp, ok := from.(*net.TCPAddr)
	if !ok {
		return codes.OK
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h, ok := n.hosts[tcp.AddrPort().Addr()]
	if !ok {
		return codes.OK
	}
	return n.faults(h.service, to.service).code
}

// backlog is how many connections may wait to be accepted.
const backlog = 128

// listener is a net.Listener of a host.
type listener struct {
	host   *host
	addr   *net.TCPAddr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
	default:
		select {
		case c := <-l.conns:
			return c, nil
		case <-l.closed:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
}

// Close implements net.Listener. Connections that were not accepted are closed.
func (l *listener) Close() error {
	l.once.Do(func() {
		n := l.host.network
		n.mu.Lock()
		delete(l.host.listeners, l.addr.Port) // no more connections come
		n.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.conns:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

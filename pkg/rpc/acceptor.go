package rpc

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/xinhari/xinhari/pkg/identity"
)

// acceptor accepts connections, does their handshakes and hands them to the
// server that speaks the peer's protocol. A slow or silent peer holds one of
// a bounded number of handshakes, until its deadline, or until others wait for
// it, and nobody else up.
type acceptor struct {
	transport identity.Transport
	loopback  bool // anonymous peers on other machines are turned away
	now       func() time.Time
	timeout   time.Duration
	stalled   time.Duration // how long a write may take
	alive     net.KeepAliveConfig
	served    func(net.Addr) bool // whether anonymous peers of that address are served now
	room      *quota              // of connections
	slots     chan struct{}       // one for each handshake under way
	full      atomic.Bool         // all slots are taken, and others may be waiting
	native    *handoff            // connections of our own clients
	foreign   *handoff            // everybody else's
	logger    *slog.Logger
}

// run accepts from lis until lis is closed, and returns when every handshake
// is over: those still under way when ctx ends are given up.
func (a *acceptor) run(ctx context.Context, lis net.Listener) error {
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	delay := time.Duration(0)
	for {
		if !a.slot(ctx) {
			return nil
		}
		conn, err := lis.Accept()
		if err != nil {
			<-a.slots
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			if !temporary(err) {
				return err
			}
			// Out of file descriptors, most likely: others may close theirs.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			a.logger.Warn("accepting a connection", "error", err, "retry_in", delay)
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return nil
			}
			continue
		}
		delay = 0
		if !a.room.take() {
			<-a.slots
			a.logger.Debug("a connection was closed: as many are open as ServerOptions.MaxConnections allows", "peer", conn.RemoteAddr().String())
			_ = conn.Close()
			continue
		}
		l := &link{Conn: conn, left: a.room.give}
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.SetKeepAliveConfig(a.alive) // an error is that it was closed
		}
		handshakes.Go(func() {
			defer func() { <-a.slots }()
			a.handshake(ctx, l)
		})
	}
}

// slot takes a slot, or reports false when ctx ends.
func (a *acceptor) slot(ctx context.Context) bool {
	select {
	case a.slots <- struct{}{}:
		return true
	default:
	}
	a.full.Store(true)
	defer a.full.Store(false)
	select {
	case a.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// slow is how long a handshake may take while others wait for its slot. It is
// many round trips of any network, and little for whoever waits behind peers
// that open connections to say nothing.
const slow = time.Second

// hurry ends the handshake of ctx by cancel once it is slow and others wait.
func (a *acceptor) hurry(ctx context.Context, cancel context.CancelFunc) (stop func() bool) {
	var timer *time.Timer
	// Made with its first delay far away, so that timer is there when it fires.
	timer = time.AfterFunc(time.Hour, func() {
		switch {
		case ctx.Err() != nil:
		case a.full.Load():
			cancel()
		default:
			timer.Reset(slow)
		}
	})
	timer.Reset(slow)
	return timer.Stop
}

// temporary reports whether accepting may work again later. The method is
// deprecated because most errors lie about it; the kernel's on accept do not,
// and net/http and grpc-go ask it too.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func isLoopback(addr net.Addr) bool {
	peer, err := netip.ParseAddrPort(addr.String())
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

func (a *acceptor) handshake(ctx context.Context, conn *link) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	defer a.hurry(ctx, cancel)()
	accepted, err := a.transport.Accept(ctx, conn)
	if err != nil {
		a.logger.Debug("handshake", "peer", conn.RemoteAddr().String(), "error", err)
		_ = conn.Close()
		return
	}
	if p, ok := identity.PeerOf(accepted.AuthInfo); a.loopback && ok && p.Anonymous && !isLoopback(conn.RemoteAddr()) {
		a.logger.Warn("a peer on another machine was turned away: without a certificate only this machine is served", "peer", conn.RemoteAddr().String())
		_ = conn.Close()
		return
	}
	conn.established(accepted.AuthInfo, a.now)
	if p, ok := identity.PeerOf(accepted.AuthInfo); ok && p.Anonymous {
		conn.endUnserved(func() bool { return a.served(conn.RemoteAddr()) })
	}
	conn.limitWrites(a.stalled)
	to := a.foreign
	if accepted.Protocol == identity.ProtocolGRPC {
		to = a.native
	}
	if !to.hand(ctx, accepted) {
		_ = accepted.Conn.Close()
	}
}

// handoff is a net.Listener whose connections come from an acceptor.
type handoff struct {
	addr   net.Addr
	grpc   bool // for grpc-go, whose credentials want to know the handshake's result
	conns  chan identity.Accepted
	closed chan struct{}
	once   sync.Once
}

func newHandoff(addr net.Addr, grpc bool) *handoff {
	return &handoff{addr: addr, grpc: grpc, conns: make(chan identity.Accepted), closed: make(chan struct{})}
}

// hand gives c to whoever accepts, or reports false when nobody will.
func (h *handoff) hand(ctx context.Context, c identity.Accepted) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.closed:
		return false
	case <-ctx.Done():
		return false
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		if h.grpc {
			return handedConn{Conn: c.Conn, info: c.AuthInfo}, nil
		}
		return c.Conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h.addr }

// handedConn carries what the handshake found to handedCredentials.
type handedConn struct {
	net.Conn
	info credentials.AuthInfo
}

// handedCredentials tells grpc-go what the acceptor's handshake found.
type handedCredentials struct{}

func (handedCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := conn.(handedConn)
	if !ok {
		return nil, nil, errors.New("rpc: a connection that did not come through the acceptor")
	}
	return c.Conn, c.info, nil
}

func (handedCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("rpc: these credentials are a server's")
}

func (handedCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "acceptor"}
}

func (c handedCredentials) Clone() credentials.TransportCredentials { return c }

func (handedCredentials) OverrideServerName(string) error { return nil }

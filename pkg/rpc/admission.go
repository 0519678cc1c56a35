package rpc

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity"
)

// admission decides, call by call, whether the peer of a connection is served:
// an identified one while its certificate lasts, an anonymous one where the
// server takes anonymous callers.
type admission struct {
	anonymous func() bool // whether anonymous callers are served; nil = they are not
	loopback  bool        // those on this machine are
	now       func() time.Time
}

// admit returns the context for the handler of a call, or why it is refused.
func (a admission) admit(ctx context.Context) (context.Context, error) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return nil, errUnknownPeer
	}
	info := from.AuthInfo
	l, foreign := ctx.Value(linkKey{}).(*link)
	if foreign {
		info = l.info // net/http does not hand it on
	}
	p, ok := identity.PeerOf(info)
	switch {
	case !ok:
		return nil, errUnknownPeer
	case p.Anonymous && !a.anonymousFrom(from.Addr):
		if t, ok := info.(identity.TLSInfo); !foreign && ok {
			l = linkOf(t.Conn)
		}
		l.refused()
		return nil, errAnonymous
	}
	if err := p.Valid(a.now()); err != nil {
		if t, ok := info.(identity.TLSInfo); ok {
			linkOf(t.Conn).end()
		}
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	if foreign {
		ctx = peer.NewContext(ctx, &peer.Peer{Addr: from.Addr, LocalAddr: from.LocalAddr, AuthInfo: info})
	}
	return ctx, nil
}

// admitRequest decides on the call that a request of net/http will be, so that
// nothing is read from who is not served.
func (a admission) admitRequest(r *http.Request) error {
	l, ok := r.Context().Value(linkKey{}).(*link)
	if !ok {
		return errUnknownPeer
	}
	_, err := a.admit(peer.NewContext(r.Context(), &peer.Peer{Addr: l.RemoteAddr()}))
	return err
}

var (
	errUnknownPeer = status.Error(codes.Unauthenticated, "nothing is known of the caller")
	errAnonymous   = status.Error(codes.Unauthenticated, "the caller showed no certificate: call with an identity")
)

func (a admission) anonymousFrom(addr net.Addr) bool {
	return a.anonymous != nil && a.anonymous() || a.loopback && isLoopback(addr)
}

// link is a connection from its acceptance to its end, beneath TLS. It ends
// when the peer's certificate does.
type link struct {
	net.Conn
	info      credentials.AuthInfo
	replaceBy time.Time // when a client that stays is told to connect anew; zero = never
	expiry    *time.Timer
	ending    atomic.Bool
	closed    atomic.Bool
	left      func() // called once it is closed; nil = nothing
	writes    writes
	refusals  atomic.Int32
	handlers  atomic.Int64 // that run behind net/http
}

// established notes what the handshake found, before the connection is used.
func (l *link) established(info credentials.AuthInfo, now func() time.Time) {
	l.info = info
	t, ok := info.(identity.TLSInfo)
	if !ok {
		return
	}
	l.replaceBy = t.ReplaceBy
	if t.Peer.Anonymous {
		return
	}
	next := func() time.Duration { return min(max(t.Peer.NotAfter.Sub(now()), 0), clockLook) }
	// Made with its first delay far away, so that l.expiry is there when it fires.
	l.expiry = time.AfterFunc(time.Hour, func() {
		switch {
		case l.ending.Load():
		case now().Before(t.Peer.NotAfter):
			l.expiry.Reset(next())
		default:
			_ = l.Conn.Close()
		}
	})
	l.expiry.Reset(next())
}

// Close implements net.Conn.
func (l *link) Close() error {
	l.ending.Store(true)
	if l.closed.CompareAndSwap(false, true) {
		if l.expiry != nil {
			l.expiry.Stop()
		}
		if l.writes.timer != nil {
			l.writes.timer.Stop()
		}
		if l.left != nil {
			l.left()
		}
	}
	return l.Conn.Close()
}

// lastAnswer is how long a connection that is being ended has to deliver the
// answer that says why.
const lastAnswer = time.Second

// end closes the connection soon; what nil stands for ends by itself.
func (l *link) end() {
	if l != nil && l.ending.CompareAndSwap(false, true) {
		time.AfterFunc(lastAnswer, func() { _ = l.Close() })
	}
}

// maxRefusals is how many calls a connection may make that are refused because
// nothing is known of the caller: enough for one to read why.
const maxRefusals = 100

// refused counts a call whose caller is not served, and ends the connection
// after too many of them.
func (l *link) refused() {
	if l != nil && l.refusals.Add(1) >= maxRefusals {
		l.end()
	}
}

// linkOf returns the link beneath conn, or nil.
func linkOf(conn net.Conn) *link {
	for {
		switch c := conn.(type) {
		case *link:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// linkKey is the key of a context by which net/http carries a link to calls.
type linkKey struct{}

// connContext is net/http's hook for new connections.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	if l := linkOf(conn); l != nil {
		return context.WithValue(ctx, linkKey{}, l)
	}
	return ctx
}

// replacing asks clients whose connection is old to make another one: net/http
// makes a GOAWAY of the header where the client speaks HTTP/2.
func (a admission) replacing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l, ok := r.Context().Value(linkKey{}).(*link); ok && !l.replaceBy.IsZero() && a.now().After(l.replaceBy) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

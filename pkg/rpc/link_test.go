package rpc

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity"
)

var someone = identity.ID{TrustDomain: "local", Namespace: "default", ServiceAccount: "caller"}

// TestALinkEndsByTheWallClock holds that a connection does not outlive its
// peer's certificate because the machine slept: timers then stand still.
func TestALinkEndsByTheWallClock(t *testing.T) {
	for _, tt := range []struct {
		name  string
		slept time.Duration // after a minute
		ends  time.Duration // at the latest, by timers
		peer  func(time.Time) identity.Peer
	}{
		{name: "awake", ends: time.Hour, peer: certified},
		{name: "asleep", slept: 2 * time.Hour, ends: time.Minute + clockLook, peer: certified},
		{name: "nobody has nothing that ends", slept: 2 * time.Hour, peer: func(time.Time) identity.Peer { return identity.Peer{Anonymous: true} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var slept atomic.Int64
				now := func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
				here, there := net.Pipe()
				defer func() { _ = there.Close() }()
				l := &link{Conn: here}
				defer func() { _ = l.Close() }()
				began := time.Now()
				l.established(identity.TLSInfo{Peer: tt.peer(began)}, now)
				closed := make(chan time.Duration, 1)
				go func() {
					_, _ = there.Read(make([]byte, 1))
					closed <- time.Since(began)
				}()
				time.Sleep(time.Minute)
				slept.Store(int64(tt.slept))
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				select {
				case at := <-closed:
					if tt.ends == 0 || at > tt.ends {
						t.Errorf("closed after %v, want %v", at, tt.ends)
					}
				default:
					if tt.ends != 0 {
						t.Error("it is open after a day")
					}
					_ = there.Close()
					<-closed
				}
			})
		})
	}
}

func certified(now time.Time) identity.Peer {
	return identity.Peer{ID: someone, NotAfter: now.Add(time.Hour)}
}

// TestAdmit has every kind of peer, by each of the two ways into a server.
// That some of them get no connection in the first place is the acceptor's
// business, and not relied upon here.
func TestAdmit(t *testing.T) {
	now := time.Now()
	loopback, elsewhere := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	tlsOf := func(p identity.Peer) credentials.AuthInfo { return identity.TLSInfo{Peer: p} }
	nobody := identity.Peer{Anonymous: true}
	everybody := func() bool { return true }
	for _, tt := range []struct {
		name string
		with admission
		info credentials.AuthInfo
		from net.Addr
		good bool
	}{
		{name: "identified", info: tlsOf(certified(now)), from: elsewhere, good: true},
		{name: "expired", info: tlsOf(certified(now.Add(-2 * time.Hour))), from: elsewhere},
		{name: "expired, where all are served", with: admission{anonymous: everybody}, info: tlsOf(certified(now.Add(-2 * time.Hour))), from: loopback},
		{name: "anonymous", info: tlsOf(nobody), from: elsewhere},
		{name: "anonymous by plaintext", info: identity.PlaintextInfo{}, from: loopback},
		{name: "anonymous, where all are served", with: admission{anonymous: everybody}, info: tlsOf(nobody), from: elsewhere, good: true},
		{name: "anonymous of this machine, on a laptop", with: admission{loopback: true}, info: identity.PlaintextInfo{}, from: loopback, good: true},
		{name: "anonymous of another machine, on a laptop", with: admission{loopback: true}, info: tlsOf(nobody), from: elsewhere},
		{name: "of credentials that nobody knows", with: admission{anonymous: everybody, loopback: true}, info: unknownInfo{}, from: loopback},
		{name: "of no credentials", with: admission{anonymous: everybody, loopback: true}, from: loopback},
		{name: "neither somebody nor nobody", with: admission{anonymous: everybody, loopback: true}, info: tlsOf(identity.Peer{}), from: loopback},
		{name: "somebody and nobody", with: admission{anonymous: everybody, loopback: true}, info: tlsOf(identity.Peer{ID: someone, Anonymous: true, NotAfter: now.Add(time.Hour)}), from: loopback},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.with.now = func() time.Time { return now }
			said := func(way string, ctx context.Context, err error) {
				t.Helper()
				switch {
				case !tt.good && status.Code(err) != codes.Unauthenticated:
					t.Errorf("%s: %v, want Unauthenticated", way, err)
				case tt.good && err != nil:
					t.Errorf("%s: %v", way, err)
				case tt.good:
					want, _ := identity.PeerOf(tt.info)
					if got, ok := identity.PeerFromContext(ctx); !ok || got != want {
						t.Errorf("%s: the handler's peer is %v, want %v", way, got, want)
					}
				}
			}
			ctx, err := tt.with.admit(peer.NewContext(t.Context(), &peer.Peer{Addr: tt.from, AuthInfo: tt.info}))
			said("gRPC", ctx, err)

			// Behind net/http, what gRPC itself says of the peer counts for nothing.
			l := &link{Conn: farConn{from: tt.from}, info: tt.info}
			r := httptest.NewRequest(http.MethodPost, "/a/b", nil)
			carried := connContext(r.Context(), l)
			ctx, err = tt.with.admit(peer.NewContext(carried, &peer.Peer{Addr: tt.from, AuthInfo: tlsOf(certified(now))}))
			said("net/http", ctx, err)
			if err := tt.with.admitRequest(r.WithContext(carried)); (err == nil) != tt.good {
				t.Errorf("before its body is read: %v", err)
			}
		})
	}
	t.Run("of no connection", func(t *testing.T) {
		all := admission{anonymous: everybody, now: time.Now}
		if _, err := all.admit(t.Context()); status.Code(err) != codes.Unauthenticated {
			t.Errorf("error %v", err)
		}
		if err := all.admitRequest(httptest.NewRequest(http.MethodPost, "/a/b", nil)); status.Code(err) != codes.Unauthenticated {
			t.Errorf("by net/http: %v", err)
		}
	})
}

// TestPagesAreTheLastOfThree holds that requests are looked at by the laptop's
// checks alone as well: neither the acceptor nor admission is asked here.
func TestPagesAreTheLastOfThree(t *testing.T) {
	handler := anonymousLoopback(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	loopback, elsewhere := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	for _, tt := range []struct {
		name string
		from net.Addr
		peer identity.Peer
		want int
	}{
		{"this machine", loopback, identity.Peer{Anonymous: true}, http.StatusOK},
		{"another machine", elsewhere, identity.Peer{Anonymous: true}, http.StatusForbidden},
		{"another machine with a certificate", elsewhere, certified(time.Now()), http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &link{Conn: farConn{from: tt.from}, info: identity.TLSInfo{Peer: tt.peer}}
			r := httptest.NewRequest(http.MethodPost, "http://localhost/a/b", nil)
			r.RemoteAddr = tt.from.String()
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r.WithContext(connContext(r.Context(), l)))
			if w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
		})
	}
}

type unknownInfo struct{}

func (unknownInfo) AuthType() string { return "tls" }

// farConn is a connection of which only the peer's address is asked.
type farConn struct {
	net.Conn
	from net.Addr
}

func (c farConn) RemoteAddr() net.Addr { return c.from }
func (farConn) Close() error           { return nil }

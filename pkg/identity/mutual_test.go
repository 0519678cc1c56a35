package identity_test

import (
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/xinhari/xinhari/pkg/identity"
)

var p256 = elliptic.P256()

func transport(c identity.Credentials) identity.Transport {
	return identity.MutualTLS(always(c), identity.MutualTLSOptions{})
}

func TestBothSidesKnowEachOther(t *testing.T) {
	ca := newCA(t)
	from, to := ca.credentials(orders), ca.credentials(inventory)
	var seen credentials.AuthInfo
	client := transport(from).Client("shop", "inventory")
	h := handshake(t, func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		conn, info, err := client.ClientHandshake(ctx, "another.example", conn)
		seen = info
		return conn, err
	}, transport(to).Accept)
	if h.clientErr != nil || h.serverErr != nil {
		t.Fatal(h.clientErr, h.serverErr)
	}
	if h.accepted.Protocol != identity.ProtocolGRPC {
		t.Errorf("protocol %q", h.accepted.Protocol)
	}
	for _, tt := range []struct {
		name string
		info credentials.AuthInfo
		want identity.Credentials
	}{{"the server", seen, to}, {"the client", h.accepted.AuthInfo, from}} {
		got, ok := identity.PeerFromContext(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: tt.info}))
		if diff := cmp.Diff(identity.Peer{ID: tt.want.ID(), NotAfter: tt.want.NotAfter()}, got); !ok || diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if err := credentials.CheckSecurityLevel(tt.info, credentials.PrivacyAndIntegrity); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestNoCertificateIsAnonymous(t *testing.T) {
	ca := newCA(t)
	for _, protocols := range [][]string{{"h2"}, {"http/1.1"}, nil} {
		h := handshake(t, bareClient(&tls.Config{RootCAs: ca.pool(), ServerName: "orders.shop.svc", NextProtos: protocols}), transport(ca.credentials(orders)).Accept)
		if h.clientErr != nil || h.serverErr != nil {
			t.Fatal(h.clientErr, h.serverErr)
		}
		if got, ok := identity.PeerOf(h.accepted.AuthInfo); !ok || got != (identity.Peer{Anonymous: true}) {
			t.Errorf("peer %v, %v", got, ok)
		}
		if want := strings.Join(protocols, ""); h.accepted.Protocol != want {
			t.Errorf("protocol %q, want %q", h.accepted.Protocol, want)
		}
	}
}

func TestOnlyTLS13(t *testing.T) {
	ca := newCA(t)
	leaf := ca.leaf(inventory, nil, nil)
	h := handshake(t, bareClient(&tls.Config{RootCAs: ca.pool(), ServerName: "orders.shop.svc", MaxVersion: tls.VersionTLS12}), transport(ca.credentials(orders)).Accept)
	if h.serverErr == nil || h.clientErr == nil {
		t.Errorf("a client of TLS 1.2: the server says %v, the client %v", h.serverErr, h.clientErr)
	}
	h = handshake(t, ownClient(transport(ca.credentials(orders)), "inventory"), bareServer(&tls.Config{
		Certificates: []tls.Certificate{leaf}, NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12,
	}))
	if h.serverErr == nil || h.clientErr == nil {
		t.Errorf("a server of TLS 1.2: the server says %v, the client %v", h.serverErr, h.clientErr)
	}
}

func TestPlaintextIsRefused(t *testing.T) {
	ca := newCA(t)
	h := handshake(t, ownClient(identity.Plaintext(), "orders"), transport(ca.credentials(orders)).Accept)
	if h.serverErr == nil {
		t.Error("a client without TLS was accepted")
	}
	h = handshake(t, ownClient(transport(ca.credentials(orders)), "inventory"), identity.Plaintext().Accept)
	if h.clientErr == nil {
		t.Error("a server without TLS was taken")
	}
}

func TestServerMustSpeakGRPC(t *testing.T) {
	ca := newCA(t)
	for protocol, good := range map[string]bool{"": false, identity.ProtocolGRPC: true, "h2": true} {
		config := &tls.Config{Certificates: []tls.Certificate{ca.leaf(inventory, nil, nil)}}
		if protocol != "" {
			config.NextProtos = []string{protocol}
		}
		h := handshake(t, ownClient(transport(ca.credentials(orders)), "inventory"), bareServer(config))
		if (h.clientErr == nil) != good {
			t.Errorf("ALPN %q: %v", protocol, h.clientErr)
		}
	}
}

func TestWrongService(t *testing.T) {
	ca := newCA(t)
	server := transport(ca.credentials(orders))
	h := handshake(t, ownClient(transport(ca.credentials(orders)), "inventory"), server.Accept)
	if !errors.Is(h.clientErr, identity.ErrWrongService) {
		t.Fatalf("the client says %v", h.clientErr)
	}
	for _, name := range []string{"inventory.shop.svc", orders.String()} {
		if !strings.Contains(h.clientErr.Error(), name) {
			t.Errorf("%q does not name %s", h.clientErr, name)
		}
	}
	t.Run("of an exact ID", func(t *testing.T) {
		for id, want := range map[identity.ID]error{orders: nil, inventory: identity.ErrWrongService} {
			config := identity.ClientConfig(always(ca.credentials(orders)), "orders.shop.svc", identity.ClientOptions{ID: id})
			if h := handshake(t, bareClient(config), server.Accept); !errors.Is(h.clientErr, want) {
				t.Errorf("asked for %s: %v", id, h.clientErr)
			}
		}
	})
}

func TestSessionsAreNotResumed(t *testing.T) {
	ca := newCA(t)
	twice := func(client *tls.Config, server func(context.Context, net.Conn) (identity.Accepted, error)) {
		t.Helper()
		client.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		for range 2 {
			var conn *tls.Conn
			h := handshake(t, func(ctx context.Context, c net.Conn) (net.Conn, error) {
				conn = tls.Client(c, client)
				return conn, conn.HandshakeContext(ctx)
			}, server)
			if h.clientErr != nil || h.serverErr != nil {
				t.Fatal(h.clientErr, h.serverErr)
			}
			if conn.ConnectionState().DidResume {
				t.Error("the session was resumed")
			}
		}
	}
	twice(&tls.Config{RootCAs: ca.pool(), ServerName: "orders.shop.svc"}, transport(ca.credentials(orders)).Accept)
	config := identity.ClientConfig(always(ca.credentials(orders)), "inventory.shop.svc", identity.ClientOptions{})
	twice(config, bareServer(&tls.Config{Certificates: []tls.Certificate{ca.leaf(inventory, nil, nil)}}))
}

// TestClientConfigFollows holds that one configuration, kept for long, has the
// certificate and the roots of each handshake's moment.
func TestClientConfigFollows(t *testing.T) {
	old, next := newCA(t), newCA(t)
	var current atomic.Value
	config := identity.ClientConfig(func() identity.Credentials { return current.Load().(identity.Credentials) }, "inventory.shop.svc", identity.ClientOptions{})
	for _, step := range []struct {
		name   string
		own    identity.Credentials
		server identity.Credentials
		client func(error) bool // what it says of the server; nil: it takes it
	}{
		{"before", old.credentials(orders), old.credentials(inventory, old.cert, next.cert), nil},
		{"a server under the next root, which is not trusted yet", old.credentials(orders), next.credentials(inventory, old.cert, next.cert), unknownAuthority},
		{"both roots", old.credentials(orders, old.cert, next.cert), next.credentials(inventory, old.cert, next.cert), nil},
		{"a certificate under the next", next.credentials(orders, old.cert, next.cert), next.credentials(inventory), nil},
		{"the old root is retired", next.credentials(orders), old.credentials(inventory, old.cert, next.cert), unknownAuthority},
		{"another service", next.credentials(orders), next.credentials(orders), is(identity.ErrWrongService)},
	} {
		t.Run(step.name, func(t *testing.T) {
			current.Store(step.own)
			h := handshake(t, bareClient(config), transport(step.server).Accept)
			check(t, h.clientErr, step.client)
			if step.client != nil {
				return
			}
			if h.serverErr != nil {
				t.Fatal(h.serverErr)
			}
			if p, ok := identity.PeerOf(h.accepted.AuthInfo); !ok || p.ID != orders || !p.NotAfter.Equal(step.own.NotAfter()) {
				t.Errorf("the server sees %v", p)
			}
		})
	}
}

// TestRetiredRoot holds that roots are those of the handshake's moment.
func TestRetiredRoot(t *testing.T) {
	before, after := newCA(t), newCA(t)
	var own atomic.Pointer[identity.Credentials]
	use := func(c identity.Credentials) { own.Store(&c) }
	current := func() identity.Credentials { return *own.Load() }
	one := identity.MutualTLS(current, identity.MutualTLSOptions{})
	old := transport(before.credentials(inventory, before.cert, after.cert))
	client, server := ownClient(one, "inventory"), ownClient(old, "orders")

	use(before.credentials(orders, before.cert))
	if h := handshake(t, client, old.Accept); h.clientErr != nil {
		t.Fatal(h.clientErr)
	}
	if h := handshake(t, server, one.Accept); h.serverErr != nil {
		t.Fatal(h.serverErr)
	}
	use(after.credentials(orders, after.cert))
	if h := handshake(t, client, old.Accept); !unknownAuthority(h.clientErr) {
		t.Errorf("a server under the retired root: %v", h.clientErr)
	}
	if h := handshake(t, server, one.Accept); !unknownAuthority(h.serverErr) {
		t.Errorf("a client under the retired root: %v", h.serverErr)
	}
}

func TestNothingWithoutCredentials(t *testing.T) {
	ca := newCA(t)
	none := transport(identity.Credentials{})
	if h := handshake(t, ownClient(none, "orders"), transport(ca.credentials(orders)).Accept); !errors.Is(h.clientErr, identity.ErrNotReady) {
		t.Errorf("the client says %v", h.clientErr)
	}
	if h := handshake(t, ownClient(transport(ca.credentials(orders)), "inventory"), none.Accept); !errors.Is(h.serverErr, identity.ErrNotReady) {
		t.Errorf("the server says %v", h.serverErr)
	}
	server := transport(ca.credentials(orders)).Accept
	config := identity.ClientConfig(always(identity.Credentials{}), "orders.shop.svc", identity.ClientOptions{})
	if h := handshake(t, bareClient(config), server); !errors.Is(h.clientErr, identity.ErrNotReady) {
		t.Errorf("ClientConfig: %v", h.clientErr)
	}
	config = identity.ClientConfig(always(ca.credentials(orders)), "", identity.ClientOptions{})
	if h := handshake(t, bareClient(config), server); h.clientErr == nil {
		t.Error("ClientConfig takes a server without a name")
	}
}

// TestSwapUnderHandshakes goes through a root rotation, over and over, while
// 200 handshakes are under way: old root, both, new root. Each step is taken
// by one side and then by the other, as in a cluster.
func TestSwapUnderHandshakes(t *testing.T) {
	a, b := newCA(t), newCA(t)
	type side struct {
		atomic.Pointer[identity.Credentials]
	}
	var client, server side
	steps := func(id identity.ID) []identity.Credentials {
		return []identity.Credentials{
			a.credentials(id, a.cert), a.credentials(id, a.cert, b.cert), b.credentials(id, a.cert, b.cert),
			b.credentials(id, b.cert), b.credentials(id, a.cert, b.cert), a.credentials(id, a.cert, b.cert),
		}
	}
	clientSteps, serverSteps := steps(orders), steps(inventory)
	client.Store(&clientSteps[0])
	server.Store(&serverSteps[0])
	from := identity.MutualTLS(func() identity.Credentials { return *client.Load() }, identity.MutualTLSOptions{})
	to := identity.MutualTLS(func() identity.Credentials { return *server.Load() }, identity.MutualTLSOptions{})

	// A handshake begins under one step and may end under the next, never two on.
	var steady sync.RWMutex
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	var swaps atomic.Int64
	swapping.Go(func() {
		for i := 1; ; i++ {
			next := i % len(clientSteps)
			client.Store(&clientSteps[next])
			server.Store(&serverSteps[next])
			steady.Lock() // when what began before the swap is done
			swaps.Add(1)
			steady.Unlock()
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	dial := ownClient(from, "inventory")
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			for range 3 * len(clientSteps) {
				if swaps.Load() > int64(len(clientSteps)) {
					return
				}
				steady.RLock()
				h := handshake(t, dial, to.Accept)
				steady.RUnlock()
				if h.clientErr != nil || h.serverErr != nil {
					t.Errorf("client %v, server %v", h.clientErr, h.serverErr)
				}
			}
		})
	}
	all.Wait()
	close(stop)
	swapping.Wait()
	if n := swaps.Load(); n < int64(len(clientSteps)) {
		t.Errorf("only %d swaps", n)
	}
}

func TestPeerValid(t *testing.T) {
	end := time.Now().Add(time.Hour)
	for _, tt := range []struct {
		name string
		peer identity.Peer
		now  time.Time
		good bool
	}{
		{name: "before the end", peer: identity.Peer{ID: orders, NotAfter: end}, now: end.Add(-time.Second), good: true},
		{name: "after the end", peer: identity.Peer{ID: orders, NotAfter: end}, now: end.Add(time.Second)},
		{name: "anonymous", peer: identity.Peer{Anonymous: true}, now: end, good: true},
		{name: "nobody", now: end},
		{name: "both", peer: identity.Peer{ID: orders, NotAfter: end, Anonymous: true}, now: end.Add(-time.Second)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.peer.Valid(tt.now); (err == nil) != tt.good {
				t.Errorf("Valid: %v", err)
			}
		})
	}
	if err := (identity.Peer{ID: orders, NotAfter: end}).Valid(end.Add(time.Hour)); !errors.Is(err, identity.ErrExpired) {
		t.Errorf("Valid: %v", err)
	}
}

func TestPeerOfOthers(t *testing.T) {
	ca := newCA(t)
	leaf := ca.leaf(orders, nil, nil).Leaf
	verified := [][]*x509.Certificate{{leaf, ca.cert}}
	state := func(s tls.ConnectionState) credentials.AuthInfo { return credentials.TLSInfo{State: s} }
	for _, tt := range []struct {
		name string
		info credentials.AuthInfo
		want identity.Peer
		ok   bool
	}{
		{name: "nothing"},
		{name: "plaintext", info: identity.PlaintextInfo{}, want: identity.Peer{Anonymous: true}, ok: true},
		{name: "behind net/http", info: state(tls.ConnectionState{HandshakeComplete: true, PeerCertificates: verified[0], VerifiedChains: verified}),
			want: identity.Peer{ID: orders, NotAfter: leaf.NotAfter}, ok: true},
		{name: "behind net/http, without a certificate", info: state(tls.ConnectionState{HandshakeComplete: true}), want: identity.Peer{Anonymous: true}, ok: true},
		{name: "that nobody verified", info: state(tls.ConnectionState{HandshakeComplete: true, PeerCertificates: verified[0]})},
		{name: "before the handshake", info: state(tls.ConnectionState{})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := identity.PeerOf(tt.info)
			if got != tt.want || ok != tt.ok {
				t.Errorf("PeerOf = %v, %v; want %v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
	if p, ok := identity.PeerFromContext(t.Context()); ok {
		t.Errorf("a context without a call has peer %v", p)
	}
}

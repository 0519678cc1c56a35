package identity_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
)

type nothing struct{}

type caller struct {
	Caller string `json:"caller"`
}

// serve starts a server of the service inventory that says who calls.
func serve(t *testing.T, own identity.Transport) netip.AddrPort {
	t.Helper()
	server, err := rpc.NewServer(rpc.ServerOptions{Transport: own, Anonymous: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	if err := rpc.Handle(server, "Who/AmI", func(ctx context.Context, _ *nothing) (*caller, error) {
		p, ok := identity.PeerFromContext(ctx)
		if !ok {
			return nil, status.Error(codes.Internal, "no peer")
		}
		return &caller{Caller: p.String()}, nil
	}); err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return netip.MustParseAddrPort(lis.Addr().String())
}

// connect connects to the service as a client of this project does.
func connect(t *testing.T, own identity.Transport, name string, addr netip.AddrPort) *rpc.Conn {
	t.Helper()
	service := discovery.Service{Namespace: "shop", Name: name}
	d, err := staticdiscovery.New(map[discovery.Service][]discovery.Endpoint{service: {{Addresses: []netip.AddrPort{addr}}}}, discovery.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.NewConn(service, d, rpc.ConnOptions{Transport: own})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestHandlersKnowTheCaller goes every way into a server: our client, other
// gRPC clients, and HTTP with JSON, each with a certificate and without.
func TestHandlersKnowTheCaller(t *testing.T) {
	ca := newCA(t)
	addr := serve(t, transport(ca.credentials(inventory)))
	own := ca.credentials(orders)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	t.Run("our client", func(t *testing.T) {
		got, err := rpc.Call[caller](ctx, connect(t, transport(own), "inventory", addr), "Who/AmI", &nothing{})
		if err != nil || got.Caller != orders.String() {
			t.Errorf("%v, %v", got, err)
		}
	})
	t.Run("our client, of another service", func(t *testing.T) {
		_, err := rpc.Call[caller](ctx, connect(t, transport(own), "billing", addr), "Who/AmI", &nothing{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "billing.shop.svc") || !strings.Contains(err.Error(), inventory.String()) {
			t.Errorf("%v does not name both services", err)
		}
	})
	t.Run("our client without TLS", func(t *testing.T) {
		if _, err := rpc.Call[caller](ctx, connect(t, identity.Plaintext(), "inventory", addr), "Who/AmI", &nothing{}); status.Code(err) != codes.Unavailable {
			t.Errorf("error %v", err)
		}
	})
	for _, tt := range []struct {
		name, want string
		certs      []tls.Certificate
	}{
		{name: "with a certificate", want: orders.String(), certs: []tls.Certificate{own.Certificate()}},
		{name: "anonymous", want: "anonymous"},
	} {
		t.Run("another gRPC client, "+tt.name, func(t *testing.T) {
			cc, err := grpc.NewClient("passthrough:///"+addr.String(), grpc.WithTransportCredentials(grpccredentials.NewTLS(&tls.Config{
				RootCAs: ca.pool(), ServerName: "inventory.shop.svc", Certificates: tt.certs,
			})))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cc.Close() }()
			got, err := rpc.Call[caller](ctx, cc, "Who/AmI", &nothing{})
			if err != nil || got.Caller != tt.want {
				t.Errorf("%v, %v", got, err)
			}
		})
		for _, protocol := range []string{"h2", "http/1.1"} {
			t.Run(protocol+" with JSON, "+tt.name, func(t *testing.T) {
				hop := &http.Transport{ForceAttemptHTTP2: protocol == "h2", TLSClientConfig: &tls.Config{
					RootCAs: ca.pool(), ServerName: "inventory.shop.svc", Certificates: tt.certs,
				}}
				defer hop.CloseIdleConnections()
				if got := post(t, hop, addr); got != `{"caller":"`+tt.want+`"}` {
					t.Errorf("got %s", got)
				}
			})
		}
	}
	t.Run("net/http with Dialer", func(t *testing.T) {
		hop := &http.Transport{DialTLSContext: identity.Dialer(always(own), "inventory.shop.svc", identity.ClientOptions{})}
		defer hop.CloseIdleConnections()
		if got := post(t, hop, addr); got != `{"caller":"`+orders.String()+`"}` {
			t.Errorf("got %s", got)
		}
	})
}

func TestDialerNamesWhoAnswered(t *testing.T) {
	ca := newCA(t)
	addr := serve(t, transport(ca.credentials(inventory)))
	conn, err := identity.Dialer(always(ca.credentials(orders)), "billing.shop.svc", identity.ClientOptions{})(t.Context(), "tcp", addr.String())
	if conn != nil || !errors.Is(err, identity.ErrWrongService) {
		t.Errorf("dialled %v, %v", conn, err)
	}
}

func post(t *testing.T, hop *http.Transport, addr netip.AddrPort) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+addr.String()+"/Who/AmI", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := hop.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

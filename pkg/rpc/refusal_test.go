package rpc_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// whoami registers a method that says what the handler knows of its caller.
func whoami(t *testing.T) func(*testServer) {
	return func(s *testServer) {
		if err := rpc.Handle(s, "Who/AmI", func(ctx context.Context, _ *echoRequest) (*echoRequest, error) {
			p, ok := identity.PeerFromContext(ctx)
			if !ok {
				return nil, status.Error(codes.Internal, "no peer")
			}
			return &echoRequest{Text: p.String()}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// laptop is the transport of a server on a laptop.
func laptop(s *identity.Source) identity.Transport {
	return identity.AcceptPlaintext(mutual(s), func(from net.Addr) bool { return from.(*net.TCPAddr).IP.IsLoopback() })
}

// httpsClient is curl over TLS.
func httpsClient(t *testing.T, config *tls.Config, h2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: h2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func postTLS(t *testing.T, client *http.Client, s *testServer, path string, headers ...string) (int, string) {
	t.Helper()
	return postBy(t, client, "https://"+s.addr.String()+path, "{}", headers...)
}

// TLS alone makes nobody known: what a page could send is refused through it
// as well, and whoever shows a certificate is no page.
func TestPagesAreRefusedThroughTLSToo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	s := newServer(t, rpc.ServerOptions{Transport: laptop(served), LoopbackOnly: true}, whoami(t))
	for _, tt := range []struct {
		name    string
		headers []string
	}{
		{"DNS rebinding", []string{"Host: evil.example"}},
		{"cross-site POST", []string{"Origin: https://evil.example"}},
		{"cross-site by fetch metadata alone", []string{"Sec-Fetch-Site: cross-site"}},
		{"a proxy's X-Forwarded-For", []string{"X-Forwarded-For: 192.0.2.1"}},
		{"a proxy's X-Forwarded-Client-Cert", []string{"X-Forwarded-Client-Cert: URI=spiffe://local/ns/default/sa/caller"}},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", tt.name, h2), func(t *testing.T) {
				if code, body := postTLS(t, httpsClient(t, clientConfig(t, caller, true), h2), s, "/Who/AmI", tt.headers...); code != http.StatusForbidden {
					t.Errorf("without a certificate: %d %s", code, body)
				}
				code, body := postTLS(t, httpsClient(t, clientConfig(t, caller, false), h2), s, "/Who/AmI", tt.headers...)
				if code != http.StatusOK || !strings.Contains(body, "spiffe://local/ns/default/sa/caller") {
					t.Errorf("with a certificate: %d %s", code, body)
				}
			})
		}
	}
	if code, body := postTLS(t, httpsClient(t, clientConfig(t, caller, true), false), s, "/Who/AmI"); code != http.StatusOK || !strings.Contains(body, "anonymous") {
		t.Errorf("a program of this machine without a certificate: %d %s", code, body)
	}
}

// What a caller says of itself proves nothing.
func TestHeadersMakeNobodyKnown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	const victim = "spiffe://local/ns/default/sa/operator"
	forged := []string{
		"x-forwarded-client-cert", "By=" + victim + ";URI=" + victim,
		"x-spiffe-id", victim,
		"x-xinhari-identity", victim,
		"authorization", "Bearer " + victim,
		"ssl-client-verify", "SUCCESS",
		"x-ssl-client-s-dn", "CN=operator",
		"grpc-authority", victim,
	}
	strict := newServer(t, rpc.ServerOptions{Transport: mutual(served)}, whoami(t))
	lax := newServer(t, rpc.ServerOptions{Transport: mutual(served), Anonymous: everyone}, whoami(t))
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), forged...), 20*time.Second)
	defer cancel()
	var headers []string
	for i := 0; i < len(forged); i += 2 {
		headers = append(headers, forged[i]+": "+forged[i+1])
	}
	own := caller.Current().ID().String()
	for _, tt := range []struct {
		name   string
		server *testServer
		conn   grpc.ClientConnInterface
		want   string // nothing: refused
	}{
		{"another client without a certificate", strict, foreignTLS(t, strict, clientConfig(t, caller, true)), ""},
		{"another client without a certificate, where all are served", lax, foreignTLS(t, lax, clientConfig(t, caller, true)), "anonymous"},
		{"another client with one", strict, foreignTLS(t, strict, clientConfig(t, caller, false)), own},
		{"our client", strict, ownConn(t, rpc.ConnOptions{Transport: mutual(caller)}, strict.addr), own},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rpc.Call[echoRequest](ctx, tt.conn, "Who/AmI", &echoRequest{})
			switch {
			case tt.want == "" && status.Code(err) != codes.Unauthenticated:
				t.Errorf("%v, %v; want Unauthenticated", got, err)
			case tt.want != "" && (err != nil || got.Text != tt.want):
				t.Errorf("the handler knows %v, %v; want %s", got, err, tt.want)
			}
		})
	}
	t.Run("JSON", func(t *testing.T) {
		if code, body := postTLS(t, httpsClient(t, clientConfig(t, caller, true), false), strict, "/Who/AmI", headers...); code != http.StatusUnauthorized {
			t.Errorf("%d %s", code, body)
		}
		if code, body := postTLS(t, httpsClient(t, clientConfig(t, caller, true), true), lax, "/Who/AmI", headers...); code != http.StatusOK || !strings.Contains(body, `"anonymous"`) {
			t.Errorf("where all are served: %d %s", code, body)
		}
	})
}

func TestBuiltInServicesAreNotForAnonymousCallers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	s := newServer(t, rpc.ServerOptions{Transport: mutual(served)}, func(s *testServer) {
		healthpb.RegisterHealthServer(s, health.NewServer())
		reflection.Register(s)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for anonymous, want := range map[bool]codes.Code{true: codes.Unauthenticated, false: codes.OK} {
		cc := foreignTLS(t, s, clientConfig(t, caller, anonymous))
		if _, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}); status.Code(err) != want {
			t.Errorf("health, anonymous %v: %v", anonymous, err)
		}
		stream, err := reflectionpb.NewServerReflectionClient(cc).ServerReflectionInfo(ctx)
		if err == nil {
			err = stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
		}
		if err == nil || errors.Is(err, io.EOF) {
			_, err = stream.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("reflection, anonymous %v: %v", anonymous, err)
		}
	}
}

// farListener has every peer on another machine.
type farListener struct{ net.Listener }

func (l farListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return farConn{conn}, err
}

type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711} }

// A laptop that was told to listen to the network serves it, but for callers
// with a certificate.
func TestOtherMachinesNeedACertificate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServerOn(t, farListener{lis}, rpc.ServerOptions{Transport: laptop(served), LoopbackOnly: true}, nil)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := newServerOn(t, farListener{plain}, rpc.ServerOptions{LoopbackOnly: true}, nil) // whose transport lets anybody in

	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, tt := range []struct {
		name, first, answer string
		server              *testServer
	}{
		{name: "our client without TLS", first: "\x00xinhari-grpc\n" + preface, server: s},
		{name: "our client without TLS, where the transport allows it", first: "\x00xinhari-grpc\n" + preface, server: open},
		{name: "gRPC without TLS", first: preface, answer: "mutual TLS", server: s},
		{name: "gRPC without TLS, where the transport allows it", first: preface, server: open},
		{name: "curl without TLS", first: "POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", answer: "mutual TLS", server: s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", tt.server.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, tt.first); err != nil {
				t.Fatal(err)
			}
			said(t, conn, tt.answer)
		})
	}
	for _, protocol := range []string{"xinhari-grpc", "h2", "http/1.1"} {
		t.Run("TLS without a certificate, "+protocol, func(t *testing.T) {
			config := clientConfig(t, caller, true)
			config.NextProtos = []string{protocol}
			conn, err := tls.Dial("tcp", s.addr.String(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			said(t, conn, "")
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := call(ctx, ownConn(t, rpc.ConnOptions{Transport: mutual(caller)}, s.addr)); err != nil {
		t.Errorf("our client with a certificate: %v", err)
	}
	if err := call(ctx, foreignTLS(t, s, clientConfig(t, caller, false))); err != nil {
		t.Errorf("another client with a certificate: %v", err)
	}
}

// said holds that the server closes conn and has said no more than what holds
// the given text; no text stands for nothing at all.
func said(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection stays open")
	}
	if text == "" && len(got) > 0 || !strings.Contains(string(got), text) {
		t.Errorf("the server said %q", got)
	}
}

// A stream ends with the certificate of who opened it, also where nothing is
// sent on it.
func TestStreamsEndWithTheirCallersCertificate(t *testing.T) {
	const life = 3 * time.Second // certificates count whole seconds: it is two at least
	dir := filepath.Join(t.TempDir(), "ca")
	s := newServer(t, rpc.ServerOptions{Transport: mutual(source(t, "test", dir, time.Hour))}, nil)
	for name, connect := range map[string]func(*testing.T) grpc.ClientConnInterface{
		"our client": func(t *testing.T) grpc.ClientConnInterface {
			return ownConn(t, rpc.ConnOptions{Transport: mutual(source(t, "caller", dir, life))}, s.addr)
		},
		"another gRPC client": func(t *testing.T) grpc.ClientConnInterface {
			return foreignTLS(t, s, clientConfig(t, source(t, "caller", dir, life), false))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			stream, err := testgrpc.NewTestServiceClient(connect(t)).FullDuplexCall(ctx)
			if err == nil {
				err = stream.Send(&testgrpc.StreamingOutputCallRequest{})
			}
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("after %v: %v, want Unavailable", time.Since(began), err)
			}
		})
	}
}

// A browser or a script that keeps its connection is asked again each time.
func TestAnExpiredCallerOverHTTP(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, 24*time.Hour)
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", h2), func(t *testing.T) {
			var c clock
			s := newServer(t, rpc.ServerOptions{Transport: mutual(served), Now: c.now}, nil)
			client := httpsClient(t, clientConfig(t, caller, false), h2)
			if code, body := postTLS(t, client, s, "/Echo/Echo"); code != http.StatusOK {
				t.Fatalf("%d %s", code, body)
			}
			c.advance(2 * time.Hour)
			answer, body, reused := traced(t, client, s)
			if answer.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "expired") || !reused {
				t.Errorf("%s %s; the connection was reused: %v", answer.Status, body, reused)
			}
		})
	}
}

// traced posts once more, and tells whether that took the connection there was.
func traced(t *testing.T, client *http.Client, s *testServer) (answer *http.Response, body string, reused bool) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.addr.String()+"/Echo/Echo", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if answer, err = client.Do(r); err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text), reused
}

// Clients of others do not know when to connect anew, and are told in time.
func TestOthersAreToldToConnectAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, 24*time.Hour)
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", h2), func(t *testing.T) {
			var c clock
			s := newServer(t, rpc.ServerOptions{Transport: mutual(served), Now: c.now}, nil)
			client := httpsClient(t, clientConfig(t, caller, false), h2)
			for range 2 {
				if code, body := postTLS(t, client, s, "/Echo/Echo"); code != http.StatusOK {
					t.Fatalf("%d %s", code, body)
				}
			}
			if _, _, reused := traced(t, client, s); !reused {
				t.Error("a young connection is replaced")
			}
			c.advance(45 * time.Minute)
			for range 100 { // the client learns of it with one of the next answers
				answer, body, reused := traced(t, client, s)
				if answer.StatusCode != http.StatusOK {
					t.Fatalf("%s %s", answer.Status, body)
				}
				if !reused {
					return
				}
			}
			t.Error("the old connection is still in use")
		})
	}
}

// Who is not served cannot make the server read, and keep, what it sends.
func TestTheBodyOfAnUnknownCallerIsNotRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	s := newServer(t, rpc.ServerOptions{Transport: mutual(served)}, nil)
	config := clientConfig(t, caller, true)
	config.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", s.addr.String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// The body is announced and never sent.
	if _, err := io.WriteString(conn, "POST /Echo/Echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %s", answer.Status)
	}
}

// Peers that open connections and say nothing, or nothing of use, do not lock
// others out for as long as a handshake may last.
func TestHalfOpenHandshakesGiveWay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	half := []string{"", "\x16", "\x16\x03\x01\x02\x00\x01", "\x00xinhari"}
	for _, tt := range []struct {
		name         string
		slots, peers int
		first        []string
	}{
		{"300 of all kinds", 0, 300, half},
		{"silent", 16, 24, half[:1]},
		{"a byte of TLS", 16, 24, half[1:2]},
		{"half a ClientHello", 16, 24, half[2:3]},
		{"half a preamble", 16, 24, half[3:]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, rpc.ServerOptions{Transport: laptop(served), ServerLimits: rpc.ServerLimits{MaxHandshakes: tt.slots, HandshakeTimeout: time.Minute}}, nil)
			for i := range tt.peers {
				conn, err := net.Dial("tcp", s.addr.String())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				if _, err := io.WriteString(conn, tt.first[i%len(tt.first)]); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			began := time.Now()
			if err := call(ctx, ownConn(t, rpc.ConnOptions{Transport: mutual(caller)}, s.addr)); err != nil {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
	}
}

// Without need nobody is hurried: a handshake may take its time.
func TestASlowHandshakeIsWaitedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	s := newServer(t, rpc.ServerOptions{Transport: laptop(served)}, nil)
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	time.Sleep(1500 * time.Millisecond) // the test's subject, and no synchronisation
	if err := tls.Client(conn, clientConfig(t, caller, false)).HandshakeContext(t.Context()); err != nil {
		t.Error(err)
	}
}

package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/rpc"
)

func TestEveryClientReachesTheOnePort(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	payload := &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: []byte("hello")}}
	for name, conn := range map[string]grpc.ClientConnInterface{
		"a client of this project": ownConn(t, rpc.ConnOptions{}, s.addr),
		"any other gRPC client":    foreignConn(t, s.addr),
	} {
		t.Run(name+" calls with protobuf", func(t *testing.T) {
			got, err := testgrpc.NewTestServiceClient(conn).UnaryCall(t.Context(), payload)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.GetPayload().GetBody()) != "hello" {
				t.Errorf("got %q", got.GetPayload().GetBody())
			}
		})
		t.Run(name+" calls a plain Go handler, and keeps all digits", func(t *testing.T) {
			want := echoRequest{Text: "ü\n", N: 1<<53 + 1}
			got, err := rpc.Call[echoRequest](t.Context(), conn, "Echo/Echo", &want)
			if err != nil {
				t.Fatal(err)
			}
			if *got != want {
				t.Errorf("got %+v, want %+v", *got, want)
			}
		})
		t.Run(name+" streams", func(t *testing.T) {
			stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"a", "b", "c"} {
				if err := stream.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: []byte(text)}}); err != nil {
					t.Fatal(err)
				}
				got, err := stream.Recv()
				if err != nil {
					t.Fatal(err)
				}
				if string(got.GetPayload().GetBody()) != text {
					t.Errorf("got %q, want %q", got.GetPayload().GetBody(), text)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("got %v, want EOF", err)
			}
		})
	}
	t.Run("a generated service answers JSON over gRPC", func(t *testing.T) {
		conn := ownConn(t, rpc.ConnOptions{}, s.addr)
		got, err := testgrpc.NewTestServiceClient(conn).UnaryCall(t.Context(), payload, grpc.CallContentSubtype("json"))
		if err != nil || string(got.GetPayload().GetBody()) != "hello" {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("an HTTP client posts JSON", func(t *testing.T) {
		code, body := post(t, s.addr, "/Echo/Echo", `{"text":"x","n":9007199254740993}`)
		if code != http.StatusOK || body != `{"text":"x","n":9007199254740993}` {
			t.Errorf("got %d %s", code, body)
		}
	})
	t.Run("an HTTP client posts JSON to a generated service", func(t *testing.T) {
		code, body := post(t, s.addr, "/grpc.testing.TestService/UnaryCall", `{"payload":{"body":"aGVsbG8="}}`)
		if code != http.StatusOK || !strings.Contains(body, `aGVsbG8=`) {
			t.Errorf("got %d %s", code, body)
		}
	})
}

func TestErrorsOverHTTP(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		if err := rpc.Handle(s, "Fail/Fail", func(_ context.Context, r *echoRequest) (*echoRequest, error) {
			st, err := status.New(codes.NotFound, "no “teapot” 100%").WithDetails(&errdetails.ErrorInfo{Reason: "GONE", Domain: "shop"})
			if err != nil {
				return nil, err
			}
			return nil, st.Err()
		}); err != nil {
			t.Fatal(err)
		}
	})
	for _, c := range []struct {
		name, path, body string
		headers          []string
		code             int
		want             string
	}{
		{name: "a status with details", path: "/Fail/Fail", body: `{}`, code: 404,
			want: `{"code":"not_found","message":"no “teapot” 100%","details":[{"type":"google.rpc.ErrorInfo","value":"CgRHT05FEgRzaG9w"}]}`},
		{name: "no such method", path: "/Echo/Nope", body: `{}`, code: 404, want: `"unimplemented"`},
		{name: "no such service", path: "/Nope/Nope", body: `{}`, code: 404, want: `"unimplemented"`},
		{name: "a path that is no method", path: "/", body: `{}`, code: 404, want: `"unimplemented"`},
		{name: "a body that is no JSON", path: "/Echo/Echo", body: `{"text":`, code: 400, want: `"invalid_argument"`},
		{name: "another content type", path: "/Echo/Echo", body: `text=x`, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, code: 415, want: "Content-Type: application/json"},
		{name: "a timeout that is no number", path: "/Echo/Echo", body: `{}`, headers: []string{"Connect-Timeout-Ms: soon"}, code: 400, want: `"invalid_argument"`},
		{name: "a body that is too large", path: "/Echo/Echo", body: `"` + strings.Repeat("x", 4<<20) + `"`, code: 413, want: `"resource_exhausted"`},
		{name: "a streaming method", path: "/grpc.testing.TestService/FullDuplexCall", body: `{}`, code: 415, want: "application/connect+json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, body := post(t, s.addr, c.path, c.body, c.headers...)
			if code != c.code || !strings.Contains(body, c.want) {
				t.Errorf("got %d %s, want %d %s", code, body, c.code, c.want)
			}
		})
	}
	t.Run("GET", func(t *testing.T) {
		response, err := http.Get("http://" + s.addr.String() + "/Echo/Echo")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "POST" {
			t.Errorf("got %s, Allow %q", response.Status, response.Header.Get("Allow"))
		}
	})
}

func TestUnknownContentTypeIsUnimplemented(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	t.Run("at the server", func(t *testing.T) {
		err := foreignConn(t, s.addr).Invoke(t.Context(), "/Echo/Echo", &echoRequest{}, &echoRequest{}, grpc.ForceCodecV2(renamed{rpc.JSON()}))
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "json, proto") {
			t.Errorf("got %v, want Unimplemented with the list", err)
		}
	})
	t.Run("at the client", func(t *testing.T) {
		err := ownConn(t, rpc.ConnOptions{}, s.addr).Invoke(t.Context(), "/Echo/Echo", &echoRequest{}, &echoRequest{}, grpc.CallContentSubtype("strange"))
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "json, proto") {
			t.Errorf("got %v, want Unimplemented with the list", err)
		}
	})
	t.Run("but not where both have the codec", func(t *testing.T) {
		s := newServer(t, rpc.ServerOptions{Codecs: []rpc.Codec{renamed{rpc.JSON()}}}, nil)
		conn := ownConn(t, rpc.ConnOptions{Codecs: []rpc.Codec{renamed{rpc.JSON()}}}, s.addr)
		got := new(echoRequest)
		if err := conn.Invoke(t.Context(), "/Echo/Echo", &echoRequest{N: 7}, got, grpc.CallContentSubtype("strange")); err != nil || got.N != 7 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// renamed is a codec under a name that nobody knows.
type renamed struct{ rpc.Codec }

func (renamed) Name() string { return "strange" }

func TestShutdownLetsCallsFinish(t *testing.T) {
	for name, call := range map[string]func(t *testing.T, s *testServer) error{
		"of our clients": func(t *testing.T, s *testServer) error {
			_, err := rpc.Call[echoRequest](t.Context(), ownConn(t, rpc.ConnOptions{}, s.addr), "Echo/Echo", &echoRequest{})
			return err
		},
		"of other gRPC clients": func(t *testing.T, s *testServer) error {
			_, err := rpc.Call[echoRequest](t.Context(), foreignConn(t, s.addr), "Echo/Echo", &echoRequest{})
			return err
		},
		"by HTTP": func(t *testing.T, s *testServer) error {
			if code, body := post(t, s.addr, "/Echo/Echo", `{}`); code != http.StatusOK {
				return errors.New(body)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
				s.gate, s.entered = make(chan struct{}), make(chan struct{})
			})
			called := make(chan error, 1)
			go func() { called <- call(t, s) }()
			<-s.entered
			stopped := make(chan error, 1)
			go func() { stopped <- s.Shutdown(t.Context()) }()
			waitRefused(t, s.addr)
			select {
			case err := <-stopped:
				t.Fatalf("Shutdown returned %v with a call in flight", err)
			case err := <-called:
				t.Fatalf("the call ended with %v when the server began to stop", err)
			default:
			}
			close(s.gate)
			if err := <-called; err != nil {
				t.Errorf("the call in flight failed: %v", err)
			}
			if err := <-stopped; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		s.gate, s.entered = make(chan struct{}), make(chan struct{})
	})
	conn := ownConn(t, rpc.ConnOptions{}, s.addr)
	called := make(chan error, 1)
	go func() {
		_, err := rpc.Call[echoRequest](t.Context(), conn, "Echo/Echo", &echoRequest{})
		called <- err
	}()
	<-s.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if err := <-called; status.Code(err) != codes.Unavailable {
		t.Errorf("the call got %v, want Unavailable", err)
	}
	close(s.gate)
}

// waitRefused waits until nobody listens at addr.
func waitRefused(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		c, err := net.DialTimeout("tcp", addr.String(), time.Second)
		if err != nil {
			return
		}
		_ = c.Close()
	}
	t.Fatal("the listener is still open")
}

func TestRegistrationMistakesAreErrors(t *testing.T) {
	handler := func(_ context.Context, r *echoRequest) (*echoRequest, error) { return r, nil }
	for _, c := range []struct {
		name string
		do   func(s *rpc.Server) error
		want string
	}{
		{"a method twice", func(s *rpc.Server) error {
			return errors.Join(rpc.Handle(s, "A/B", handler), rpc.Handle(s, "/A/B", handler))
		}, "registered twice"},
		{"a name that is no method", func(s *rpc.Server) error { return rpc.Handle(s, "Greeter", handler) }, `want "Service/Method"`},
		{"no handler", func(s *rpc.Server) error { return rpc.Handle[echoRequest, echoRequest](s, "A/B", nil) }, "no handler"},
		{"a service twice", func(s *rpc.Server) error {
			testgrpc.RegisterTestServiceServer(s, &testServer{})
			testgrpc.RegisterTestServiceServer(s, &testServer{})
			return s.Check()
		}, "registered twice"},
		{"a plain handler in a generated service", func(s *rpc.Server) error {
			testgrpc.RegisterTestServiceServer(s, &testServer{})
			return rpc.Handle(s, "grpc.testing.TestService/More", handler)
		}, "a generated one"},
		{"after the start", func(s *rpc.Server) error {
			return errors.Join(s.Check(), rpc.Handle(s, "A/B", handler))
		}, "before the server starts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := rpc.NewServer(rpc.ServerOptions{Anonymous: everyone})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.do(s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestBadOptionsAreErrors(t *testing.T) {
	for name, o := range map[string]rpc.ServerOptions{
		"two codecs of one name": {Codecs: []rpc.Codec{renamed{rpc.JSON()}, renamed{rpc.JSON()}}},
		"a nil codec":            {Codecs: []rpc.Codec{nil}},
		"negative handshakes":    {ServerLimits: rpc.ServerLimits{MaxHandshakes: -1}},
		"negative timeout":       {ServerLimits: rpc.ServerLimits{HandshakeTimeout: -1}},
	} {
		if _, err := rpc.NewServer(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSilentPeersHoldNobodyUp(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{MaxHandshakes: 8, HandshakeTimeout: 200 * time.Millisecond}}, nil)
	for range 32 { // four times as many as there may be handshakes
		c, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := rpc.Call[echoRequest](ctx, ownConn(t, rpc.ConnOptions{}, s.addr), "Echo/Echo", &echoRequest{}); err != nil {
		t.Fatal(err)
	}
}

// A handshake ends with its timeout, also where nobody waits for its place.
func TestSilentPeersAreClosed(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{HandshakeTimeout: 200 * time.Millisecond}}, nil)
	c, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	said(t, c, "")
}

func TestGarbageIsClosed(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	for _, garbage := range []string{"\x00not our preamble", "\x16\x03\x01\x02\x00", "GET", "\r\n\r\n"} {
		c, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, garbage); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).CloseWrite() // the server may have closed already
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the connection stays open", garbage)
		}
		_ = c.Close()
	}
}

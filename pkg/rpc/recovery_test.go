package rpc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/middleware/accesslog"
	"github.com/xinhari/xinhari/pkg/middleware/metrics"
	"github.com/xinhari/xinhari/pkg/middleware/traces"
	"github.com/xinhari/xinhari/pkg/rpc"
)

const panicSecret = "what only the log may say"

// unprintable panics when it is encoded.
type unprintable struct{}

func (unprintable) MarshalJSON() ([]byte, error) { panic(panicSecret) }

// unsendable cannot be encoded.
type unsendable struct{}

func (unsendable) MarshalJSON() ([]byte, error) { return nil, errors.ErrUnsupported }

// recovering counts the panics that it recovers from.
func recovering() (middleware.Middleware, *atomic.Int64) {
	var n atomic.Int64
	return middleware.Recovery(middleware.RecoveryOptions{Panicked: func(*middleware.Operation) { n.Add(1) }}), &n
}

// panicking panics in operations of the given names, before or after they run.
func panicking(after bool, names ...string) middleware.Middleware {
	return func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, o *middleware.Operation) error {
			for _, name := range names {
				if o.Name == name {
					if after {
						_ = next(ctx, o)
					}
					panic(panicSecret)
				}
			}
			return next(ctx, o)
		}
	}
}

// newPanickingServer serves methods that panic, each in another place:
// "Panic/Handler", "Panic/Encode", "Panic/Middleware", "Panic/After",
// "Panic/Authorize" and the stream "Panic/Stream".
func newPanickingServer(t *testing.T) (*testServer, *atomic.Int64) {
	t.Helper()
	recovery, panics := recovering()
	s := newServer(t, rpc.ServerOptions{
		Observers: []middleware.Middleware{recovery},
		Authorize: func(_ context.Context, o *middleware.Operation) error {
			if o.Name == "Panic/Authorize" {
				panic(panicSecret)
			}
			return nil
		},
		Middleware: []middleware.Middleware{panicking(false, "Panic/Middleware"), panicking(true, "Panic/After")},
	}, func(s *testServer) {
		ok := func(context.Context, *echoRequest) (*echoRequest, error) { return &echoRequest{}, nil }
		err := errors.Join(
			rpc.Handle(s, "Panic/Handler", func(context.Context, *echoRequest) (*echoRequest, error) { panic(panicSecret) }),
			rpc.Handle(s, "Panic/Encode", func(context.Context, *echoRequest) (*unprintable, error) { return &unprintable{}, nil }),
			rpc.Handle(s, "Panic/Middleware", ok), rpc.Handle(s, "Panic/After", ok), rpc.Handle(s, "Panic/Authorize", ok),
		)
		if err != nil {
			t.Fatal(err)
		}
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "PanicStreams", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
			StreamName: "Stream", ClientStreams: true, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				if err := stream.RecvMsg(&testgrpc.Empty{}); err != nil {
					return err
				}
				if err := stream.SendMsg(&testgrpc.Empty{}); err != nil {
					return err
				}
				panic(panicSecret)
			},
		}}}, s)
	})
	return s, panics
}

func TestAServerOutlivesPanics(t *testing.T) {
	s, panics := newPanickingServer(t)
	conns := map[string]grpc.ClientConnInterface{"own": ownConn(t, rpc.ConnOptions{}, s.addr), "foreign": foreignConn(t, s.addr)}
	for name, conn := range conns {
		for _, method := range []string{"Panic/Handler", "Panic/Encode", "Panic/Middleware", "Panic/After", "Panic/Authorize"} {
			t.Run(name+"/"+method, func(t *testing.T) {
				_, err := rpc.Call[echoRequest](t.Context(), conn, method, &echoRequest{})
				if status.Code(err) != codes.Internal || strings.Contains(err.Error(), panicSecret) {
					t.Errorf("the caller gets %v", err)
				}
				if n := panics.Swap(0); n != 1 {
					t.Errorf("%d panics were counted", n)
				}
			})
		}
		t.Run(name+"/stream", func(t *testing.T) {
			stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/PanicStreams/Stream")
			if err == nil {
				err = stream.SendMsg(&testgrpc.Empty{})
			}
			if err == nil {
				err = stream.RecvMsg(&testgrpc.Empty{})
			}
			if err != nil {
				t.Fatal(err)
			}
			if err = stream.RecvMsg(&testgrpc.Empty{}); status.Code(err) != codes.Internal || strings.Contains(err.Error(), panicSecret) {
				t.Errorf("the caller gets %v", err)
			}
			if n := panics.Swap(0); n != 1 {
				t.Errorf("%d panics were counted", n)
			}
		})
	}
	for _, method := range []string{"Panic/Handler", "Panic/Encode", "Panic/Middleware"} {
		t.Run("JSON/"+method, func(t *testing.T) {
			code, body := post(t, s.addr, "/"+method, `{}`)
			if code != http.StatusInternalServerError || !strings.Contains(body, `"internal"`) || strings.Contains(body, panicSecret) {
				t.Errorf("the caller gets %d %s", code, body)
			}
			if n := panics.Swap(0); n != 1 {
				t.Errorf("%d panics were counted", n)
			}
		})
	}
	for name, conn := range conns {
		if _, err := rpc.Call[echoRequest](t.Context(), conn, "Echo/Echo", &echoRequest{}); err != nil {
			t.Errorf("%s: a call after all that: %v", name, err)
		}
	}
}

func TestAClientOutlivesPanicsInItsMiddleware(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	for name, after := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			recovery, panics := recovering()
			conn := ownConn(t, rpc.ConnOptions{Middleware: []middleware.Middleware{
				recovery, panicking(after, "grpc.testing.TestService/UnaryCall", "grpc.testing.TestService/FullDuplexCall"),
			}}, s.addr)
			client := testgrpc.NewTestServiceClient(conn)
			if _, err := client.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); status.Code(err) != codes.Internal {
				t.Errorf("unary: %v", err)
			}
			stream, err := client.FullDuplexCall(t.Context())
			switch {
			case !after && status.Code(err) != codes.Internal:
				t.Errorf("stream: %v", err)
			case after && err != nil:
				t.Errorf("stream: %v", err)
			case after: // the stream was over, and nobody is left to be told
				err = stream.CloseSend()
				if _, e := stream.Recv(); err != nil || !errors.Is(e, io.EOF) {
					t.Errorf("stream: %v, %v", err, e)
				}
			}
			if err := conn.Close(); err != nil { // waits for the middleware
				t.Error(err)
			}
			if n := panics.Load(); n != 2 {
				t.Errorf("%d panics were counted", n)
			}
		})
	}
}

// An answer that cannot be encoded is an error for all who look on, too.
func TestObserversSeeWhatTheCallerGets(t *testing.T) {
	seen := make(chan codes.Code, 1)
	watch := func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, o *middleware.Operation) error {
			err := next(ctx, o)
			seen <- middleware.Code(err)
			return err
		}
	}
	s := newServer(t, rpc.ServerOptions{Observers: []middleware.Middleware{watch}}, func(s *testServer) {
		if err := rpc.Handle(s, "Bad/Answer", func(context.Context, *echoRequest) (*unsendable, error) { return &unsendable{}, nil }); err != nil {
			t.Fatal(err)
		}
	})
	_, err := rpc.Call[echoRequest](t.Context(), ownConn(t, rpc.ConnOptions{}, s.addr), "Bad/Answer", &echoRequest{})
	if saw := <-seen; saw != codes.Internal || status.Code(err) != codes.Internal {
		t.Errorf("observers saw %v, the caller %v", saw, err)
	}
}

// lines is a slog.Handler that keeps what is written.
type lines struct {
	slog.Handler
	got chan map[string]string
}

func (l lines) Handle(_ context.Context, r slog.Record) error {
	line := map[string]string{}
	r.Attrs(func(a slog.Attr) bool { line[a.Key] = a.Value.String(); return true })
	l.got <- line
	return nil
}

func TestTheAccessLogKnowsEveryPeerAndMessage(t *testing.T) {
	log := lines{slog.NewTextHandler(io.Discard, nil), make(chan map[string]string, 1)}
	calls := lines{log.Handler, make(chan map[string]string, 1)}
	s := newServer(t, rpc.ServerOptions{Observers: []middleware.Middleware{accesslog.New(slog.New(log), accesslog.Options{})}}, func(s *testServer) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "Sum", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
			StreamName: "Sum", ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				for {
					if err := stream.RecvMsg(&testgrpc.Empty{}); errors.Is(err, io.EOF) {
						return stream.SendMsg(&testgrpc.Empty{})
					} else if err != nil {
						return err
					}
				}
			},
		}}}, s)
	})
	own := ownConn(t, rpc.ConnOptions{Middleware: []middleware.Middleware{accesslog.New(slog.New(calls), accesslog.Options{})}}, s.addr)
	for name, conn := range map[string]grpc.ClientConnInterface{"own": own, "foreign": foreignConn(t, s.addr)} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // its one answer comes as the stream ends
				stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, "/Sum/Sum")
				for range 3 {
					if err == nil {
						err = stream.SendMsg(&testgrpc.Empty{})
					}
				}
				if err == nil {
					err = stream.CloseSend()
				}
				if err == nil {
					err = stream.RecvMsg(&testgrpc.Empty{})
				}
				if err != nil {
					t.Fatal(err)
				}
				if l := <-log.got; l["peer"] != "anonymous" || l["received"] != "3" || l["sent"] != "1" {
					t.Fatalf("served: %v", l)
				}
				if name == "own" {
					if l := <-calls.got; l["received"] != "1" || l["sent"] != "3" {
						t.Fatalf("made: %v", l)
					}
				}
			}
		})
	}
}

// grpc-go ends a stream of one answer while it hands that over.
func TestMiddlewareHearsOfTheEndAfterTheLastMessage(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	ended := make(chan struct{})
	conn := ownConn(t, rpc.ConnOptions{Middleware: []middleware.Middleware{func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, o *middleware.Operation) error {
			o.OnReceive(func(any) error {
				select {
				case <-ended:
					t.Error("the stream was over before its last message")
				case <-time.After(50 * time.Millisecond): // it waits for this
				}
				return nil
			})
			defer close(ended)
			return next(ctx, o)
		}
	}}}, s.addr)
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, "/Echo/Echo", grpc.ForceCodecV2(rpc.JSON()))
	if err == nil {
		err = stream.SendMsg(&echoRequest{})
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err == nil {
		err = stream.RecvMsg(&echoRequest{})
	}
	if err != nil {
		t.Fatal(err)
	}
	<-ended
}

// A caller's trace goes on here, whoever it is and however it calls.
func TestTheTraceOfEveryCallerGoesOn(t *testing.T) {
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	got := make(chan string, 1)
	s := newServer(t, rpc.ServerOptions{Observers: []middleware.Middleware{traces.New(sdktrace.NewTracerProvider(), traces.Options{})}}, func(s *testServer) {
		if err := rpc.Handle(s, "Trace/ID", func(ctx context.Context, _ *echoRequest) (*echoRequest, error) {
			got <- traces.TraceID(ctx)
			return nil, nil
		}); err != nil {
			t.Fatal(err)
		}
	})
	for name, conn := range map[string]grpc.ClientConnInterface{"own": ownConn(t, rpc.ConnOptions{}, s.addr), "foreign": foreignConn(t, s.addr)} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent)
		if _, err := rpc.Call[echoRequest](ctx, conn, "Trace/ID", &echoRequest{}); err != nil {
			t.Fatal(err)
		}
		if saw := <-got; saw != id {
			t.Errorf("%s: the handler is in the trace %q", name, saw)
		}
	}
	if code, body := post(t, s.addr, "/Trace/ID", `{}`, "Traceparent: "+parent); code != http.StatusOK {
		t.Fatal(code, body)
	}
	if saw := <-got; saw != id {
		t.Errorf("JSON: the handler is in the trace %q", saw)
	}
}

func TestDeadlinesOfServedCalls(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{Middleware: []middleware.Middleware{middleware.Deadline(10 * time.Millisecond)}}, func(s *testServer) {
		if err := rpc.Handle(s, "Slow/Slow", func(ctx context.Context, _ *echoRequest) (*echoRequest, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}); err != nil {
			t.Fatal(err)
		}
	})
	for name, conn := range map[string]grpc.ClientConnInterface{"own": ownConn(t, rpc.ConnOptions{}, s.addr), "foreign": foreignConn(t, s.addr)} {
		if _, err := rpc.Call[echoRequest](t.Context(), conn, "Slow/Slow", &echoRequest{}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := rpc.Call[echoRequest](t.Context(), conn, "Echo/Echo", &echoRequest{}); err != nil {
			t.Errorf("%s: what is in time: %v", name, err)
		}
	}
	if code, body := post(t, s.addr, "/Slow/Slow", `{}`); code != http.StatusGatewayTimeout {
		t.Errorf("JSON: %d %s", code, body)
	}
}

func TestObserversUnderConcurrentUse(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the servers' and conns' own
	m, err := metrics.New(prometheus.NewRegistry(), metrics.Options{MaxNames: 2})
	if err != nil {
		t.Fatal(err)
	}
	recovery, _ := recovering()
	all := []middleware.Middleware{m.Middleware, accesslog.New(slog.New(slog.NewTextHandler(io.Discard, nil)), accesslog.Options{}), recovery}
	s := newServer(t, rpc.ServerOptions{Observers: all, Middleware: []middleware.Middleware{panicking(true, "grpc.testing.TestService/EmptyCall")}}, nil)
	client := testgrpc.NewTestServiceClient(ownConn(t, rpc.ConnOptions{Middleware: all}, s.addr))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := client.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); err != nil {
					t.Error(err)
				}
				if _, err := client.EmptyCall(t.Context(), &testgrpc.Empty{}); status.Code(err) != codes.Internal {
					t.Error(err)
				}
				stream, err := client.FullDuplexCall(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				var receiving sync.WaitGroup
				receiving.Go(func() {
					for range 5 {
						if _, err := stream.Recv(); err != nil {
							t.Error(err)
						}
					}
					if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
						t.Error(err)
					}
				})
				for range 5 {
					if err := stream.Send(&testgrpc.StreamingOutputCallRequest{}); err != nil {
						t.Error(err)
					}
				}
				if err := stream.CloseSend(); err != nil {
					t.Error(err)
				}
				receiving.Wait()
			}
		})
	}
	wg.Wait()
}

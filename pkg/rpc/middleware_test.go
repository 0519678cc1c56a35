package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// journal notes what middleware saw, and when a call was over.
type journal struct {
	mu    sync.Mutex
	lines []string
	over  chan struct{}
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// as returns middleware that writes into j under a name.
func (j *journal) as(name string) middleware.Middleware {
	return func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, o *middleware.Operation) error {
			j.note("%s begins %s %s %s of %s", name, o.Side, o.Kind, o.Name, o.Service)
			o.OnReceive(func(any) error { j.note("%s receives", name); return nil })
			o.OnSend(func(any) error { j.note("%s sends", name); return nil })
			err := next(ctx, o)
			j.note("%s ends: %v", name, status.Code(err))
			if name == "A" {
				j.over <- struct{}{}
			}
			return err
		}
	}
}

func newJournal() *journal { return &journal{over: make(chan struct{}, 1)} }

func TestMiddlewareSeesEveryKindInOrder(t *testing.T) {
	served, calls := newJournal(), newJournal()
	s := newServer(t, rpc.ServerOptions{
		Service:    "test.default",
		Observers:  []middleware.Middleware{served.as("A")},
		Authorize:  func(context.Context, *middleware.Operation) error { served.note("authorized"); return nil },
		Middleware: []middleware.Middleware{served.as("B")},
	}, nil)
	conn := ownConn(t, rpc.ConnOptions{Middleware: []middleware.Middleware{calls.as("A"), calls.as("B")}}, s.addr)
	client := testgrpc.NewTestServiceClient(conn)

	for _, c := range []struct {
		name         string
		call         func() error
		calls, serve []string
	}{
		{
			name: "unary",
			call: func() error {
				_, err := client.UnaryCall(t.Context(), &testgrpc.SimpleRequest{})
				return err
			},
			calls: []string{
				"A begins client unary grpc.testing.TestService/UnaryCall of test.default",
				"B begins client unary grpc.testing.TestService/UnaryCall of test.default",
				"A sends", "B sends", "B receives", "A receives", "B ends: OK", "A ends: OK",
			},
			serve: []string{
				"A begins server unary grpc.testing.TestService/UnaryCall of test.default",
				"authorized",
				"B begins server unary grpc.testing.TestService/UnaryCall of test.default",
				"A receives", "B receives", "B sends", "A sends", "B ends: OK", "A ends: OK",
			},
		},
		{
			name: "bidi",
			call: func() error {
				stream, err := client.FullDuplexCall(t.Context())
				if err != nil {
					return err
				}
				if err := stream.Send(&testgrpc.StreamingOutputCallRequest{}); err != nil {
					return err
				}
				if _, err := stream.Recv(); err != nil {
					return err
				}
				if err := stream.CloseSend(); err != nil {
					return err
				}
				if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
					return fmt.Errorf("the stream goes on: %w", err)
				}
				return nil
			},
			calls: []string{
				"A begins client bidi_stream grpc.testing.TestService/FullDuplexCall of test.default",
				"B begins client bidi_stream grpc.testing.TestService/FullDuplexCall of test.default",
				"A sends", "B sends", "B receives", "A receives", "B ends: OK", "A ends: OK",
			},
			serve: []string{
				"A begins server bidi_stream grpc.testing.TestService/FullDuplexCall of test.default",
				"authorized",
				"B begins server bidi_stream grpc.testing.TestService/FullDuplexCall of test.default",
				"A receives", "B receives", "B sends", "A sends", "B ends: OK", "A ends: OK",
			},
		},
		{
			name: "an error",
			call: func() error {
				_, err := client.EmptyCall(t.Context(), &testgrpc.Empty{})
				if status.Code(err) != codes.Unimplemented {
					return fmt.Errorf("got %w, want Unimplemented", err)
				}
				return nil
			},
			calls: []string{
				"A begins client unary grpc.testing.TestService/EmptyCall of test.default",
				"B begins client unary grpc.testing.TestService/EmptyCall of test.default",
				"A sends", "B sends", "B ends: Unimplemented", "A ends: Unimplemented",
			},
			serve: []string{
				"A begins server unary grpc.testing.TestService/EmptyCall of test.default",
				"authorized",
				"B begins server unary grpc.testing.TestService/EmptyCall of test.default",
				"A receives", "B receives", "B ends: Unimplemented", "A ends: Unimplemented",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.call(); err != nil {
				t.Fatal(err)
			}
			<-calls.over
			<-served.over
			if diff := cmp.Diff(c.calls, calls.take()); diff != "" {
				t.Errorf("made (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.serve, served.take()); diff != "" {
				t.Errorf("served (-want +got):\n%s", diff)
			}
		})
	}
}

var errRefused = status.Error(codes.FailedPrecondition, "refused by middleware")

func refuse(middleware.Handler) middleware.Handler {
	return func(context.Context, *middleware.Operation) error { return errRefused }
}

func TestMiddlewareRefuses(t *testing.T) {
	t.Run("calls that are served", func(t *testing.T) {
		s := newServer(t, rpc.ServerOptions{Middleware: []middleware.Middleware{refuse}}, nil)
		for name, conn := range map[string]grpc.ClientConnInterface{"own": ownConn(t, rpc.ConnOptions{}, s.addr), "foreign": foreignConn(t, s.addr)} {
			if _, err := testgrpc.NewTestServiceClient(conn).UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); status.Code(err) != codes.FailedPrecondition {
				t.Errorf("%s, unary: %v", name, err)
			}
			stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(t.Context())
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != codes.FailedPrecondition {
				t.Errorf("%s, stream: %v", name, err)
			}
		}
	})
	t.Run("calls that are made", func(t *testing.T) {
		s := newServer(t, rpc.ServerOptions{}, nil)
		client := testgrpc.NewTestServiceClient(ownConn(t, rpc.ConnOptions{Middleware: []middleware.Middleware{refuse}}, s.addr))
		if _, err := client.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); !errors.Is(err, errRefused) {
			t.Errorf("unary: %v", err)
		}
		if _, err := client.FullDuplexCall(t.Context()); !errors.Is(err, errRefused) {
			t.Errorf("stream: %v", err)
		}
	})
	t.Run("a call that Authorize refuses is observed, and not read", func(t *testing.T) {
		j := newJournal()
		s := newServer(t, rpc.ServerOptions{
			Service:   "test.default",
			Observers: []middleware.Middleware{j.as("A")},
			Authorize: func(context.Context, *middleware.Operation) error { return status.Error(codes.PermissionDenied, "no") },
		}, nil)
		_, err := testgrpc.NewTestServiceClient(ownConn(t, rpc.ConnOptions{}, s.addr)).UnaryCall(t.Context(), &testgrpc.SimpleRequest{})
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("got %v", err)
		}
		<-j.over
		want := []string{"A begins server unary grpc.testing.TestService/UnaryCall of test.default", "A ends: PermissionDenied"}
		if diff := cmp.Diff(want, j.take()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMiddlewareOfAStreamEndsWithIt(t *testing.T) {
	j := newJournal()
	s := newServer(t, rpc.ServerOptions{}, nil)
	conn := ownConn(t, rpc.ConnOptions{Middleware: []middleware.Middleware{j.as("A")}}, s.addr)
	client := testgrpc.NewTestServiceClient(conn)

	ctx, cancel := context.WithCancel(t.Context())
	if _, err := client.FullDuplexCall(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-j.over
	if lines := j.take(); lines[len(lines)-1] != "A ends: Canceled" {
		t.Errorf("a stream whose context ended: %q", lines)
	}

	if _, err := client.FullDuplexCall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil { // waits for the middleware
		t.Fatal(err)
	}
	<-j.over
	if lines := j.take(); lines[len(lines)-1] != "A ends: Canceled" {
		t.Errorf("a stream whose connection was closed: %q", lines)
	}
	if _, err := client.FullDuplexCall(t.Context()); status.Code(err) != codes.Canceled {
		t.Errorf("a stream after Close: %v", err)
	}
}

// header sets a header on its way out, or reads it on its way in.
func header(name, value string, got chan<- []string) middleware.Middleware {
	return func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, o *middleware.Operation) error {
			if o.Side == middleware.Client {
				ctx = o.SetHeader(ctx, name, value)
			}
			got <- o.Header(ctx, name)
			return next(ctx, o)
		}
	}
}

func TestMiddlewareReadsAndSetsHeaders(t *testing.T) {
	got := make(chan []string, 3)
	h := header("x-tenant", "blue", got)
	s := newServer(t, rpc.ServerOptions{Middleware: []middleware.Middleware{h}}, nil)
	red := header("x-tenant", "red", got)
	conn := ownConn(t, rpc.ConnOptions{Middleware: []middleware.Middleware{red, h}}, s.addr)
	if _, err := testgrpc.NewTestServiceClient(conn).UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"red", "blue", "blue"} {
		if diff := cmp.Diff([]string{want}, <-got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMiddlewareCostsNoAllocation(t *testing.T) {
	idle := func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, o *middleware.Operation) error { return next(ctx, o) }
	}
	all := []middleware.Middleware{idle, idle}
	without := allocations(t, rpc.ServerOptions{}, rpc.ConnOptions{})
	with := allocations(t, rpc.ServerOptions{Observers: all, Middleware: all}, rpc.ConnOptions{Middleware: all})
	if with > without+1 { // pools are emptied now and then
		t.Errorf("%v allocations a call with middleware, %v without", with, without)
	}
}

// allocations counts those of a unary call, at both sides.
func allocations(t *testing.T, so rpc.ServerOptions, co rpc.ConnOptions) float64 {
	t.Helper()
	client := testgrpc.NewTestServiceClient(ownConn(t, co, newServer(t, so, nil).addr))
	request := &testgrpc.SimpleRequest{}
	return testing.AllocsPerRun(2000, func() {
		if _, err := client.UnaryCall(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	})
}

// TestUnknownMethodsAreSeen holds that calls of methods that there are not are
// admitted, authorized and observed like others, under one name.
func TestUnknownMethodsAreSeen(t *testing.T) {
	served := newJournal()
	s := newServer(t, rpc.ServerOptions{
		Service:    "test.default",
		Observers:  []middleware.Middleware{served.as("A")},
		Authorize:  func(context.Context, *middleware.Operation) error { served.note("authorized"); return nil },
		Middleware: []middleware.Middleware{served.as("B")},
	}, nil)
	invoke := func(cc grpc.ClientConnInterface, method string) error {
		err := cc.Invoke(t.Context(), method, &testgrpc.Empty{}, &testgrpc.Empty{})
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "unknown method "+method) {
			return fmt.Errorf("%s: %w", method, err)
		}
		return nil
	}
	own, foreign := ownConn(t, rpc.ConnOptions{}, s.addr), foreignConn(t, s.addr)
	for name, call := range map[string]func() error{
		"our client, no such service":     func() error { return invoke(own, "/No/Such") },
		"our client, no such method":      func() error { return invoke(own, "/grpc.testing.TestService/Such") },
		"another client, no such service": func() error { return invoke(foreign, "/No/Such") },
		"another client, no such method":  func() error { return invoke(foreign, "/grpc.testing.TestService/Such") },
		"curl": func() error {
			if code, body := post(t, s.addr, "/No/Such", "{}"); code != http.StatusNotImplemented && code != http.StatusNotFound || !strings.Contains(body, "unknown method /No/Such") {
				return fmt.Errorf("%d %s", code, body)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := call(); err != nil {
				t.Error(err)
			}
			<-served.over
			want := []string{
				"A begins server bidi_stream _OTHER of test.default", "authorized", "B begins server bidi_stream _OTHER of test.default",
				"B ends: Unimplemented", "A ends: Unimplemented",
			}
			if diff := cmp.Diff(want, served.take()); diff != "" {
				t.Errorf("what middleware saw (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTheOneAnswerOfAStreamCounts holds that middleware that hears of no
// message finds the answer counted when the stream has ended, which grpc-go
// may tell first.
func TestTheOneAnswerOfAStreamCounts(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		if err := rpc.HandleClientStream(s, "Counter/Sum", func(_ context.Context, in *rpc.Receiver[counted]) (*counted, error) {
			for _, err := range in.All() {
				if err != nil {
					return nil, err
				}
			}
			return &counted{}, nil
		}); err != nil {
			t.Fatal(err)
		}
	})
	type counts struct{ received, sent uint64 }
	seen := make(chan counts, 1)
	cc := ownConn(t, rpc.ConnOptions{Middleware: []middleware.Middleware{func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, o *middleware.Operation) error {
			err := next(ctx, o)
			received, sent := o.Messages()
			seen <- counts{received, sent}
			return err
		}
	}}, GRPC: []grpc.DialOption{grpc.WithStreamInterceptor(
		func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, cc, method, opts...)
			return tardy{stream}, err
		})}}, s.addr)
	stream, err := rpc.CallClientStream[counted, counted](t.Context(), cc, "Counter/Sum")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.Send(&counted{}), stream.Send(&counted{})); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CloseAndReceive(); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != (counts{1, 2}) {
		t.Fatalf("counted %+v", got)
	}
}

// tardy hands messages on some time after grpc-go has told that the stream ended.
type tardy struct{ grpc.ClientStream }

func (s tardy) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	time.Sleep(20 * time.Millisecond)
	return err
}

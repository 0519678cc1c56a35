package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/rpc"
)

type counted struct {
	N int64 `json:"n"`
}

// counting registers a service with a method of each kind that streams. left
// is told when a handler of Count or Echo returns.
func counting(t *testing.T, left chan<- error) func(*testServer) {
	return func(s *testServer) {
		err := errors.Join(
			rpc.HandleServerStream(s, "Counter/Count", func(ctx context.Context, to *counted, out *rpc.Sender[counted]) (err error) {
				defer func() { left <- err }()
				for n := range to.N {
					if err := out.Send(&counted{n}); err != nil {
						return err
					}
				}
				if to.N < 0 {
					for {
						if err := out.Send(nil); err != nil {
							return err
						}
					}
				}
				return nil
			}),
			rpc.HandleClientStream(s, "Counter/Sum", func(_ context.Context, in *rpc.Receiver[counted]) (*counted, error) {
				sum := &counted{}
				for n, err := range in.All() {
					if err != nil {
						return nil, err
					}
					if n.N < 0 {
						return nil, status.Error(codes.InvalidArgument, "negative")
					}
					sum.N += n.N
				}
				return sum, nil
			}),
			rpc.HandleBidiStream(s, "Counter/Echo", func(_ context.Context, stream *rpc.Stream[counted, echoRequest]) (err error) {
				defer func() { left <- err }()
				for n, err := range stream.All() {
					if err != nil {
						return err
					}
					if err := stream.Send(&echoRequest{Text: fmt.Sprint(n.N), N: n.N}); err != nil {
						return err
					}
				}
				return nil
			}),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlainStreams(t *testing.T) {
	left := make(chan error, 100)
	s := newServer(t, rpc.ServerOptions{}, counting(t, left))
	own := ownConn(t, rpc.ConnOptions{}, s.addr)
	for _, c := range []struct {
		name string
		conn grpc.ClientConnInterface
		opts []grpc.CallOption
	}{
		{name: "a client of this project", conn: own},
		{name: "any other gRPC client", conn: foreignConn(t, s.addr)},
		{name: "as protobuf", conn: own, opts: []grpc.CallOption{grpc.CallContentSubtype("proto")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []int64
			for n, err := range rpc.CallServerStream[counted](t.Context(), c.conn, "Counter/Count", &counted{N: 10}, c.opts...) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, n.N)
			}
			if want := []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
				t.Errorf("counted %v", got)
			}
			if err := <-left; err != nil {
				t.Errorf("Count returned %v", err)
			}

			sum, err := rpc.CallClientStream[counted, counted](t.Context(), c.conn, "Counter/Sum", c.opts...)
			if err != nil {
				t.Fatal(err)
			}
			for n := range int64(5) {
				if err := sum.Send(&counted{N: n + 1<<53}); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := sum.CloseAndReceive(); err != nil || got.N != 5<<53+10 {
				t.Errorf("sum %v, %v", got, err)
			}

			echo, err := rpc.CallBidiStream[echoRequest, counted](t.Context(), c.conn, "Counter/Echo", c.opts...)
			if err != nil {
				t.Fatal(err)
			}
			for n := range int64(1000) {
				if err := echo.Send(&counted{N: n}); err != nil {
					t.Fatal(err)
				}
				got, err := echo.Receive()
				if err != nil || *got != (echoRequest{fmt.Sprint(n), n}) {
					t.Fatalf("echo of %d: %v, %v", n, got, err)
				}
			}
			if err := echo.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if _, err := echo.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end %v, want EOF", err)
			}
			if err := <-left; err != nil {
				t.Errorf("Echo returned %v", err)
			}
		})
	}
	t.Run("a client that leaves ends the handler", func(t *testing.T) {
		for _, err := range rpc.CallServerStream[counted](t.Context(), own, "Counter/Count", &counted{N: -1}) {
			if err != nil {
				t.Error(err)
			}
			break
		}
		select {
		case err := <-left:
			if status.Code(err) != codes.Canceled {
				t.Errorf("Count returned %v, want Canceled", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("Count does not return")
		}
	})
	t.Run("a handler that fails ends the call", func(t *testing.T) {
		sum, err := rpc.CallClientStream[counted, counted](t.Context(), own, "Counter/Sum")
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			err = sum.Send(&counted{N: -1})
		}
		if _, received := sum.CloseAndReceive(); !errors.Is(err, io.EOF) || status.Code(received) != codes.InvalidArgument {
			t.Errorf("sent %v, received %v", err, received)
		}
	})
	t.Run("what cannot be decoded names the field", func(t *testing.T) {
		for n, err := range rpc.CallServerStream[counted](t.Context(), own, "Counter/Count", &map[string]string{"n": "x"}) {
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "counted.n") {
				t.Errorf("got %v, %v", n, err)
			}
		}
	})
	t.Run("a name that is no method", func(t *testing.T) {
		times := 0
		for _, err := range rpc.CallServerStream[counted](t.Context(), own, "Counter", &counted{}) {
			if times++; err == nil || !strings.Contains(err.Error(), `"Service/Method"`) {
				t.Errorf("got %v", err)
			}
		}
		if times != 1 {
			t.Errorf("ranged over %d", times)
		}
	})
}

func TestTypesThatCannotBeSentAreErrorsOfHandle(t *testing.T) {
	type item struct{ Done chan int }
	type request struct{ Items []item }
	for _, c := range []struct {
		name string
		do   func(*rpc.Server) error
		want string
	}{
		{"a request", func(s *rpc.Server) error {
			return rpc.Handle(s, "A/B", func(context.Context, *request) (*counted, error) { return nil, nil })
		}, "rpc: method A/B: request.Items[].Done: chan cannot be sent"},
		{"an answer of a stream", func(s *rpc.Server) error {
			return rpc.HandleServerStream(s, "A/B", func(context.Context, *counted, *rpc.Sender[request]) error { return nil })
		}, "request.Items[].Done: chan cannot be sent"},
		{"a service's name that protobuf does not have", func(s *rpc.Server) error {
			return rpc.Handle(s, "a-b/C", func(context.Context, *counted) (*counted, error) { return nil, nil })
		}, "letters, digits and _ only"},
		{"a stream without a handler", func(s *rpc.Server) error { return rpc.HandleBidiStream[counted, counted](s, "A/B", nil) }, "no handler"},
		{"a stream and a unary method of one name", func(s *rpc.Server) error {
			return errors.Join(
				rpc.Handle(s, "A/B", func(context.Context, *counted) (*counted, error) { return nil, nil }),
				rpc.HandleBidiStream(s, "A/B", func(context.Context, *rpc.Stream[counted, counted]) error { return nil }))
		}, "registered twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := rpc.NewServer(rpc.ServerOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.do(s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// A protobuf message as request and a Go type as answer, and the other way
// round, over both codecs.
func TestProtobufMessagesAndGoTypesMix(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		if err := rpc.Handle(s, "Mix/Up", func(_ context.Context, r *testgrpc.SimpleRequest) (*counted, error) {
			return &counted{N: int64(r.GetResponseSize())}, nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := rpc.Handle(s, "Mix/Both", func(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.Payload, error) {
			return r.GetPayload(), nil
		}); err != nil {
			t.Fatal(err)
		}
	})
	conn := ownConn(t, rpc.ConnOptions{}, s.addr)
	for _, subtype := range []string{"json", "proto"} {
		got, err := rpc.Call[counted](t.Context(), conn, "Mix/Up", &testgrpc.SimpleRequest{ResponseSize: 7}, grpc.CallContentSubtype(subtype))
		if err != nil {
			t.Fatalf("%s: %v", subtype, err)
		}
		if diff := cmp.Diff(&counted{N: 7}, got); diff != "" {
			t.Errorf("%s: %s", subtype, diff)
		}
	}
	both, err := rpc.Call[testgrpc.Payload](t.Context(), foreignConn(t, s.addr), "Mix/Both", &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: []byte("x")}})
	if err != nil || string(both.GetBody()) != "x" {
		t.Errorf("got %v, %v", both, err)
	}
}

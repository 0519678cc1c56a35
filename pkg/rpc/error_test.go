package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/xinhari/xinhari/pkg/rpc"
)

var (
	errOutOfStock = &rpc.Error{Code: codes.FailedPrecondition, Reason: "OUT_OF_STOCK", Domain: "inventory.shop", Message: "out of stock"}
	errNoCredit   = &rpc.Error{Code: codes.FailedPrecondition, Reason: "NO_CREDIT", Domain: "billing.shop", Message: "no credit"}
)

// sameError compares what is told to callers.
func sameError() cmp.Option {
	return cmp.Options{cmpopts.IgnoreUnexported(rpc.Error{}), cmpopts.EquateEmpty(), protocmp.Transform()}
}

// unknownDetail is a detail of a type that no program has.
func unknownDetail() *anypb.Any {
	return &anypb.Any{TypeUrl: "type.example.com/shop.v9.Later", Value: []byte{0xff, 0, 1}}
}

// failing starts a server whose methods all fail with what err returns: the
// plain Fail/Fail and the generated UnaryCall and FullDuplexCall.
func failing(t *testing.T, err func() error) *testServer {
	t.Helper()
	return newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		s.err = err
		if err := rpc.Handle(s, "Fail/Fail", func(context.Context, *echoRequest) (*echoRequest, error) { return nil, err() }); err != nil {
			t.Fatal(err)
		}
	})
}

// ways are the ways in which a method fails, and what its caller gets.
func ways(conn grpc.ClientConnInterface) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"a plain handler": func(ctx context.Context) error {
			_, err := rpc.Call[echoRequest](ctx, conn, "Fail/Fail", &echoRequest{})
			return err
		},
		"a generated method": func(ctx context.Context) error {
			_, err := testgrpc.NewTestServiceClient(conn).UnaryCall(ctx, &testgrpc.SimpleRequest{})
			return err
		},
		"a stream": func(ctx context.Context) error {
			stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(ctx)
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	}
}

func TestErrorsArriveAsTheyLeft(t *testing.T) {
	retry := &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)}
	var returned error
	s := failing(t, func() error { return returned })
	own, foreign := ownConn(t, rpc.ConnOptions{}, s.addr), foreignConn(t, s.addr)
	for _, c := range []struct {
		name     string
		returned error
		want     rpc.Error
		is       []error
		isNot    []error
	}{
		{"a sentinel", errOutOfStock, *errOutOfStock, []error{errOutOfStock}, []error{errNoCredit, &rpc.Error{Code: codes.FailedPrecondition}}},
		{"a sentinel that is wrapped", fmt.Errorf("reserve %s: %w", "7", errOutOfStock),
			rpc.Error{Code: codes.FailedPrecondition, Reason: "OUT_OF_STOCK", Domain: "inventory.shop", Message: "reserve 7: out of stock"},
			[]error{errOutOfStock}, []error{errNoCredit}},
		{"a sentinel beside a cause", fmt.Errorf("%w: %w", errOutOfStock, io.ErrUnexpectedEOF),
			rpc.Error{Code: codes.FailedPrecondition, Reason: "OUT_OF_STOCK", Domain: "inventory.shop", Message: "out of stock: unexpected EOF"},
			[]error{errOutOfStock}, []error{io.ErrUnexpectedEOF}},
		{"two that were joined", errors.Join(io.EOF, errOutOfStock, errNoCredit),
			rpc.Error{Code: codes.FailedPrecondition, Reason: "OUT_OF_STOCK", Domain: "inventory.shop", Message: "EOF\nout of stock\nno credit"},
			[]error{errOutOfStock}, []error{errNoCredit, io.EOF}},
		{"a sentinel with facts", errOutOfStock.With(map[string]string{"sku": "7", "name": "Öl"}),
			rpc.Error{Code: codes.FailedPrecondition, Reason: "OUT_OF_STOCK", Domain: "inventory.shop", Message: "out of stock", Metadata: map[string]string{"sku": "7", "name": "Öl"}},
			[]error{errOutOfStock}, nil},
		{"further details", &rpc.Error{Code: codes.Unavailable, Reason: "BUSY", Domain: "d", Message: "later", Details: []proto.Message{retry, unknownDetail()}},
			rpc.Error{Code: codes.Unavailable, Reason: "BUSY", Domain: "d", Message: "later", Details: []proto.Message{retry, unknownDetail()}},
			[]error{&rpc.Error{Reason: "BUSY", Domain: "d"}}, []error{&rpc.Error{Reason: "BUSY", Domain: "e"}, &rpc.Error{Code: codes.Unavailable}}},
		{"no reason", &rpc.Error{Code: codes.NotFound, Message: "no order 7"}, rpc.Error{Code: codes.NotFound, Message: "no order 7"},
			[]error{&rpc.Error{Code: codes.NotFound}}, []error{&rpc.Error{Code: codes.Internal}, errOutOfStock}},
		{"no code", &rpc.Error{Reason: "ODD", Domain: "d"}, rpc.Error{Code: codes.Unknown, Reason: "ODD", Domain: "d"}, nil, nil},
		{"a code that gRPC has not", &rpc.Error{Code: 77, Message: "x"}, rpc.Error{Code: 77, Message: "x"}, nil, nil},
		{"a status of grpc-go", status.Error(codes.Aborted, "again"), rpc.Error{Code: codes.Aborted, Message: "again"}, nil, nil},
		{"a status that is wrapped", fmt.Errorf("twice: %w", status.Error(codes.Aborted, "again")),
			rpc.Error{Code: codes.Aborted, Message: "twice: rpc error: code = Aborted desc = again"}, nil, nil},
		{"an error of no kind", errors.New("oops"), rpc.Error{Code: codes.Unknown, Message: "oops"}, nil, []error{errOutOfStock}},
		{"a context that was cancelled", fmt.Errorf("db: %w", context.Canceled), rpc.Error{Code: codes.Canceled, Message: "db: context canceled"}, nil, []error{context.Canceled}},
		{"a deadline of the handler's own", context.DeadlineExceeded, rpc.Error{Code: codes.DeadlineExceeded, Message: "context deadline exceeded"}, nil, []error{context.DeadlineExceeded}},
		{"an error that was nil", (*rpc.Error)(nil), rpc.Error{Code: codes.Unknown, Message: "rpc: a nil *Error was returned as an error"}, nil, nil},
		{"an error that claims to be none", okError{}, rpc.Error{Code: codes.Unknown, Message: "not so OK"}, nil, nil},
		{"a text that is no UTF-8 around details", fmt.Errorf("\xff: %w", errOutOfStock),
			rpc.Error{Code: codes.FailedPrecondition, Reason: "OUT_OF_STOCK", Domain: "inventory.shop", Message: "\uFFFD: out of stock"}, []error{errOutOfStock}, nil},
		{"fields that are no UTF-8", &rpc.Error{Code: codes.Internal, Message: "\xfe", Reason: "A\xff", Domain: "\xff", Metadata: map[string]string{"\xff": "\xff"}},
			rpc.Error{Code: codes.Internal, Message: "\uFFFD", Reason: "A\uFFFD", Domain: "\uFFFD", Metadata: map[string]string{"\uFFFD": "\uFFFD"}}, nil, nil},
		{"a detail that does not encode", &rpc.Error{Code: codes.Internal, Message: "m", Details: []proto.Message{nil, (*anypb.Any)(nil), &errdetails.DebugInfo{Detail: "\xff"}, &anypb.Any{TypeUrl: "\xff"}, retry}},
			rpc.Error{Code: codes.Internal, Message: "m", Details: []proto.Message{retry}}, nil, nil},
	} {
		returned = c.returned
		for name, fail := range ways(own) {
			t.Run(c.name+" from "+name, func(t *testing.T) {
				err := fail(t.Context())
				var got *rpc.Error
				if !errors.As(err, &got) {
					t.Fatalf("%T %v is no Error", err, err)
				}
				if diff := cmp.Diff(&c.want, got, sameError()); diff != "" {
					t.Errorf("want (-), got (+):\n%s", diff)
				}
				for _, target := range c.is {
					if !errors.Is(err, target) {
						t.Errorf("%v is not %#v", err, target)
					}
				}
				for _, target := range c.isNot {
					if errors.Is(err, target) {
						t.Errorf("%v is %#v", err, target)
					}
				}
				if st := status.Convert(err); st.Code() != c.want.Code || st.Message() != c.want.Message {
					t.Errorf("grpc-go has it as %v", st)
				}
			})
		}
		for name, fail := range ways(foreign) {
			t.Run(c.name+" from "+name+" to any other client", func(t *testing.T) {
				if diff := cmp.Diff(&c.want, rpc.ErrorOf(fail(t.Context())), sameError()); diff != "" {
					t.Errorf("want (-), got (+):\n%s", diff)
				}
			})
		}
	}
}

// okError has a status that says that it is no error.
type okError struct{}

func (okError) Error() string              { return "not so OK" }
func (okError) GRPCStatus() *status.Status { return status.New(codes.OK, "") }

// TestStatusesAreKept holds that what a status says beyond an Error's fields
// arrives too, and goes through a service that only hands it on.
func TestStatusesAreKept(t *testing.T) {
	info, err := anypb.New(&errdetails.ErrorInfo{Reason: "R", Domain: "d"})
	if err != nil {
		t.Fatal(err)
	}
	info.TypeUrl = "type.example.com/google.rpc.ErrorInfo"
	info.Value = append(info.Value, 0xf8, 0x07, 1) // a field of a later version
	second, err := anypb.New(&errdetails.ErrorInfo{Reason: "SECOND"})
	if err != nil {
		t.Fatal(err)
	}
	nested, err := anypb.New(second)
	if err != nil {
		t.Fatal(err)
	}
	want := &spb.Status{Code: int32(codes.Aborted), Message: "ü", Details: []*anypb.Any{
		unknownDetail(), info, second, nested, {TypeUrl: info.GetTypeUrl(), Value: []byte{0xff}}, {},
	}}
	back := failing(t, func() error { return status.ErrorProto(want) })
	backConn := ownConn(t, rpc.ConnOptions{}, back.addr)
	front := failing(t, func() error { return ways(backConn)["a generated method"](t.Context()) })
	for name, conn := range map[string]grpc.ClientConnInterface{
		"at its caller": backConn, "behind another service": ownConn(t, rpc.ConnOptions{}, front.addr), "behind net/http": foreignConn(t, front.addr),
	} {
		for way, fail := range ways(conn) {
			t.Run(name+" from "+way, func(t *testing.T) {
				err := fail(t.Context())
				if diff := cmp.Diff(want, status.Convert(err).Proto(), protocmp.Transform()); diff != "" {
					t.Errorf("want (-), got (+):\n%s", diff)
				}
				if !errors.Is(rpc.ErrorOf(err), &rpc.Error{Reason: "R", Domain: "d"}) {
					t.Errorf("%v has lost its reason", err)
				}
			})
		}
	}
	t.Run("but not what was changed", func(t *testing.T) {
		var got *rpc.Error
		if err := ways(backConn)["a plain handler"](t.Context()); !errors.As(err, &got) {
			t.Fatal(err)
		}
		changed := *got
		changed.Message, changed.Details = "other", nil
		again := rpc.ErrorOf(changed.GRPCStatus().Err())
		if diff := cmp.Diff(&rpc.Error{Code: codes.Aborted, Message: "other", Reason: "R", Domain: "d"}, again, sameError()); diff != "" {
			t.Errorf("want (-), got (+):\n%s", diff)
		}
	})
}

func TestACallsOwnContextIsFound(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		s.err = func() error { return nil }
		if err := rpc.Handle(s, "Wait/Wait", func(ctx context.Context, _ *echoRequest) (*echoRequest, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}); err != nil {
			t.Fatal(err)
		}
	})
	conn := ownConn(t, rpc.ConnOptions{}, s.addr)
	for _, c := range []struct {
		name string
		ctx  func() (context.Context, context.CancelFunc)
		code codes.Code
		is   error
	}{
		{"a deadline", func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 50*time.Millisecond)
		}, codes.DeadlineExceeded, context.DeadlineExceeded},
		{"a cancellation", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		}, codes.Canceled, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := c.ctx()
			defer cancel()
			_, err := rpc.Call[echoRequest](ctx, conn, "Wait/Wait", &echoRequest{})
			if status.Code(err) != c.code || !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
			if stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(ctx); err != nil {
				if !errors.Is(err, c.is) {
					t.Errorf("a stream's %v is not %v", err, c.is)
				}
			} else if _, err := stream.Recv(); !errors.Is(err, c.is) {
				t.Errorf("a stream's %v is not %v", err, c.is)
			}
		})
	}
}

func TestErrorsAsText(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a message", errOutOfStock, "out of stock"},
		{"a reason only", &rpc.Error{Code: codes.Aborted, Reason: "AGAIN"}, "AGAIN"},
		{"a code only", &rpc.Error{Code: codes.Aborted}, "Aborted"},
		{"nothing", &rpc.Error{}, "Unknown"},
		{"one that was received", rpc.ErrorOf(status.Error(codes.Aborted, "again")), "Aborted: again"},
		{"one that was received without words", rpc.ErrorOf(status.Error(codes.Aborted, "")), "Aborted"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if err := rpc.ErrorOf(nil); err != nil {
		t.Errorf("of nil: %v", err)
	}
	if rpc.ErrorOf(errOutOfStock) != errOutOfStock {
		t.Error("an Error is not itself")
	}
	if got := rpc.ErrorOf(fmt.Errorf("x: %w", errOutOfStock)); got.Message != "x: out of stock" || !errors.Is(got, errOutOfStock) {
		t.Errorf("of a wrapped one: %+v", got)
	}
}

// TestLimitsAreNamed holds that who runs into a limit is told which option it is.
func TestLimitsAreNamed(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{GRPC: []grpc.ServerOption{grpc.MaxRecvMsgSize(10_000), grpc.MaxSendMsgSize(20_000)}}, nil)
	conn := ownConn(t, rpc.ConnOptions{}, s.addr)
	large := &echoRequest{Text: strings.Repeat("x", 12_000)}
	growing := func(n int) func(context.Context, ...grpc.CallOption) error {
		return func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := testgrpc.NewTestServiceClient(conn).UnaryCall(ctx, &testgrpc.SimpleRequest{ResponseSize: int32(n)}, opts...)
			return err
		}
	}
	echo := func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := rpc.Call[echoRequest](ctx, conn, "Echo/Echo", large, opts...)
		return err
	}
	for _, c := range []struct {
		name string
		call func(context.Context, ...grpc.CallOption) error
		opts []grpc.CallOption
		want []string
	}{
		{"a request that the server does not take", echo, nil, []string{"12017 bytes", "10000", "receiver", "ServerOptions.MaxMessage"}},
		{"a request that the client may not send", echo, []grpc.CallOption{grpc.MaxCallSendMsgSize(5000)}, []string{"12017 bytes", "5000", "sender", "ConnOptions.MaxSendMessage"}},
		{"a request that grows when it is decompressed", echo, []grpc.CallOption{grpc.UseCompressor("gzip")}, []string{"10000", "decompressed"}},
		{"an answer that the client does not take", growing(15_000), []grpc.CallOption{grpc.MaxCallRecvMsgSize(11_000)}, []string{"1500", "11000", "receiver", "ConnOptions.MaxMessage"}},
		{"an answer that the server may not send", growing(25_000), nil, []string{"2500", "20000", "sender", "ServerOptions.MaxSendMessage"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.call(t.Context(), c.opts...)
			var got *rpc.Error
			if !errors.As(err, &got) || got.Code != codes.ResourceExhausted {
				t.Fatalf("got %v, want ResourceExhausted", err)
			}
			for _, part := range append(c.want, "ServerOptions.Max", "ConnOptions.Max", "Message") {
				if !strings.Contains(got.Message, part) {
					t.Errorf("%q does not say %q", got.Message, part)
				}
			}
		})
	}
}

// TestMetadataIsKept holds that headers and trailers arrive with all their
// values, binary ones too, also with an error.
func TestMetadataIsKept(t *testing.T) {
	header := metadata.MD{"x-many": {"a", "b", "a, b", ""}, "x-bin-bin": {"\x00\xff", "", "\n"}}
	for _, failure := range []error{nil, errOutOfStock} {
		s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
			if err := rpc.Handle(s, "Meta/Meta", func(ctx context.Context, r *echoRequest) (*echoRequest, error) {
				md, _ := metadata.FromIncomingContext(ctx)
				sent := metadata.MD{"x-many": md["x-many"], "x-bin-bin": md["x-bin-bin"]}
				return r, errors.Join(grpc.SetHeader(ctx, sent), grpc.SetTrailer(ctx, sent), failure)
			}); err != nil {
				t.Fatal(err)
			}
		})
		for name, conn := range map[string]grpc.ClientConnInterface{"to our clients": ownConn(t, rpc.ConnOptions{}, s.addr), "to others": foreignConn(t, s.addr)} {
			t.Run(fmt.Sprintf("%s with the error %v", name, failure), func(t *testing.T) {
				var got, trailer metadata.MD
				_, err := rpc.Call[echoRequest](metadata.NewOutgoingContext(t.Context(), header), conn, "Meta/Meta", &echoRequest{}, grpc.Header(&got), grpc.Trailer(&trailer))
				if !errors.Is(err, failure) {
					t.Errorf("got %v", err)
				}
				for kind, md := range map[string]metadata.MD{"headers": got, "trailers": trailer} {
					if diff := cmp.Diff(header, metadata.MD{"x-many": md["x-many"], "x-bin-bin": md["x-bin-bin"]}); diff != "" {
						t.Errorf("%s: want (-), got (+):\n%s", kind, diff)
					}
				}
			})
		}
	}
}

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
)

const testService = "/grpc.testing.TestService/"

// TestConnectGo calls with connect-go's client, by its own protocol and by gRPC.
func TestConnectGo(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := serve(t, secure)
		for _, h2 := range []bool{false, true} {
			for _, way := range []struct {
				name    string
				options []connect.ClientOption
				grpc    bool
			}{
				{name: "proto"},
				{name: "JSON", options: []connect.ClientOption{connect.WithProtoJSON()}},
				{name: "proto, gzip", options: []connect.ClientOption{connect.WithSendGzip()}},
				{name: "JSON, gzip", options: []connect.ClientOption{connect.WithProtoJSON(), connect.WithSendGzip()}},
				{name: "gRPC", options: []connect.ClientOption{connect.WithGRPC()}, grpc: true},
			} {
				if way.grpc && !h2 {
					continue // gRPC is HTTP/2
				}
				t.Run(fmt.Sprintf("TLS %v, HTTP/2 %v, %s", secure, h2, way.name), func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					c := connectClient{t: t, s: s, h2: h2, options: way.options}
					c.unary(ctx)
					c.errors(ctx)
					c.serverStream(ctx)
					c.clientStream(ctx)
					if h2 {
						c.bidi(ctx)
					} else {
						c.bidiRefused(ctx)
					}
				})
			}
		}
	}
}

type connectClient struct {
	t       *testing.T
	s       *server
	h2      bool
	options []connect.ClientOption
}

func method[Req, Rsp any](c connectClient, path string) *connect.Client[Req, Rsp] {
	return connect.NewClient[Req, Rsp](c.s.client(c.t, c.h2), c.s.url(path), c.options...)
}

// compressible is larger than what is sent without compression.
func compressible() []byte { return bytes.Repeat([]byte("teapot "), 1000) }

func (c connectClient) unary(ctx context.Context) {
	c.t.Helper()
	payload := &testgrpc.Payload{Body: compressible()}
	r := connect.NewRequest(&testgrpc.SimpleRequest{Payload: payload, ResponseSize: 5000})
	const leading, trailing = "X-Grpc-Test-Echo-Initial", "X-Grpc-Test-Echo-Trailing-Bin"
	r.Header().Set(leading, "leading")
	r.Header().Set(trailing, connect.EncodeBinaryHeader([]byte{0, 255, ','}))
	answer, err := method[testgrpc.SimpleRequest, testgrpc.SimpleResponse](c, testService+"UnaryCall").CallUnary(ctx, r)
	if err != nil {
		c.t.Fatal(err)
	}
	if n := len(answer.Msg.GetPayload().GetBody()); n != 5000 {
		c.t.Errorf("the answer has %d bytes", n)
	}
	if got := answer.Header().Get(leading); got != "leading" {
		c.t.Errorf("leading metadata %q", got)
	}
	if got, err := connect.DecodeBinaryHeader(answer.Trailer().Get(trailing)); err != nil || !bytes.Equal(got, []byte{0, 255, ','}) {
		c.t.Errorf("trailing metadata %q, %v", got, err)
	}
}

func (c connectClient) errors(ctx context.Context) {
	c.t.Helper()
	// JSON alone reaches a plain handler; its error is the same for all.
	json := c
	json.options = append([]connect.ClientOption{connect.WithProtoJSON()}, c.options...)
	_, err := method[testgrpc.Empty, testgrpc.Empty](json, "/Greeter/Fail").CallUnary(ctx, connect.NewRequest(&testgrpc.Empty{}))
	want, _ := status.FromError(failure())
	c.same(err, want)

	_, err = method[testgrpc.SimpleRequest, testgrpc.SimpleResponse](c, testService+"UnaryCall").CallUnary(ctx,
		connect.NewRequest(&testgrpc.SimpleRequest{ResponseStatus: &testgrpc.EchoStatus{Code: int32(codes.DataLoss), Message: "\t\ntest ☺"}}))
	c.same(err, status.New(codes.DataLoss, "\t\ntest ☺"))
}

// same holds that err is the status that the server sent, details and all.
func (c connectClient) same(err error, want *status.Status) {
	c.t.Helper()
	var got *connect.Error
	if !errors.As(err, &got) {
		c.t.Fatalf("error %v", err)
	}
	if got.Code() != connect.Code(want.Code()) || got.Message() != want.Message() {
		c.t.Errorf("got %v, want %v", err, want)
	}
	var details []any
	for _, d := range got.Details() {
		value, err := d.Value()
		if err != nil {
			c.t.Fatal(err)
		}
		details = append(details, value)
	}
	if diff := cmp.Diff(want.Details(), details, protocmp.Transform(), cmpopts.EquateEmpty()); diff != "" {
		c.t.Errorf("details (-want +got):\n%s", diff)
	}
}

func (c connectClient) serverStream(ctx context.Context) {
	c.t.Helper()
	sizes := []int32{31415, 0, 2653, 58979}
	r := &testgrpc.StreamingOutputCallRequest{}
	for _, size := range sizes {
		r.ResponseParameters = append(r.ResponseParameters, &testgrpc.ResponseParameters{Size: size})
	}
	stream, err := method[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse](c, testService+"StreamingOutputCall").
		CallServerStream(ctx, connect.NewRequest(r))
	if err != nil {
		c.t.Fatal(err)
	}
	var got []int32
	for stream.Receive() {
		got = append(got, int32(len(stream.Msg().GetPayload().GetBody())))
	}
	if err := errors.Join(stream.Err(), stream.Close()); err != nil {
		c.t.Fatal(err)
	}
	if diff := cmp.Diff(sizes, got); diff != "" {
		c.t.Errorf("sizes (-want +got):\n%s", diff)
	}
}

func (c connectClient) clientStream(ctx context.Context) {
	c.t.Helper()
	stream := method[testgrpc.StreamingInputCallRequest, testgrpc.StreamingInputCallResponse](c, testService+"StreamingInputCall").CallClientStream(ctx)
	for _, size := range []int{27182, 8, 1828, 45904} {
		if err := stream.Send(&testgrpc.StreamingInputCallRequest{Payload: &testgrpc.Payload{Body: make([]byte, size)}}); err != nil {
			c.t.Fatal(err)
		}
	}
	answer, err := stream.CloseAndReceive()
	if err != nil {
		c.t.Fatal(err)
	}
	if got := answer.Msg.GetAggregatedPayloadSize(); got != 74922 {
		c.t.Errorf("the server received %d bytes", got)
	}
}

func (c connectClient) bidi(ctx context.Context) {
	c.t.Helper()
	stream := method[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse](c, testService+"FullDuplexCall").CallBidiStream(ctx)
	stream.RequestHeader().Set("X-Grpc-Test-Echo-Trailing-Bin", connect.EncodeBinaryHeader([]byte{1, 2, 3}))
	for _, size := range []int32{31415, 9, 2653, 58979} {
		r := &testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: size}}}
		if err := stream.Send(r); err != nil {
			c.t.Fatal(err)
		}
		answer, err := stream.Receive()
		if err != nil {
			c.t.Fatal(err)
		}
		if n := len(answer.GetPayload().GetBody()); n != int(size) {
			c.t.Errorf("the answer has %d bytes, want %d", n, size)
		}
	}
	if err := stream.CloseRequest(); err != nil {
		c.t.Fatal(err)
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		c.t.Errorf("at the end: %v", err)
	}
	if got, err := connect.DecodeBinaryHeader(stream.ResponseTrailer().Get("X-Grpc-Test-Echo-Trailing-Bin")); err != nil || !bytes.Equal(got, []byte{1, 2, 3}) {
		c.t.Errorf("trailing metadata %q, %v", got, err)
	}
	if err := stream.CloseResponse(); err != nil {
		c.t.Error(err)
	}
}

// bidiRefused holds that a stream of both directions is refused over HTTP/1,
// rather than left hanging.
func (c connectClient) bidiRefused(ctx context.Context) {
	c.t.Helper()
	stream := method[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse](c, testService+"FullDuplexCall").CallBidiStream(ctx)
	err := stream.Send(&testgrpc.StreamingOutputCallRequest{})
	if err == nil {
		_, err = stream.Receive()
	}
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		c.t.Errorf("error %v", err)
	}
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
}

package rpc

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Call calls the unary method, "Service/Method", through conn: any gRPC
// connection will do. Req is sent as JSON, or as protobuf if it is a protobuf
// message and so is Rsp; grpc.CallContentSubtype chooses another codec of a
// Conn.
func Call[Rsp, Req any](ctx context.Context, conn grpc.ClientConnInterface, method string, req *Req, opts ...grpc.CallOption) (*Rsp, error) {
	full, err := fullMethod(method)
	if err != nil {
		return nil, err
	}
	rsp := new(Rsp)
	if err := conn.Invoke(ctx, full, orEmpty(req), rsp, inJSON[Req, Rsp](opts)...); err != nil {
		return nil, fromWire(ctx, err)
	}
	return rsp, nil
}

// CallServerStream calls a method that answers by a stream. The call begins
// when the answers are ranged over, once for each time, and ends with the
// range: breaking out of it cancels the call. An error is the last of the
// range, and comes with a nil answer. See Call for the rest.
func CallServerStream[Rsp, Req any](ctx context.Context, conn grpc.ClientConnInterface, method string, req *Req, opts ...grpc.CallOption) iter.Seq2[*Rsp, error] {
	return func(yield func(*Rsp, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := callStream[Rsp, Req](ctx, conn, method, grpc.StreamDesc{ServerStreams: true}, opts)
		if err == nil {
			err = stream.Send(req)
		}
		if err == nil {
			err = stream.CloseSend()
		}
		if err != nil && !errors.Is(err, io.EOF) { // that receiving tells of
			yield(nil, err)
			return
		}
		stream.All()(yield)
	}
}

// CallClientStream calls a method that takes a stream: Send the requests, then
// CloseAndReceive. See Call for the rest.
func CallClientStream[Rsp, Req any](ctx context.Context, conn grpc.ClientConnInterface, method string, opts ...grpc.CallOption) (*ClientStream[Rsp, Req], error) {
	return callStream[Rsp, Req](ctx, conn, method, grpc.StreamDesc{ClientStreams: true}, opts)
}

// CallBidiStream calls a method where both sides stream. See Call for the rest.
func CallBidiStream[Rsp, Req any](ctx context.Context, conn grpc.ClientConnInterface, method string, opts ...grpc.CallOption) (*ClientStream[Rsp, Req], error) {
	return callStream[Rsp, Req](ctx, conn, method, grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, opts)
}

func callStream[Rsp, Req any](ctx context.Context, conn grpc.ClientConnInterface, method string, desc grpc.StreamDesc, opts []grpc.CallOption) (*ClientStream[Rsp, Req], error) {
	full, err := fullMethod(method)
	if err != nil {
		return nil, err
	}
	stream, err := conn.NewStream(ctx, &desc, full, inJSON[Req, Rsp](opts)...)
	if err != nil {
		return nil, fromWire(ctx, err)
	}
	stream = &clientStream{stream, ctx} // also of a connection that is not a Conn
	return &ClientStream[Rsp, Req]{*newStream[Rsp, Req](stream), stream}, nil
}

func fullMethod(method string) (string, error) {
	service, name, err := splitMethod(method)
	return "/" + service + "/" + name, err
}

// inJSON puts JSON before the caller's options, unless both messages are
// protobuf's.
func inJSON[Req, Rsp any](opts []grpc.CallOption) []grpc.CallOption {
	_, reqProto := any((*Req)(nil)).(proto.Message)
	_, rspProto := any((*Rsp)(nil)).(proto.Message)
	if reqProto && rspProto {
		return opts
	}
	return append([]grpc.CallOption{grpc.ForceCodecV2(JSON())}, opts...)
}

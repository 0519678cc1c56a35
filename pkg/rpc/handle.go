package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Handle serves the unary method, "Service/Method", with a plain Go function.
// Its messages travel as JSON, and also as protobuf where both are protobuf
// messages. The same method answers HTTP POST /Service/Method.
//
// It is an error to register a method twice, or beside a generated service of
// the same name.
func Handle[Req, Rsp any](r Registrar, method string, fn func(context.Context, *Req) (*Rsp, error)) error {
	service, name, err := splitMethod(method)
	if err != nil {
		return err
	}
	if fn == nil {
		return fmt.Errorf("rpc: method %s has no handler", method)
	}
	full := "/" + service + "/" + name
	return r.RegisterMethod(service, grpc.MethodDesc{
		MethodName: name,
		Handler: func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			req := new(Req)
			if err := dec(req); err != nil {
				return nil, err
			}
			if interceptor == nil {
				return answer(fn(ctx, req))
			}
			info := &grpc.UnaryServerInfo{Server: srv, FullMethod: full}
			return interceptor(ctx, req, info, func(ctx context.Context, req any) (any, error) {
				return answer(fn(ctx, req.(*Req)))
			})
		},
	})
}

// answer turns a nil answer without an error into an empty one: a nil pointer
// would be encoded as null, which is no object.
func answer[Rsp any](rsp *Rsp, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if rsp == nil {
		rsp = new(Rsp)
	}
	return rsp, nil
}

// Call calls the unary method, "Service/Method", through conn: any gRPC
// connection will do. Req is sent as JSON, or as protobuf if it is a protobuf
// message and so is Rsp.
func Call[Rsp, Req any](ctx context.Context, conn grpc.ClientConnInterface, method string, req *Req, opts ...grpc.CallOption) (*Rsp, error) {
	service, name, err := splitMethod(method)
	if err != nil {
		return nil, err
	}
	rsp := new(Rsp)
	_, reqProto := any(req).(proto.Message)
	_, rspProto := any(rsp).(proto.Message)
	if !reqProto || !rspProto {
		opts = append([]grpc.CallOption{grpc.ForceCodecV2(JSON())}, opts...)
	}
	if err := conn.Invoke(ctx, "/"+service+"/"+name, req, rsp, opts...); err != nil {
		return nil, fromWire(ctx, err)
	}
	return rsp, nil
}

package rpc

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/grpc"
)

// Handle serves the unary method, "Service/Method", with a plain Go function.
// Its messages travel as the caller wants: as JSON, or as protobuf with the
// schema that the package schema gives the Go types; reflection tells it to
// clients such as grpcurl. The same method answers HTTP POST /Service/Method.
//
// It is an error to register a method twice, or beside a generated service of
// the same name. A type that cannot be sent is an error that names the field.
func Handle[Req, Rsp any](r Registrar, method string, fn func(context.Context, *Req) (*Rsp, error)) error {
	full := "/" + strings.TrimPrefix(method, "/")
	return register[Req, Rsp](r, method, fn != nil, Method{
		Unary: func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
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

// HandleServerStream serves the method with a function that answers one
// request by as many messages as it likes; its return ends the call. See
// Handle for the rest.
func HandleServerStream[Req, Rsp any](r Registrar, method string, fn func(context.Context, *Req, *Sender[Rsp]) error) error {
	return register[Req, Rsp](r, method, fn != nil, Method{
		ServerStreams: true,
		Stream: func(_ any, stream grpc.ServerStream) error {
			req := new(Req)
			if err := stream.RecvMsg(req); err != nil {
				return err
			}
			return fn(stream.Context(), req, &Sender[Rsp]{stream})
		},
	})
}

// HandleClientStream serves the method with a function that receives as many
// requests as there are and then answers once. It may answer before it has
// received them all. See Handle for the rest.
func HandleClientStream[Req, Rsp any](r Registrar, method string, fn func(context.Context, *Receiver[Req]) (*Rsp, error)) error {
	return register[Req, Rsp](r, method, fn != nil, Method{
		ClientStreams: true,
		Stream: func(_ any, stream grpc.ServerStream) error {
			rsp, err := answer(fn(stream.Context(), &Receiver[Req]{stream}))
			if err != nil {
				return err
			}
			return stream.SendMsg(rsp)
		},
	})
}

// HandleBidiStream serves the method with a function that receives and sends
// as it likes, also at the same time; its return ends the call. See Handle for
// the rest.
func HandleBidiStream[Req, Rsp any](r Registrar, method string, fn func(context.Context, *Stream[Req, Rsp]) error) error {
	return register[Req, Rsp](r, method, fn != nil, Method{
		ClientStreams: true,
		ServerStreams: true,
		Stream: func(_ any, stream grpc.ServerStream) error {
			return fn(stream.Context(), newStream[Req, Rsp](stream))
		},
	})
}

// register completes m with its names and types.
func register[Req, Rsp any](r Registrar, method string, handled bool, m Method) error {
	var err error
	if m.Service, m.Name, err = splitMethod(method); err != nil {
		return err
	}
	if !handled {
		return fmt.Errorf("rpc: method %s has no handler", method)
	}
	m.Request, m.Response = reflect.TypeFor[Req](), reflect.TypeFor[Rsp]()
	return r.RegisterMethod(m)
}

// answer turns a nil answer without an error into an empty one: a nil pointer
// would be encoded as null, which is no object.
func answer[Rsp any](rsp *Rsp, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return orEmpty(rsp), nil
}

func orEmpty[M any](m *M) *M {
	if m == nil {
		return new(M)
	}
	return m
}

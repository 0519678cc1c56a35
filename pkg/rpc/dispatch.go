package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
)

// dispatch brings calls to their handlers: through the middleware, if there is
// any, and admission. Nothing of a call is read before it is admitted.
type dispatch struct {
	service string // whose calls these are
	codecs  codecs
	admit   func(context.Context) (context.Context, error)
	chain   middleware.Handler // nil: there is no middleware
}

// newDispatch returns how a server's calls are brought to their handlers.
func newDispatch(t codecs, a admission, o ServerOptions) dispatch {
	var all []middleware.Middleware
	if len(o.Observers) > 0 {
		all = append([]middleware.Middleware{identify}, o.Observers...)
	}
	if len(o.Observers)+len(o.Middleware) > 0 || o.Authorize != nil {
		all = append(all, a.middleware(o.Authorize))
	}
	return dispatch{service: o.Service, codecs: t, admit: a.admit, chain: middleware.Chain(append(all, o.Middleware...)...)}
}

// identify lets observers know the peer of a call that net/http brought, whether
// it is admitted or not.
func identify(next middleware.Handler) middleware.Handler {
	return func(ctx context.Context, o *middleware.Operation) error {
		if l, ok := ctx.Value(linkKey{}).(*link); ok {
			if from, ok := peer.FromContext(ctx); ok {
				ctx = peer.NewContext(ctx, &peer.Peer{Addr: from.Addr, LocalAddr: from.LocalAddr, AuthInfo: l.info})
			}
		}
		return next(ctx, o)
	}
}

// middleware admits calls, and authorizes those that are admitted.
func (a admission) middleware(authorize func(context.Context, *middleware.Operation) error) middleware.Middleware {
	return func(next middleware.Handler) middleware.Handler {
		return func(ctx context.Context, o *middleware.Operation) error {
			ctx, err := a.admit(ctx)
			if err != nil {
				return err
			}
			if authorize != nil {
				if err := authorize(ctx, o); err != nil {
					return err
				}
			}
			return next(ctx, o)
		}
	}
}

// wrap returns desc with every call dispatched, and every message put into an
// envelope.
func (d dispatch) wrap(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	methods := make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		methods[i] = grpc.MethodDesc{MethodName: m.MethodName, Handler: d.unary(desc.ServiceName, m)}
	}
	streams := make([]grpc.StreamDesc, len(desc.Streams))
	for i, s := range desc.Streams {
		streams[i] = s
		streams[i].Handler = d.stream(desc.ServiceName, s)
	}
	desc.Methods, desc.Streams = methods, streams
	return &desc
}

// unknown is the service of all methods that there are not, as one stream: their
// calls are admitted and observed as others are, so who is not served does not
// learn which methods there are, and who looks at the metrics sees calls that go
// wrong.
func unknown() grpc.ServiceDesc {
	return grpc.ServiceDesc{Streams: []grpc.StreamDesc{{
		StreamName: unknownMethod, ClientStreams: true, ServerStreams: true,
		Handler: func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			return status.Error(codes.Unimplemented, "unknown method "+method)
		},
	}}}
}

// unknownMethod is the name of what has no method: OpenTelemetry's word for
// that. The name that the caller chose is in the error only, as anybody may
// choose any number of them.
const unknownMethod = "_OTHER"

// operationName is what middleware knows a method by.
func operationName(service, method string) string {
	if service == "" {
		return method
	}
	return service + "/" + method
}

// unary runs the handler of a unary method.
func (d dispatch) unary(service string, m grpc.MethodDesc) grpc.MethodHandler {
	name := operationName(service, m.MethodName)
	return func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		e := incomings.Get().(*incoming)
		e.table, e.handler, e.srv, e.grpcDecode, e.interceptor = d.codecs, m.Handler, srv, dec, interceptor
		var err error
		if d.chain == nil {
			if ctx, err = d.admit(ctx); err == nil {
				err = e.run(ctx)
			}
		} else {
			o := &e.operation
			o.Kind, o.Side, o.Name, o.Service = middleware.Unary, middleware.Server, name, d.service
			err = d.chain(ctx, o)
		}
		if err == nil && e.message == nil {
			err = errNoAnswer
		}
		if err != nil {
			e.release()
			return nil, toWire(err)
		}
		return e, nil
	}
}

// stream runs the handler of a streaming method.
func (d dispatch) stream(service string, s grpc.StreamDesc) grpc.StreamHandler {
	name, kind := operationName(service, s.StreamName), streamKind(s.ClientStreams, s.ServerStreams)
	return func(srv any, stream grpc.ServerStream) error {
		wrapped := &serverStream{ServerStream: stream}
		o := &wrapped.operation
		run := func(ctx context.Context) error {
			codec, err := d.codecs.lookup(contentSubtype(ctx))
			if err != nil {
				return err
			}
			wrapped.ctx, wrapped.send.codec, wrapped.recv.codec = ctx, codec, codec
			return s.Handler(srv, wrapped)
		}
		if d.chain == nil {
			ctx, err := d.admit(stream.Context())
			if err != nil {
				return err
			}
			return toWire(run(ctx))
		}
		*o = middleware.Operation{Kind: kind, Side: middleware.Server, Name: name, Service: d.service, Do: run, Headers: served{}}
		return toWire(d.chain(stream.Context(), o))
	}
}

func streamKind(client, server bool) middleware.Kind {
	switch {
	case client && server:
		return middleware.BidiStream
	case client:
		return middleware.ClientStream
	case server:
		return middleware.ServerStream
	}
	return middleware.Unary
}

// serverStream puts each message into one of its two envelopes. gRPC allows
// one sender and one receiver at a time, so there is never a second user.
type serverStream struct {
	grpc.ServerStream
	ctx        context.Context
	recv, send envelope
	operation  middleware.Operation
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) SendMsg(m any) error {
	if err := s.operation.Sent(m); err != nil {
		return err
	}
	s.send.message = m
	err := s.ServerStream.SendMsg(&s.send)
	s.send.message = nil
	return err
}

func (s *serverStream) RecvMsg(m any) error {
	s.recv.message = m
	err := s.ServerStream.RecvMsg(&s.recv)
	s.recv.message = nil
	if err != nil {
		return err
	}
	if err := s.recv.takeMalformed(); err != nil {
		return err
	}
	return s.operation.Received(m)
}

// served are the headers of a call that this process serves.
type served struct{}

// Get implements middleware.Headers.
func (served) Get(ctx context.Context, name string) []string {
	return metadata.ValueFromIncomingContext(ctx, name)
}

// Set implements middleware.Headers; what a server answers is not set here.
func (served) Set(ctx context.Context, _, _ string) context.Context { return ctx }

// contentSubtype is what the caller of an RPC put behind application/grpc+.
// grpc-go's stream knows it; the metadata would have to be copied for it.
func contentSubtype(ctx context.Context) string {
	if s, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ ContentSubtype() string }); ok {
		return s.ContentSubtype()
	}
	return ""
}

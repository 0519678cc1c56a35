package rpc

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
)

// outgoing is a unary call on its way through the middleware.
type outgoing struct {
	operation middleware.Operation
	conn      *Conn
	method    string
	args      any
	reply     any
	opts      []grpc.CallOption
}

// outgoings recycles them: with middleware a call costs no allocation more
// than without.
//
//nolint:gochecknoglobals // a pool holds no state
var outgoings = sync.Pool{New: func() any {
	c := &outgoing{}
	c.operation.Do, c.operation.Headers = c.run, made{}
	return c
}}

// through makes a unary call through the middleware.
func (c *Conn) through(ctx context.Context, method string, args, reply any, opts []grpc.CallOption) error {
	call := outgoings.Get().(*outgoing)
	call.conn, call.method, call.args, call.reply, call.opts = c, method, args, reply, opts
	o := &call.operation
	o.Kind, o.Side, o.Name, o.Service = middleware.Unary, middleware.Client, strings.TrimPrefix(method, "/"), c.name
	err := c.chain(ctx, o)
	o.Reset()
	call.conn, call.args, call.reply, call.opts = nil, nil, nil, nil
	outgoings.Put(call)
	return err
}

// run is the call itself.
func (c *outgoing) run(ctx context.Context) error {
	if err := c.operation.Sent(c.args); err != nil {
		return err
	}
	if err := c.conn.invoke(ctx, c.method, c.args, c.reply, c.opts); err != nil {
		return err
	}
	return c.operation.Received(c.reply)
}

// opened is a stream that this process opened, on its way through the
// middleware. The middleware waits in a goroutine of its own until the stream
// has ended.
type opened struct {
	clientStream

	// strict is that middleware must hear of the stream's end after its last
	// message, as grpc-go tells of them in any order: where it hears of messages,
	// and where the one answer ends the stream, so that it would not be counted.
	// RecvMsg then holds receiving.
	strict    bool
	operation middleware.Operation
	opening   chan error // the first thing that is known: open or not
	ended     chan error // why grpc-go ended the stream

	receiving sync.Mutex
}

// openThrough opens a stream through the middleware.
func (c *Conn) openThrough(ctx context.Context, desc *grpc.StreamDesc, method string, opts []grpc.CallOption) (grpc.ClientStream, error) {
	s := &opened{opening: make(chan error, 1), ended: make(chan error, 1)}
	s.operation = middleware.Operation{
		Kind: streamKind(desc.ClientStreams, desc.ServerStreams), Side: middleware.Client,
		Name: strings.TrimPrefix(method, "/"), Service: c.name, Headers: made{},
	}
	s.operation.Do = func(ctx context.Context) error {
		finished := grpc.OnFinish(func(err error) {
			select {
			case s.ended <- err:
			default: // of a stream that was tried twice, the first is enough
			}
		})
		s.ctx = ctx
		if err := s.open(c, desc, method, append(opts[:len(opts):len(opts)], finished)); err != nil {
			return err
		}
		s.strict = s.operation.Watched() || !desc.ServerStreams
		s.opening <- nil
		err := fromWire(ctx, <-s.ended)
		s.receiving.Lock()
		defer s.receiving.Unlock()
		return err
	}
	if !c.goWatched(func() {
		err := c.chain(ctx, &s.operation)
		if err == nil {
			err = status.Error(codes.Canceled, "the stream was not opened") // heard only if it was not
		}
		select {
		case s.opening <- err:
		default:
		}
	}) {
		return nil, errConnClosed
	}
	if err := <-s.opening; err != nil {
		return nil, err
	}
	return s, nil
}

// SendMsg implements grpc.ClientStream.
func (s *opened) SendMsg(m any) error {
	if err := s.operation.Sent(m); err != nil {
		return err
	}
	return s.clientStream.SendMsg(m)
}

// RecvMsg implements grpc.ClientStream.
func (s *opened) RecvMsg(m any) error {
	if s.strict {
		s.receiving.Lock()
		defer s.receiving.Unlock()
	}
	if err := s.clientStream.RecvMsg(m); err != nil {
		return err
	}
	return s.operation.Received(m)
}

// made are the headers of a call that this process makes.
type made struct{}

// Get implements middleware.Headers.
func (made) Get(ctx context.Context, name string) []string {
	md, _ := metadata.FromOutgoingContext(ctx)
	return md[name]
}

// Set implements middleware.Headers.
func (made) Set(ctx context.Context, name, value string) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx)
	if ok && len(md[name]) > 0 {
		md[name] = []string{value}
		return metadata.NewOutgoingContext(ctx, md)
	}
	return metadata.AppendToOutgoingContext(ctx, name, value)
}

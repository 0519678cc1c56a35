package rpc

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"net/http"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Behind net/http, grpc-go reads a call's body as fast as it comes and keeps
// what the handler has not asked for yet: a caller that sends faster than its
// handler receives, or that sends more than the one message of a unary call,
// would fill the memory. So the body is held back: it is read while the handler
// waits for a message, and no further than that message's end. What comes
// beyond it waits with net/http, within HTTP/2's flow control, and so at the
// caller.

// heldBody is the body of a gRPC call. One goroutine, grpc-go's, reads from it.
type heldBody struct {
	io.ReadCloser
	max int // of a message, in bytes

	mu      sync.Mutex
	changed sync.Cond
	waiting bool // the handler waits for a message
	asked   int  // messages that the handler has asked for, the one it waits for included
	passed  int  // messages that were read to their end
	ended   bool

	prefix [messagePrefixSize]byte // of the message that is being read
	got    int                     // bytes of prefix that were read
	left   int                     // bytes of the message that are to come
}

// messagePrefixSize is the length of what precedes a message in gRPC's framing.
const messagePrefixSize = 5

type heldBodyKey struct{}

// holdBody returns r with its body, which holds messages in gRPC's framing,
// held back until the handlers of wrapForeign ask for it.
func holdBody(r *http.Request, maxMessage int) *http.Request {
	b := &heldBody{ReadCloser: r.Body, max: maxMessage}
	b.changed.L = &b.mu
	held := r.WithContext(context.WithValue(r.Context(), heldBodyKey{}, b))
	held.Body = b
	return held
}

// Read implements io.Reader.
func (b *heldBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	for !b.ended && (!b.waiting || b.passed >= b.asked || b.left > b.max) {
		b.changed.Wait()
	}
	b.mu.Unlock()
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.track(p[:n])
	return n, err
}

// Close implements io.Closer.
func (b *heldBody) Close() error {
	b.mu.Lock()
	b.ended = true
	b.changed.Broadcast()
	b.mu.Unlock()
	return b.ReadCloser.Close()
}

// track follows the messages in what was read.
func (b *heldBody) track(p []byte) {
	for len(p) > 0 {
		if b.left == 0 {
			n := copy(b.prefix[b.got:], p)
			b.got += n
			p = p[n:]
			if b.got < messagePrefixSize {
				return
			}
			b.got = 0
			b.left = int(min(binary.BigEndian.Uint32(b.prefix[1:]), math.MaxInt32))
		}
		n := min(b.left, len(p))
		b.left -= n
		p = p[n:]
		if b.left == 0 {
			b.passed++
		}
	}
}

// receive lets n more messages through while f runs, which receives one.
func (b *heldBody) receive(n int, f func() error) error {
	b.mu.Lock()
	b.waiting = true
	b.asked += n
	b.changed.Broadcast()
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.waiting = false
		b.mu.Unlock()
	}()
	return f()
}

// wrapForeign returns desc for calls behind net/http: with handlers that read
// what holdBody holds back. And net/http forgets a call whose caller has
// gone, while its handler may still run; so that a caller cannot have handlers
// without number run by that, they are counted here too, up to twice the calls
// that a connection may have.
func wrapForeign(desc *grpc.ServiceDesc, maxStreams int) *grpc.ServiceDesc {
	most := 2 * int64(maxStreams)
	refused := status.Errorf(codes.ResourceExhausted,
		"%d handlers run for this connection, twice what ServerOptions.MaxStreams allows", most)
	held := *desc
	held.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		held.Methods[i] = grpc.MethodDesc{MethodName: m.MethodName, Handler: func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			l, _ := ctx.Value(linkKey{}).(*link)
			if !l.enter(most) {
				return nil, refused
			}
			defer l.leave()
			if b, ok := ctx.Value(heldBodyKey{}).(*heldBody); ok {
				grpcDecode := dec
				dec = func(v any) error { return b.receive(theOnlyMessage, func() error { return grpcDecode(v) }) }
			}
			return m.Handler(srv, ctx, dec, interceptor)
		}}
	}
	held.Streams = make([]grpc.StreamDesc, len(desc.Streams))
	for i, s := range desc.Streams {
		held.Streams[i] = s
		held.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			l, _ := stream.Context().Value(linkKey{}).(*link)
			if !l.enter(most) {
				return refused
			}
			defer l.leave()
			if b, ok := stream.Context().Value(heldBodyKey{}).(*heldBody); ok {
				each := 1
				if !s.ClientStreams {
					each = theOnlyMessage
				}
				stream = &heldStream{ServerStream: stream, body: b, each: each}
			}
			return s.Handler(srv, stream)
		}
	}
	return &held
}

// enter counts a handler that runs for the connection, or reports false where
// as many run as may. Without a connection nothing is counted.
func (l *link) enter(most int64) bool {
	if l == nil {
		return true
	}
	if l.handlers.Add(1) > most {
		l.handlers.Add(-1)
		return false
	}
	return true
}

// leave is called when a handler that entered has returned.
func (l *link) leave() {
	if l != nil {
		l.handlers.Add(-1)
	}
}

// theOnlyMessage is how many messages are let through for a call that has one:
// grpc-go looks whether another one follows, to refuse the call.
const theOnlyMessage = 2

// heldStream is a stream whose messages are read when they are asked for.
type heldStream struct {
	grpc.ServerStream
	body *heldBody
	each int
}

func (s *heldStream) RecvMsg(m any) error {
	return s.body.receive(s.each, func() error { return s.ServerStream.RecvMsg(m) })
}

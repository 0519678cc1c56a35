// Package pace keeps what a client sends on a gRPC stream through net/http
// from piling up in memory: grpc-go's ServeHTTP reads a request's body as fast
// as it comes, whether the handler takes the messages or not.
//
// A body from [Request] is read no further than the message that the handler
// waits for and a window beyond it, so that flow control, HTTP/2's or TCP's,
// reaches the client. The gRPC server must be made with [ServerOption], which
// tells the body what its handler waits for.
package pace

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"sync"

	"google.golang.org/grpc"
)

const (
	// window is how much may lie in memory that no handler waits for: what
	// HTTP/2 grants a stream before anything is known of it
	// (https://www.rfc-editor.org/rfc/rfc9113#section-6.9.2).
	window = 64 << 10

	// overhead is what a message costs beyond its bytes, so that empty ones
	// count too.
	overhead = 64

	headerSize = 5 // of a gRPC message: a flag and the length
)

// bodyKey is the key of a context by which a body reaches its call.
type bodyKey struct{}

// Request returns r with a body that is read at the pace of the handler. The
// body is in gRPC's framing. streams says that the method takes more than one
// message; of any other, what follows the first message and the window fails.
func Request(r *http.Request, streams bool) *http.Request {
	b := &body{source: r.Body, streams: streams, wanted: !streams}
	b.more.L = &b.mu
	paced := r.WithContext(context.WithValue(r.Context(), bodyKey{}, b))
	paced.Body = b
	return paced
}

// ServerOption is for the gRPC server that answers requests of Request. It
// must be the first of the server's interceptors, or those before it take
// messages unseen.
func ServerOption() grpc.ServerOption {
	return grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if b, ok := stream.Context().Value(bodyKey{}).(*body); ok && b.streams {
			stream = &serverStream{ServerStream: stream, body: b}
		}
		return handler(srv, stream)
	})
}

type serverStream struct {
	grpc.ServerStream
	body *body
}

func (s *serverStream) RecvMsg(m any) error {
	s.body.want()
	err := s.ServerStream.RecvMsg(m)
	if err != nil { // such as of a message that is too large: nothing more will be taken
		s.body.end()
	}
	return err
}

// body is read by one goroutine of grpc-go, and closed by another.
type body struct {
	source  io.ReadCloser
	streams bool

	mu     sync.Mutex
	more   sync.Cond
	closed bool
	wanted bool // the handler waits for the message that is being read, or the next

	// What was read and nobody waited for: whole messages by size, and all.
	waiting []int
	ahead   int

	// Where in its message the reader is.
	header  [headerSize]byte
	inside  int    // bytes of the header
	left    uint32 // of the message, once its header is whole
	current int    // bytes of it all
}

// want says that the handler waits for one more message.
func (b *body) want() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 {
		b.ahead -= b.waiting[0]
		b.waiting = b.waiting[1:]
	} else {
		b.ahead -= b.current
		b.wanted = true
	}
	b.more.Signal()
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.wait(); err != nil {
		return 0, err
	}
	n, err := b.source.Read(p)
	b.mu.Lock()
	b.passed(p[:n])
	b.mu.Unlock()
	return n, err
}

// wait waits until more may be read.
func (b *body) wait() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed && !b.wanted && b.ahead >= window {
		if !b.streams {
			return io.ErrUnexpectedEOF
		}
		b.more.Wait()
	}
	if b.closed {
		return http.ErrBodyReadAfterClose
	}
	return nil
}

// passed accounts for what was read. The caller holds mu.
func (b *body) passed(p []byte) {
	for len(p) > 0 {
		var n int
		if b.inside < headerSize {
			n = copy(b.header[b.inside:], p)
			b.inside += n
			b.left = binary.BigEndian.Uint32(b.header[1:])
		} else {
			n = int(min(uint64(len(p)), uint64(b.left)))
			b.left -= uint32(n)
		}
		p = p[n:]
		b.current += n
		if !b.wanted {
			b.ahead += n
		}
		if b.inside == headerSize && b.left == 0 {
			b.complete()
		}
	}
}

// complete is the end of a message. The caller holds mu.
func (b *body) complete() {
	if b.wanted {
		b.wanted = false
	} else {
		b.ahead += overhead
		b.waiting = append(b.waiting, b.current+overhead)
	}
	b.inside, b.current = 0, 0
}

// end keeps more from being read.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.more.Signal()
}

func (b *body) Close() error {
	b.end()
	return b.source.Close()
}

package connect

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Both protocols put five bytes before each message of a stream: flags, and
// the length, big-endian. The lowest flag is "compressed" in both
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md,
// https://connectrpc.com/docs/protocol/#streaming-request).
const (
	prefixSize     = 5
	flagCompressed = 1
	flagEnd        = 2 // Connect's: the message is an EndStreamResponse
)

// prefix returns what precedes a message of n bytes.
func prefix(flags byte, n int) []byte {
	return binary.BigEndian.AppendUint32([]byte{flags}, uint32(n))
}

// frames is the body of a gRPC request, made of Connect's.
type frames struct {
	source      io.ReadCloser
	stop        func() // takes the place of source's Close; nil is none
	zipped      bool   // compressed messages may come
	single      bool   // the method takes one message, no more and no less
	limit       int    // of a message that is decompressed here
	compression *compression

	any     bool   // a message began
	pending []byte // to be read next
	left    uint32 // of the message that is passed on as it comes
	broken  error
	fault   atomic.Pointer[status.Status] // what was wrong with the client's framing
	ended   atomic.Bool                   // source is read to its end
	closed  atomic.Bool
}

// message returns the body of a call of one message.
func message(data []byte) *frames {
	f := &frames{source: none{}, pending: append(prefix(0, len(data)), data...)}
	f.ended.Store(true)
	return f
}

// none is the source of frames that are pending already.
type none struct{}

func (none) Read([]byte) (int, error) { return 0, io.EOF }
func (none) Close() error             { return nil }

// Read implements io.Reader.
func (f *frames) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for f.broken == nil {
		if f.closed.Load() {
			return 0, http.ErrBodyReadAfterClose
		}
		switch {
		case len(f.pending) > 0:
			n := copy(p, f.pending)
			f.pending = f.pending[n:]
			return n, nil
		case f.left > 0:
			n, err := f.source.Read(p[:min(uint64(len(p)), uint64(f.left))])
			f.left -= uint32(n)
			if err != nil && (f.left > 0 || !errors.Is(err, io.EOF)) {
				f.broken = f.endedWithin(err)
			}
			if n > 0 {
				return n, nil
			}
		default:
			f.broken = f.next()
		}
	}
	return 0, f.broken
}

// next reads the prefix of the next message, and all of it where it is
// compressed.
func (f *frames) next() error {
	var head [prefixSize]byte
	if _, err := io.ReadFull(f.source, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			f.ended.Store(true)
			if f.single && !f.any {
				return f.wrong(status.New(codes.Unimplemented, "the method takes one message, and there is none"))
			}
			return io.EOF
		}
		return f.endedWithin(err)
	}
	if f.single && f.any {
		return f.wrong(status.New(codes.Unimplemented, "the method takes one message, and there are more"))
	}
	f.any = true
	size := binary.BigEndian.Uint32(head[1:])
	switch {
	case head[0] == 0:
		f.pending, f.left = head[:], size
		return nil
	case head[0] != flagCompressed:
		return f.wrong(status.Newf(codes.InvalidArgument, "a message has the flags %#x", head[0]))
	case !f.zipped:
		return f.wrong(status.New(codes.Internal, "a message is compressed, and the header Connect-Content-Encoding does not say how"))
	case int64(size) > int64(f.limit):
		return f.wrong(tooLarge(f.limit))
	}
	compressed, err := io.ReadAll(io.LimitReader(f.source, int64(size)))
	if err == nil && len(compressed) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return f.endedWithin(err)
	}
	data, refused := f.compression.decompress(compressed, f.limit)
	if refused != nil {
		return f.wrong(refused)
	}
	f.pending = append(prefix(0, len(data)), data...)
	return nil
}

// wrong notes what the client did wrong, which grpc-go would not tell it.
func (f *frames) wrong(st *status.Status) error {
	f.fault.Store(st)
	return io.ErrUnexpectedEOF
}

// endedWithin is the end of the source within a message.
func (f *frames) endedWithin(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return f.wrong(status.New(codes.InvalidArgument, "the request ends within a message"))
	}
	return err
}

// Close implements io.Closer.
func (f *frames) Close() error {
	f.closed.Store(true)
	if f.stop != nil {
		f.stop()
		return nil
	}
	return f.source.Close()
}

package connect

import (
	"encoding/binary"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// answer takes what grpc-go writes as the answer of a call. It is used by one
// goroutine, that of ServeHTTP.
type answer struct {
	header http.Header
	status int // of HTTP; 0 until something was written

	// begin is told the headers, once they are complete.
	begin func(http.Header)

	// data is given messages in parts: the size of the whole with each, and
	// no bytes at all where it is empty.
	data func(part []byte, size int) error

	flush func()

	refusal strings.Builder // the text where it was no call

	// Where in a message the writer is.
	head   [prefixSize]byte
	inside int // bytes of the prefix
	size   int
	left   int

	fault *status.Status // what grpc-go wrote and has no place here
	gone  error          // why the client takes no more
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(code int) {
	if a.status != 0 {
		return
	}
	a.status = code
	if code == http.StatusOK {
		a.begin(leading(a.header))
	}
}

func (a *answer) Flush() {
	a.WriteHeader(http.StatusOK)
	if a.status == http.StatusOK && a.gone == nil {
		a.flush()
	}
}

// refusalSize bounds the text of a refusal: grpc-go's is a line.
const refusalSize = 1 << 10

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.status != http.StatusOK {
		a.refusal.Write(p[:min(len(p), max(0, refusalSize-a.refusal.Len()))])
		return len(p), nil
	}
	written := len(p)
	for len(p) > 0 && a.gone == nil && a.fault == nil {
		if a.inside < prefixSize {
			n := copy(a.head[a.inside:], p)
			a.inside += n
			p = p[n:]
			if a.inside < prefixSize {
				break
			}
			if a.head[0] != 0 {
				a.fault = status.New(codes.Internal, "the server compresses its answers by an option of its own: call it by gRPC")
				break
			}
			a.size = int(binary.BigEndian.Uint32(a.head[1:]))
			a.left = a.size
			if a.left > 0 {
				continue
			}
		}
		n := min(len(p), a.left)
		a.left -= n
		a.gone = a.data(p[:n], a.size)
		p = p[n:]
		if a.left == 0 {
			a.inside = 0
		}
	}
	if a.gone != nil {
		return 0, a.gone
	}
	return written, nil
}

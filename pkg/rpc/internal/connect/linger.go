package connect

import (
	"io"
	"net/http"
	"time"
)

const (
	// linger is how long a client that is still sending may take to see that
	// the call is over.
	linger = 500 * time.Millisecond

	// smallBody is what is read of a body that nobody wants any more.
	smallBody = 64 << 10
)

// lingers reports whether the rest of the request is worth reading once the
// call is over. A client of HTTP/1 loses the answer if its connection ends
// while it still sends. Over HTTP/2 some, such as curl before 8, take the end
// of their stream for an error while they still send: those tell the size
// beforehand, which those that stream do not.
func (q *request) lingers() bool {
	return q.ProtoMajor < 2 || 0 < q.ContentLength && q.ContentLength <= smallBody
}

// bound keeps a request that is refused unread from holding its connection up:
// net/http reads some of it before it sends the answer.
func bound(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(linger))
	}
}

// drain reads what is left of a request that was answered already, within the
// bound. Over HTTP/1 net/http does so itself.
func (q *request) drain(w http.ResponseWriter) {
	if q.ProtoMajor < 2 || !q.lingers() {
		return
	}
	_ = http.NewResponseController(w).Flush()
	_, _ = io.Copy(io.Discard, q.Body)
}

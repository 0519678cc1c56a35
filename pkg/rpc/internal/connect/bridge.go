// Package connect answers calls of the Connect protocol
// (https://connectrpc.com/docs/protocol/) through a gRPC server: it is a
// translator between two framings. A unary request is one HTTP body, with
// errors as JSON and trailers as headers, so that plain JSON by curl is one
// too; streams are gRPC's frames with one more of JSON at the end.
//
// A call goes through the gRPC server's ServeHTTP like any other: limits,
// interceptors and deadlines hold. Unary requests are read whole, bounded in
// size and time, before they are a call; streams are passed on message by
// message at the pace of who takes them.
package connect

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Method is what a Bridge must know of a method.
type Method struct {
	ClientStreams bool // it takes any number of messages
	ServerStreams bool // it answers with any number of messages
}

func (m Method) streams() bool { return m.ClientStreams || m.ServerStreams }

// Bridge is an http.Handler that answers Connect's requests.
type Bridge struct {
	// GRPC answers gRPC's requests: grpc-go's server, or what leads to it. How
	// fast it reads a request's body is how fast a stream is taken.
	GRPC http.Handler

	// Codecs are the content subtypes that the server knows.
	Codecs []string

	// Methods are the server's, by path. What is not here is the server's to
	// refuse.
	Methods map[string]Method

	// MaxMessage bounds a message, compressed or not, in bytes.
	MaxMessage int

	// BodyTimeout bounds how long a unary request may take to arrive.
	BodyTimeout time.Duration

	// GET reports whether a request may call its method, which is unary, by
	// GET: whether that changes nothing. It is asked when one comes. nil: none may.
	GET func(*http.Request) bool

	compression compression
}

// request is what the headers of an HTTP request say.
type request struct {
	*http.Request
	method  Method
	known   bool   // the method is in the table
	codec   string // content subtype of the messages
	stream  bool   // in the framing for streams
	zipped  bool   // compressed messages may come
	zip     bool   // compressed answers are welcome
	timeout string // as gRPC writes it; "" is none
	refused *status.Status
}

// ServeHTTP implements http.Handler.
func (b *Bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := request{Request: r}
	q.method, q.known = b.Methods[r.URL.Path]
	switch {
	case r.Method == http.MethodGet && b.mayGET(&q):
		b.serveGET(w, &q)
		return
	case r.Method != http.MethodPost:
		allowed := http.MethodPost
		if b.mayGET(&q) {
			allowed = "GET, POST"
		}
		bound(w, r)
		w.Header().Set("Allow", allowed)
		writeError(w, http.StatusMethodNotAllowed, status.New(codes.Unknown, "call a method by POST /Service/Method"))
		return
	case !q.contentType(b.Codecs) || q.known && q.stream != q.method.streams():
		b.unsupported(w, &q)
		return
	}
	if q.stream {
		q.compression("Connect-Content-Encoding", "Connect-Accept-Encoding")
	} else {
		q.compression("Content-Encoding", "Accept-Encoding")
	}
	ctx, cancel := q.deadline()
	defer cancel()
	q.Request = r.WithContext(ctx)
	if q.stream {
		b.serveStream(w, &q)
	} else {
		b.serveUnary(w, &q)
	}
}

func (b *Bridge) mayGET(q *request) bool {
	return q.known && !q.method.streams() && b.GET != nil && b.GET(q.Request)
}

// Refuse answers a request, of which nothing was read, with an error in the
// form that its client reads.
func (b *Bridge) Refuse(w http.ResponseWriter, r *http.Request, st *status.Status) {
	q := request{Request: r}
	if r.Method == http.MethodPost && q.contentType(b.Codecs) && q.stream {
		bound(w, r)
		(&stream{request: &q, w: w}).end(st, nil)
		return
	}
	Refuse(w, r, st)
}

// Refuse answers a request, of which nothing was read, with an error as JSON
// and the HTTP status of its code.
func Refuse(w http.ResponseWriter, r *http.Request, st *status.Status) {
	bound(w, r)
	writeError(w, httpStatus(st), st)
}

// contentType reads the content type. It is an exact one, or it is not served:
// a web page may send some without asking, and none of these.
func (q *request) contentType(codecs []string) bool {
	mediaType, params, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if err != nil {
		return false
	}
	subtype, ok := strings.CutPrefix(mediaType, "application/")
	if !ok {
		return false
	}
	q.codec, q.stream = strings.CutPrefix(subtype, "connect+")
	for name, value := range params {
		if q.codec != "json" || name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return slices.Contains(codecs, q.codec)
}

// unsupported answers a content type that is not served here, and lists those
// that are.
func (b *Bridge) unsupported(w http.ResponseWriter, q *request) {
	bound(w, q.Request)
	var types []string
	for _, codec := range b.Codecs {
		if !q.known || !q.method.streams() {
			types = append(types, "application/"+codec)
		}
	}
	for _, codec := range b.Codecs {
		if !q.known || q.method.streams() {
			types = append(types, "application/connect+"+codec)
		}
	}
	w.Header().Set("Accept-Post", strings.Join(append(types, "application/grpc"), ", "))
	hint := "send JSON with the header Content-Type: application/json, or speak gRPC or Connect"
	if q.known && q.method.streams() {
		hint = "the method streams: call it by gRPC, or by Connect with the header Content-Type: application/connect+json"
	}
	writeError(w, http.StatusUnsupportedMediaType, status.New(codes.Unknown, hint))
	q.drain(w)
}

// compression reads the headers of these names.
func (q *request) compression(content, accept string) {
	q.zipped, q.refused = known(q.Header.Get(content))
	q.zip = accepts(q.Header.Values(accept))
}

// deadline reads the protocol's version and timeout, and returns the call's
// context.
func (q *request) deadline() (context.Context, context.CancelFunc) {
	if v := q.Header.Get("Connect-Protocol-Version"); v != "" && v != "1" && q.refused == nil {
		q.refused = status.Newf(codes.InvalidArgument, "the header Connect-Protocol-Version is %q: version 1 is known here", v)
	}
	timeout := q.Header.Get("Connect-Timeout-Ms")
	if timeout == "" {
		return q.Context(), func() {}
	}
	ms, err := strconv.ParseUint(timeout, 10, 64)
	if err != nil || len(timeout) > 10 { // as the protocol bounds it
		if q.refused == nil {
			q.refused = status.New(codes.InvalidArgument, "the header Connect-Timeout-Ms is not a number of at most 10 digits")
		}
		return q.Context(), func() {}
	}
	q.timeout = grpcTimeout(ms)
	return context.WithTimeout(q.Context(), time.Duration(ms)*time.Millisecond+grace)
}

// grace is how long after its deadline a handler may still answer. Then the
// client is told for it that the deadline has passed.
const grace = 100 * time.Millisecond

// grpcTimeout writes milliseconds as gRPC does, in at most eight digits
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
func grpcTimeout(ms uint64) string {
	if ms < 1e8 {
		return strconv.FormatUint(ms, 10) + "m"
	}
	return strconv.FormatUint(ms/1000, 10) + "S"
}

// call makes a gRPC call of a request whose body is in gRPC's framing.
func (b *Bridge) call(answer http.ResponseWriter, q *request, body *frames) {
	header := callHeader(q.Header)
	header["Content-Type"] = []string{"application/grpc+" + q.codec}
	header["Te"] = []string{"trailers"}
	if q.timeout != "" {
		header["Grpc-Timeout"] = []string{q.timeout}
	}
	r := q.WithContext(q.Context())
	r.Method, r.Header, r.Body = http.MethodPost, header, body
	r.ProtoMajor, r.ProtoMinor, r.Proto = 2, 0, "HTTP/2.0"
	r.ContentLength, r.TransferEncoding, r.Trailer = -1, nil, nil
	b.GRPC.ServeHTTP(answer, r)
}

// outcome is the status of a call that is over.
func outcome(q *request, a *answer, body *frames) *status.Status {
	st, fault := grpcStatus(a.header), body.fault.Load()
	switch {
	case a.fault != nil:
		return a.fault
	case st != nil && st.Code() == codes.OK:
		return st
	case fault != nil && st != nil && st.Message() == io.ErrUnexpectedEOF.Error(): // grpc-go only knows that the body broke off
		return fault
	case st != nil:
		return st
	case a.status >= http.StatusBadRequest: // it was no call
		return status.New(codes.InvalidArgument, strings.TrimSpace(a.refusal.String()))
	case q.Context().Err() != nil:
		return status.FromContextError(q.Context().Err())
	default:
		return status.New(codes.Unavailable, "the server ended the call: it is stopping")
	}
}

func internal(format string, args ...any) *status.Status {
	return status.New(codes.Internal, fmt.Sprintf(format, args...))
}

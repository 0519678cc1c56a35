package connect

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// serveUnary makes a call of one message of a POST.
func (b *Bridge) serveUnary(w http.ResponseWriter, q *request) {
	if q.refused != nil {
		Refuse(w, q.Request, q.refused)
		q.drain(w)
		return
	}
	data, refused := b.readBody(w, q)
	if refused != nil {
		code := http.StatusRequestEntityTooLarge
		if refused.Code() != codes.ResourceExhausted {
			code = httpStatus(refused)
		}
		if q.ProtoMajor < 2 {
			w.Header().Set("Connection", "close") // what is left of the body is not read
		}
		writeError(w, code, refused)
		return
	}
	b.unary(w, q, data)
}

// serveGET makes a call of the query of a GET
// (https://connectrpc.com/docs/protocol/#unary-get-request).
func (b *Bridge) serveGET(w http.ResponseWriter, q *request) {
	w.Header().Set("Vary", "Accept-Encoding")
	query, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		Refuse(w, q.Request, status.New(codes.InvalidArgument, "the query cannot be read"))
		return
	}
	q.codec = query.Get("encoding")
	q.zip = accepts(q.Header.Values("Accept-Encoding"))
	q.zipped, q.refused = known(query.Get("compression"))
	ctx, cancel := q.deadline()
	defer cancel()
	q.Request = q.WithContext(ctx)
	data := []byte(query.Get("message"))
	if q.refused == nil && query.Get("base64") == "1" {
		if data, err = decodeQuery(query.Get("message")); err != nil {
			q.refused = status.New(codes.InvalidArgument, "the query's message is not URL-safe base64")
		}
	}
	switch {
	case q.refused != nil:
	case query.Has("connect") && query.Get("connect") != "v1":
		q.refused = status.Newf(codes.InvalidArgument, "the query has connect=%q: v1 is known here", query.Get("connect"))
	case !query.Has("encoding") || !query.Has("message"):
		q.refused = status.New(codes.InvalidArgument, "the query wants encoding and message, such as ?connect=v1&encoding=json&message=%7B%7D")
	case !slices.Contains(b.Codecs, q.codec):
		q.refused = status.Newf(codes.InvalidArgument, "the encoding %q is not known here; known: %s", q.codec, strings.Join(b.Codecs, ", "))
	case q.zipped:
		data, q.refused = b.compression.decompress(data, b.MaxMessage)
	}
	if q.refused != nil {
		Refuse(w, q.Request, q.refused)
		return
	}
	b.unary(w, q, data)
}

// decodeQuery decodes base64 for URLs, with padding or without.
func decodeQuery(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

// readBody reads a unary request's message.
func (b *Bridge) readBody(w http.ResponseWriter, q *request) ([]byte, *status.Status) {
	if q.Body == nil || q.Body == http.NoBody {
		return nil, nil
	}
	by := time.Now().Add(b.BodyTimeout)
	if deadline, ok := q.Context().Deadline(); ok && deadline.Before(by) {
		by = deadline
	}
	control := http.NewResponseController(w)
	// What has no deadlines has no connection either.
	bounded := control.SetReadDeadline(by) == nil
	var body bytes.Buffer
	var to io.Writer = &body
	if q.ContentLength > int64(b.MaxMessage) {
		to = io.Discard // read all the same: many a client takes no answer before it has sent its request
	}
	n, err := io.Copy(to, io.LimitReader(q.Body, int64(b.MaxMessage)+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // net/http may have ended the context as well
		return nil, status.New(codes.DeadlineExceeded, "the request did not arrive in time")
	case err != nil && q.Context().Err() != nil:
		return nil, status.FromContextError(q.Context().Err())
	case err != nil:
		return nil, status.New(codes.InvalidArgument, "the request's body ended early")
	case n > int64(b.MaxMessage):
		return nil, tooLarge(b.MaxMessage)
	}
	if bounded {
		_ = control.SetReadDeadline(time.Time{})
	}
	if q.zipped {
		return b.compression.decompress(body.Bytes(), b.MaxMessage)
	}
	return body.Bytes(), nil
}

// unary calls the method with one message, and writes its answer.
func (b *Bridge) unary(w http.ResponseWriter, q *request, data []byte) {
	header := w.Header()
	var body []byte
	messages := 0
	a := &answer{header: http.Header{}, flush: func() {}}
	a.begin = func(leading http.Header) {
		for name, values := range leading {
			header[name] = values
		}
	}
	a.data = func(part []byte, size int) error {
		if body == nil {
			body = make([]byte, 0, size)
		}
		if body = append(body, part...); len(body) == size {
			messages++
		}
		return nil
	}
	request := message(data)
	b.call(a, q, request)

	st := outcome(q, a, request)
	if st.Code() == codes.OK && messages != 1 {
		st = internal("the method answered with %d messages", messages)
	}
	for name, values := range trailing(a.header) {
		header[textproto.CanonicalMIMEHeaderKey("Trailer-"+name)] = values
	}
	switch {
	case st.Code() == codes.Unimplemented && !q.known:
		writeError(w, http.StatusNotFound, st)
		return
	case st.Code() != codes.OK:
		writeError(w, httpStatus(st), st)
		return
	}
	header.Set("Content-Type", "application/"+q.codec)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Accept-Encoding", encodings)
	if q.zip && len(body) >= compressFrom {
		var out bytes.Buffer
		if err := b.compression.compress(&out, body); err == nil {
			header.Set("Content-Encoding", encodingGzip)
			body = out.Bytes()
		}
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

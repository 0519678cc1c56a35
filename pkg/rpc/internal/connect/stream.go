package connect

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// endOfStream is the last message of a streamed answer
// (https://connectrpc.com/docs/protocol/#error-end-stream).
type endOfStream struct {
	Error    *jsonError          `json:"error,omitempty"`
	Metadata map[string][]string `json:"metadata,omitempty"`
}

// serveStream makes a call of a request in the framing for streams. Its HTTP
// status is always 200: what became of the call is said at the end.
func (b *Bridge) serveStream(w http.ResponseWriter, q *request) {
	s := &stream{request: q, w: w, control: http.NewResponseController(w)}
	if q.ProtoMajor < 2 {
		if q.method.ClientStreams && q.method.ServerStreams {
			// Whoever expects both directions at once would hang here.
			bound(w, q.Request)
			w.Header().Set("Connection", "close")
			writeError(w, http.StatusHTTPVersionNotSupported, status.New(codes.Unimplemented, "the method streams both ways: call it over HTTP/2"))
			return
		}
		// Else net/http would wait for the request's end before it sends anything.
		_ = s.control.EnableFullDuplex()
	}
	if s.lingers() {
		s.body.stop = s.finish
	}
	s.body.source, s.body.limit, s.body.compression = q.Body, b.MaxMessage, &b.compression
	s.body.zipped, s.body.single = q.zipped, q.known && !q.method.ClientStreams
	if q.refused != nil {
		bound(w, q.Request)
		s.end(q.refused, nil)
		q.drain(w)
		return
	}
	out := &envelopes{w: w, zip: q.zip, compression: &b.compression}
	s.answer = answer{header: http.Header{}, begin: s.begin, data: out.add, flush: func() { _ = s.control.Flush() }}
	b.call(&s.answer, q, &s.body)
	s.finish()
	if s.lingers() && !s.body.ended.Load() {
		_, _ = io.CopyN(io.Discard, q.Body, int64(b.MaxMessage))
	}
}

// stream is a call in the framing for streams.
type stream struct {
	*request
	w        http.ResponseWriter
	control  *http.ResponseController
	body     frames
	answer   answer
	began    bool
	finished bool
}

// begin writes the headers.
func (s *stream) begin(leading http.Header) {
	s.began = true
	header := s.w.Header()
	for name, values := range leading {
		header[name] = values
	}
	header.Set("Content-Type", "application/connect+"+s.codec)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Connect-Accept-Encoding", encodings)
	if s.zip {
		header.Set("Connect-Content-Encoding", encodingGzip)
	}
	if s.ProtoMajor < 2 && !s.body.ended.Load() {
		header.Set("Connection", "close") // the rest of the request may never be read
	}
	s.w.WriteHeader(http.StatusOK)
}

// finish ends the answer, once. Where it lingers it does so when grpc-go closes
// the request, and before that waits for what reads it: a Read of HTTP/1 is
// ended by a deadline alone.
func (s *stream) finish() {
	if s.finished {
		return
	}
	s.finished = true
	if s.answer.gone == nil {
		s.end(outcome(s.request, &s.answer, &s.body), trailing(s.answer.header))
	}
	if s.lingers() && !s.body.ended.Load() {
		_ = s.control.Flush()
		_ = s.control.SetReadDeadline(time.Now().Add(linger))
	}
}

// end writes the last message.
func (s *stream) end(st *status.Status, metadata map[string][]string) {
	if !s.began {
		s.begin(nil)
	}
	last := endOfStream{Metadata: metadata}
	if st.Code() != codes.OK {
		last.Error = toJSON(st)
	}
	data, err := json.Marshal(last)
	if err != nil { // strings always encode
		data = []byte(`{"error":{"code":"internal"}}`)
	}
	_, _ = s.w.Write(append(prefix(flagEnd, len(data)), data...))
}

// envelopes writes messages of a streamed answer. A message that is not to be
// compressed is passed on as it comes.
type envelopes struct {
	w           http.ResponseWriter
	zip         bool
	compression *compression

	began   bool   // the message's prefix is written
	written int    // of the message that is passed on
	message []byte // the part that there is of one that is to be compressed
}

// add takes a part of a message of the given size.
func (e *envelopes) add(part []byte, size int) error {
	if e.zip && size >= compressFrom {
		if e.message == nil {
			e.message = make([]byte, 0, size)
		}
		if e.message = append(e.message, part...); len(e.message) < size {
			return nil
		}
		data := e.message
		e.message = nil
		return e.compressed(data)
	}
	if !e.began {
		e.began = true
		if _, err := e.w.Write(prefix(0, size)); err != nil {
			return err
		}
	}
	if e.written += len(part); e.written == size {
		e.began, e.written = false, 0
	}
	if len(part) == 0 {
		return nil
	}
	_, err := e.w.Write(part)
	return err
}

func (e *envelopes) compressed(data []byte) error {
	out := bytes.NewBuffer(make([]byte, prefixSize))
	if err := e.compression.compress(out, data); err != nil {
		return err
	}
	copy(out.Bytes(), prefix(flagCompressed, out.Len()-prefixSize))
	_, err := e.w.Write(out.Bytes())
	return err
}

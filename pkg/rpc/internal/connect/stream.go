package connect

import (
	"bytes"
	"encoding/json"
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
	control := http.NewResponseController(w)
	header := w.Header()
	if q.ProtoMajor < 2 {
		if q.method.ClientStreams && q.method.ServerStreams {
			// Whoever expects both directions at once would hang here.
			header.Set("Connection", "close")
			writeError(w, http.StatusHTTPVersionNotSupported, status.New(codes.Unimplemented, "the method streams both ways: call it over HTTP/2"))
			return
		}
		// Else net/http would wait for the request's end before it sends anything.
		_ = control.EnableFullDuplex()
	}
	body := &frames{source: q.Body, zipped: q.zipped, limit: b.MaxMessage, compression: &b.compression}
	if q.ProtoMajor < 2 {
		// A Read of HTTP/1 holds up Close, and ends by a deadline alone. The
		// connection is not used again: see begin.
		body.stop = func() { _ = control.SetReadDeadline(time.Unix(1, 0)) }
	}
	begin := func(leading http.Header) {
		for name, values := range leading {
			header[name] = values
		}
		header.Set("Content-Type", "application/connect+"+q.codec)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Connect-Accept-Encoding", encodings)
		if q.zip {
			header.Set("Connect-Content-Encoding", encodingGzip)
		}
		if q.ProtoMajor < 2 && !body.ended.Load() {
			header.Set("Connection", "close")
		}
		w.WriteHeader(http.StatusOK)
	}
	if q.refused != nil {
		begin(nil)
		writeEnd(w, q.refused, nil)
		return
	}
	out := &envelopes{w: w, zip: q.zip, compression: &b.compression}
	a := &answer{header: http.Header{}, begin: begin, data: out.add, flush: func() { _ = control.Flush() }}
	b.call(a, q, body)
	if a.gone != nil {
		return
	}
	st := outcome(q, a, body)
	if a.status != http.StatusOK {
		begin(nil)
	}
	writeEnd(w, st, trailing(a.header))
}

// writeEnd writes the message that ends a stream.
func writeEnd(w http.ResponseWriter, st *status.Status, metadata map[string][]string) {
	end := endOfStream{Metadata: metadata}
	if st.Code() != codes.OK {
		end.Error = toJSON(st)
	}
	data, err := json.Marshal(end)
	if err != nil { // strings always encode
		data = []byte(`{"error":{"code":"internal"}}`)
	}
	_, _ = w.Write(append(prefix(flagEnd, len(data)), data...))
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

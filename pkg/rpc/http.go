package rpc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (s *Server) newHTTPServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	var handler http.Handler = http.HandlerFunc(s.serveHTTP)
	if s.options.LoopbackOnly {
		handler = anonymousLoopback(handler)
	}
	limits := &s.options.ServerLimits
	server := &http.Server{
		Handler:     s.admission.replacing(limits.boundBodies(handler)),
		ConnContext: connContext,
		Protocols:   protocols,
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	limits.http(server)
	return server
}

// serveHTTP answers a client that is not one of ours: gRPC, or JSON by POST.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && (mediaType == "application/grpc" || strings.HasPrefix(mediaType, "application/grpc+")):
		if !refuseCompression(w, r) {
			s.foreign.ServeHTTP(w, holdBody(r, s.options.MaxMessage))
		}
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		writeError(w, http.StatusMethodNotAllowed, codes.Unimplemented, "call a method by POST /Service/Method")
	case err != nil || mediaType != "application/json" || !utf8Charset(params):
		w.Header().Set("Accept-Post", "application/json")
		writeError(w, http.StatusUnsupportedMediaType, codes.Unimplemented,
			"send JSON with the header Content-Type: application/json, or speak gRPC")
	default:
		s.serveJSON(w, r)
	}
}

func utf8Charset(params map[string]string) bool {
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// serveJSON makes a gRPC call of a JSON POST. The call goes through the gRPC
// server like any other, so that interceptors, limits and deadlines hold.
func (s *Server) serveJSON(w http.ResponseWriter, r *http.Request) {
	if err := s.admission.admitRequest(r); err != nil {
		refused := status.Convert(err)
		_, httpStatus := connectCode(refused.Code())
		writeError(w, httpStatus, refused.Code(), refused.Message())
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.options.MaxMessage)))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			writeError(w, http.StatusRequestEntityTooLarge, codes.ResourceExhausted,
				fmt.Sprintf("the request is larger than %d bytes, the most that ServerOptions.MaxMessage allows", tooLarge.Limit))
			return
		}
		writeError(w, http.StatusBadRequest, codes.InvalidArgument, "the request's body ended early")
		return
	}

	call := r.Clone(r.Context())
	call.ProtoMajor, call.ProtoMinor, call.Proto = 2, 0, "HTTP/2.0"
	call.Header.Set("Content-Type", "application/grpc+json")
	call.Header.Set("Te", "trailers")
	call.Header.Del("Content-Length")
	call.Header.Del("Grpc-Encoding")
	call.Header.Del("Grpc-Timeout")
	if timeout := r.Header.Get("Connect-Timeout-Ms"); timeout != "" {
		ms, err := strconv.ParseUint(timeout, 10, 64)
		if err != nil || len(timeout) > 10 { // as the Connect protocol bounds it
			writeError(w, http.StatusBadRequest, codes.InvalidArgument, "the header Connect-Timeout-Ms is not a number of at most 10 digits")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), millis(ms))
		defer cancel()
		call = call.WithContext(ctx)
	}
	call.Body = io.NopCloser(io.MultiReader(bytes.NewReader(messagePrefix(len(body))), bytes.NewReader(body)))
	call.ContentLength = -1

	answer := &grpcAnswer{header: http.Header{}}
	s.foreign.ServeHTTP(answer, call)
	answer.writeJSON(w)
}

// messagePrefix is what precedes a message in gRPC's framing: a byte that
// says "not compressed" and the length, big-endian
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
func messagePrefix(n int) []byte {
	return binary.BigEndian.AppendUint32([]byte{0}, uint32(n))
}

// grpcAnswer collects what grpc-go's handler transport writes.
type grpcAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *grpcAnswer) Header() http.Header { return a.header }

func (a *grpcAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *grpcAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

func (a *grpcAnswer) Flush() {}

// ofGRPC reports whether a header is gRPC's business and not the JSON client's.
func ofGRPC(name string) bool {
	switch name {
	case "Content-Type", "Date", "Trailer", "Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Grpc-Encoding", "Grpc-Accept-Encoding":
		return true
	}
	return strings.HasPrefix(name, http.TrailerPrefix)
}

func (a *grpcAnswer) writeJSON(w http.ResponseWriter) {
	if a.status != http.StatusOK && a.status != 0 { // refused before it was a call
		writeError(w, a.status, codes.InvalidArgument, strings.TrimSpace(a.body.String()))
		return
	}
	for name, values := range a.header {
		if !ofGRPC(name) {
			w.Header()[name] = values
		}
	}
	code := codes.Unknown
	if n, err := strconv.ParseUint(a.trailer("Grpc-Status"), 10, 32); err == nil {
		code = codes.Code(n)
	}
	if code != codes.OK {
		_, httpStatus := connectCode(code)
		writeError(w, httpStatus, code, decodeMessage(a.trailer("Grpc-Message")), a.details()...)
		return
	}
	body := a.body.Bytes()
	if len(body) < 5 || int(binary.BigEndian.Uint32(body[1:5])) != len(body)-5 {
		writeError(w, http.StatusNotImplemented, codes.Unimplemented, "the method streams: call it with gRPC")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body[5:])
}

func (a *grpcAnswer) trailer(name string) string {
	if v := a.header.Get(http.TrailerPrefix + name); v != "" {
		return v
	}
	return a.header.Get(name)
}

// httpError is the JSON of an error, as the Connect protocol has it
// (https://connectrpc.com/docs/protocol/#error-end-stream).
type httpError struct {
	Code    string            `json:"code"`
	Message string            `json:"message,omitempty"`
	Details []httpErrorDetail `json:"details,omitempty"`
}

type httpErrorDetail struct {
	Type  string `json:"type"`
	Value string `json:"value"` // base64 without padding
}

func writeError(w http.ResponseWriter, httpStatus int, code codes.Code, message string, details ...httpErrorDetail) {
	name, _ := connectCode(code)
	body, err := json.Marshal(httpError{Code: name, Message: message, Details: details})
	if err != nil { // strings always encode
		body = []byte(`{"code":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(httpStatus)
	_, _ = w.Write(append(body, '\n'))
}

// details are those of the status, if it has any: a google.rpc.Status in
// base64, of which only the details are wanted.
func (a *grpcAnswer) details() []httpErrorDetail {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(a.trailer("Grpc-Status-Details-Bin"), "="))
	if err != nil || len(raw) == 0 {
		return nil
	}
	return statusDetails(raw)
}

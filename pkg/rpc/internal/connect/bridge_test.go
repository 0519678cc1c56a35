package connect

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
)

// service answers with what it is sent, or fails as it is told.
type service struct {
	testgrpc.UnimplementedTestServiceServer
	fail *spb.Status
}

func (s *service) UnaryCall(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	if s.fail != nil {
		return nil, status.FromProto(s.fail).Err()
	}
	return &testgrpc.SimpleResponse{Payload: r.GetPayload()}, nil
}

func (s *service) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if s.fail != nil {
				return status.FromProto(s.fail).Err()
			}
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testgrpc.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

const (
	unaryCall  = "/grpc.testing.TestService/UnaryCall"
	duplexCall = "/grpc.testing.TestService/FullDuplexCall"
)

// newBridge returns one of a service; grpc-go takes every content type for protobuf.
func newBridge(s *service) *Bridge {
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, s)
	return &Bridge{
		GRPC:        server,
		Codecs:      []string{"json", "proto"},
		Methods:     map[string]Method{unaryCall: {}, duplexCall: {ClientStreams: true, ServerStreams: true}},
		MaxMessage:  64 << 10,
		BodyTimeout: time.Second,
		GET:         func(*http.Request) bool { return true },
	}
}

func encoded(t testing.TB, m proto.Message) string {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestUnaryByGET(t *testing.T) {
	b := newBridge(&service{})
	message := encoded(t, &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: []byte("hello?&")}})
	based := base64.URLEncoding.EncodeToString([]byte(message))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, message)
	_ = z.Close()
	for _, tt := range []struct {
		name, path string
		query      url.Values
		allowed    bool
		code       int
		want       string
	}{
		{"as text", unaryCall, url.Values{"encoding": {"proto"}, "message": {message}}, true, 200, "hello?&"},
		{"in base64", unaryCall, url.Values{"connect": {"v1"}, "encoding": {"proto"}, "message": {based}, "base64": {"1"}}, true, 200, "hello?&"},
		{"in base64 without padding", unaryCall, url.Values{"encoding": {"proto"}, "message": {strings.TrimRight(based, "=")}, "base64": {"1"}}, true, 200, "hello?&"},
		{"compressed", unaryCall, url.Values{"encoding": {"proto"}, "message": {base64.RawURLEncoding.EncodeToString(zipped.Bytes())}, "base64": {"1"}, "compression": {"gzip"}}, true, 200, "hello?&"},
		{"an unknown compression", unaryCall, url.Values{"encoding": {"proto"}, "message": {""}, "compression": {"br"}}, true, 501, "known: gzip, identity"},
		{"an unknown encoding", unaryCall, url.Values{"encoding": {"cbor"}, "message": {""}}, true, 400, "known: json, proto"},
		{"no encoding", unaryCall, url.Values{"message": {""}}, true, 400, "wants encoding and message"},
		{"no message", unaryCall, url.Values{"encoding": {"proto"}}, true, 400, "wants encoding and message"},
		{"bad base64", unaryCall, url.Values{"encoding": {"proto"}, "message": {"!"}, "base64": {"1"}}, true, 400, "base64"},
		{"another version", unaryCall, url.Values{"connect": {"v2"}, "encoding": {"proto"}, "message": {""}}, true, 400, "v1"},
		{"where it is not allowed", unaryCall, url.Values{"encoding": {"proto"}, "message": {""}}, false, 405, "POST"},
		{"a stream", duplexCall, url.Values{"encoding": {"proto"}, "message": {""}}, true, 405, "POST"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.GET = func(*http.Request) bool { return tt.allowed }
			w := httptest.NewRecorder()
			b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.path+"?"+tt.query.Encode(), nil))
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if tt.code == http.StatusMethodNotAllowed && w.Header().Get("Allow") != "POST" {
				t.Errorf("Allow %q", w.Header().Get("Allow"))
			}
		})
	}
	w := httptest.NewRecorder()
	b.GET = func(*http.Request) bool { return true }
	b.ServeHTTP(w, httptest.NewRequest(http.MethodPut, unaryCall, nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, POST" {
		t.Errorf("PUT: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	w = httptest.NewRecorder()
	b.GET = nil
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, unaryCall+"?encoding=proto&message=", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET, which nothing allows: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

// A body that does not arrive holds a call up for as long as a body may take.
func TestSlowBodies(t *testing.T) {
	b := newBridge(&service{})
	b.BodyTimeout = 100 * time.Millisecond
	server := httptest.NewUnstartedServer(b)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", h2), func(t *testing.T) {
			protocols := new(http.Protocols)
			protocols.SetHTTP1(!h2)
			protocols.SetUnencryptedHTTP2(h2)
			transport := &http.Transport{Protocols: protocols}
			defer transport.CloseIdleConnections()
			body, never := io.Pipe()
			defer func() { _ = never.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+unaryCall, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/proto")
			answer, err := (&http.Client{Transport: transport}).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusGatewayTimeout || !strings.Contains(string(text), "did not arrive") {
				t.Errorf("%s %s, %v", answer.Status, text, err)
			}
		})
	}
}

// parseError is a client's reading of an error: the inverse of toJSON.
func parseError(data []byte) (*spb.Status, error) {
	var e jsonError
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, err
	}
	st := &spb.Status{Code: -1, Message: e.Message}
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		if name, _ := nameOf(c); name == e.Code {
			st.Code = int32(c)
		}
	}
	if st.GetCode() < 0 {
		return nil, fmt.Errorf("no code is called %q", e.Code)
	}
	for _, d := range e.Details {
		value, err := base64.RawStdEncoding.DecodeString(d.Value)
		if err != nil {
			return nil, err
		}
		typeURL := d.Type
		if !strings.Contains(typeURL, "/") {
			typeURL = anyPrefix + typeURL
		}
		st.Details = append(st.Details, &anypb.Any{TypeUrl: typeURL, Value: value})
	}
	return st, nil
}

// FuzzErrors holds that every status that a handler returns reaches a client
// of Connect whole, by a unary call and by a stream.
func FuzzErrors(f *testing.F) {
	f.Add(uint32(5), "no “teapot” 100%\n", "type.googleapis.com/google.rpc.ErrorInfo", []byte("\n\x04GONE"))
	f.Add(uint32(16), "", "example.com/a.B", []byte{})
	f.Add(uint32(13), "%", "", []byte(nil))
	f.Add(uint32(99), "x", "a/", []byte{0xff})
	f.Fuzz(func(t *testing.T, code uint32, message, typeURL string, value []byte) {
		message, typeURL = strings.ToValidUTF8(message, "?"), strings.ToValidUTF8(typeURL, "?")
		want := &spb.Status{Code: int32(code%17 + 1), Message: message, Details: []*anypb.Any{{TypeUrl: typeURL, Value: value}, {TypeUrl: typeURL}}}
		b := newBridge(&service{fail: want})
		want = proto.CloneOf(want)
		if want.GetCode() > 16 { // gRPC has no such code
			want.Code = int32(codes.Unknown)
		}
		for _, d := range want.GetDetails() { // a bare name is as good as one with protobuf's prefix
			if !strings.Contains(d.GetTypeUrl(), "/") {
				d.TypeUrl = anyPrefix + d.GetTypeUrl()
			}
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, unaryCall, http.NoBody)
		r.Header.Set("Content-Type", "application/proto")
		b.ServeHTTP(w, r)
		got, err := parseError(w.Body.Bytes())
		if err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("unary (-want +got):\n%s", diff)
		}
		if _, code := nameOf(codes.Code(want.GetCode())); w.Code != code {
			t.Errorf("status %d, want %d", w.Code, code)
		}

		w = httptest.NewRecorder()
		r = httptest.NewRequest(http.MethodPost, duplexCall, http.NoBody)
		r.ProtoMajor = 2
		r.Header.Set("Content-Type", "application/connect+proto")
		b.ServeHTTP(w, r)
		var end struct{ Error json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes()[prefixSize:], &end); err != nil {
			t.Fatalf("%v: %q", err, w.Body)
		}
		if got, err = parseError(end.Error); err != nil {
			t.Fatalf("%v: %s", err, end.Error)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("stream (-want +got):\n%s", diff)
		}
	})
}

// FuzzBridge holds that an answer is well-formed, whatever the request.
func FuzzBridge(f *testing.F) {
	hello := encoded(f, &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: []byte("hello")}})
	f.Add("POST", unaryCall, "", "application/proto", "identity", "gzip", "1000", "X-A-Bin", "AP8", []byte(hello), byte(2))
	f.Add("POST", duplexCall, "", "application/connect+proto", "gzip", "gzip", "", "X-A", "b", append(prefix(0, len(hello)), hello...), byte(2))
	f.Add("POST", duplexCall, "", "application/connect+proto", "gzip", "", "1", "Te", "x", append(prefix(1, 3), 1, 2, 3), byte(1))
	f.Add("GET", unaryCall, "encoding=proto&message=", "", "", "", "", "", "", []byte{}, byte(1))
	f.Add("POST", "/no/such", "", "application/json", "br", "*", "x", "Connect-Protocol-Version", "2", []byte("{"), byte(2))
	f.Fuzz(func(t *testing.T, verb, path, query, contentType, encoding, accept, timeout, name, value string, body []byte, major byte) {
		r := &http.Request{
			Method: verb, URL: &url.URL{Path: path, RawQuery: query}, Host: "localhost", RemoteAddr: "127.0.0.1:1",
			ProtoMajor: int(major%2) + 1, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1,
		}
		for n, v := range map[string]string{
			"Content-Type": contentType, "Content-Encoding": encoding, "Connect-Content-Encoding": encoding, "Accept-Encoding": accept,
			"Connect-Accept-Encoding": accept, "Connect-Timeout-Ms": timeout, name: value,
		} {
			r.Header.Add(n, v)
		}
		w := httptest.NewRecorder()
		newBridge(&service{}).ServeHTTP(w, r)
		wellFormed(t, w)
	})
}

func wellFormed(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	switch got := w.Header().Get("Content-Type"); {
	case w.Code != http.StatusOK:
		if _, err := parseError(w.Body.Bytes()); err != nil || got != "application/json" {
			t.Errorf("%d %s: %v: %q", w.Code, got, err, w.Body)
		}
	case strings.HasPrefix(got, "application/connect+"):
		for rest := w.Body.Bytes(); ; {
			if len(rest) < prefixSize || int(binary.BigEndian.Uint32(rest[1:])) > len(rest)-prefixSize {
				t.Fatalf("a stream without an end: %q", w.Body)
			}
			message, after := rest[prefixSize:prefixSize+int(binary.BigEndian.Uint32(rest[1:]))], rest[prefixSize+int(binary.BigEndian.Uint32(rest[1:])):]
			if rest[0]&flagEnd == 0 {
				rest = after
				continue
			}
			var end struct{ Error json.RawMessage }
			if err := json.Unmarshal(message, &end); err != nil || len(after) > 0 {
				t.Errorf("end %q, %v; after it %q", message, err, after)
			}
			if end.Error != nil {
				if _, err := parseError(end.Error); err != nil {
					t.Errorf("%v: %s", err, end.Error)
				}
			}
			return
		}
	case got != "application/json" && got != "application/proto":
		t.Errorf("content type %q", got)
	}
}

package rpc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/known/emptypb"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
)

const (
	duplexCall = "/grpc.testing.TestService/FullDuplexCall"
	outputCall = "/grpc.testing.TestService/StreamingOutputCall"
	inputCall  = "/grpc.testing.TestService/StreamingInputCall"
)

// httpClient speaks one version of HTTP without TLS.
func httpClient(t *testing.T, h2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	transport := &http.Transport{Protocols: protocols, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// bothVersions runs a test over HTTP/1.1 and HTTP/2.
func bothVersions(t *testing.T, test func(*testing.T, *http.Client)) {
	t.Helper()
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[h2], func(t *testing.T) { test(t, httpClient(t, h2)) })
	}
}

// send posts body with the headers given as "Name: value".
func send(t *testing.T, client *http.Client, s *testServer, path string, body io.Reader, headers ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr.String()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// framed puts Connect's prefix before a message of a stream.
func framed(flags byte, message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message)))) + message
}

// frame reads one message of a stream.
func frame(t *testing.T, from io.Reader) (flags byte, message string) {
	t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		t.Fatalf("no message: %v", err)
	}
	data := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(from, data); err != nil {
		t.Fatalf("a message that breaks off: %v", err)
	}
	return head[0], string(data)
}

// ending reads the message that ends a stream, and holds that nothing follows.
func ending(t *testing.T, from io.Reader) (end struct {
	Error    *struct{ Code, Message string }
	Metadata map[string][]string
}) {
	t.Helper()
	flags, message := frame(t, from)
	if err := json.Unmarshal([]byte(message), &end); flags != 2 || err != nil {
		t.Fatalf("flags %d, %q, %v; want the end of the stream", flags, message, err)
	}
	if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	return end
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// What a caller sends as headers is metadata, and back; what is the
// protocol's business, or HTTP's, is neither.
func TestMetadataOverHTTP(t *testing.T) {
	var seen metadata.MD
	answer := func(ctx context.Context) error {
		seen, _ = metadata.FromIncomingContext(ctx)
		return errors.Join(
			grpc.SetHeader(ctx, metadata.Pairs("x-two", "a, b", "x-two", "c", "x-raw-bin", "\x00\xff", "content-length", "7", "content-encoding", "br",
				"transfer-encoding", "chunked", "connection", "close", "connect-content-encoding", "gzip", "trailer", "x-two")),
			grpc.SetTrailer(ctx, metadata.Pairs("x-end", "1", "x-end", "2", "x-end-bin", "\xff\x00", "content-type", "text/html")),
		)
	}
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		if err := rpc.Handle(s, "Meta/Data", func(ctx context.Context, r *echoRequest) (*echoRequest, error) {
			if err := answer(ctx); err != nil {
				return nil, err
			}
			if r.N > 0 {
				return nil, status.Error(codes.Aborted, "as asked")
			}
			return r, nil
		}); err != nil {
			t.Fatal(err)
		}
	})
	bothVersions(t, func(t *testing.T, client *http.Client) {
		for _, tt := range []struct {
			body string
			code int
		}{{`{"text":"x"}`, http.StatusOK}, {`{"n":1}`, http.StatusConflict}} {
			r := send(t, client, s, "/Meta/Data", strings.NewReader(tt.body), "Content-Type: application/json", "Connect-Protocol-Version: 1", "Connect-Timeout-Ms: 10000",
				"Accept-Encoding: identity", "X-Multi: 1, 2", "X-Multi: 3", "X-Some-Bin: AP8=,AQI", "X-Some-Bin: Aw", "Grpc-Timeout: 1n", "Grpc-Encoding: gzip", "Te: trailers")
			body := text(t, r)
			if r.StatusCode != tt.code || tt.code == http.StatusOK && body != `{"text":"x","n":0}` {
				t.Fatalf("%s %q", r.Status, body)
			}
			for name, want := range map[string][]string{
				"X-Two": {"a, b", "c"}, "X-Raw-Bin": {"AP8"}, "Trailer-X-End": {"1", "2"}, "Trailer-X-End-Bin": {"/wA"},
				"Content-Type": {"application/json"}, "Content-Encoding": nil, "Transfer-Encoding": nil, "Connect-Content-Encoding": nil, "Trailer": nil,
				"Trailer-Content-Type": nil, "Grpc-Status": nil, "Grpc-Message": nil,
			} {
				if diff := cmp.Diff(want, r.Header[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			for name, want := range map[string][]string{
				"x-multi": {"1, 2", "3"}, "x-some-bin": {"\x00\xff", "\x01\x02", "\x03"},
				"connect-protocol-version": nil, "connect-timeout-ms": nil, "accept-encoding": nil, "content-length": nil, "grpc-timeout": nil, "grpc-encoding": nil,
			} {
				if diff := cmp.Diff(want, seen[name]); diff != "" {
					t.Errorf("the handler's %s (-want +got):\n%s", name, diff)
				}
			}
		}
	})
}

func TestCompressionOverHTTP(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	large := fmt.Sprintf(`{"text":%q,"n":0}`, strings.Repeat("teapot ", 1000))
	bothVersions(t, func(t *testing.T, client *http.Client) {
		for _, tt := range []struct {
			name, body string
			headers    []string
			code       int
			encoding   string
			want       string
		}{
			{name: "none", body: large, code: 200, want: large},
			{name: "gzip", body: zipped(t, large), headers: []string{"Content-Encoding: gzip", "Accept-Encoding: br, gzip;q=0.5"}, code: 200, encoding: "gzip", want: large},
			{name: "of the answer alone", body: large, headers: []string{"Accept-Encoding: gzip"}, code: 200, encoding: "gzip", want: large},
			{name: "of the request alone", body: zipped(t, large), headers: []string{"Content-Encoding: gzip"}, code: 200, want: large},
			{name: "gzip that is unwanted", body: large, headers: []string{"Accept-Encoding: gzip;q=0, br"}, code: 200, want: large},
			{name: "not worth it", body: `{"text":"x","n":0}`, headers: []string{"Accept-Encoding: gzip"}, code: 200, want: `{"text":"x","n":0}`},
			{name: "identity by name", body: large, headers: []string{"Content-Encoding: identity"}, code: 200, want: large},
			{name: "unknown", body: large, headers: []string{"Content-Encoding: br"}, code: 501, want: "known: gzip, identity"},
			{name: "not what it says", body: large, headers: []string{"Content-Encoding: gzip"}, code: 400, want: "not valid gzip"},
			{name: "cut off", body: zipped(t, large)[:30], headers: []string{"Content-Encoding: gzip"}, code: 400, want: "not valid gzip"},
			{name: "a bomb", body: zipped(t, strings.Repeat(" ", 64<<20)), headers: []string{"Content-Encoding: gzip"}, code: 413, want: "larger than 4194304 bytes"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				r := send(t, client, s, "/Echo/Echo", strings.NewReader(tt.body), append(tt.headers, "Content-Type: application/json")...)
				body := text(t, r)
				if got := r.Header.Get("Content-Encoding"); got != tt.encoding {
					t.Errorf("Content-Encoding %q", got)
				}
				if tt.encoding == "gzip" {
					z, err := gzip.NewReader(strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					plain, err := io.ReadAll(z)
					if err != nil {
						t.Fatal(err)
					}
					body = string(plain)
				}
				if r.StatusCode != tt.code || !strings.Contains(body, tt.want) {
					t.Errorf("%s %.200q", r.Status, body)
				}
			})
		}
	})
}

// Every codec of the server's table has its content types, and only those are served.
func TestContentTypesOverHTTP(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{Codecs: []rpc.Codec{renamed{rpc.JSON()}}}, nil)
	const unaryTypes = "application/json, application/proto, application/raw, application/strange"
	const streamTypes = "application/connect+json, application/connect+proto, application/connect+raw, application/connect+strange"
	const unary, streams, all = unaryTypes + ", application/grpc", streamTypes + ", application/grpc", unaryTypes + ", " + streamTypes + ", application/grpc"
	for _, tt := range []struct {
		path, contentType, body string
		code                    int
		accept                  string
	}{
		{"/Echo/Echo", "application/json", `{}`, 200, ""},
		{"/Echo/Echo", "application/json; charset=UTF-8", `{}`, 200, ""},
		{"/Echo/Echo", "application/strange", `{}`, 200, ""},
		{"/grpc.testing.TestService/UnaryCall", "application/proto", "", 200, ""},
		{duplexCall, "application/connect+strange", "", 200, ""},
		{"/Echo/Echo", "application/cbor", `{}`, 415, unary},
		{"/Echo/Echo", "application/strange; charset=utf-8", `{}`, 415, unary},
		{"/Echo/Echo", "application/connect+json", `{}`, 415, unary},
		{"/Echo/Echo", "application/", `{}`, 415, unary},
		{"/Echo/Echo", "", `{}`, 415, unary},
		{duplexCall, "application/json", `{}`, 415, streams},
		{duplexCall, "application/connect+cbor", ``, 415, streams},
		{"/No/Such", "text/plain", ``, 415, all},
	} {
		bothVersions(t, func(t *testing.T, client *http.Client) {
			if tt.path == duplexCall && tt.code == 200 && strings.Contains(t.Name(), "HTTP/1.1") {
				return // both directions at once are HTTP/2's
			}
			r := send(t, client, s, tt.path, strings.NewReader(tt.body), "Content-Type: "+tt.contentType)
			if r.StatusCode != tt.code || r.Header.Get("Accept-Post") != tt.accept {
				t.Errorf("%s as %q: %s, Accept-Post %q", tt.path, tt.contentType, r.Status, r.Header.Get("Accept-Post"))
			}
		})
	}
}

func TestBadHeadersOverHTTP(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	for _, tt := range []struct {
		header string
		code   string
	}{
		{"Connect-Protocol-Version: 2", "invalid_argument"},
		{"Connect-Timeout-Ms: 12345678901", "invalid_argument"},
		{"Connect-Timeout-Ms: -1", "invalid_argument"},
		{"X-Some-Bin: !", "invalid_argument"},
		{"Connect-Timeout-Ms: 9999999999", ""},
		{"Connect-Timeout-Ms: 0", "deadline_exceeded"},
	} {
		bothVersions(t, func(t *testing.T, client *http.Client) {
			r := send(t, client, s, "/Echo/Echo", strings.NewReader("{}"), "Content-Type: application/json", tt.header)
			if body := text(t, r); tt.code == "" && r.StatusCode != http.StatusOK || !strings.Contains(body, tt.code) {
				t.Errorf("%s: %s %s", tt.header, r.Status, body)
			}
			r = send(t, client, s, outputCall, strings.NewReader(framed(0, "{}")), "Content-Type: application/connect+json", tt.header)
			end := ending(t, r.Body)
			switch {
			case tt.code == "" && end.Error.Code != "unimplemented": // the method's own answer
				t.Errorf("%s: a stream ends with %+v", tt.header, end)
			case tt.code != "" && end.Error.Code != tt.code:
				t.Errorf("%s: a stream ends with %+v", tt.header, end)
			}
		})
	}
}

// A deadline holds for handlers that do not heed it, too.
func TestDeadlinesOverHTTP(t *testing.T) {
	for _, heeded := range []bool{true, false} {
		gone := make(chan struct{})
		s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
			if err := rpc.Handle(s, "Slow/Slow", func(ctx context.Context, _ *echoRequest) (*echoRequest, error) {
				if heeded {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				<-gone
				return nil, nil
			}); err != nil {
				t.Fatal(err)
			}
		})
		bothVersions(t, func(t *testing.T, client *http.Client) {
			r := send(t, client, s, "/Slow/Slow", strings.NewReader("{}"), "Content-Type: application/json", "Connect-Timeout-Ms: 50")
			if body := text(t, r); r.StatusCode != http.StatusGatewayTimeout || !strings.Contains(body, "deadline_exceeded") {
				t.Errorf("%s %s", r.Status, body)
			}
		})
		close(gone)
	}
}

// streams is a service whose streams are a test's.
type streams struct {
	testgrpc.UnimplementedTestServiceServer
	output func(*testgrpc.StreamingOutputCallRequest, testgrpc.TestService_StreamingOutputCallServer) error
	input  func(testgrpc.TestService_StreamingInputCallServer) error
	duplex func(testgrpc.TestService_FullDuplexCallServer) error
}

func (s streams) StreamingOutputCall(r *testgrpc.StreamingOutputCallRequest, stream testgrpc.TestService_StreamingOutputCallServer) error {
	return s.output(r, stream)
}

func (s streams) StreamingInputCall(stream testgrpc.TestService_StreamingInputCallServer) error {
	return s.input(stream)
}

func (s streams) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	return s.duplex(stream)
}

// newStreams starts a server of them.
func newStreams(t *testing.T, service streams) *testServer {
	t.Helper()
	server, err := rpc.NewServer(rpc.ServerOptions{Anonymous: everyone})
	if err != nil {
		t.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(server, service)
	return start(t, server)
}

// Messages arrive as they are sent, and a stream ends with what became of it.
func TestServerStreamsOverHTTP(t *testing.T) {
	next := make(chan struct{})
	s := newStreams(t, streams{output: func(r *testgrpc.StreamingOutputCallRequest, stream testgrpc.TestService_StreamingOutputCallServer) error {
		if err := stream.SetHeader(metadata.Pairs("x-begin", "b")); err != nil {
			return err
		}
		stream.SetTrailer(metadata.Pairs("x-end", "1", "x-end", "2", "x-end-bin", "\xff"))
		for i := range 3 {
			<-next
			if err := stream.Send(&testgrpc.StreamingOutputCallResponse{Payload: &testgrpc.Payload{Body: bytes.Repeat([]byte{byte(i)}, i*5000)}}); err != nil {
				return err
			}
		}
		if r.GetResponseStatus() != nil {
			return status.Error(codes.OutOfRange, "no “more”")
		}
		return nil
	}})
	bothVersions(t, func(t *testing.T, client *http.Client) {
		for _, gzipped := range []bool{false, true} {
			for _, fails := range []bool{false, true} {
				message := `{}`
				if fails {
					message = `{"responseStatus":{"code":11}}`
				}
				body, headers := framed(0, message), []string{"Content-Type: application/connect+json"}
				if gzipped {
					body = framed(1, zipped(t, message))
					headers = append(headers, "Connect-Content-Encoding: gzip", "Connect-Accept-Encoding: gzip")
				}
				go func() { next <- struct{}{} }()
				r := send(t, client, s, outputCall, strings.NewReader(body), headers...)
				if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/connect+json" || r.Header.Get("X-Begin") != "b" {
					t.Fatalf("%s %v", r.Status, r.Header)
				}
				for i := range 3 {
					if i > 0 {
						next <- struct{}{} // what was sent before is here, or this would wait for ever
					}
					flags, got := frame(t, r.Body)
					if want := byte(0); gzipped && i > 0 {
						want = 1
						if flags != want {
							t.Errorf("message %d has the flags %d", i, flags)
						}
						z, err := gzip.NewReader(strings.NewReader(got))
						if err != nil {
							t.Fatal(err)
						}
						plain, err := io.ReadAll(z)
						if err != nil {
							t.Fatal(err)
						}
						got = string(plain)
					} else if flags != want {
						t.Errorf("message %d has the flags %d", i, flags)
					}
					var m struct{ Payload struct{ Body []byte } }
					if err := json.Unmarshal([]byte(got), &m); err != nil || len(m.Payload.Body) != i*5000 {
						t.Errorf("message %d has %d bytes, %v", i, len(m.Payload.Body), err)
					}
				}
				end := ending(t, r.Body)
				if diff := cmp.Diff(map[string][]string{"x-end": {"1", "2"}, "x-end-bin": {"/w"}}, end.Metadata); diff != "" {
					t.Errorf("trailing metadata (-want +got):\n%s", diff)
				}
				if fails != (end.Error != nil) || fails && (end.Error.Code != "out_of_range" || end.Error.Message != "no “more”") {
					t.Errorf("error %+v", end.Error)
				}
			}
		}
	})
}

// A client that goes away ends the handler's context, and one that does not
// read holds its handler up and fills no memory.
func TestClientsOfStreamsThatGoOrWait(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan error)
	s := newStreams(t, streams{output: func(_ *testgrpc.StreamingOutputCallRequest, stream testgrpc.TestService_StreamingOutputCallServer) error {
		began <- struct{}{}
		var sent int
		var err error
		for payload := (&testgrpc.StreamingOutputCallResponse{Payload: &testgrpc.Payload{Body: make([]byte, 64<<10)}}); err == nil; sent++ {
			err = stream.Send(payload)
		}
		if most := 1024; sent > most { // of 64 KiB: far beyond all windows and socket buffers
			err = fmt.Errorf("%d messages were sent that nobody read", sent)
		}
		ended <- errors.Join(err, stream.Context().Err())
		return err
	}})
	bothVersions(t, func(t *testing.T, client *http.Client) {
		r := send(t, client, s, outputCall, strings.NewReader(framed(0, "{}")), "Content-Type: application/connect+json", "Connect-Timeout-Ms: 1000")
		<-began
		// Nothing is read, until the deadline.
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "nobody read") {
			t.Errorf("the handler of a client that waits ended with %v", err)
		}
		_ = r.Body.Close()

		r = send(t, client, s, outputCall, strings.NewReader(framed(0, "{}")), "Content-Type: application/connect+json")
		<-began
		_ = r.Body.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler of a client that went away ended with %v", err)
		}
	})
}

func TestClientStreamsOverHTTP(t *testing.T) {
	s := newStreams(t, streams{input: func(stream testgrpc.TestService_StreamingInputCallServer) error {
		sum := 0
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return stream.SendAndClose(&testgrpc.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
			}
			if err != nil {
				return err
			}
			if sum += len(r.GetPayload().GetBody()); sum == 7 {
				return status.Error(codes.ResourceExhausted, "enough")
			}
		}
	}})
	message := func(n int) string { return fmt.Sprintf(`{"payload":{"body":%q}}`, strings.Repeat("AAAA", n/3)) }
	for _, tt := range []struct {
		name, body string
		headers    []string
		want       string // the error's code
		message    string
	}{
		{name: "several messages", body: framed(0, message(3)) + framed(0, message(6)) + framed(0, `{}`)},
		{name: "none", body: ""},
		{name: "compressed ones among others", body: framed(0, message(3)) + framed(1, zipped(t, message(300_000))) + framed(0, message(6)) + framed(1, ""), headers: []string{"Connect-Content-Encoding: gzip"}},
		{name: "compressed, and not said how", body: framed(1, zipped(t, message(3))), want: "internal", message: "Connect-Content-Encoding"},
		{name: "an unknown compression", body: framed(1, "x"), headers: []string{"Connect-Content-Encoding: br"}, want: "unimplemented", message: "known: gzip, identity"},
		{name: "bad gzip", body: framed(1, "x"), headers: []string{"Connect-Content-Encoding: gzip"}, want: "invalid_argument", message: "not valid gzip"},
		{name: "a bomb", body: framed(1, zipped(t, strings.Repeat(" ", 64<<20))), headers: []string{"Connect-Content-Encoding: gzip"}, want: "resource_exhausted", message: "4194304"},
		{name: "a message that is too large", body: "\x00\xff\xff\xff\xff" + strings.Repeat("x", 1<<20), want: "resource_exhausted"},
		{name: "a compressed one that is too large", body: "\x01\xff\xff\xff\xff" + strings.Repeat("x", 1<<20), headers: []string{"Connect-Content-Encoding: gzip"}, want: "resource_exhausted"},
		{name: "half a message", body: framed(0, message(3))[:9], want: "invalid_argument", message: "within a message"},
		{name: "half a compressed message", body: framed(1, zipped(t, message(3)))[:9], headers: []string{"Connect-Content-Encoding: gzip"}, want: "invalid_argument", message: "within a message"},
		{name: "half a prefix", body: framed(0, message(3)) + "\x00\x00", want: "invalid_argument", message: "within a message"},
		{name: "an end, which is the server's to say", body: framed(2, "{}"), want: "invalid_argument", message: "flags 0x2"},
		{name: "no JSON", body: framed(0, "?"), want: "invalid_argument", message: "cannot be decoded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothVersions(t, func(t *testing.T, client *http.Client) {
				r := send(t, client, s, inputCall, io.MultiReader(strings.NewReader(tt.body)), append(tt.headers, "Content-Type: application/connect+json")...)
				if tt.want == "" {
					if flags, m := frame(t, r.Body); flags != 0 || !strings.HasPrefix(m, "{") {
						t.Errorf("flags %d, %q", flags, m)
					}
				}
				end := ending(t, r.Body)
				switch {
				case tt.want == "" && end.Error != nil, tt.want != "" && end.Error == nil:
					t.Errorf("error %+v", end.Error)
				case tt.want != "" && (end.Error.Code != tt.want || !strings.Contains(end.Error.Message, tt.message)):
					t.Errorf("error %+v, want %s: %s", end.Error, tt.want, tt.message)
				}
			})
		})
	}
	// A server that has heard enough says so while the client still sends.
	t.Run("an answer before the end", func(t *testing.T) {
		bothVersions(t, func(t *testing.T, client *http.Client) {
			body, more := io.Pipe()
			defer func() { _ = more.Close() }()
			go func() { _, _ = io.WriteString(more, framed(0, `{"payload":{"body":"AAAAAAAAAA=="}}`)) }()
			r := send(t, client, s, inputCall, body, "Content-Type: application/connect+json")
			if end := ending(t, r.Body); end.Error == nil || end.Error.Message != "enough" {
				t.Errorf("error %+v", end.Error)
			}
		})
	})
}

// Both directions at once are HTTP/2's; over HTTP/1.1 they are refused, before
// anything hangs.
func TestBidirectionalStreamsOverHTTP(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	body, more := io.Pipe()
	defer func() { _ = more.Close() }()
	ping := func(text string) {
		_, _ = io.WriteString(more, framed(0, fmt.Sprintf(`{"payload":{"body":%q}}`, text)))
	}
	go ping("AAAA")
	r := send(t, httpClient(t, true), s, duplexCall, body, "Content-Type: application/connect+json")
	for i, text := range []string{"AAAA", "AAAB", "AAAC"} {
		if i > 0 {
			ping(text)
		}
		if _, got := frame(t, r.Body); !strings.Contains(got, text) {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	_ = more.Close()
	if end := ending(t, r.Body); end.Error != nil {
		t.Errorf("error %+v", end.Error)
	}

	refused := send(t, httpClient(t, false), s, duplexCall, strings.NewReader(framed(0, "{}")), "Content-Type: application/connect+json")
	if body := text(t, refused); refused.StatusCode != http.StatusHTTPVersionNotSupported || !strings.Contains(body, "HTTP/2") || !refused.Close {
		t.Errorf("over HTTP/1.1: %s %s", refused.Status, body)
	}
}

// Who is not served is told so before anything is read, in the form that its client
// understands, and learns of no method.
func TestAdmissionComesBeforeReading(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{Transport: identity.Plaintext()}, nil)
	for _, tt := range []struct {
		contentType, path string
		stream            bool
	}{
		{"application/json", "/Echo/Echo", false},
		{"application/proto", "/No/Such", false},
		{"application/json", duplexCall, false},
		{"text/plain", "/Echo/Echo", false},
		{"application/connect+json", duplexCall, true},
		{"application/connect+proto", "/No/Such", true},
		{"application/connect+cbor", duplexCall, false},
	} {
		t.Run(tt.contentType+" "+tt.path, func(t *testing.T) {
			bothVersions(t, func(t *testing.T, client *http.Client) {
				body, never := io.Pipe()
				defer func() { _ = never.Close() }()
				r := send(t, client, s, tt.path, body, "Content-Type: "+tt.contentType)
				if tt.stream {
					if end := ending(t, r.Body); end.Error == nil || end.Error.Code != "unauthenticated" {
						t.Errorf("%s, %+v", r.Status, end)
					}
					return
				}
				if got := text(t, r); r.StatusCode != http.StatusUnauthorized || !strings.Contains(got, `"unauthenticated"`) {
					t.Errorf("%s %s", r.Status, got)
				}
			})
		})
	}
}

// A stream ends with its server only when it is done.
func TestShutdownLetsStreamsOverHTTPFinish(t *testing.T) {
	bothVersions(t, func(t *testing.T, client *http.Client) {
		next := make(chan struct{})
		s := newStreams(t, streams{output: func(_ *testgrpc.StreamingOutputCallRequest, stream testgrpc.TestService_StreamingOutputCallServer) error {
			err := stream.Send(&testgrpc.StreamingOutputCallResponse{})
			<-next
			return errors.Join(err, stream.Send(&testgrpc.StreamingOutputCallResponse{}))
		}})
		r := send(t, client, s, outputCall, strings.NewReader(framed(0, "{}")), "Content-Type: application/connect+json")
		frame(t, r.Body)
		stopped := make(chan error, 1)
		go func() { stopped <- s.Shutdown(t.Context()) }()
		waitRefused(t, s.addr)
		close(next)
		frame(t, r.Body)
		if end := ending(t, r.Body); end.Error != nil {
			t.Errorf("error %+v", end.Error)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// Identity reaches the handlers of streams by HTTP too.
func TestIdentityOfStreamsOverHTTP(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	server, err := rpc.NewServer(rpc.ServerOptions{Transport: mutual(served)})
	if err != nil {
		t.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(server, streams{output: func(_ *testgrpc.StreamingOutputCallRequest, stream testgrpc.TestService_StreamingOutputCallServer) error {
		p, _ := identity.PeerFromContext(stream.Context())
		return status.Error(codes.Aborted, p.String())
	}})
	s := start(t, server)
	for _, h2 := range []bool{false, true} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.addr.String()+outputCall, strings.NewReader(framed(0, "{}")))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/connect+json")
		response, err := httpsClient(t, clientConfig(t, caller, false), h2).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if end := ending(t, response.Body); end.Error == nil || end.Error.Message != "spiffe://local/ns/default/sa/caller" {
			t.Errorf("HTTP/2 %v: %+v", h2, end.Error)
		}
	}
}

// safeService is a service of a registered file, one of whose methods says to
// have no side effects.
const safeService = "xinhari.rpctest.Safe"

func registerSafe(t *testing.T) {
	t.Helper()
	if _, err := protoregistry.GlobalFiles.FindDescriptorByName(safeService); err == nil {
		return
	}
	method := func(name string, level descriptorpb.MethodOptions_IdempotencyLevel) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{
			Name: &name, InputType: new(".google.protobuf.Empty"), OutputType: new(".google.protobuf.Empty"),
			Options: &descriptorpb.MethodOptions{IdempotencyLevel: &level},
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("xinhari/rpctest/safe.proto"), Package: new("xinhari.rpctest"), Syntax: new("proto3"), Dependency: []string{"google/protobuf/empty.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("Safe"), Method: []*descriptorpb.MethodDescriptorProto{
			method("Get", descriptorpb.MethodOptions_NO_SIDE_EFFECTS), method("Put", descriptorpb.MethodOptions_IDEMPOTENT),
		}}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := protoregistry.GlobalFiles.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
}

// A method without side effects is called by GET, but not on a laptop: a page
// needs nobody's permission for that.
func TestUnaryByGET(t *testing.T) {
	registerSafe(t)
	handle := func(s *testServer) {
		for _, method := range []string{"Get", "Put"} {
			if err := rpc.Handle(s, safeService+"/"+method, func(_ context.Context, r *echoRequest) (*echoRequest, error) { return r, nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	get := func(s *testServer, client *http.Client, scheme, method string) int {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+s.addr.String()+"/"+safeService+"/"+method+"?connect=v1&encoding=json&message=%7B%7D", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	open := newServer(t, rpc.ServerOptions{}, handle)
	if code := get(open, httpClient(t, false), "http", "Get"); code != http.StatusOK {
		t.Errorf("status %d", code)
	}
	if code := get(open, httpClient(t, false), "http", "Put"); code != http.StatusMethodNotAllowed {
		t.Errorf("a method that changes something: status %d", code)
	}
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	onLaptop := newServer(t, rpc.ServerOptions{Transport: laptop(served), LoopbackOnly: true}, handle)
	if code := get(onLaptop, httpClient(t, false), "http", "Get"); code != http.StatusMethodNotAllowed {
		t.Errorf("on a laptop: status %d", code)
	}
	if code := get(onLaptop, httpsClient(t, clientConfig(t, caller, false), false), "https", "Get"); code != http.StatusOK {
		t.Errorf("on a laptop, with a certificate: status %d", code)
	}
}

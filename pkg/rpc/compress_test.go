package rpc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // as programs do that compress
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// compressions notes how the last request and answer were compressed.
type compressions struct{ out, in atomic.Value }

func (*compressions) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*compressions) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*compressions) HandleConn(context.Context, stats.ConnStats)                       {}

func (c *compressions) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.OutHeader:
		c.out.Store(s.Compression)
	case *stats.InHeader:
		c.in.Store(s.Compression)
	}
}

func TestCompressionIsNegotiated(t *testing.T) {
	plain, compressing := newServer(t, rpc.ServerOptions{}, nil), newServer(t, rpc.ServerOptions{Compressor: "gzip"}, nil)
	text := strings.Repeat("compress me ", 1000)
	for _, c := range []struct {
		name    string
		server  *testServer
		conn    string // ConnOptions.Compressor
		opts    []grpc.CallOption
		out, in string
	}{
		{name: "nobody asks", server: plain},
		{name: "the call asks", server: plain, opts: []grpc.CallOption{grpc.UseCompressor("gzip")}, out: "gzip", in: "gzip"},
		{name: "the client asks", server: plain, conn: "gzip", out: "gzip", in: "gzip"},
		{name: "the client asks, not this call", server: plain, conn: "gzip", opts: []grpc.CallOption{grpc.UseCompressor("identity")}, out: "identity"},
		{name: "the server wants to", server: compressing, in: "gzip"},
		{name: "all want to", server: compressing, conn: "gzip", out: "gzip", in: "gzip"},
	} {
		var seen compressions
		options := []grpc.DialOption{grpc.WithStatsHandler(&seen)}
		foreignOptions := append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)
		if c.conn != "" {
			foreignOptions = append(foreignOptions, grpc.WithDefaultCallOptions(grpc.UseCompressor(c.conn)))
		}
		foreign, err := grpc.NewClient("passthrough:///"+c.server.addr.String(), foreignOptions...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = foreign.Close() }()
		for name, conn := range map[string]grpc.ClientConnInterface{
			"our client": ownConn(t, rpc.ConnOptions{Compressor: c.conn, GRPC: options}, c.server.addr), "any other": foreign,
		} {
			check := func(t *testing.T, err error, same bool) {
				t.Helper()
				if err != nil || !same {
					t.Errorf("%v, the same text: %v", err, same)
				}
				if out, in := seen.out.Load(), seen.in.Load(); out != c.out || in != c.in {
					t.Errorf("compressed by %q, the answer by %q; want %q, %q", out, in, c.out, c.in)
				}
			}
			t.Run(c.name+", a call of "+name, func(t *testing.T) {
				got, err := rpc.Call[echoRequest](t.Context(), conn, "Echo/Echo", &echoRequest{Text: text}, c.opts...)
				check(t, err, err == nil && got.Text == text)
			})
			t.Run(c.name+", a stream of "+name, func(t *testing.T) {
				stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(t.Context(), c.opts...)
				if err != nil {
					t.Fatal(err)
				}
				if err := stream.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: []byte(text)}}); err != nil {
					t.Fatal(err)
				}
				got, err := stream.Recv()
				check(t, err, string(got.GetPayload().GetBody()) == text)
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
					t.Errorf("got %v, want the end", err)
				}
			})
		}
	}
}

// TestAnswersAreCompressedForThoseWhoTakeIt holds that a server's wish does
// not go before its caller's.
func TestAnswersAreCompressedForThoseWhoTakeIt(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{Compressor: "gzip"}, nil)
	for name, dial := range h2Dials() {
		for accept, want := range map[string]string{"": "", "deflate, identity": "", "deflate,gzip": "gzip"} {
			t.Run(name+" and takes "+accept, func(t *testing.T) {
				got := postGRPC(t, dial, s.addr.String(), "", []byte("{}"), accept)
				if got.Get("Grpc-Status") != "0" || got.Get("Grpc-Encoding") != want {
					t.Errorf("got %v, want it compressed by %q", got, want)
				}
			})
		}
	}
}

func TestUnknownCompressors(t *testing.T) {
	if _, err := rpc.NewServer(rpc.ServerOptions{Compressor: "strange"}); err == nil || !strings.Contains(err.Error(), "encoding/gzip") {
		t.Errorf("a server: %v", err)
	}
	s := newServer(t, rpc.ServerOptions{}, nil)
	_, err := rpc.Call[echoRequest](t.Context(), ownConn(t, rpc.ConnOptions{}, s.addr), "Echo/Echo", &echoRequest{}, grpc.UseCompressor("strange"))
	if e := rpc.ErrorOf(err); e.Code != codes.Unimplemented || !strings.Contains(e.Message, "identity, gzip") {
		t.Errorf("at the client: %v", err)
	}
	for name, dial := range h2Dials() {
		t.Run("at the server "+name, func(t *testing.T) {
			got := postGRPC(t, dial, s.addr.String(), "strange%é", []byte("{}"))
			if got.Get("Grpc-Status") != "12" || !strings.Contains(got.Get("Grpc-Message"), "strange%25") {
				t.Errorf("got %v", got)
			}
		})
	}
	got := postGRPC(t, h2Dials()["that any other client calls"], s.addr.String(), "strange", []byte("{}"))
	if got.Get("Grpc-Message") != `compression "strange" is not known here; known: identity, gzip` || got.Get("Grpc-Accept-Encoding") != "identity,gzip" {
		t.Errorf("got %v, want the list", got)
	}
	t.Run("the server does not know what the client does", func(t *testing.T) {
		err := restatedCompression(t)
		if e := rpc.ErrorOf(err); e.Code != codes.Unimplemented || !strings.Contains(e.Message, `"elsewhere" is not known to the server`) {
			t.Errorf("got %v", err)
		}
	})
}

// restatedCompression returns what our client makes of grpc-go's answer to
// compression that the server has not. Both sides of a test share grpc-go's
// registry, so that a handler has to say it.
func restatedCompression(t *testing.T) error {
	t.Helper()
	s := failing(t, func() error {
		return status.Error(codes.Unimplemented, `grpc: Decompressor is not installed for grpc-encoding "elsewhere"`)
	})
	_, err := rpc.Call[echoRequest](t.Context(), ownConn(t, rpc.ConnOptions{}, s.addr), "Fail/Fail", &echoRequest{})
	return err
}

// TestADecompressionBombIsNoHarm holds that the limit of a message is that of
// what it is decompressed: 1 GiB of zeros in 1 MiB takes little memory.
func TestADecompressionBombIsNoHarm(t *testing.T) {
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	if _, err := z.Write(make([]byte, 16<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Repeat(member.Bytes(), 64) // members in a row are one content (RFC 1952)
	s := newServer(t, rpc.ServerOptions{}, nil)
	for name, dial := range h2Dials() {
		t.Run(name, func(t *testing.T) {
			runtime.GC() // twice, and what the pools held is gone
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := postGRPC(t, dial, s.addr.String(), "gzip", bomb)
			runtime.ReadMemStats(&after)
			if got.Get("Grpc-Status") != "8" || !strings.Contains(got.Get("Grpc-Message"), "larger than max 4194304") {
				t.Errorf("got %v, want ResourceExhausted", got)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("%d MiB were allocated", used>>20)
			}
		})
	}
}

// h2Dials connect as HTTP/2 clients of the two kinds that a server tells apart.
func h2Dials() map[string]func(ctx context.Context, addr string) (net.Conn, error) {
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	return map[string]func(ctx context.Context, addr string) (net.Conn, error){
		"that any other client calls": dial,
		"that ours call": func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := dial(ctx, addr)
			if err != nil {
				return nil, err
			}
			conn, _, err = identity.Plaintext().Client("default", "test").ClientHandshake(ctx, addr, conn)
			return conn, err
		},
	}
}

// postGRPC sends one message, which is compressed unless compression is empty,
// to Echo/Echo, and returns what the answer's headers and trailers say.
func postGRPC(t *testing.T, dial func(ctx context.Context, addr string) (net.Conn, error), addr, compression string, message []byte, accept ...string) http.Header {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return dial(ctx, addr) }}
	defer transport.CloseIdleConnections()
	flag := byte(0)
	if compression != "" {
		flag = 1
	}
	body := append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/Echo/Echo", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Content-Type": {"application/grpc+json"}, "Te": {"trailers"}, "Grpc-Accept-Encoding": accept}
	if compression != "" {
		r.Header.Set("Grpc-Encoding", compression)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	all := response.Header
	for name, values := range response.Trailer {
		all[name] = values
	}
	return all
}

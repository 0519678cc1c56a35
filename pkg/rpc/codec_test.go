package rpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// TestUnknownContentTypes holds that nothing is guessed: a content type that
// one side has no codec for is Unimplemented, with the list of those it has.
func TestUnknownContentTypes(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	strange := grpc.ForceCodecV2(renamed{rpc.JSON()})
	for name, c := range map[string]struct {
		conn grpc.ClientConnInterface
		opt  grpc.CallOption
	}{
		"of our client":                {ownConn(t, rpc.ConnOptions{}, s.addr), strange},
		"of any other client":          {foreignConn(t, s.addr), strange},
		"that our client has no codec": {ownConn(t, rpc.ConnOptions{}, s.addr), grpc.CallContentSubtype("strange")},
	} {
		for way, call := range map[string]func() error{
			"a call": func() error {
				return c.conn.Invoke(t.Context(), "/Echo/Echo", &echoRequest{}, &echoRequest{}, c.opt)
			},
			"a stream": func() error {
				stream, err := c.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, testgrpc.TestService_FullDuplexCall_FullMethodName, c.opt)
				if err != nil {
					return err
				}
				return stream.RecvMsg(&echoRequest{})
			},
		} {
			t.Run(way+" "+name, func(t *testing.T) {
				err := call()
				if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "application/grpc+strange") || !strings.Contains(err.Error(), "json, proto, raw") {
					t.Errorf("got %v, want Unimplemented with the list", err)
				}
			})
		}
	}
}

func TestRawBytes(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		if err := rpc.Handle(s, "Bytes/Reverse", func(_ context.Context, p *[]byte) (*[]byte, error) {
			answer := bytes.Clone(*p)
			for i, j := 0, len(answer)-1; i < j; i, j = i+1, j-1 {
				answer[i], answer[j] = answer[j], answer[i]
			}
			return &answer, nil
		}); err != nil {
			t.Fatal(err)
		}
	})
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	for name, c := range map[string]struct {
		conn grpc.ClientConnInterface
		opt  grpc.CallOption
	}{
		"by name":                   {ownConn(t, rpc.ConnOptions{}, s.addr), grpc.CallContentSubtype("raw")},
		"of any other client":       {foreignConn(t, s.addr), grpc.ForceCodecV2(rpc.Raw("RAW"))},
		"as JSON, which has base64": {foreignConn(t, s.addr), grpc.ForceCodecV2(rpc.JSON())},
	} {
		t.Run(name, func(t *testing.T) {
			for _, sent := range [][]byte{{}, {0}, []byte("\xff\x00abc"), large} {
				got, err := rpc.Call[[]byte](t.Context(), c.conn, "Bytes/Reverse", &sent, c.opt)
				if err != nil {
					t.Fatal(err)
				}
				again, err := rpc.Call[[]byte](t.Context(), c.conn, "Bytes/Reverse", got, c.opt)
				if err != nil || !bytes.Equal(*again, sent) || len(sent) > 1 && bytes.Equal(*got, sent) {
					t.Errorf("%d bytes became %d, %v", len(sent), len(*again), err)
				}
			}
		})
	}
	t.Run("a gateway hands on what it does not understand", func(t *testing.T) {
		conn := ownConn(t, rpc.ConnOptions{}, s.addr)
		want, err := proto.Marshal(&testgrpc.SimpleResponse{Payload: &testgrpc.Payload{Body: []byte("x")}})
		if err != nil {
			t.Fatal(err)
		}
		request, err := proto.Marshal(&testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: []byte("x")}})
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		if err := conn.Invoke(t.Context(), testgrpc.TestService_UnaryCall_FullMethodName, request, &got, grpc.ForceCodecV2(rpc.Raw("proto"))); err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %x, %v", got, err)
		}
		if err := conn.Invoke(t.Context(), "/Echo/Echo", []byte(`{"n":9007199254740993}`), &got, grpc.ForceCodecV2(rpc.Raw("json"))); err != nil || string(got) != `{"text":"","n":9007199254740993}` {
			t.Errorf("got %s, %v", got, err)
		}
	})
	t.Run("messages of other types are refused, with the type", func(t *testing.T) {
		conn := ownConn(t, rpc.ConnOptions{}, s.addr)
		var got []byte
		err := conn.Invoke(t.Context(), "/Echo/Echo", []byte("{}"), &got, grpc.CallContentSubtype("raw"))
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "*rpc_test.echoRequest") {
			t.Errorf("at the server: %v", err)
		}
		_, err = rpc.Call[echoRequest](t.Context(), conn, "Echo/Echo", &echoRequest{}, grpc.CallContentSubtype("raw"))
		if err == nil || !strings.Contains(err.Error(), "*rpc_test.echoRequest") {
			t.Errorf("at the client: %v", err)
		}
		if err := conn.Invoke(t.Context(), "/Echo/Echo", (*[]byte)(nil), &got, grpc.CallContentSubtype("raw")); err == nil {
			t.Error("a nil *[]byte was sent")
		}
	})
}

// numbers has a large integer in fields of several types.
type numbers struct {
	N      int64           `json:"n"`
	U      uint64          `json:"u"`
	Any    any             `json:"any"`
	Number json.Number     `json:"number"`
	Raw    json.RawMessage `json:"raw"`
	Map    map[int64]int64 `json:"map"`
}

func TestIntegersKeepTheirDigitsInJSON(t *testing.T) {
	const large = 1<<53 + 1
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		if err := rpc.Handle(s, "Numbers/Echo", func(_ context.Context, n *numbers) (*numbers, error) { return n, nil }); err != nil {
			t.Fatal(err)
		}
		if err := rpc.Handle(s, "Numbers/Wrapped", func(_ context.Context, n *wrapperspb.Int64Value) (*wrapperspb.Int64Value, error) { return n, nil }); err != nil {
			t.Fatal(err)
		}
		if err := rpc.Handle(s, "Numbers/Mixed", func(_ context.Context, n *wrapperspb.Int64Value) (*numbers, error) {
			return &numbers{N: n.GetValue(), U: math.MaxUint64, Raw: json.RawMessage("1"), Number: "1"}, nil
		}); err != nil {
			t.Fatal(err)
		}
	})
	for name, conn := range map[string]grpc.ClientConnInterface{"our client": ownConn(t, rpc.ConnOptions{}, s.addr), "any other": foreignConn(t, s.addr)} {
		t.Run(name, func(t *testing.T) {
			got, err := rpc.Call[numbers](t.Context(), conn, "Numbers/Echo", &numbers{
				N: large, U: math.MaxUint64, Any: json.Number("9007199254740993"), Number: "9007199254740993", Raw: json.RawMessage("9007199254740993"), Map: map[int64]int64{large: math.MinInt64},
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.N != large || got.U != math.MaxUint64 || got.Number != "9007199254740993" || string(got.Raw) != "9007199254740993" || got.Map[large] != math.MinInt64 {
				t.Errorf("got %+v", got)
			}
			if got.Any != float64(1<<53) { // as documented: encoding/json's way
				t.Errorf("a field of type any is %T %v", got.Any, got.Any)
			}
			wrapped, err := rpc.Call[wrapperspb.Int64Value](t.Context(), conn, "Numbers/Wrapped", wrapperspb.Int64(large), grpc.ForceCodecV2(rpc.JSON()))
			if err != nil || wrapped.GetValue() != large {
				t.Errorf("protojson: %v, %v", wrapped, err)
			}
			mixed, err := rpc.Call[numbers](t.Context(), conn, "Numbers/Mixed", wrapperspb.Int64(large))
			if err != nil || mixed.N != large || mixed.U != math.MaxUint64 {
				t.Errorf("protojson in, encoding/json out: %+v, %v", mixed, err)
			}
		})
	}
}

// TestJSONIsWhatTheLibrariesWrite holds it for messages of less than the
// pool's least size, of more, and in many goroutines that share the pools.
func TestJSONIsWhatTheLibrariesWrite(t *testing.T) {
	codec := rpc.JSON()
	for _, n := range []int{0, 1, 900, 1024, 1025, 5000, 70_000, 3 << 20} {
		text := strings.Repeat("é<&>\u2028", n/6+1)[:n/6*6+1]
		text = strings.ToValidUTF8(text, "?")
		for _, v := range []any{&echoRequest{Text: text, N: int64(n)}, map[string]any{text: nil}, text, nil, structpb.NewStringValue(text)} {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for range 3 {
					data, err := codec.Marshal(v)
					if err != nil {
						t.Fatal(err)
					}
					got := data.Materialize()
					data.Free()
					if m, ok := v.(proto.Message); ok {
						back := &structpb.Value{}
						if err := protojson.Unmarshal(got, back); err != nil || !proto.Equal(m, back) {
							t.Fatalf("%.80s, %v", got, err)
						}
						continue
					}
					want, err := json.Marshal(v)
					if err != nil || !bytes.Equal(got, want) {
						t.Fatalf("got %.80s, want %.80s, %v", got, want, err)
					}
				}
			})
		}
	}
	t.Run("one message is not another's memory", func(t *testing.T) {
		for _, n := range []int{1, 1000, 5000, 1 << 20} {
			for _, v := range []func(string) any{func(s string) any { return s }, func(s string) any { return wrapperspb.String(s) }} {
				var all []mem.BufferSlice
				for i := range 10 {
					data, err := codec.Marshal(v(strings.Repeat(string(rune('a'+i)), n)))
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, data)
				}
				for i, data := range all {
					if got, want := string(data.Materialize()), `"`+strings.Repeat(string(rune('a'+i)), n)+`"`; got != want {
						t.Errorf("%d bytes of %c are %.20s", n, 'a'+i, got)
					}
					data.Free()
				}
			}
		}
	})
	t.Run("after an error the next one is right", func(t *testing.T) {
		for range 10 {
			if data, err := codec.Marshal(map[string]any{"f": func() {}}); err == nil || data != nil {
				t.Fatalf("got %v, %v", data, err)
			}
			if data, err := codec.Marshal(structpb.NewNumberValue(math.Inf(1))); err == nil || data != nil {
				t.Fatalf("got %v, %v", data, err)
			}
			if data, err := codec.Marshal(1); err != nil || string(data.Materialize()) != "1" {
				t.Fatalf("got %v, %v", data, err)
			}
		}
	})
}

// TestMessagesDoNotKeepTheBuffer holds that what was decoded stays what it is
// when the buffer that it came in is used again.
func TestMessagesDoNotKeepTheBuffer(t *testing.T) {
	for _, c := range []struct {
		name  string
		codec rpc.Codec
		data  string
		into  func() (any, func() string)
	}{
		{"JSON", rpc.JSON(), `{"text":"abc","n":1}`, func() (any, func() string) { v := &echoRequest{}; return v, func() string { return v.Text } }},
		{"raw JSON", rpc.JSON(), `"abc"`, func() (any, func() string) {
			v := &json.RawMessage{}
			return v, func() string { return strings.Trim(string(*v), `"`) }
		}},
		{"protojson", rpc.JSON(), `"abc"`, func() (any, func() string) { v := &wrapperspb.StringValue{}; return v, v.GetValue }},
		{"raw", rpc.Raw("raw"), `abc`, func() (any, func() string) { v := &[]byte{}; return v, func() string { return string(*v) } }},
	} {
		t.Run(c.name, func(t *testing.T) {
			buffer := []byte(c.data)
			v, text := c.into()
			if err := c.codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(buffer)}, v); err != nil {
				t.Fatal(err)
			}
			for i := range buffer {
				buffer[i] = '!'
			}
			if text() != "abc" {
				t.Errorf("it became %q", text())
			}
		})
	}
}

// split is data in two buffers, and an empty one between.
func split(data []byte, at int) mem.BufferSlice {
	at = min(max(at, 0), len(data))
	return mem.BufferSlice{mem.SliceBuffer(data[:at]), mem.SliceBuffer(nil), mem.SliceBuffer(data[at:])}
}

// FuzzCodecs holds that any bytes are a message or an error, that what was a
// message is one again once encoded, and that buffers may be cut anywhere.
func FuzzCodecs(f *testing.F) {
	f.Add([]byte(`{"text":"x","n":9007199254740993}`), 3)
	f.Add([]byte(`{"n":1e400,"any":[{}]}`), 1)
	f.Add([]byte(`"\ud800"`), 0)
	f.Add([]byte("\x00"), 0)
	f.Add([]byte(``), 0)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		for _, v := range []struct {
			codec       rpc.Codec
			into, again any
		}{
			{rpc.JSON(), new(echoRequest), new(echoRequest)},
			{rpc.JSON(), new(numbers), new(numbers)},
			{rpc.JSON(), new(any), new(any)},
			{rpc.JSON(), new(structpb.Value), new(structpb.Value)},
			{rpc.JSON(), new(testgrpc.SimpleRequest), new(testgrpc.SimpleRequest)},
			{rpc.Raw("raw"), new([]byte), new([]byte)},
		} {
			if v.codec.Unmarshal(split(data, at), v.into) != nil {
				continue
			}
			first, err := v.codec.Marshal(v.into)
			if err != nil {
				if s, ok := v.into.(*structpb.Value); ok && s.GetKind() == nil {
					continue // the empty message has no JSON
				}
				t.Fatalf("%q was a %T and cannot be encoded: %v", data, v.into, err)
			}
			text := first.Materialize()
			if err := v.codec.Unmarshal(first, v.again); err != nil {
				t.Fatalf("%q became %q: %v", data, text, err)
			}
			first.Free()
			if m, ok := v.into.(proto.Message); ok {
				if !proto.Equal(m, v.again.(proto.Message)) {
					t.Fatalf("%q became %q", data, text)
				}
				continue
			}
			second, err := v.codec.Marshal(v.again)
			if err != nil || !bytes.Equal(second.Materialize(), text) {
				t.Fatalf("%q became %q, then %q, %v", data, text, second.Materialize(), err)
			}
		}
	})
}

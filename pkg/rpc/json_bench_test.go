package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// note is a message of a plain Go handler.
type note struct {
	Name string   `json:"name"`
	N    int64    `json:"n"`
	Tags []string `json:"tags,omitempty"`
	Text string   `json:"text"`
}

func newNote(size int) *note {
	return &note{Name: "benchmark", N: 1<<53 + 1, Tags: []string{"a", "b"}, Text: strings.Repeat("x", size)}
}

func echoNote(_ context.Context, n *note) (*note, error) { return n, nil }

// bareJSON is the codec that one writes for bare grpc-go.
type bareJSON struct{}

func (bareJSON) Name() string                       { return "json" }
func (bareJSON) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (bareJSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// bareJSON2 is the same against the newer interface.
type bareJSON2 struct{}

func (bareJSON2) Name() string { return "bare-json" }
func (bareJSON2) Marshal(v any) (mem.BufferSlice, error) {
	data, err := json.Marshal(v)
	return mem.BufferSlice{mem.SliceBuffer(data)}, err
}
func (bareJSON2) Unmarshal(data mem.BufferSlice, v any) error {
	return json.Unmarshal(data.Materialize(), v)
}

// bareEcho is the service that one writes for bare grpc-go.
var bareEcho = grpc.ServiceDesc{ServiceName: "Echo", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
	MethodName: "Echo",
	Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		n := new(note)
		if err := dec(n); err != nil {
			return nil, err
		}
		return echoNote(ctx, n)
	},
}}}

// jsonServers starts bare grpc-go and a Server of ours with that service.
func jsonServers(b *testing.B) (bare, own netip.AddrPort) {
	var lis [2]net.Listener
	for i := range lis {
		var err error
		if lis[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			b.Fatal(err)
		}
	}
	g := grpc.NewServer(grpc.ForceServerCodec(bareJSON{}))
	g.RegisterService(&bareEcho, nil)
	s, err := rpc.NewServer(rpc.ServerOptions{Anonymous: everyone})
	if err != nil {
		b.Fatal(err)
	}
	if err := rpc.Handle(s, "Echo/Echo", echoNote); err != nil {
		b.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(lis[0]) })
	serving.Go(func() { _ = s.Serve(lis[1]) })
	b.Cleanup(func() {
		g.Stop()
		_ = s.Shutdown(context.Background())
		serving.Wait()
	})
	return netip.MustParseAddrPort(lis[0].Addr().String()), netip.MustParseAddrPort(lis[1].Addr().String())
}

// BenchmarkJSONCall is a call of a plain Go handler with JSON, beside the same
// JSON over bare grpc-go at both sides.
func BenchmarkJSONCall(b *testing.B) {
	bare, own := jsonServers(b)
	for _, size := range []int{16, 4 << 10, 64 << 10} {
		message := newNote(size)
		bareConn, ownConn := foreignConn(b, bare), ownConn(b, rpc.ConnOptions{}, own)
		for _, c := range []struct {
			name string
			call func(context.Context) error
		}{
			{"bare", func(ctx context.Context) error {
				return bareConn.Invoke(ctx, "/Echo/Echo", message, new(note), grpc.ForceCodec(bareJSON{}), grpc.WaitForReady(true))
			}},
			{"own", func(ctx context.Context) error {
				_, err := rpc.Call[note](ctx, ownConn, "Echo/Echo", message)
				return err
			}},
		} {
			if err := c.call(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d/concurrency=1", c.name, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := c.call(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("%s/%d/concurrency=64", c.name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(32) // times 2 processors
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := c.call(b.Context()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkJSONCodec is one message to JSON, and its memory handed back.
func BenchmarkJSONCodec(b *testing.B) {
	for _, size := range []int{16, 4 << 10, 64 << 10} {
		message := newNote(size)
		for name, codec := range map[string]rpc.Codec{"bare": bareJSON2{}, "own": rpc.JSON()} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					data, err := codec.Marshal(message)
					if err != nil {
						b.Fatal(err)
					}
					data.Free()
				}
			})
		}
	}
}

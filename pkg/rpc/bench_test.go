package rpc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
)

type benchService struct {
	testgrpc.UnimplementedTestServiceServer
}

func (benchService) UnaryCall(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return &testgrpc.SimpleResponse{Payload: r.GetPayload()}, nil
}

// benchServers starts bare grpc-go and a Server of ours with one service.
func benchServers(b *testing.B) (bare, own netip.AddrPort) {
	listen := func() net.Listener {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return lis
	}
	g := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(g, benchService{})
	bareLis := listen()
	go func() { _ = g.Serve(bareLis) }()
	b.Cleanup(g.Stop)

	s, err := rpc.NewServer(rpc.ServerOptions{Anonymous: everyone})
	if err != nil {
		b.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(s, benchService{})
	ownLis := listen()
	go func() { _ = s.Serve(ownLis) }()
	b.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return netip.MustParseAddrPort(bareLis.Addr().String()), netip.MustParseAddrPort(ownLis.Addr().String())
}

// BenchmarkUnary is a unary call of 64 bytes over loopback, client and server
// in one process: bare grpc-go at both sides; our server with a bare client
// that is taken for ours (what the envelope costs); both ours; and a bare
// client at our server, which net/http serves.
func BenchmarkUnary(b *testing.B) {
	bare, own := benchServers(b)
	request := &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, 64)}}
	for _, c := range []struct {
		name string
		conn grpc.ClientConnInterface
	}{
		{"bare", foreignConn(b, bare)},
		{"own", ownConn(b, rpc.ConnOptions{}, own)},
		{"foreign", foreignConn(b, own)},
	} {
		client := testgrpc.NewTestServiceClient(c.conn)
		if _, err := client.UnaryCall(b.Context(), request, grpc.WaitForReady(true)); err != nil {
			b.Fatal(err)
		}
		b.Run(c.name+"/concurrency=1", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.UnaryCall(b.Context(), request); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/concurrency=64", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32) // times 2 processors
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := client.UnaryCall(b.Context(), request); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkForeign is what clients pay that are not ours: a unary call of 64
// bytes over loopback with mutual TLS, by our client, by a bare grpc-go client,
// and by net/http's with the Connect protocol over both versions of HTTP.
func BenchmarkForeign(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "ca")
	caller, served := source(b, "caller", dir, time.Hour), source(b, "test", dir, time.Hour)
	s, err := rpc.NewServer(rpc.ServerOptions{Transport: mutual(served)})
	if err != nil {
		b.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(s, benchService{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Serve(lis) }()
	b.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	addr := netip.MustParseAddrPort(lis.Addr().String())
	config := func() *tls.Config { // each client adds what it speaks
		return identity.ClientConfig(caller.Current, identity.ServiceName("default", "test"), identity.ClientOptions{})
	}
	foreign, err := grpc.NewClient("passthrough:///"+addr.String(), grpc.WithTransportCredentials(credentials.NewTLS(config())))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = foreign.Close() })

	request := &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, 64)}}
	body, err := proto.Marshal(request)
	if err != nil {
		b.Fatal(err)
	}
	byGRPC := func(conn grpc.ClientConnInterface) func(context.Context) error {
		client := testgrpc.NewTestServiceClient(conn)
		return func(ctx context.Context) error {
			_, err := client.UnaryCall(ctx, request, grpc.WaitForReady(true))
			return err
		}
	}
	byConnect := func(h2 bool) func(context.Context) error {
		transport := &http.Transport{TLSClientConfig: config(), ForceAttemptHTTP2: h2, MaxIdleConnsPerHost: 64, DisableCompression: true}
		b.Cleanup(transport.CloseIdleConnections)
		client := &http.Client{Transport: transport}
		return func(ctx context.Context) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr.String()+"/grpc.testing.TestService/UnaryCall", bytes.NewReader(body))
			if err != nil {
				return err
			}
			r.Header.Set("Content-Type", "application/proto")
			answer, err := client.Do(r)
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			data, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != http.StatusOK {
				return fmt.Errorf("%s %q: %w", answer.Status, data, err)
			}
			return proto.Unmarshal(data, new(testgrpc.SimpleResponse))
		}
	}
	for _, c := range []struct {
		name string
		call func(context.Context) error
	}{
		{"own", byGRPC(ownConn(b, rpc.ConnOptions{Transport: mutual(caller)}, addr))},
		{"grpc", byGRPC(foreign)},
		{"connect-h2", byConnect(true)},
		{"connect-h1", byConnect(false)},
	} {
		if err := c.call(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.Run(c.name+"/concurrency=1", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.call(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/concurrency=64", func(b *testing.B) {
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

// BenchmarkConnect is a new connection and its first call.
func BenchmarkConnect(b *testing.B) {
	bare, own := benchServers(b)
	request := &testgrpc.SimpleRequest{}
	for _, c := range []struct {
		name string
		dial func() (grpc.ClientConnInterface, func() error)
	}{
		{"bare", func() (grpc.ClientConnInterface, func() error) { return dialBare(b, bare) }},
		{"own", func() (grpc.ClientConnInterface, func() error) {
			c := ownConn(b, rpc.ConnOptions{}, own)
			return c, c.Close
		}},
		{"foreign", func() (grpc.ClientConnInterface, func() error) { return dialBare(b, own) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				conn, done := c.dial()
				if _, err := testgrpc.NewTestServiceClient(conn).UnaryCall(b.Context(), request, grpc.WaitForReady(true)); err != nil {
					b.Fatal(err)
				}
				if err := done(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func dialBare(b *testing.B, addr netip.AddrPort) (grpc.ClientConnInterface, func() error) {
	cc, err := grpc.NewClient("passthrough:///"+addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	return cc, cc.Close
}

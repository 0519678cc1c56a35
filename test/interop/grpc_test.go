package interop

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// own connects as a client of this project does.
func own(t *testing.T, addr string, transport identity.Transport) grpc.ClientConnInterface {
	t.Helper()
	service := discovery.Service{Namespace: "default", Name: "test"}
	d, err := staticdiscovery.New(map[discovery.Service][]discovery.Endpoint{
		service: {{Addresses: []netip.AddrPort{netip.MustParseAddrPort(addr)}}},
	}, discovery.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := rpc.NewConn(service, d, rpc.ConnOptions{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return statuses{c}
}

// statuses turns errors of pkg/rpc into grpc-go's, whose text some cases compare.
type statuses struct{ grpc.ClientConnInterface }

func (c statuses) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return asStatus(c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...))
}

func (c statuses) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	return statusStream{stream}, asStatus(err)
}

type statusStream struct{ grpc.ClientStream }

func (s statusStream) RecvMsg(m any) error { return asStatus(s.ClientStream.RecvMsg(m)) }

func asStatus(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	return st.Err()
}

// bare connects as any other gRPC client does.
func bare(t *testing.T, s *server) *grpc.ClientConn {
	t.Helper()
	secured := insecure.NewCredentials()
	if s.caller != nil {
		secured = credentials.NewTLS(s.tls())
	}
	cc, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(secured))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// bareServer is grpc-go's own server with its test service.
func bareServer(t *testing.T, options ...grpc.ServerOption) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return lis.Addr().String()
}

// unsecured is for servers that know nothing of this project.
type unsecured struct{ identity.Transport }

func (unsecured) Client(string, string) credentials.TransportCredentials {
	return insecure.NewCredentials()
}

// TestGRPC runs the standard cases of gRPC's interoperability tests
// (https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md).
// One that fails ends the test's process, and says why.
func TestGRPC(t *testing.T) {
	plain, secure := serve(t, false), serve(t, true)
	ca := filepath.Join(t.TempDir(), "ca")
	caller, theirs := source(t, "caller", ca), source(t, "test", ca)
	theirTLS := identity.ServerConfig(theirs.Current, identity.ServerOptions{NextProtos: []string{"h2"}})

	for _, way := range []struct {
		name string
		conn grpc.ClientConnInterface
	}{
		{"our client, our server", own(t, plain.addr, identity.Plaintext())},
		{"our client, our server, mTLS", own(t, secure.addr, identity.MutualTLS(secure.caller.Current, identity.MutualTLSOptions{}))},
		{"their client, our server", bare(t, plain)},
		{"their client, our server, mTLS", bare(t, secure)},
		{"our client, their server", own(t, bareServer(t), unsecured{identity.Plaintext()})},
		{"our client, their server, mTLS", own(t, bareServer(t, grpc.Creds(credentials.NewTLS(theirTLS))),
			identity.MutualTLS(caller.Current, identity.MutualTLSOptions{}))},
	} {
		client := testgrpc.NewTestServiceClient(way.conn)
		for name, run := range map[string]func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption){
			"empty_unary":                 interop.DoEmptyUnaryCall,
			"large_unary":                 interop.DoLargeUnaryCall,
			"client_streaming":            interop.DoClientStreaming,
			"server_streaming":            interop.DoServerStreaming,
			"ping_pong":                   interop.DoPingPong,
			"empty_stream":                interop.DoEmptyStream,
			"timeout_on_sleeping_server":  interop.DoTimeoutOnSleepingServer,
			"cancel_after_begin":          interop.DoCancelAfterBegin,
			"cancel_after_first_response": interop.DoCancelAfterFirstResponse,
			"custom_metadata":             interop.DoCustomMetadata,
			"status_code_and_message":     interop.DoStatusCodeAndMessage,
			"special_status_message":      interop.DoSpecialStatusMessage,
		} {
			t.Run(way.name+"/"+name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				run(ctx, client)
			})
		}
		t.Run(way.name+"/unimplemented_service", func(t *testing.T) {
			interop.DoUnimplementedService(t.Context(), testgrpc.NewUnimplementedServiceClient(way.conn))
		})
		t.Run(way.name+"/unimplemented_method", func(t *testing.T) {
			err := way.conn.Invoke(t.Context(), "/grpc.testing.TestService/UnimplementedCall", &testgrpc.Empty{}, &testgrpc.Empty{})
			if status.Code(err) != codes.Unimplemented {
				t.Errorf("error %v", err)
			}
		})
	}
}

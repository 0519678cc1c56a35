package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
	"github.com/xinhari/xinhari/pkg/rpc"
)

type echoRequest struct {
	Text string `json:"text"`
	N    int64  `json:"n"`
}

// testServer is a server on the loopback network with a generated service and
// a plain handler. gate, if not nil, holds every call until it is closed.
type testServer struct {
	testgrpc.UnimplementedTestServiceServer
	*rpc.Server
	addr    netip.AddrPort
	gate    chan struct{}
	entered chan struct{}
	err     func() error // what generated methods fail with; nil: they do not
}

func (s *testServer) wait() {
	if s.gate != nil {
		s.entered <- struct{}{}
		<-s.gate
	}
}

func (s *testServer) UnaryCall(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	s.wait()
	if s.err != nil {
		return nil, s.err()
	}
	if n := r.GetResponseSize(); n > 0 {
		return &testgrpc.SimpleResponse{Payload: &testgrpc.Payload{Body: make([]byte, n)}}, nil
	}
	return &testgrpc.SimpleResponse{Payload: r.GetPayload()}, nil
}

func (s *testServer) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	if s.err != nil {
		return s.err()
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
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

func everyone() bool { return true }

// newServer starts a server; change may register more and block calls.
func newServer(t *testing.T, o rpc.ServerOptions, change func(*testServer)) *testServer {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newServerOn(t, lis, o, change)
}

func newServerOn(t *testing.T, lis net.Listener, o rpc.ServerOptions, change func(*testServer)) *testServer {
	t.Helper()
	if o.Transport == nil && !o.LoopbackOnly {
		o.Anonymous = everyone
	}
	server, err := rpc.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{Server: server}
	testgrpc.RegisterTestServiceServer(server, s)
	if err := rpc.Handle(server, "Echo/Echo", func(_ context.Context, r *echoRequest) (*echoRequest, error) {
		s.wait()
		return r, nil
	}); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s)
	}
	s.serve(t, lis)
	return s
}

// start serves what is registered with a server.
func start(t *testing.T, server *rpc.Server) *testServer {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{Server: server}
	s.serve(t, lis)
	return s
}

// serve serves until the end of the test.
func (s *testServer) serve(t *testing.T, lis net.Listener) {
	t.Helper()
	s.addr = netip.MustParseAddrPort(lis.Addr().String())
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// ownConn connects as a client of this project does.
func ownConn(t testing.TB, o rpc.ConnOptions, addrs ...netip.AddrPort) *rpc.Conn {
	t.Helper()
	service := discovery.Service{Namespace: "default", Name: "test"}
	var endpoints []discovery.Endpoint
	for _, a := range addrs {
		endpoints = append(endpoints, discovery.Endpoint{Addresses: []netip.AddrPort{a}})
	}
	d, err := staticdiscovery.New(map[discovery.Service][]discovery.Endpoint{service: endpoints}, discovery.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := rpc.NewConn(service, d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// foreignConn connects as any other gRPC client does.
func foreignConn(t testing.TB, addr netip.AddrPort, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr.String(), append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// post sends JSON as curl does, with the headers given as "Name: value".
func post(t *testing.T, addr netip.AddrPort, path, body string, headers ...string) (int, string) {
	t.Helper()
	return postBy(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+addr.String()+path, body, headers...)
}

func postBy(t *testing.T, client *http.Client, url, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// Command conformance is the server that Connect's conformance suite tests: a
// server of pkg/rpc with the suite's own implementation of its service. The
// suite starts it, says on standard input what to serve, and is told on
// standard output where.
//
// It is a module beneath the suite's path, since the suite keeps its service
// internal to that.
package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"connectrpc.com/conformance/internal/app/grpcserver"
	conformancev1 "connectrpc.com/conformance/internal/gen/proto/go/connectrpc/conformance/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // gRPC's clients of the suite compress
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	asked := new(conformancev1.ServerCompatRequest)
	if err := read(os.Stdin, asked); err != nil {
		return fmt.Errorf("what to serve: %w", err)
	}
	options := rpc.ServerOptions{Anonymous: func() bool { return true }}
	if limit := asked.GetMessageReceiveLimit(); limit > 0 {
		options.GRPC = append(options.GRPC, grpc.MaxRecvMsgSize(int(limit)))
	}
	if asked.GetUseTls() {
		certificate, err := tls.X509KeyPair(asked.GetServerCreds().GetCert(), asked.GetServerCreds().GetKey())
		if err != nil {
			return err
		}
		options.Transport = serverTLS{&tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}}
	}
	server, err := rpc.NewServer(options)
	if err != nil {
		return err
	}
	conformancev1.RegisterConformanceServiceServer(server, withGET{grpcserver.NewConformanceServiceServer()})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	if err := write(os.Stdout, &conformancev1.ServerCompatResponse{
		Host: "127.0.0.1", Port: uint32(lis.Addr().(*net.TCPAddr).Port), PemCert: asked.GetServerCreds().GetCert(),
	}); err != nil {
		return err
	}
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = server.Shutdown(ctx) // what a test left behind is cut off
	return <-served
}

// withGET has the one method that the suite's implementation leaves out, as
// gRPC has no GET: what is asked of it is what is asked of Unary.
type withGET struct {
	conformancev1.ConformanceServiceServer
}

func (s withGET) IdempotentUnary(ctx context.Context, r *conformancev1.IdempotentUnaryRequest) (*conformancev1.IdempotentUnaryResponse, error) {
	answer, err := s.Unary(ctx, &conformancev1.UnaryRequest{ResponseDefinition: r.GetResponseDefinition(), RequestData: r.GetRequestData()})
	if err != nil {
		return nil, err
	}
	asked, err := anypb.New(r)
	if err != nil {
		return nil, err
	}
	answer.GetPayload().GetRequestInfo().Requests = []*anypb.Any{asked}
	return &conformancev1.IdempotentUnaryResponse{Payload: answer.GetPayload()}, nil
}

// serverTLS is TLS with the suite's certificate; all callers are anonymous.
type serverTLS struct{ config *tls.Config }

func (serverTLS) Client(string, string) credentials.TransportCredentials { return nil }

func (t serverTLS) Accept(ctx context.Context, conn net.Conn) (identity.Accepted, error) {
	secured := tls.Server(conn, t.config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return identity.Accepted{}, err
	}
	return identity.Accepted{Conn: secured, Protocol: secured.ConnectionState().NegotiatedProtocol, AuthInfo: identity.PlaintextInfo{}}, nil
}

// read and write have each message preceded by its size.

func read(from io.Reader, m proto.Message) error {
	var size uint32
	if err := binary.Read(from, binary.BigEndian, &size); err != nil {
		return err
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(from, data); err != nil {
		return err
	}
	return proto.Unmarshal(data, m)
}

func write(to io.Writer, m proto.Message) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

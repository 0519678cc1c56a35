package load

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// Echo is the service that is called: it answers every message with the
// payload that it got.
type Echo struct {
	testgrpc.UnimplementedTestServiceServer
	calls atomic.Uint64
}

// Calls returns how many calls and streams have been begun.
func (e *Echo) Calls() uint64 { return e.calls.Load() }

// UnaryCall answers with the request's payload.
func (e *Echo) UnaryCall(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	e.calls.Add(1)
	return &testgrpc.SimpleResponse{Payload: r.GetPayload()}, nil
}

// FullDuplexCall answers each message with its payload.
func (e *Echo) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	e.calls.Add(1)
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

// Plain answers with its request.
func (e *Echo) Plain(_ context.Context, m *Message) (*Message, error) {
	e.calls.Add(1)
	return m, nil
}

package load

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

func openUnary(_ context.Context, conn Client, spec Spec) (*caller, error) {
	return unary(conn, spec), nil
}

func unary(conn grpc.ClientConnInterface, spec Spec) *caller {
	client := testgrpc.NewTestServiceClient(conn)
	request := &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, spec.Payload)}}
	return &caller{
		call: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, spec.Deadline)
			defer cancel()
			answer, err := client.UnaryCall(ctx, request)
			if err != nil {
				return err
			}
			return wantSize(answer.GetPayload(), spec.Payload)
		},
		close: func() error { return nil },
	}
}

func openDial(_ context.Context, client Client, spec Spec) (*caller, error) {
	return &caller{
		call: func(ctx context.Context) error {
			conn, done, err := client.Dial()
			if err != nil {
				return err
			}
			return errors.Join(unary(conn, spec).call(ctx), done())
		},
		close: func() error { return nil },
	}, nil
}

func openStream(ctx context.Context, conn Client, spec Spec) (*caller, error) {
	ctx, cancel := context.WithTimeout(ctx, spec.Deadline)
	stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(ctx, grpc.WaitForReady(true))
	if err != nil {
		cancel()
		return nil, err
	}
	request := &testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: make([]byte, spec.Payload)}}
	return &caller{
		call: func(context.Context) error {
			if err := stream.Send(request); err != nil {
				return err
			}
			answer, err := stream.Recv()
			if err != nil {
				return err
			}
			return wantSize(answer.GetPayload(), spec.Payload)
		},
		close: func() error {
			defer cancel()
			if err := stream.CloseSend(); err != nil {
				return err
			}
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				return fmt.Errorf("load: the stream ended with %w, want its end", err)
			}
			return nil
		},
	}, nil
}

func wantSize(p *testgrpc.Payload, size int) error {
	if got := len(p.GetBody()); got != size {
		return fmt.Errorf("the answer has %d bytes, want %d", got, size)
	}
	return nil
}

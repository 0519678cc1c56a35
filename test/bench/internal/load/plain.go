package load

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// Message is a plain Go one, which travels as JSON.
type Message struct {
	ID      int64    `json:"id"`
	Name    string   `json:"name"`
	Labels  []string `json:"labels"`
	Payload string   `json:"payload"`
}

// PlainMethod is the method that takes and answers a Message.
const PlainMethod = "bench.Plain/Echo"

// Service is what is called.
type Service interface {
	testgrpc.TestServiceServer

	// Plain is PlainMethod: it answers with its request.
	Plain(context.Context, *Message) (*Message, error)
}

// Client is a connection that spreads calls over servers.
type Client interface {
	grpc.ClientConnInterface

	// Dial makes another connection, to one server: the next in turn.
	Dial() (conn grpc.ClientConnInterface, done func() error, err error)

	// Plain calls PlainMethod with JSON.
	Plain(context.Context, *Message) (*Message, error)
}

func openPlain(_ context.Context, client Client, spec Spec) (*caller, error) {
	request := &Message{ID: 1 << 60, Name: "teapot", Labels: []string{"red", "small"}, Payload: strings.Repeat("x", spec.Payload)}
	return &caller{
		call: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, spec.Deadline)
			defer cancel()
			answer, err := client.Plain(ctx, request)
			if err != nil {
				return err
			}
			if answer.ID != request.ID || len(answer.Payload) != spec.Payload {
				return fmt.Errorf("the answer is %+v", answer)
			}
			return nil
		},
		close: func() error { return nil },
	}, nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"sigs.k8s.io/yaml"

	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

func newStream(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "stream SERVICE METHOD [JSON|@FILE|-]",
		Short: "Call a streaming method with JSON, and print what comes",
		Long: `Call a method that takes or gives a stream of messages, with JSON.

What is sent is one JSON value after another: as given, from a file (@FILE) or
from standard input (-), from which each goes out as it is read; without any,
one empty message is sent. Answers are printed as they come, one a line; with
-o yaml, as YAML documents.

The command lasts until the stream ends, or for --timeout if that is given.`,
		Example: `  xinhari stream hello Greeter/Count '{"to":10}'
  printf '{"n":1} {"n":2}' | xinhari stream hello Greeter/Echo -
  xinhari stream prices.shop shop.v1.Prices/Watch '{"symbol":"X"}' --timeout 1m`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(c *cobra.Command, args []string) error {
			requests := io.Reader(strings.NewReader("{}"))
			if len(args) == 3 {
				opened, err := o.openRequests(args[2])
				if err != nil {
					return err
				}
				defer func() { _ = opened.Close() }() // it was only read
				requests = opened
			}
			return o.withService(c, args[0], true, func(ctx context.Context, svc *xinhari.Service) error {
				return o.stream(ctx, svc.Conn(args[0]), args[1], requests)
			})
		},
	}
}

// openRequests opens what an argument says.
func (o *options) openRequests(arg string) (io.ReadCloser, error) {
	switch {
	case arg == "-":
		return io.NopCloser(o.in), nil
	case strings.HasPrefix(arg, "@"):
		f, err := os.Open(arg[1:])
		if err != nil {
			return nil, usage("the requests: %w", err)
		}
		return f, nil
	}
	return io.NopCloser(strings.NewReader(arg)), nil
}

// stream sends each JSON value of requests and prints each answer.
func (o *options) stream(ctx context.Context, conn grpc.ClientConnInterface, method string, requests io.Reader) error {
	service, name, ok := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if !ok || service == "" || name == "" {
		return usage("method %q: want %q", method, "Service/Method")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A bidirectional stream is also what the other kinds are on the wire.
	both := &grpc.StreamDesc{StreamName: name, ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(ctx, both, "/"+service+"/"+name, grpc.ForceCodecV2(rpc.JSON()))
	if err != nil {
		return o.callError(ctx, err)
	}
	// Nobody waits for it: a read of standard input cannot be called off.
	go func() {
		if err := sendAll(stream, requests); err != nil {
			cancel(err)
		}
	}()
	for {
		var answer json.RawMessage
		err := stream.RecvMsg(&answer)
		var wrong *exitError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && errors.As(context.Cause(ctx), &wrong):
			return wrong
		case err != nil:
			return o.callError(ctx, err)
		}
		if err := o.printEach(answer); err != nil {
			return err
		}
	}
}

// sendAll sends each JSON value of requests, and then says that there are no
// more. What ends a stream early is the receiver's to tell.
func sendAll(stream grpc.ClientStream, requests io.Reader) error {
	values := json.NewDecoder(requests)
	for {
		var request json.RawMessage
		err := values.Decode(&request)
		switch {
		case errors.Is(err, io.EOF):
			return stream.CloseSend()
		case err != nil:
			return usage("the requests: %w", err)
		case len(request) > maxRequest:
			return usage("a request is larger than %d bytes", maxRequest)
		case stream.SendMsg(&request) != nil:
			return nil //nolint:nilerr // it is only io.EOF: the receiver learns why
		}
	}
}

// printEach prints one of several answers.
func (o *options) printEach(answer json.RawMessage) error {
	if o.output != "yaml" {
		return o.printAnswer(answer)
	}
	data, err := yaml.JSONToYAML(answer)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "---\n%s", data)
	return err
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

// newService returns the Service under which the tool calls others.
func (o *options) newService() (*xinhari.Service, error) {
	s, err := xinhari.New("xinhari-cli", xinhari.Options{
		Namespace:    o.namespace,
		AdminAddress: "off",
		Logger:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, &exitError{exitUnavailable, err}
	}
	return s, nil
}

func newCall(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "call SERVICE METHOD [JSON|@FILE|-]",
		Short: "Call a method of a service with JSON",
		Long: `Call a method of a service with JSON, and print the JSON that it answers.

SERVICE is a name, such as hello, or with a namespace, such as inventory.shop.
METHOD is Greeter/Hello or shop.v1.Inventory/Get. The request is given as it
is, read from a file (@FILE) or from standard input (-); without one it is {}.
Fields of it that the method's message does not have are told, and sent all the
same: see "xinhari describe".`,
		Example: `  xinhari call hello Greeter/Hello '{"name":"Joe"}'
  echo '{"name":"Joe"}' | xinhari call hello Greeter/Hello -
  xinhari call hello Greeter/Hello @request.json -o yaml`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(c *cobra.Command, args []string) error {
			return o.withService(c, args[0], false, func(ctx context.Context, svc *xinhari.Service) error {
				request := json.RawMessage("{}")
				if len(args) == 3 {
					var err error
					if request, err = o.readRequest(args[2]); err != nil {
						return err
					}
				}
				conn := svc.Conn(args[0])
				if len(args) == 3 {
					o.warnOfUnknown(ctx, conn, args[1], request)
				}
				answer, err := rpc.Call[json.RawMessage](ctx, conn, args[1], &request)
				if err != nil {
					return o.callError(ctx, err)
				}
				return o.printAnswer(*answer)
			})
		},
	}
}

// maxRequest bounds what is read as a request: gRPC's default for a message.
const maxRequest = 4 << 20

func (o *options) readRequest(arg string) (json.RawMessage, error) {
	data := []byte(arg)
	var err error
	switch {
	case arg == "-":
		data, err = io.ReadAll(io.LimitReader(o.in, maxRequest+1))
	case strings.HasPrefix(arg, "@"):
		var f *os.File
		if f, err = os.Open(arg[1:]); err == nil {
			data, err = io.ReadAll(io.LimitReader(f, maxRequest+1))
			_ = f.Close() // it was only read
		}
	}
	if err != nil {
		return nil, usage("the request: %w", err)
	}
	if len(data) > maxRequest {
		return nil, usage("the request is larger than %d bytes", maxRequest)
	}
	if !json.Valid(data) {
		return nil, usage("the request is no JSON: %s", shorten(string(data)))
	}
	return data, nil
}

func shorten(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func (o *options) printAnswer(answer json.RawMessage) error {
	if o.output == "yaml" {
		data, err := yaml.JSONToYAML(answer)
		if err != nil {
			return err
		}
		_, err = o.out.Write(data)
		return err
	}
	_, err := fmt.Fprintf(o.out, "%s\n", answer)
	return err
}

package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

func newStatus(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "status SERVICE",
		Short: "Tell what a service works with: its certificate, whom it trusts, whom it calls",
		Long: `Tell what an instance of a service works with at this moment: its identity and
certificate, the hash of the roots that it trusts, whether it takes callers
without a certificate, and the services that it calls.

It is asked of one instance, under the tool's own identity, which must be of
the service's namespace. Keys are never told.`,
		Example: `  xinhari status hello
  xinhari status inventory.shop -n shop -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return o.withService(c, args[0], false, func(ctx context.Context, svc *xinhari.Service) error {
				answer, err := runtimev1.NewRuntimeClient(svc.Conn(args[0])).Status(ctx, &runtimev1.StatusRequest{})
				if err != nil {
					return o.callError(ctx, err)
				}
				return o.printStatus(answer)
			})
		},
	}
}

func (o *options) printStatus(answer *runtimev1.StatusResponse) error {
	text, err := protojson.Marshal(answer)
	if err != nil {
		return err
	}
	// protojson puts spaces by chance, so that nobody compares its text.
	var fields any
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	if text, err = json.MarshalIndent(fields, "", "  "); err != nil {
		return err
	}
	if o.output == "" || o.output == "table" {
		o.output = "yaml"
	}
	return o.printAnswer(text)
}

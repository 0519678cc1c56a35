package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/xinhari/xinhari/pkg/discovery"
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
			if err := o.check(); err != nil {
				return err
			}
			if _, err := discovery.ParseService(args[0], "default"); err != nil {
				return usage("%w", err)
			}
			ctx, cancel := context.WithTimeout(c.Context(), o.timeout)
			defer cancel()
			svc, err := o.newService()
			if err != nil {
				return err
			}
			defer func() { _ = svc.Close(context.WithoutCancel(ctx)) }()
			answer, err := runtimev1.NewRuntimeClient(svc.Conn(args[0])).Status(ctx, &runtimev1.StatusRequest{})
			if err != nil {
				return o.callError(ctx, err)
			}
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
		},
	}
}

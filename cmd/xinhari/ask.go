package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/pkg/discovery"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

// withService runs do under the tool's own identity, for a command whose
// first argument names a service. It ends ctx after --timeout, or never if
// the command lasts for as long as its user wants.
func (o *options) withService(c *cobra.Command, service string, lasts bool, do func(context.Context, *xinhari.Service) error) error {
	if err := o.check(); err != nil {
		return err
	}
	if _, err := discovery.ParseService(service, "default"); err != nil {
		return usage("%w", err)
	}
	ctx := c.Context()
	if !lasts || c.Flags().Changed("timeout") {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	svc, err := o.newService()
	if err != nil {
		return err
	}
	defer func() { _ = svc.Close(context.WithoutCancel(ctx)) }()
	return do(ctx, svc)
}

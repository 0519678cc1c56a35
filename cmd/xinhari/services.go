package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/xinhari/xinhari/internal/version"
	"github.com/xinhari/xinhari/pkg/discovery"
)

func newServices(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "services",
		Short:   "List the services that can be found",
		Long:    "List the services that can be found, with their namespaces. On a laptop this listens for a second.",
		Example: "  xinhari services -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), o.timeout)
			defer cancel()
			svc, err := o.newService()
			if err != nil {
				return err
			}
			defer func() { _ = svc.Close(context.WithoutCancel(ctx)) }()
			found, err := svc.Discovery().List(ctx)
			if errors.Is(err, discovery.ErrUnsupported) {
				return &exitError{exitUnavailable, errors.New("in a cluster the API server lists the services: kubectl get xsvc -A")}
			}
			if err != nil {
				return &exitError{exitUnavailable, err}
			}
			type row struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			}
			list := make([]row, 0, len(found))
			var rows [][]string
			for _, s := range found {
				list = append(list, row{s.Namespace, s.Name})
				rows = append(rows, []string{s.Namespace, s.Name})
			}
			return o.print(list, []string{"NAMESPACE", "NAME"}, rows)
		},
	}
}

func newVersion(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := o.check(); err != nil {
				return err
			}
			v := version.String()
			return o.print(map[string]string{"version": v}, []string{"VERSION"}, [][]string{{v}})
		},
	}
}

package middleware_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/middleware"
)

type tenantKey struct{}

// tenant takes the header x-tenant from what is served into the context, and
// from there on to whatever is asked of others meanwhile. What has none is not
// served.
func tenant(next middleware.Handler) middleware.Handler {
	return func(ctx context.Context, o *middleware.Operation) error {
		if o.Side == middleware.Server {
			all := o.Header(ctx, "x-tenant")
			if len(all) != 1 {
				return status.Error(codes.InvalidArgument, "send the header x-tenant, once")
			}
			return next(context.WithValue(ctx, tenantKey{}, all[0]), o)
		}
		if name, ok := ctx.Value(tenantKey{}).(string); ok {
			ctx = o.SetHeader(ctx, "x-tenant", name)
		}
		return next(ctx, o)
	}
}

// A middleware of one's own is a function. Options.Middleware of a Service
// takes it, and it sees calls and messages, served and made. Here the
// operations are made by hand.
func Example() {
	chain := middleware.Chain(middleware.Recovery(middleware.RecoveryOptions{}), tenant)

	serve := func(in header) error {
		return chain(context.Background(), &middleware.Operation{
			Kind: middleware.Unary, Side: middleware.Server, Name: "shop.v1.Orders/Create", Headers: in,
			Do: func(ctx context.Context) error { // the handler, which publishes
				out := header{}
				return chain(ctx, &middleware.Operation{
					Kind: middleware.Publish, Side: middleware.Client, Name: "order-events", Headers: out,
					Do: func(context.Context) error {
						if out["x-tenant"] == "" {
							panic("a message of nobody")
						}
						fmt.Println("published for", out["x-tenant"])
						return nil
					},
				})
			},
		})
	}
	fmt.Println(serve(header{"x-tenant": "blue"}))
	fmt.Println(serve(header{}))
	// Output:
	// published for blue
	// <nil>
	// rpc error: code = InvalidArgument desc = send the header x-tenant, once
}

// header is a Headers of a map.
type header map[string]string

func (h header) Get(_ context.Context, name string) []string {
	if v, ok := h[name]; ok {
		return []string{v}
	}
	return nil
}

func (h header) Set(ctx context.Context, name, value string) context.Context {
	h[name] = value
	return ctx
}

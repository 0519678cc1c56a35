package runtimetest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

type (
	reservation struct{ Item string }
	receipt     struct{ Number int }
)

// reserve is the handler that the examples are about.
func reserve(context.Context, *reservation) (*receipt, error) { return &receipt{Number: 7}, nil }

// shop is the services that a test of orders needs.
func shop(t *testing.T, n *runtimetest.Network) (orders *xinhari.Service) {
	inventory := n.Service("inventory", xinhari.Options{})
	if err := rpc.Handle(inventory, "Inventory/Reserve", reserve); err != nil {
		t.Fatal(err)
	}
	orders = n.Service("orders", xinhari.Options{})
	n.Start(inventory, orders)
	return orders
}

// order is what orders does.
func order(ctx context.Context, orders *xinhari.Service) (*receipt, error) {
	return rpc.Call[receipt](ctx, orders.Conn("inventory"), "Inventory/Reserve", &reservation{Item: "chair"})
}

// runs stands for "go test runs this": examples have no *testing.T.
var runs = func(func(*testing.T)) {}

func TestExamples(t *testing.T) {
	runs = func(test func(*testing.T)) { test(t) }
	ExampleNew()
	ExampleNetwork_Between()
	ExampleNetwork()
}

// A test of a service and of those that it calls.
func ExampleNew() {
	runs(func(t *testing.T) {
		n := runtimetest.New(t)
		inventory, orders := n.Service("inventory", xinhari.Options{}), n.Service("orders", xinhari.Options{})
		if err := rpc.Handle(inventory, "Inventory/Reserve", reserve); err != nil {
			t.Fatal(err)
		}
		n.Start(inventory, orders)
		got, err := rpc.Call[receipt](t.Context(), orders.Conn("inventory"), "Inventory/Reserve", &reservation{Item: "chair"})
		if err != nil || got.Number != 7 {
			t.Errorf("reserve: %+v, %v", got, err)
		}
	})
}

// What a service does while another one is overloaded, away and back.
func ExampleNetwork_Between() {
	runs(func(t *testing.T) {
		n := runtimetest.New(t)
		orders := shop(t, n)
		link := n.Between("orders", "inventory")

		link.Fail(codes.ResourceExhausted)
		if _, err := order(t.Context(), orders); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("while inventory is overloaded: %v", err)
		}
		link.Partition()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := order(ctx, orders); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("while inventory is away: %v", err)
		}
		link.Heal()
		if _, err := order(t.Context(), orders); err != nil {
			t.Errorf("once it is back: %v", err)
		}
	})
}

// A day passes in a fraction of a second.
func ExampleNetwork() {
	runs(func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := runtimetest.New(t)
			orders := shop(t, n)
			time.Sleep(24 * time.Hour) // certificates are renewed meanwhile
			if _, err := order(t.Context(), orders); err != nil {
				t.Errorf("after a day: %v", err)
			}
		})
	})
}

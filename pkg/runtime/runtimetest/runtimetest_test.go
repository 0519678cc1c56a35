package runtimetest_test

import (
	"context"
	"testing"

	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

type question struct {
	N int64 `json:"n"`
}

func TestTwoServicesInOneTest(t *testing.T) {
	net := runtimetest.New(t)
	doubler, caller := net.Service("doubler", xinhari.Options{}), net.Service("caller", xinhari.Options{})
	if err := rpc.Handle(doubler, "Doubler/Double", func(_ context.Context, q *question) (*question, error) {
		return &question{N: 2 * q.N}, nil
	}); err != nil {
		t.Fatal(err)
	}
	net.Start(doubler, caller)
	const n = 1<<53 + 1 // a number that JSON's own numbers would round
	got, err := rpc.Call[question](t.Context(), caller.Conn("doubler"), "Doubler/Double", &question{N: n})
	if err != nil {
		t.Fatal(err)
	}
	if got.N != 2*n {
		t.Errorf("got %d, want %d", got.N, int64(2*n))
	}
}

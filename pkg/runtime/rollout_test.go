package runtime_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

// Every instance is replaced, several times, while calls go on over a network
// that takes its time, and no call fails.
func TestARollingRestartFailsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		instance := func() *xinhari.Service {
			s := n.Service("orders", xinhari.Options{})
			greet(t, s, func(_ context.Context, h *hello) (*hello, error) {
				time.Sleep(20 * time.Millisecond)
				return h, nil
			})
			n.Start(s)
			return s
		}
		caller := n.Service("caller", xinhari.Options{})
		running := []*xinhari.Service{instance(), instance(), instance()}
		n.Everywhere().Delay(5 * time.Millisecond)
		var calling sync.WaitGroup
		var calls atomic.Int64
		over := make(chan struct{})
		for range 20 {
			calling.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					if _, err := call(t.Context(), caller, "orders"); err != nil {
						t.Errorf("a call: %v", err)
					}
					calls.Add(1)
				}
			})
		}
		for round := range 9 {
			time.Sleep(200 * time.Millisecond)
			next := instance()
			if err := running[round%3].Close(t.Context()); err != nil {
				t.Errorf("close: %v", err)
			}
			running[round%3] = next
		}
		close(over)
		calling.Wait()
		if got := calls.Load(); got < 500 {
			t.Errorf("%d calls: not enough to tell", got)
		}
	})
}

// Package watchtest collects what a watch delivers, so that a test can wait
// for a state of the world instead of for time.
package watchtest

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Recorder keeps all that a watch delivered. The zero value is ready.
type Recorder[T any] struct {
	mu      sync.Mutex
	all     []T
	changed chan struct{} // closed at the next delivery
}

// Set takes a delivery; it is the function to hand to a watch.
func (r *Recorder[T]) Set(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, v)
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// All returns the deliveries so far.
func (r *Recorder[T]) All() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[:len(r.all):len(r.all)]
}

// patience bounds a wait; machines that run tests are busy.
const patience = 30 * time.Second

// Await returns the first delivery, of those after the first skip ones, for
// which problem returns "". It fails the test with the last problem when that
// takes too long.
func (r *Recorder[T]) Await(t testing.TB, skip int, problem func(T) string) T {
	t.Helper()
	tooLong := time.NewTimer(patience)
	defer tooLong.Stop()
	last := "nothing was delivered"
	for {
		r.mu.Lock()
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed, all := r.changed, r.all
		r.mu.Unlock()
		for ; skip < len(all); skip++ {
			if last = problem(all[skip]); last == "" {
				return all[skip]
			}
		}
		select {
		case <-changed:
		case <-tooLong.C:
			t.Fatalf("after %v: %s", patience, last)
		}
	}
}

// Run runs watch, which blocks, until the test ends or stop is called; stop
// returns when watch has, and may be called more than once. An error of watch
// fails the test.
func Run(t testing.TB, watch func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := watch(ctx); err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	stop = func() {
		cancel()
		watching.Wait()
	}
	t.Cleanup(stop)
	return stop
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// moment is when in a service's life a hook runs.
type moment string

const (
	beforeStart moment = "BeforeStart"
	afterStart  moment = "AfterStart"
	beforeStop  moment = "BeforeStop"
	afterStop   moment = "AfterStop"
)

// hookGrace is how long a hook whose context has ended is waited for, and how
// long the AfterStop hooks have when calls took all the time there was.
const hookGrace = 2 * time.Second

// hooks are what the program has done at the moments of its service's life.
type hooks struct {
	logger *slog.Logger

	mu     sync.Mutex
	all    map[moment][]hook
	passed map[moment]bool
}

type hook struct {
	name string // of the function, for errors
	run  func(context.Context) error
}

// BeforeStart adds what Start does once the service has its credentials and
// before it serves: f may call other services. An error ends Start with it.
//
// Hooks of one moment of the start run one after the other, in the order in
// which they were added, with Start's context; those of the stop run the other
// way round, all of them, and their errors are joined. A panic is an error. A
// hook does not call Start, Run or Close, and heeds its context: one that
// does not is left behind, 2 s after its context's end. What is added after
// its moment does not run, and the log says so.
func (s *Service) BeforeStart(f func(context.Context) error) { s.hooks.add(beforeStart, f) }

// AfterStart adds what Start does once the service serves and others can find
// it, before it says that it is ready. An error ends Start with it.
func (s *Service) AfterStart(f func(context.Context) error) { s.hooks.add(afterStart, f) }

// BeforeStop adds what Close does first, as soon as the service is not ready
// any more: it still serves, and others still call it. Such hooks run where
// the service began to serve, with Close's context.
func (s *Service) BeforeStop(f func(context.Context) error) { s.hooks.add(beforeStop, f) }

// AfterStop adds what Close does when the last call is done; the service's own
// connections to others are still there. Such hooks run where Start was
// called, also when it returned an error, so that what a BeforeStart hook
// opened is closed; they have at least 2 s together.
func (s *Service) AfterStop(f func(context.Context) error) { s.hooks.add(afterStop, f) }

func (h *hooks) add(at moment, f func(context.Context) error) {
	name := goruntime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.passed[at] {
		h.logger.Error("a hook was added too late and does not run", "moment", string(at), "hook", name)
		return
	}
	if h.all == nil {
		h.all = map[moment][]hook{}
	}
	h.all[at] = append(h.all[at], hook{name: name, run: f})
}

// take returns the hooks of a moment that has come.
func (h *hooks) take(at moment) []hook {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.passed == nil {
		h.passed = map[moment]bool{}
	}
	h.passed[at] = true
	return h.all[at]
}

// start runs the hooks of a moment of the start, up to the first error.
func (h *hooks) start(ctx context.Context, at moment) error {
	for _, one := range h.take(at) {
		if err := h.run(ctx, at, one); err != nil {
			return err
		}
	}
	return nil
}

// stop runs all hooks of a moment of the stop.
func (h *hooks) stop(ctx context.Context, at moment) error {
	var errs []error
	for _, one := range slices.Backward(h.take(at)) {
		errs = append(errs, h.run(ctx, at, one))
	}
	return errors.Join(errs...)
}

var errStillRuns = errors.New("it still runs: it does not heed its context")

// run runs one hook, and leaves it behind if it does not heed ctx.
func (h *hooks) run(ctx context.Context, at moment, one hook) error {
	ended := make(chan error, 1)
	go func() {
		err := errors.New("it ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				h.logger.Error("a hook panicked", "moment", string(at), "hook", one.name, "panic", p, "stack", string(debug.Stack()))
				err = fmt.Errorf("panic: %v", p)
			}
			ended <- err
		}()
		err = one.run(ctx)
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		grace := time.NewTimer(hookGrace)
		defer grace.Stop()
		select {
		case err = <-ended:
		case <-grace.C:
			err = errors.Join(errStillRuns, context.Cause(ctx))
		}
	}
	if err != nil {
		return fmt.Errorf("xinhari: %s hook %s: %w", at, one.name, err)
	}
	return nil
}

// atLeast returns ctx with at least d left.
func atLeast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	switch least := time.Now().Add(d); {
	case ctx.Err() != nil, ok && deadline.Before(least):
		return context.WithDeadline(context.WithoutCancel(ctx), least)
	default:
		return context.WithCancel(ctx)
	}
}

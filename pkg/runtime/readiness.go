package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// checkTimeout bounds one check. The kubelet waits a second for an answer
	// unless the pod says otherwise.
	checkTimeout = 800 * time.Millisecond

	// checkInterval is between two rounds of checks that nobody asked for:
	// gRPC health is told of a change within it.
	checkInterval = 2 * time.Second

	// checkFresh is how long an answer serves whoever asks next: asking often
	// costs what is checked nothing.
	checkFresh = 250 * time.Millisecond
)

// AddReadiness adds a check of what the service cannot do its work without:
// while it returns an error the service is not ready. It is then out of
// service (/readyz fails and gRPC health says NOT_SERVING) and goes on
// serving whoever calls all the same; a check never stops it. The log says why,
// and /readyz names the check.
//
// Checks run beside each other, when /readyz asks and every 2 s from Start on,
// and have 0.8 s: one that has not answered by then has failed, and is not
// asked again until it has returned. A check is not for other services that
// this one calls: if they fail, calls fail, and taking all callers out of
// service mends nothing.
//
// It is an error to add a check after Start, or two of one name, or to give it
// a name with spaces.
func (s *Service) AddReadiness(name string, check func(context.Context) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateNew {
		return fmt.Errorf("xinhari: readiness check %q: checks are added before Start", name)
	}
	return s.readiness.add(name, check)
}

// readiness are the program's own checks.
type readiness struct {
	logger *slog.Logger
	tell   func(ready bool) // told of the outcome of each round

	cancel  context.CancelFunc
	running sync.WaitGroup // the rounds
	asked   sync.WaitGroup // the checks; one may run on

	mu     sync.Mutex
	checks []*check // not changed after start
}

// check is one check, of which at most one run is under way.
type check struct {
	name string
	run  func(context.Context) error

	// The readiness' mu holds for these.
	ends  chan struct{} // closed at the end of the run under way; nil: there is none
	ended time.Time
	err   error // of the last run
	known error // what was told last
}

// outcome is what was found of one check.
type outcome struct {
	name string
	err  error
}

func (r *readiness) add(name string, run func(context.Context) error) error {
	switch {
	case name == "" || strings.ContainsFunc(name, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }):
		return fmt.Errorf("xinhari: readiness check %q: want a name without spaces", name)
	case run == nil:
		return fmt.Errorf("xinhari: readiness check %q: there is no function", name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.checks {
		if c.name == name {
			return fmt.Errorf("xinhari: readiness check %q: there is one of this name", name)
		}
	}
	r.checks = append(r.checks, &check{name: name, run: run})
	return nil
}

// start makes the first round, and others until stop. It returns how to make
// one more.
func (r *readiness) start() (round func() []outcome) {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.round(ctx)
	if len(r.checks) > 0 {
		r.running.Go(func() {
			next := time.NewTicker(checkInterval)
			defer next.Stop()
			for {
				select {
				case <-next.C:
					r.round(ctx)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return func() []outcome { return r.round(ctx) }
}

// stop ends the rounds; a check that does not heed its context runs on.
func (r *readiness) stop() {
	if r.cancel == nil {
		return
	}
	r.mu.Lock()
	r.cancel() // none begins after this
	r.mu.Unlock()
	r.running.Wait()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.asked.Wait()
	}()
	grace := time.NewTimer(hookGrace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		r.logger.Warn("a readiness check still runs: it does not heed its context")
	}
}

// round asks all checks, tells of the outcome and returns it, in no more than
// checkTimeout. Its context is the service's, not of who asks: a run serves
// others as well.
func (r *readiness) round(ctx context.Context) []outcome {
	late := time.NewTimer(checkTimeout)
	defer late.Stop()
	r.mu.Lock()
	runs := make([]<-chan struct{}, len(r.checks))
	for i, c := range r.checks {
		runs[i] = r.begin(ctx, c)
	}
	r.mu.Unlock()
	for i := 0; i < len(runs); i++ {
		select {
		case <-runs[i]:
		case <-late.C:
			i = len(runs)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	outcomes, ready := make([]outcome, len(r.checks)), true
	for i, c := range r.checks {
		outcomes[i] = outcome{c.name, c.err}
		select {
		case <-runs[i]:
		default:
			outcomes[i].err = errLate
		}
		ready = ready && outcomes[i].err == nil
		if ctx.Err() == nil {
			r.news(c, outcomes[i].err)
		}
	}
	if ctx.Err() == nil { // else the service stops, and is not ready anyway
		r.tell(ready)
	}
	return outcomes
}

var errLate = fmt.Errorf("no answer within %v", checkTimeout)

// begin runs the check unless a run is under way, or has just ended, and
// returns what is closed at the end of that run. The caller holds mu.
func (r *readiness) begin(ctx context.Context, c *check) <-chan struct{} {
	if c.ends != nil {
		return c.ends
	}
	ended := make(chan struct{})
	if ctx.Err() != nil || !c.ended.IsZero() && time.Since(c.ended) < checkFresh {
		close(ended)
		return ended
	}
	c.ends = ended
	r.asked.Go(func() {
		err := errors.New("it ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				r.logger.Error("a readiness check panicked", "check", c.name, "panic", p, "stack", string(debug.Stack()))
				err = fmt.Errorf("panic: %v", p)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			c.err, c.ended, c.ends = err, time.Now(), nil
			close(ended)
		}()
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		err = c.run(ctx)
	})
	return ended
}

// news logs what has changed. The caller holds mu.
func (r *readiness) news(c *check, err error) {
	switch {
	case err != nil && (c.known == nil || c.known.Error() != err.Error()):
		r.logger.Warn("not ready", "check", c.name, "error", err)
	case err == nil && c.known != nil:
		r.logger.Info("ready again", "check", c.name)
	}
	c.known = err
}

package identity

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	renewAt     = 0.5                    // of a certificate's life
	renewSpread = 0.1                    // of its life, to either side: a fleet that started together drifts apart
	minRenewal  = time.Second            // between renewals, however short a life
	firstRetry  = 500 * time.Millisecond // doubles up to a tenth of the life, in these bounds
	minRetries  = time.Second
	maxRetries  = 30 * time.Second
	tick        = 5 * time.Second // how often the wall clock is looked at
	setBack     = time.Minute     // a clock this far behind what it once said was set
)

// schedule says when a Source acts, by the wall clock.
type schedule struct {
	poll  time.Duration
	clock func() time.Time
}

// now returns the time without its monotonic reading, which stands still while
// the machine sleeps.
func (s schedule) now() time.Time { return s.clock().Round(0) }

// renewal returns from when to when to wait after a success. The life begins
// with the issue, not with NotBefore, which is dated back.
func (s schedule) renewal(c Credentials) (from, due time.Time) {
	from = s.now()
	if s.poll > 0 {
		return from, from.Add(s.poll)
	}
	life := c.NotAfter().Sub(c.IssuedAt())
	part := renewAt + renewSpread*(2*rand.Float64()-1)
	due = c.IssuedAt().Add(time.Duration(float64(life) * part))
	if least := from.Add(minRenewal); due.Before(least) {
		due = least
	}
	return from, due
}

// retry returns from when to when to wait after so many failures in a row.
func (s schedule) retry(c Credentials, failures int) (from, due time.Time) {
	from = s.now()
	if s.poll > 0 {
		return from, from.Add(s.poll)
	}
	limit := maxRetries
	if !c.IsZero() {
		limit = min(max(c.NotAfter().Sub(c.IssuedAt())/10, minRetries), maxRetries)
	}
	delay := min(firstRetry<<min(failures-1, 10), limit)
	return from, from.Add(time.Duration(float64(delay) * (0.8 + 0.4*rand.Float64())))
}

// wait returns true when the wall clock says due, when it was set back to
// before from, or at a wish; false when ctx ends. Timers count the time that
// the machine is awake, so the clock is looked at in between.
func (s schedule) wait(ctx context.Context, from, due time.Time, wish <-chan struct{}) bool {
	for {
		now := s.now()
		left := due.Sub(now)
		if left <= 0 || now.Before(from.Add(-setBack)) {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(min(left, tick))
		select {
		case <-timer.C:
		case <-wish:
			timer.Stop()
			return ctx.Err() == nil
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

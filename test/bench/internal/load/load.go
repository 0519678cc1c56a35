// Package load makes calls as fast as their answers come (a closed loop) from
// a number of goroutines, and measures each.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/peer"

	"github.com/xinhari/xinhari/test/bench/internal/stats"
)

// Shape is the kind of call.
type Shape string

// The shapes.
const (
	Unary  Shape = "unary"  // each call is one
	Stream Shape = "stream" // each call is a message and its answer on a stream that stays open
	JSON   Shape = "json"   // each call is one, of plain Go messages as JSON
	Dial   Shape = "dial"   // each call is one on a connection of its own, which is made for it and closed
)

// Spec says what calls to make.
type Spec struct {
	Shape       Shape         `json:"shape"`
	Payload     int           `json:"payload"`     // bytes, both ways
	Concurrency int           `json:"concurrency"` // callers, each waiting for its answer
	Deadline    time.Duration `json:"deadline"`    // of a unary call, or of a whole stream
}

// Result is what became of the calls.
type Result struct {
	Calls   uint64        `json:"calls"`
	Elapsed time.Duration `json:"elapsed"`
	P50     time.Duration `json:"p50"`
	P99     time.Duration `json:"p99"`
}

// Load is a number of callers. Open it, run it as often as wanted, close it.
type Load struct{ callers []*caller }

// caller makes one call after the other.
type caller struct {
	call  func(context.Context) error
	close func() error
	took  stats.Histogram
}

// Connect returns when calls reach n servers: a stream that is opened before
// stays with the first server that was connected.
func Connect(ctx context.Context, conn grpc.ClientConnInterface, n int) error {
	client := testgrpc.NewTestServiceClient(conn)
	seen := map[string]bool{}
	for len(seen) < n {
		var to peer.Peer
		if _, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{}, grpc.WaitForReady(true), grpc.Peer(&to)); err != nil {
			return fmt.Errorf("load: %d of %d servers answer: %w", len(seen), n, err)
		}
		seen[to.Addr.String()] = true
	}
	return nil
}

// Open makes the callers of spec, and opens their streams.
func Open(ctx context.Context, client Client, spec Spec) (*Load, error) {
	open, ok := map[Shape]func(context.Context, Client, Spec) (*caller, error){
		Unary:  openUnary,
		Stream: openStream,
		JSON:   openPlain,
		Dial:   openDial,
	}[spec.Shape]
	if !ok || spec.Payload < 0 || spec.Concurrency < 1 || spec.Deadline <= 0 {
		return nil, fmt.Errorf("load: %+v makes no sense", spec)
	}
	l := &Load{}
	for range spec.Concurrency {
		c, err := open(ctx, client, spec)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.callers = append(l.callers, c)
	}
	return l, nil
}

// Run makes calls for d and returns what became of them. A call that fails
// ends the run and is its error.
func (l *Load) Run(ctx context.Context, d time.Duration) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	began := time.Now()
	end := began.Add(d)
	for _, c := range l.callers {
		c.took = stats.Histogram{}
		running.Go(func() {
			if err := c.run(ctx, end); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	r := Result{Elapsed: time.Since(began)}
	if err := context.Cause(ctx); err != nil {
		return r, fmt.Errorf("load: %w", err)
	}
	var took stats.Histogram
	for _, c := range l.callers {
		took.Add(&c.took)
	}
	r.Calls, r.P50, r.P99 = took.Count(), took.Quantile(0.50), took.Quantile(0.99)
	return r, nil
}

// Close ends the streams.
func (l *Load) Close() error {
	var errs []error
	for _, c := range l.callers {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

func (c *caller) run(ctx context.Context, end time.Time) error {
	for began := time.Now(); began.Before(end); {
		if err := c.call(ctx); err != nil {
			return err
		}
		now := time.Now()
		c.took.Record(now.Sub(began))
		began = now
	}
	return nil
}

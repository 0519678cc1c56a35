package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/xinhari/xinhari/examples/shop"
	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

const (
	// probeRate is in calls a second. With n instances each is called every n
	// ms, which is how exactly a time can be told.
	probeRate = 1000

	probeTimeout = 250 * time.Millisecond

	// silence is how long an instance does not answer when it counts as gone.
	silence = time.Second
)

// sighting is what the prober prints, one JSON object a line. Exactly one of
// Seen, Gone and Failed is set.
type sighting struct {
	Seen   string `json:"seen,omitempty"`   // an instance that answered its first call
	Gone   string `json:"gone,omitempty"`   // an instance that answers no more
	Failed string `json:"failed,omitempty"` // the error of a call

	Began    time.Time `json:"began"`    // when that call, first or last, was made
	Answered time.Time `json:"answered"` // and when it was over
}

// probe is main in the pod: it calls inventory until it is told to stop, and
// prints which instance began and ceased to answer when.
func probe(ctx context.Context) error {
	svc, err := xinhari.New("prober", xinhari.Options{})
	if err != nil {
		return err
	}
	p := newProber(svc.Conn("inventory"), os.Stdout)
	ctx, cancel := context.WithCancel(ctx)
	var probing sync.WaitGroup
	probing.Go(func() { p.run(ctx) })
	err = svc.Run(ctx)
	cancel()
	probing.Wait()
	return err
}

type prober struct {
	inventory grpc.ClientConnInterface

	mu   sync.Mutex
	out  *json.Encoder
	last map[string]sighting // the last answer of each instance
}

func newProber(inventory grpc.ClientConnInterface, out io.Writer) *prober {
	return &prober{inventory: inventory, out: json.NewEncoder(out), last: map[string]sighting{}}
}

// run makes calls at a steady rate, whatever becomes of those before.
func (p *prober) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second / probeRate)
	defer ticker.Stop()
	var calls sync.WaitGroup
	defer calls.Wait()
	began, made := time.Now(), 0
	for {
		select {
		case now := <-ticker.C:
			// A busy machine swallows ticks; the calls are due all the same.
			for due := int(time.Since(began).Seconds() * probeRate); made < due; made++ {
				calls.Go(func() { p.call(context.WithoutCancel(ctx)) })
			}
			p.miss(now)
		case <-ctx.Done():
			return
		}
	}
}

func (p *prober) call(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	s := sighting{Began: time.Now()}
	reserved, err := rpc.Call[shop.Reserved](ctx, p.inventory, shop.ReserveMethod, &shop.Reservation{Article: "teapot", Quantity: 1})
	s.Answered = time.Now()
	if err != nil {
		s.Failed = err.Error()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.print(s)
		return
	}
	p.saw(reserved.By, s)
}

// saw notes an answer of an instance.
func (p *prober) saw(instance string, s sighting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, known := p.last[instance]
	if !known {
		first := s
		first.Seen = instance
		p.print(first)
	}
	if !known || s.Began.After(last.Began) {
		p.last[instance] = s
	}
}

// miss prints which instances have not answered for long.
func (p *prober) miss(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for instance, last := range p.last {
		if now.Sub(last.Answered) > silence {
			last.Gone = instance
			p.print(last)
			delete(p.last, instance)
		}
	}
}

// print writes to the pod's log; the caller holds mu. When that fails there
// is nobody to tell.
func (p *prober) print(s sighting) { _ = p.out.Encode(s) }

// readSightings calls saw for each line that the prober prints.
func readSightings(log io.Reader, saw func(sighting)) error {
	d := json.NewDecoder(log)
	for {
		var s sighting
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("the prober's log: %w", err)
		}
		saw(s)
	}
}

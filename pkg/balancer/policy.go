package balancer

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// Policy is a way to choose among the endpoints that are connected. The names
// are those of the field spec.traffic.policy of a Service.
type Policy string

const (
	// RoundRobin takes the endpoints in turn: over n endpoints that stay,
	// k·n calls give each k of them, whatever number of goroutines calls.
	RoundRobin Policy = "RoundRobin"

	// Random takes any endpoint with the same probability.
	Random Policy = "Random"
)

// chooser returns which of n endpoints is next; n is at least 1. It is called
// once for each call, by many goroutines, and allocates nothing.
type chooser interface {
	choose(n int) int
}

func newChooser(p Policy) (chooser, error) {
	switch p {
	case RoundRobin:
		// Clients that start together must not walk in step.
		r := new(roundRobin)
		r.calls.Store(rand.Uint64N(1 << 32))
		return r, nil
	case Random:
		return random{}, nil
	}
	return nil, fmt.Errorf("balancer: policy %q: want %s or %s", p, RoundRobin, Random)
}

// roundRobin counts calls. The count outlives changes of the endpoints, so
// that a change does not start the round again at the first endpoint.
type roundRobin struct{ calls atomic.Uint64 }

func (r *roundRobin) choose(n int) int { return int(r.calls.Add(1) % uint64(n)) }

type random struct{}

func (random) choose(n int) int { return rand.IntN(n) }

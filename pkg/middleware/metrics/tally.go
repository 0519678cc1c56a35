package metrics

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// All streams of a method share a counter of their messages, which busy ones
// would take from each other's processors with each message. So each stream
// counts for itself, and the counter has its count when somebody looks at it
// and when the stream ends.

// tally counts the messages of one stream.
type tally struct {
	received, sent atomic.Uint64
	to             *series
}

func (t *tally) receive(any) error { t.received.Add(1); return nil }
func (t *tally) send(any) error    { t.sent.Add(1); return nil }

// flush hands on what was counted.
func (t *tally) flush() {
	t.to.received.Add(float64(t.received.Swap(0)))
	t.to.sent.Add(float64(t.sent.Swap(0)))
}

// tallies are the streams' counts, and the collector of what they hand on.
type tallies struct {
	*prometheus.CounterVec

	mu   sync.Mutex
	open map[*tally]struct{}
}

// begin returns the tally of a stream.
func (ts *tallies) begin(s *series) *tally {
	t := &tally{to: s}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.open[t] = struct{}{}
	return t
}

// end is called when the stream of t has ended.
func (ts *tallies) end(t *tally) {
	ts.mu.Lock()
	delete(ts.open, t)
	ts.mu.Unlock()
	t.flush()
}

// Collect implements prometheus.Collector.
func (ts *tallies) Collect(to chan<- prometheus.Metric) {
	ts.mu.Lock()
	for t := range ts.open {
		t.flush()
	}
	ts.mu.Unlock()
	ts.CounterVec.Collect(to)
}

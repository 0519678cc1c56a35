package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/xinhari/xinhari/pkg/middleware"
)

// All streams of a method share a counter of their messages, which busy ones
// would take from each other's processors with each message. But operations
// count for themselves, so the counter gets what is new when somebody looks at
// it and when a stream ends.

// tally is what is counted of one stream.
type tally struct {
	of             *middleware.Operation
	to             *series
	received, sent uint64 // what the counter has had of it
}

// flush hands on what is new.
func (t *tally) flush() {
	received, sent := t.of.Messages()
	t.to.received.Add(float64(received - t.received))
	t.to.sent.Add(float64(sent - t.sent))
	t.received, t.sent = received, sent
}

// tallies are those of the open streams, and the collector of what they hand on.
type tallies struct {
	*prometheus.CounterVec

	mu   sync.Mutex
	open map[*tally]struct{}
}

// begin returns the tally of a stream.
func (ts *tallies) begin(s *series, o *middleware.Operation) *tally {
	t := &tally{of: o, to: s}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.open[t] = struct{}{}
	return t
}

// end is called when the stream of t has ended.
func (ts *tallies) end(t *tally) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.open, t)
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

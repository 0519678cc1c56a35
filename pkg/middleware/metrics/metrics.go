// Package metrics measures operations for Prometheus: how many there are, how
// they end, how long they take, and how many are under way.
//
// Where OpenTelemetry has a convention the metrics are its, in Prometheus'
// form (https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/, and
// messaging/messaging-metrics/): rpc_server_call_duration_seconds,
// rpc_client_call_duration_seconds, messaging_client_operation_duration_seconds
// and messaging_process_duration_seconds. Their label error_type is empty where
// the operation did not fail. Those that it has none for are
// xinhari_operations_in_flight, xinhari_stream_messages_total and
// xinhari_panics_total.
//
// The number of series is bounded: by the methods that there are, their codes,
// and [Options].MaxNames.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/xinhari/xinhari/internal/memo"
	"github.com/xinhari/xinhari/pkg/middleware"
)

// Options are the options of New; the zero value is good.
type Options struct {
	// Buckets are the upper bounds of the histograms' buckets, in seconds; nil
	// is 16 of them from 100 µs to 10 s.
	Buckets []float64

	// MaxNames bounds how many pairs of a name and a service are told apart:
	// those seen first. All others are "_OTHER". 0 is 1000.
	MaxNames int
}

const (
	defaultMaxNames = 1000
	other           = "_OTHER" // OpenTelemetry's word for what is not told apart
)

func defaultBuckets() []float64 {
	return []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

// Metrics measures operations. It is safe for concurrent use.
type Metrics struct {
	served, made       *prometheus.HistogramVec
	published, handled *prometheus.HistogramVec
	inFlight           *prometheus.GaugeVec
	messages           *tallies
	panics             *prometheus.CounterVec

	epoch         time.Time // since then is read faster than what time it is
	names, others *memo.Table[name, *series]
}

// New returns Metrics that are registered with r. It is an error if r has
// others of their names: two Services have a registry each.
func New(r prometheus.Registerer, o Options) (*Metrics, error) {
	if o.MaxNames < 0 {
		return nil, errors.New("metrics: MaxNames is negative")
	}
	if o.MaxNames == 0 {
		o.MaxNames = defaultMaxNames
	}
	if o.Buckets == nil {
		o.Buckets = defaultBuckets()
	}
	for i := range o.Buckets[:max(len(o.Buckets)-1, 0)] {
		if o.Buckets[i] >= o.Buckets[i+1] { // the library would panic
			return nil, fmt.Errorf("metrics: buckets %v do not grow", o.Buckets)
		}
	}
	duration := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: o.Buckets}, append(labels, "error_type"))
	}
	m := &Metrics{
		epoch: time.Now(),
		served: duration("rpc_server_call_duration_seconds", "How long calls took that were served; of a stream, until it ended.",
			"rpc_system_name", "rpc_method", "rpc_response_status_code"),
		made: duration("rpc_client_call_duration_seconds", "How long calls took that were made; of a stream, until it ended.",
			"rpc_system_name", "rpc_method", "server_address", "rpc_response_status_code"),
		published: duration("messaging_client_operation_duration_seconds", "How long it took to publish a message.",
			"messaging_system", "messaging_operation_name", "messaging_destination_name"),
		handled: duration("messaging_process_duration_seconds", "How long it took to handle a message.",
			"messaging_system", "messaging_operation_name", "messaging_destination_name"),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "xinhari_operations_in_flight", Help: "Operations under way.",
		}, []string{"side", "kind", "name", "service"}),
		messages: &tallies{open: map[*tally]struct{}{}, CounterVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "xinhari_stream_messages_total", Help: "Messages of streams; of unary calls the calls are counted.",
		}, []string{"side", "kind", "name", "service", "direction"})},
		panics: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "xinhari_panics_total", Help: "Panics that were recovered from.",
		}, []string{"side", "kind", "name", "service"}),
	}
	m.names = memo.New(o.MaxNames, m.newSeries)
	m.others = memo.New(math.MaxInt, m.newSeries) // one for each side and kind
	for _, c := range []prometheus.Collector{m.served, m.made, m.published, m.handled, m.inFlight, m.messages, m.panics} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}

// name is what is told apart.
type name struct {
	side          middleware.Side
	kind          middleware.Kind
	name, service string
}

// Middleware measures what it surrounds.
func (m *Metrics) Middleware(next middleware.Handler) middleware.Handler {
	return func(ctx context.Context, o *middleware.Operation) (err error) {
		s := m.of(o)
		began := time.Since(m.epoch)
		s.inFlight.Inc()
		if o.Kind.Streams() {
			t := m.messages.begin(s, o)
			defer m.messages.end(t)
		}
		returned := false
		defer func() { // also for a goroutine that ends, and a panic that nobody stopped
			s.inFlight.Dec()
			code := codes.Internal
			if returned {
				code = middleware.Code(err)
			}
			s.duration(code).Observe((time.Since(m.epoch) - began).Seconds())
		}()
		err = next(ctx, o)
		returned = true
		return err
	}
}

// Panicked counts a panic: it is what middleware.Recovery calls.
func (m *Metrics) Panicked(o *middleware.Operation) {
	n := m.of(o).name
	m.panics.WithLabelValues(n.side.String(), n.kind.String(), n.name, n.service).Inc()
}

// of returns the series of an operation.
func (m *Metrics) of(o *middleware.Operation) *series {
	n := name{side: o.Side, kind: o.Kind, name: o.Name, service: o.Service}
	if s, ok := m.names.Get(n); ok {
		return s
	}
	n.name, n.service = other, other
	s, _ := m.others.Get(n)
	return s
}

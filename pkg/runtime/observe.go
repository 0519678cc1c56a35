package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/middleware/accesslog"
	"github.com/xinhari/xinhari/pkg/middleware/metrics"
	"github.com/xinhari/xinhari/pkg/middleware/traces"
)

// observers look on at every operation of a service, whatever becomes of it.
// From the outermost: traces, so that all others are in the trace; metrics; the
// access log; and recovery, so that the three see a panic as the error that the
// caller gets.
type observers struct {
	proof  *proof
	logger *slog.Logger

	registry   *prometheus.Registry // the service's own: there is none of the process
	collectors sync.Once
	metrics    *metrics.Metrics
	measuring  atomic.Bool

	traces, log []middleware.Middleware // one or none
	recovery    middleware.Middleware
}

func newObservers(s settings, p *proof) (*observers, error) {
	o := &observers{proof: p, logger: s.Logger.With("service", s.service.String()), registry: prometheus.NewRegistry()}
	var err error
	if o.metrics, err = metrics.New(o.registry, metrics.Options{}); err != nil {
		return nil, fmt.Errorf("xinhari: %w", err)
	}
	o.measuring.Store(s.AdminAddress != off)
	o.recovery = middleware.Recovery(middleware.RecoveryOptions{Logger: o.logger, Panicked: o.metrics.Panicked})
	var options accesslog.Options
	if s.TracerProvider != nil {
		o.traces = append(o.traces, traces.New(s.TracerProvider, traces.Options{}))
		options.TraceID = traces.TraceID
	}
	if s.AccessLog != nil {
		o.log = append(o.log, accesslog.New(s.AccessLog, options))
	}
	return o, nil
}

// served surround everything that is served.
func (o *observers) served() []middleware.Middleware {
	all := append([]middleware.Middleware(nil), o.traces...)
	all = append(all, o.measure)
	all = append(all, o.log...)
	return append(all, o.recovery)
}

// made surround the calls of a connection, outside of the user's middleware.
// What is off is not there: without any a stream needs no goroutine.
func (o *observers) made(user []middleware.Middleware) []middleware.Middleware {
	all := append([]middleware.Middleware(nil), o.traces...)
	if o.measuring.Load() {
		all = append(all, o.metrics.Middleware)
	}
	all = append(all, o.log...)
	if len(user) > 0 { // there is nothing else that might panic
		all = append(all, o.recovery)
	}
	return append(all, user...)
}

// measure measures once somebody wants to know.
func (o *observers) measure(next middleware.Handler) middleware.Handler {
	measured := o.metrics.Middleware(next)
	return func(ctx context.Context, operation *middleware.Operation) error {
		if o.measuring.Load() {
			return measured(ctx, operation)
		}
		return next(ctx, operation)
	}
}

// Metrics returns the service's own registry, for the program's own
// collectors: they are served at /metrics of the admin port beside ours, and
// beside those of no other Service. Where there is no such port it is for the
// program to serve; calls are then measured from now on, those that are made
// through connections of later calls of Conn.
func (s *Service) Metrics() *prometheus.Registry {
	s.observe.measuring.Store(true)
	return s.observe.all()
}

// all returns the registry with all that is the runtime's in it.
func (o *observers) all() *prometheus.Registry {
	o.collectors.Do(func() {
		o.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), certificates{o.proof})
	})
	return o.registry
}

// handler serves the metrics to Prometheus.
func (o *observers) handler() http.Handler {
	return promhttp.HandlerFor(o.all(), promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(o.logger.Handler(), slog.LevelWarn)})
}

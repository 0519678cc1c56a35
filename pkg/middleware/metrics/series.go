package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/xinhari/xinhari/pkg/middleware"
)

// What OpenTelemetry wants to know of every operation. That JSON may have come
// by HTTP makes the call no other one: it is served as gRPC.
const (
	rpcSystem       = "grpc"
	messagingSystem = "xinhari"
	publishName     = "publish"
	processName     = "process"
)

// maxCode is the last code that gRPC defines; all above it are one.
const maxCode = codes.Unauthenticated

// series are the metrics of one name. What costs a look-up is looked up once.
type series struct {
	metrics        *Metrics
	name           name
	inFlight       prometheus.Gauge
	received, sent prometheus.Counter // of a stream's messages
	durations      [maxCode + 2]atomic.Pointer[prometheus.Observer]
}

func (m *Metrics) newSeries(n name) *series {
	labels := []string{n.side.String(), n.kind.String(), n.name, n.service}
	s := &series{metrics: m, name: n, inFlight: m.inFlight.WithLabelValues(labels...)}
	if n.kind.Streams() {
		s.received = m.messages.WithLabelValues(append(labels, "received")...)
		s.sent = m.messages.WithLabelValues(append(labels, "sent")...)
	}
	return s
}

// duration returns the histogram of operations that end with a code.
func (s *series) duration(code codes.Code) prometheus.Observer {
	slot := &s.durations[min(code, maxCode+1)]
	if known := slot.Load(); known != nil {
		return *known
	}
	found := s.find(code)
	slot.Store(&found)
	return found
}

// find looks a histogram up; its labels are in the order of New.
func (s *series) find(code codes.Code) prometheus.Observer {
	m, n := s.metrics, s.name
	of := middleware.Operation{Side: n.side, Kind: n.kind}
	status, failed := middleware.CodeName(code), ""
	if of.Failed(code) {
		failed = status
	}
	switch {
	case n.kind == middleware.Publish:
		return m.published.WithLabelValues(messagingSystem, publishName, n.name, failed)
	case n.kind == middleware.Subscribe:
		return m.handled.WithLabelValues(messagingSystem, processName, n.name, failed)
	case n.side == middleware.Client:
		return m.made.WithLabelValues(rpcSystem, n.name, n.service, status, failed)
	}
	return m.served.WithLabelValues(rpcSystem, n.name, status, failed)
}

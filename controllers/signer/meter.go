package signer

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

// meter holds the metrics of signing. It is a collector of its own, so that several controllers of one process can share it.
type meter struct {
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
	expiry   *prometheus.Desc

	mu        sync.Mutex
	ends      time.Time // of the issuer's chain
	rootsEnd  time.Time
	hasIssuer bool
}

func newMeter() *meter {
	m := &meter{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "xinhari_signer_requests_total",
			Help: "Certificate requests by result: signed, denied (with the reason), waiting (for a Service), unusable (the issuer cannot sign; each try counts).",
		}, []string{"result", "reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "xinhari_signer_seconds",
			Help:    "Seconds from taking up a request to its certificate being written.",
			Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5},
		}),
		expiry: prometheus.NewDesc("xinhari_signer_expiry_seconds",
			"Seconds until the issuer's chain, and the first of its roots, ends. Absent while there is no issuer that can sign.", []string{"certificate"}, nil),
	}
	m.requests.WithLabelValues("signed", "")
	return m
}

func (m *meter) signed(took time.Duration) {
	m.requests.WithLabelValues("signed", "").Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *meter) denied(reason Reason) { m.requests.WithLabelValues("denied", string(reason)).Inc() }
func (m *meter) waits()               { m.requests.WithLabelValues("waiting", "").Inc() }
func (m *meter) unusable()            { m.requests.WithLabelValues("unusable", "").Inc() }

// issuer notes what can sign, or that nothing can.
func (m *meter) issuer(i issuer.Current) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hasIssuer = i.Issuer != nil; m.hasIssuer {
		m.ends, m.rootsEnd = i.Ends, i.RootsEnd()
	}
}

// Describe is part of prometheus.Collector.
func (m *meter) Describe(to chan<- *prometheus.Desc) {
	m.requests.Describe(to)
	m.seconds.Describe(to)
	to <- m.expiry
}

// Collect is part of prometheus.Collector.
func (m *meter) Collect(to chan<- prometheus.Metric) {
	m.requests.Collect(to)
	m.seconds.Collect(to)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hasIssuer {
		to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, time.Until(m.ends).Seconds(), "issuer")
		to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, time.Until(m.rootsEnd).Seconds(), "root")
	}
}

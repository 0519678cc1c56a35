package certmanager

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meter holds the metrics. It is a collector of its own, so that several controllers of one process can share it.
type meter struct {
	ready   *prometheus.Desc
	renewal *prometheus.Desc

	mu sync.Mutex
	is outcome // without a reason before the first look
}

func newMeter() *meter {
	return &meter{
		ready: prometheus.NewDesc("xinhari_certmanager_ready",
			"1 while cert-manager's intermediate is there, can sign and is renewed in time, else 0, with the reason. The leading operator alone shows it, and only if an issuer is named.",
			[]string{"reason"}, nil),
		renewal: prometheus.NewDesc("xinhari_certmanager_renewal_seconds",
			"Seconds until cert-manager renews the intermediate; negative once it should have.", nil, nil),
	}
}

func (m *meter) set(is outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.is = is
}

// Describe is part of prometheus.Collector.
func (m *meter) Describe(to chan<- *prometheus.Desc) {
	to <- m.ready
	to <- m.renewal
}

// Collect is part of prometheus.Collector.
func (m *meter) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.is.reason == "" {
		return
	}
	ready := 0.0
	if m.is.ready() {
		ready = 1
	}
	to <- prometheus.MustNewConstMetric(m.ready, prometheus.GaugeValue, ready, m.is.reason)
	if !m.is.renewal.IsZero() {
		to <- prometheus.MustNewConstMetric(m.renewal, prometheus.GaugeValue, time.Until(m.is.renewal).Seconds())
	}
}

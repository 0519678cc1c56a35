package keypair

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// meter holds the metrics of Secrets: a series each for a Service that has one, which ends with it. It is a collector of its
// own, so that several controllers of one process can share it.
type meter struct {
	expiry   *prometheus.Desc
	failures *prometheus.CounterVec

	mu     sync.Mutex
	memory *memory
}

func newMeter() *meter {
	return &meter{
		expiry: prometheus.NewDesc("xinhari_keypair_expiry_seconds",
			"Seconds until the certificate in a Service's Secret ends. Absent where the operator does not lead.", []string{"namespace", "service"}, nil),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "xinhari_keypair_failures_total",
			Help: "Times that a Service's Secret could not be made, renewed or removed; each try counts.",
		}, []string{"namespace", "service"}),
	}
}

// reads has the metrics speak of what is known of the Secrets.
func (m *meter) reads(from *memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memory = from
}

func (m *meter) failed(service client.ObjectKey) {
	m.failures.WithLabelValues(service.Namespace, service.Name).Inc()
}

func (m *meter) forget(service client.ObjectKey) {
	m.failures.DeleteLabelValues(service.Namespace, service.Name)
}

// Describe is part of prometheus.Collector.
func (m *meter) Describe(to chan<- *prometheus.Desc) {
	m.failures.Describe(to)
	to <- m.expiry
}

// Collect is part of prometheus.Collector.
func (m *meter) Collect(to chan<- prometheus.Metric) {
	m.failures.Collect(to)
	m.mu.Lock()
	from := m.memory
	m.mu.Unlock()
	if from == nil {
		return
	}
	from.ends(func(service client.ObjectKey, ends time.Time) {
		to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, time.Until(ends).Seconds(), service.Namespace, service.Name)
	})
}

package trust

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// meter holds the metrics of rotation. It is a collector of its own, so that several controllers of one process can share it.
type meter struct {
	phase   *prometheus.Desc
	waiting *prometheus.Desc

	mu     sync.Mutex
	now    Phase
	number int
}

func newMeter() *meter {
	return &meter{
		phase: prometheus.NewDesc("xinhari_trust_phase",
			"1 at the phase that the rotation of roots is in, 0 at the others. Absent where the operator does not lead.", []string{"phase"}, nil),
		waiting: prometheus.NewDesc("xinhari_trust_waiting",
			"Workloads that the rotation of roots waits for. Absent where the operator does not lead.", nil, nil),
	}
}

// rotation notes how far it is.
func (m *meter) rotation(p Phase, waiting int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now, m.number = p, waiting
}

// Describe is part of prometheus.Collector.
func (m *meter) Describe(to chan<- *prometheus.Desc) {
	to <- m.phase
	to <- m.waiting
}

// Collect is part of prometheus.Collector.
func (m *meter) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == "" {
		return
	}
	for _, p := range []Phase{Stable, Distributing, Switching, Retiring} {
		value := 0.0
		if p == m.now {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(m.phase, prometheus.GaugeValue, value, string(p))
	}
	to <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(m.number))
}

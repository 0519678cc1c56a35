package runtime

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificates tells of the service's certificate and of whom it trusts. The
// values are of the moment that they are asked for.
type certificates struct{ proof *proof }

func certificateExpiry() *prometheus.Desc {
	return prometheus.NewDesc("xinhari_certificate_expiry_seconds",
		"Seconds until the service's own certificate (leaf) and the first of the roots that it trusts (root) end; below zero once they have. Absent while there are none.",
		[]string{"certificate"}, nil)
}

// Describe implements prometheus.Collector.
func (c certificates) Describe(to chan<- *prometheus.Desc) { to <- certificateExpiry() }

// Collect implements prometheus.Collector.
func (c certificates) Collect(to chan<- prometheus.Metric) {
	if c.proof.source == nil {
		return
	}
	own := c.proof.source.Current()
	if own.IsZero() {
		return
	}
	now := time.Now()
	left := func(end time.Time, which string) {
		to <- prometheus.MustNewConstMetric(certificateExpiry(), prometheus.GaugeValue, end.Sub(now).Seconds(), which)
	}
	left(own.NotAfter(), "leaf")
	bundle := own.Bundle()
	first := bundle[0].NotAfter
	for _, root := range bundle[1:] {
		if root.NotAfter.Before(first) {
			first = root.NotAfter
		}
	}
	left(first, "root")
}

package certmanager

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/xinhari/xinhari/controllers/internal/collector"
)

func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewPedanticRegistry()
		m, err := collector.Register(registry, newMeter())
		if err != nil {
			t.Fatal(err)
		}
		again, err := collector.Register(registry, newMeter())
		if err != nil || again != m {
			t.Errorf("a second controller does not share the metrics of the first: %v", err)
		}
		renewed := because(ReasonIssued, "issued")
		renewed.renewal = time.Now().Add(time.Hour)
		late := because(ReasonRenewalOverdue, "late")
		late.renewal = time.Now().Add(-time.Minute)
		for _, test := range []struct {
			is   outcome
			want map[string]float64
		}{
			{outcome{}, map[string]float64{}},
			{because(ReasonNoCertManager, "none"), map[string]float64{"xinhari_certmanager_ready NoCertManager": 0}},
			{renewed, map[string]float64{"xinhari_certmanager_ready Issued": 1, "xinhari_certmanager_renewal_seconds ": 3600}},
			{late, map[string]float64{"xinhari_certmanager_ready RenewalOverdue": 0, "xinhari_certmanager_renewal_seconds ": -60}},
		} {
			m.set(test.is)
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]float64{}
			for _, f := range families {
				for _, metric := range f.GetMetric() {
					reason := ""
					for _, l := range metric.GetLabel() {
						reason = l.GetValue()
					}
					got[f.GetName()+" "+reason] = metric.GetGauge().GetValue()
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.is.reason, diff)
			}
		}
	})
}

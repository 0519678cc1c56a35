package signer

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/xinhari/xinhari/controllers/internal/collector"
	"github.com/xinhari/xinhari/controllers/signer/issuer"
)

func TestMeter(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := collector.Register(registry, newMeter())
	if err != nil {
		t.Fatal(err)
	}
	again, err := collector.Register(registry, newMeter())
	if err != nil || again != m {
		t.Errorf("a second controller does not share the metrics of the first: %v", err)
	}
	m.denied(WeakKey)
	m.signed(time.Second)
	again.signed(time.Second)
	values := func() map[string]float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]float64{}
		for _, f := range families {
			for _, metric := range f.GetMetric() {
				var labels []string
				for _, l := range metric.GetLabel() {
					labels = append(labels, l.GetValue())
				}
				all[f.GetName()+" "+strings.Join(labels, ",")] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
		return all
	}
	want := map[string]float64{
		"xinhari_signer_requests_total WeakKey,denied": 1, "xinhari_signer_requests_total ,signed": 2, "xinhari_signer_seconds ": 2,
	}
	if diff := cmp.Diff(want, values()); diff != "" {
		t.Errorf("metrics without an issuer (-want +got):\n%s", diff)
	}
	began := time.Now()
	data, err := issuer.New("cluster.local", began)
	if err != nil {
		t.Fatal(err)
	}
	i, err := issuer.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	m.issuer(issuer.Current{Issuer: i, Ends: began.Add(time.Hour)})
	got := values()
	if s := got["xinhari_signer_expiry_seconds issuer"]; s > 3600 || s < 3500 {
		t.Errorf("the issuer ends in %v s", s)
	}
	if s := got["xinhari_signer_expiry_seconds root"]; s > issuer.Life.Seconds() || s < issuer.Life.Seconds()-100 {
		t.Errorf("the root ends in %v s", s)
	}
	m.issuer(issuer.Current{})
	if diff := cmp.Diff(want, values()); diff != "" {
		t.Errorf("metrics when the issuer went (-want +got):\n%s", diff)
	}
}

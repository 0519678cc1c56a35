package main

import (
	"math"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/test/bench/internal/stats"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		target target
		row    row
		want   string
	}{
		{"below a limit", target{limit: 0.95}, row{Ratio: stats.Ratio{Median: 0.83}}, "≤ 0.95: 0.83 ok"},
		{"at a limit, as it is printed", target{limit: 0.95}, row{Ratio: stats.Ratio{Median: 0.9549}}, "≤ 0.95: 0.95 ok"},
		{"above a limit", target{limit: 0.95}, row{Ratio: stats.Ratio{Median: 0.9551}}, "≤ 0.95: 0.96 missed"},
		{"above a least", target{limit: 0.97, least: true}, row{Ratio: stats.Ratio{Median: 1.1}}, "≥ 0.97: 1.10 ok"},
		{"below a least", target{limit: 0.97, least: true}, row{Ratio: stats.Ratio{Median: 0.9}}, "≥ 0.97: 0.90 missed"},
		{"few more", target{limit: 6, more: true}, row{Bare: 150, Own: 155.9, Ratio: stats.Ratio{Median: 1.04}}, "≤ 6 more: 5.9 ok"},
		{"too many more", target{limit: 6, more: true}, row{Bare: 150, Own: 157, Ratio: stats.Ratio{Median: 1.05}}, "≤ 6 more: 7.0 missed"},
		{"fewer", target{limit: 6, more: true}, row{Bare: 150, Own: 140}, "≤ 6 more: -10.0 ok"},
		{"no figure", target{limit: 0.95}, row{Ratio: stats.Ratio{Median: math.NaN()}}, "≤ 0.95: NaN missed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.target.judge(c.row); got != c.want {
				t.Errorf("judge = %q, want %q", got, c.want)
			}
		})
	}
}

// TestTargets lists which rows have one: a scenario that is called otherwise
// would lose its targets without a word.
func TestTargets(t *testing.T) {
	got := map[string][]metric{}
	for _, s := range scenarios(regexp.MustCompile("")) {
		got[s.name] = nil
		for _, m := range metrics() {
			if _, ok := targetOf(s.name, m); ok {
				got[s.name] = append(got[s.name], m)
			}
		}
	}
	want := map[string][]metric{
		"unary/64B/1":    {p50, p99, cpuPerCall, allocsPerCall},
		"unary/64B/64":   {p99, rate, cpuPerCall, allocsPerCall},
		"unary/4KiB/1":   {p50, p99, cpuPerCall, allocsPerCall},
		"unary/4KiB/64":  {p99, rate, cpuPerCall, allocsPerCall},
		"awake/64B/1":    {p50, p99, cpuPerCall, allocsPerCall},
		"stream/64B/1":   {rate, cpuPerCall},
		"stream/64B/64":  {rate, cpuPerCall},
		"json/64B/1":     {rate},
		"json/64B/64":    {rate},
		"foreign/64B/1":  nil,
		"foreign/64B/64": nil,
		"dial/64B/1":     nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

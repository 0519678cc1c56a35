package main

import (
	"github.com/xinhari/xinhari/test/bench/internal/stats"
)

// samples are those of each entry of a scenario, by round.
type samples map[string][]sample

// row compares the entries in one metric.
type row struct {
	Scenario string      `json:"scenario"`
	Metric   metric      `json:"metric"`
	Bare     float64     `json:"bare"` // medians over the rounds
	Own      float64     `json:"own"`
	Ratio    stats.Ratio `json:"ownToBare"`
	Noise    stats.Ratio `json:"bareToItself"`
	Target   string      `json:"target,omitempty"` // and whether it is met
}

// compare returns a row for each metric.
func (s samples) compare(scenario string) []row {
	var rows []row
	for _, m := range metrics() {
		r := row{
			Scenario: scenario,
			Metric:   m,
			Bare:     stats.Median(s.values(bare, m)),
			Own:      stats.Median(s.values(own, m)),
			Ratio:    stats.Ratios(s.values(own, m), s.values(bare, m)),
			Noise:    stats.Ratios(s.values(again, m), s.values(bare, m)),
		}
		if t, ok := targetOf(scenario, m); ok {
			r.Target = t.judge(r)
		}
		rows = append(rows, r)
	}
	return rows
}

func (s samples) values(entry string, m metric) []float64 {
	values := make([]float64, len(s[entry]))
	for i, taken := range s[entry] {
		values[i] = taken[m]
	}
	return values
}

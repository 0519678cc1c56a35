package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/xinhari/xinhari/test/bench/internal/stats"
)

// report is the outcome of a run.
type report struct {
	Machine  machine       `json:"machine"`
	Rounds   int           `json:"rounds"`
	Duration time.Duration `json:"duration"` // of each sample, in nanoseconds
	Took     time.Duration `json:"took"`
	Rows     []row         `json:"rows"`
}

// writers are the formats of -o.
func writers() map[string]func(report, io.Writer) error {
	return map[string]func(report, io.Writer) error{
		"table":    report.table,
		"markdown": report.markdown,
		"json":     report.json,
	}
}

func (r report) summary() string {
	return fmt.Sprintf("Medians of %d rounds of %s each; a ratio is the median of the rounds' ratios, in brackets the lowest and the highest. Took %s.",
		r.Rounds, r.Duration, r.Took.Round(time.Second))
}

func (r report) table(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s\n", r.Machine, r.summary())
	// Flush returns the error of every write.
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	last := ""
	for _, row := range r.Rows {
		if row.Scenario != last {
			_, _ = fmt.Fprintf(t, "\n%s\tbare\town\town/bare\tbare/itself\ttarget\t\n", row.Scenario)
			last = row.Scenario
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\n", row.Metric, strings.Join(append(row.cells(), ""), "\t"))
	}
	return t.Flush()
}

func (r report) markdown(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n%s\n\n| scenario | | bare | own | own/bare | bare/itself | target |\n|---|---|--:|--:|--:|--:|---|\n", r.Machine, r.summary())
	last := ""
	for _, row := range r.Rows {
		name := ""
		if row.Scenario != last {
			name, last = row.Scenario, row.Scenario
		}
		if _, err := fmt.Fprintf(w, "| %s | %s | %s |\n", name, row.Metric, strings.Join(row.cells(), " | ")); err != nil {
			return err
		}
	}
	return err
}

func (r report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// cells are the figures of a row: bare, own, the two ratios, and the target.
func (r row) cells() []string {
	if r.Metric == others { // not ours to compare
		return []string{number(r.Bare), number(r.Own), "", "", ""}
	}
	return []string{number(r.Bare), number(r.Own), ratio(r.Ratio), ratio(r.Noise), r.Target}
}

func ratio(r stats.Ratio) string { return fmt.Sprintf("%.2f (%.2f–%.2f)", r.Median, r.Min, r.Max) }

// number prints three digits, or all before the point.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

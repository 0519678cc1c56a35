package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writers are the formats of -o.
func writers() map[string]func(report, io.Writer) error {
	return map[string]func(report, io.Writer) error{
		"table":    report.table,
		"markdown": report.markdown,
		"json": func(r report, w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(r)
		},
	}
}

func (r report) table(w io.Writer) error {
	// Flush returns the error of every write.
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range r.Memory.rows() {
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if len(r.Latencies) == 0 {
		return t.Flush()
	}
	_, _ = fmt.Fprintln(t)
	_, _ = fmt.Fprintln(t, "CHANGE\tFROM\tTO\tPODS\tMEDIAN\tMIN\tMAX")
	for _, l := range r.Latencies {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%.1f ms\t%.1f ms\t%.1f ms\n", l.Change, l.From, l.To, l.Pods, l.Median, l.Min, l.Max)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.failures(w)
}

func (r report) markdown(w io.Writer) error {
	for i, row := range r.Memory.rows() {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintln(w, "|---|--:|--:|--:|---|")
		}
	}
	if len(r.Latencies) == 0 {
		return nil
	}
	fmt.Fprint(w, "\n| change | from | to | pods | median, ms | min | max |\n|---|---|---|--:|--:|--:|--:|\n")
	for _, l := range r.Latencies {
		fmt.Fprintf(w, "| %s | %s | %s | %d | %.1f | %.1f | %.1f |\n", l.Change, l.From, l.To, l.Pods, l.Median, l.Min, l.Max)
	}
	return r.failures(w)
}

// failures says how many calls failed, and how the first of them.
func (r report) failures(w io.Writer) error {
	_, err := fmt.Fprintf(w, "\nFailed calls: %d\n", len(r.Failed))
	for _, f := range r.Failed[:min(3, len(r.Failed))] {
		_, err = fmt.Fprintln(w, " ", f)
	}
	return err
}

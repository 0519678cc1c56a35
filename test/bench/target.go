package main

import (
	"fmt"
	"strings"
)

// target is what a figure should be.
type target struct {
	limit float64
	least bool // the figure is to be the limit or more; otherwise the limit or less
	more  bool // the figure is own minus bare; otherwise own / bare
}

// targetOf returns the target of a row, and whether it has one.
func targetOf(scenario string, m metric) (target, bool) {
	shape, _, _ := strings.Cut(scenario, "/")
	if shape == "awake" {
		shape = "unary"
	}
	alone := strings.HasSuffix(scenario, "/1")
	switch {
	case shape == "unary" && m == p50 && alone:
		return target{limit: 0.95}, true
	case shape == "unary" && m == p99:
		return target{limit: 1.1}, true
	case shape == "unary" && m == rate && !alone:
		return target{limit: 0.97, least: true}, true
	case shape == "unary" && m == allocsPerCall:
		return target{limit: 6, more: true}, true
	case (shape == "unary" || shape == "stream") && m == cpuPerCall:
		return target{limit: 1.05}, true
	case shape == "stream" && m == rate:
		return target{limit: 1, least: true}, true
	case shape == "json" && m == rate:
		return target{limit: 0.9, least: true}, true
	}
	return target{}, false
}

// judge says what the target is and whether the row meets it. What is printed
// is what is judged: a figure is rounded first.
func (t target) judge(r row) string {
	is := fmt.Sprintf("%.2f", r.Ratio.Median)
	if t.more {
		is = fmt.Sprintf("%.1f", r.Own-r.Bare)
	}
	var figure float64
	if _, err := fmt.Sscan(is, &figure); err != nil {
		return err.Error() // a NaN, of a row that has no figures
	}
	sign, met := "≤", figure <= t.limit
	if t.least {
		sign, met = "≥", figure >= t.limit
	}
	what := ""
	if t.more {
		what = " more"
	}
	verdict := "missed"
	if met {
		verdict = "ok"
	}
	return fmt.Sprintf("%s %v%s: %s %s", sign, t.limit, what, is, verdict)
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/role"
	"github.com/xinhari/xinhari/test/bench/internal/stats"
	"github.com/xinhari/xinhari/test/bench/internal/usage"
)

func TestOrderGivesEveryEntryEveryPlace(t *testing.T) {
	all := scenario{}.entries()
	for place := range all {
		seen := map[string]bool{}
		for round := range all {
			seen[order(all, round)[place].name] = true
		}
		if len(seen) != len(all) {
			t.Errorf("place %d is taken by %v only", place, seen)
		}
	}
}

func TestFigures(t *testing.T) {
	r := role.Ran{
		Result: load.Result{Calls: 1000, Elapsed: 2 * time.Second, P50: 1500, P99: 2 * time.Millisecond},
		Usage:  usage.Usage{CPU: 30 * time.Millisecond, Mallocs: 5000, Bytes: 100000, Resident: 8 << 20},
	}
	used := usage.Usage{CPU: 70 * time.Millisecond, Mallocs: 7000, Bytes: 300000, Resident: 36 << 20}
	cores := float64(runtime.NumCPU())
	want := sample{
		p50: 1.5, p99: 2000, rate: 500, cpuPerCall: 100, allocsPerCall: 12, bytesPerCall: 400,
		clientResident: 8, serverResident: 12, others: 100 * 0.4 / (2 * cores),
	}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
	if diff := cmp.Diff(want, figures(r, used, 3, 500*time.Millisecond), near); diff != "" {
		t.Error(diff)
	}
	if got := figures(r, used, 3, 0)[others]; got != 0 {
		t.Errorf("others = %v when the machine's clock ticks more coarsely than ours, want 0", got)
	}
}

func TestCompareIsWithinARound(t *testing.T) {
	s := samples{
		bare:  {{p50: 10}, {p50: 100}, {p50: 20}},
		own:   {{p50: 11}, {p50: 110}, {p50: 22}},
		again: {{p50: 9}, {p50: 100}, {p50: 20}},
	}
	got := s.compare("a scenario")[0]
	want := row{
		Scenario: "a scenario", Metric: p50, Bare: 20, Own: 22,
		Ratio: stats.Ratio{Median: 1.1, Min: 1.1, Max: 1.1}, Noise: stats.Ratio{Median: 1, Min: 0.9, Max: 1},
	}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
	if diff := cmp.Diff(want, got, near); diff != "" {
		t.Error(diff)
	}
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	args := []string{"-only", "(json|foreign|stream)/64B/64|awake", "-rounds", "1", "-duration", "50ms", "-o", "json"}
	if err := run(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if want := 4 * len(metrics()); len(r.Rows) != want {
		t.Fatalf("%d rows, want %d", len(r.Rows), want)
	}
	for _, row := range r.Rows {
		if row.Metric != others && (row.Bare <= 0 || row.Own <= 0 || row.Ratio.Median <= 0 || row.Noise.Median <= 0) {
			t.Errorf("%+v: want figures above zero", row)
		}
	}
	for format, write := range writers() {
		var out bytes.Buffer
		if err := write(r, &out); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"json/64B/64", "≥ 0.9: ", string(allocsPerCall), r.Machine.Go} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s lacks %q:\n%s", format, want, out.String())
			}
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no scenario", []string{"-only", "nothing"}, "no scenario"},
		{"no regular expression", []string{"-only", "("}, "-only"},
		{"an unknown format", []string{"-o", "xml"}, "table, markdown or json"},
		{"no rounds", []string{"-rounds", "0"}, "at least one round"},
		{"an argument", []string{"unary"}, "flags only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := run(t.Context(), c.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("run = %v, want %q", err, c.want)
			}
		})
	}
}

// begun closes when something is first written.
type begun struct{ signal chan struct{} }

func (b begun) Write(p []byte) (int, error) {
	select {
	case <-b.signal:
	default:
		close(b.signal)
	}
	return len(p), nil
}

func TestCancelEndsTheRunAndItsChildren(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := begun{make(chan struct{})}
	ended := make(chan error)
	go func() { ended <- run(ctx, []string{"-only", "unary/64B/1$", "-duration", "1m"}, io.Discard, b) }()
	<-b.signal
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v", err)
	}
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
}

func TestField(t *testing.T) {
	const info = "processor\t: 0\nmodel name\t: A CPU: fast\nmodel name\t: another\n"
	if got := field([]byte(info), "model name"); got != "A CPU: fast" {
		t.Errorf("field = %q", got)
	}
	if got := field([]byte(info), "flags"); got != "" {
		t.Errorf("field = %q, want none", got)
	}
}

// TestBareIsBare holds the program that the runtime's memory is compared with
// to what it is: one that links none of this repository but the benchmark.
func TestBareIsBare(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", folder+bare).Output()
	if err != nil {
		t.Fatal(err)
	}
	for dependency := range strings.Lines(string(out)) {
		if strings.HasPrefix(dependency, "github.com/xinhari/") && !strings.HasPrefix(dependency, folder) || strings.HasPrefix(dependency, "k8s.io/") {
			t.Errorf("bare links %s", dependency)
		}
	}
}

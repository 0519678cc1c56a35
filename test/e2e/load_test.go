package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/xinhari/xinhari/test/shopcluster"
)

// figure is what became of the calls of both shops in a scenario.
type figure struct {
	scenario string
	calls    int
	failed   int
	slowest  time.Duration
	took     time.Duration
}

// under does something while both shops are under load, of which no call may
// fail, and no answer may come from another than who was called.
func (s *stage) under(t *testing.T, do func(context.Context) error) {
	t.Helper()
	var steady, brief shopcluster.Load
	began := time.Now()
	steady, err := s.steady.During(t.Context(), func(ctx context.Context) error {
		var err error
		brief, err = s.brief.During(ctx, do)
		return err
	})
	f := figure{scenario: t.Name()[strings.Index(t.Name(), "/")+1:], took: time.Since(began)}
	for namespace, l := range map[string]shopcluster.Load{s.steady.Namespace: steady, s.brief.Namespace: brief} {
		f.calls, f.failed, f.slowest = f.calls+l.Calls, f.failed+len(l.Failed), max(f.slowest, l.Slowest)
		if err != nil {
			continue
		}
		if _, err := l.Judge(nil); err != nil {
			t.Errorf("%s: %v", namespace, err)
		}
		caller := "spiffe://cluster.local/ns/" + namespace + "/sa/orders"
		if served := l.Calls - len(l.Failed); len(l.As) != 1 || l.As[caller] != served {
			t.Errorf("of %d calls inventory of %s saw %v as callers, want %s alone", served, namespace, l.As, caller)
		}
		if len(l.By) != 3 {
			t.Errorf("%d instances of %s answered, want 3", len(l.By), namespace)
		}
	}
	s.figures = append(s.figures, f)
	t.Logf("%d calls, %d failed, the slowest took %s", f.calls, f.failed, f.slowest.Round(100*time.Microsecond))
	must(t, err)
}

// until looks again and again until there is nothing left to wait for.
func until(ctx context.Context, most time.Duration, look func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		err := look(ctx)
		if err == nil {
			return nil
		}
		if ended := shopcluster.Sleep(ctx, 250*time.Millisecond); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

// print prints the figures of all scenarios.
func (s *stage) print(t *testing.T) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	lines := []string{"scenario\tcalls\tfailed\tslowest\ttook"}
	for _, f := range s.figures {
		lines = append(lines, fmt.Sprintf("%s\t%d\t%d\t%s\t%s", strings.ReplaceAll(f.scenario, "_", " "), f.calls, f.failed,
			f.slowest.Round(time.Millisecond), f.took.Round(time.Second)))
	}
	if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil {
		t.Fatal(err)
	}
	must(t, w.Flush())
	t.Logf("\n%s", b.String())
}

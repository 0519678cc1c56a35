package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/xinhari/xinhari/examples/shop"
	"github.com/xinhari/xinhari/test/shopcluster"
)

const (
	namespace = "shop"
	rate      = 200 // calls a second
)

// step is something that happens while calls are made.
type step struct {
	name string

	// do makes it happen and returns when it is over, with what must be true
	// of the calls made meanwhile.
	do func(ctx context.Context) (check, error)
}

// check looks at the calls of a step.
type check struct {
	excuses func(shop.Failure) bool // nil = no call may fail
	more    func(shop.Report) error // nil = nothing more
}

type result struct {
	step    string
	calls   int
	failed  int
	excused int
	slowest time.Duration
	took    time.Duration
	ok      bool
}

func (s step) take(ctx context.Context, d *demo) (result, error) {
	var c check
	load, err := d.shop.During(ctx, func(ctx context.Context) error {
		var err error
		c, err = s.do(ctx)
		return err
	})
	r := result{step: s.name, calls: load.Calls, failed: len(load.Failed), slowest: load.Slowest, took: load.Took}
	if err != nil {
		return r, err
	}
	r.excused, err = load.Judge(c.excuses)
	if c.more != nil {
		err = errors.Join(err, c.more(load.Report))
	}
	r.ok = err == nil
	return r, err
}

// steps are what the demo shows, in order.
func steps(d *demo) []step {
	return []step{
		{"3 replicas are used evenly", func(ctx context.Context) (check, error) {
			return check{more: d.evenly(3)}, shopcluster.Sleep(ctx, 4*time.Second)
		}},
		{"who am I", func(ctx context.Context) (check, error) {
			return check{more: d.whoAmI}, shopcluster.Sleep(ctx, time.Second)
		}},
		{"no identity, no entry", func(ctx context.Context) (check, error) {
			return check{}, d.intruders(ctx)
		}},
		{"root rotation under load", func(ctx context.Context) (check, error) {
			return check{more: d.whoAmI}, d.rotateRoot(ctx)
		}},
		{"scale to 5: the new ones are used", func(ctx context.Context) (check, error) {
			if err := d.kubectl(ctx, "scale", "deployment/inventory", "--replicas=5"); err != nil {
				return check{}, err
			}
			if err := d.kubectl(ctx, "rollout", "status", "deployment/inventory", "--timeout=60s"); err != nil {
				return check{}, err
			}
			return check{more: usedBy(5)}, shopcluster.Sleep(ctx, 2*time.Second)
		}},
		{"5 replicas are used evenly", func(ctx context.Context) (check, error) {
			return check{more: d.evenly(5)}, shopcluster.Sleep(ctx, 3*time.Second)
		}},
		{"a pod is killed with -9", func(ctx context.Context) (check, error) {
			p, err := d.shop.AnyPod(ctx, "inventory")
			if err != nil {
				return check{}, err
			}
			killed, err := shopcluster.Kill(p, "inventory")
			if err != nil {
				return check{}, err
			}
			d.say("  killed %s", p.Name)
			if err := shopcluster.Sleep(ctx, time.Second); err != nil {
				return check{}, err
			}
			// In flight are calls that began before the connection was seen
			// to be gone, which the kernel tells the client at once.
			inFlight := func(f shop.Failure) bool { return p.Was(f.Peer) && f.Began.Before(killed.Add(50*time.Millisecond)) }
			return check{excuses: inFlight}, d.kubectl(ctx, "wait", "pod", "-l", "app=inventory", "--for=condition=Ready", "--timeout=60s")
		}},
		{"rolling restart", func(ctx context.Context) (check, error) {
			if err := d.kubectl(ctx, "rollout", "restart", "deployment/inventory"); err != nil {
				return check{}, err
			}
			if err := d.kubectl(ctx, "rollout", "status", "deployment/inventory", "--timeout=120s"); err != nil {
				return check{}, err
			}
			return check{}, d.kubectl(ctx, "wait", "pod", "-l", "app=inventory", "--for=condition=Ready", "--timeout=60s")
		}},
		{"a pod is cut off the network, and healed", func(ctx context.Context) (check, error) {
			p, err := d.shop.AnyPod(ctx, "inventory")
			if err != nil {
				return check{}, err
			}
			if err := d.devcluster(ctx, "cut", p.Name, "-n", namespace); err != nil {
				return check{}, err
			}
			d.say("  cut off %s", p.Name)
			if err := shopcluster.Sleep(ctx, 7*time.Second); err != nil {
				return check{}, err
			}
			if err := d.devcluster(ctx, "heal", p.Name, "-n", namespace); err != nil {
				return check{}, err
			}
			d.say("  healed")
			if err := shopcluster.Sleep(ctx, 2*time.Second); err != nil {
				return check{}, err
			}
			return check{excuses: func(f shop.Failure) bool { return p.Was(f.Peer) }, more: usedBy(5)},
				d.kubectl(ctx, "wait", "pod", "-l", "app=inventory", "--for=condition=Ready", "--timeout=60s")
		}},
		{"the API server is stopped for 20 s", func(ctx context.Context) (check, error) {
			if err := d.devcluster(ctx, "stop", "kube-apiserver"); err != nil {
				return check{}, err
			}
			if err := shopcluster.Sleep(ctx, 20*time.Second); err != nil {
				return check{}, err
			}
			if err := d.devcluster(ctx, "start", "kube-apiserver"); err != nil {
				return check{}, err
			}
			return check{}, shopcluster.WaitReady(ctx)
		}},
		{"after it: scale to 3", func(ctx context.Context) (check, error) {
			if err := d.kubectl(ctx, "scale", "deployment/inventory", "--replicas=3"); err != nil {
				return check{}, err
			}
			return check{}, shopcluster.Sleep(ctx, 4*time.Second)
		}},
		{"the operator is stopped, and back", func(ctx context.Context) (check, error) {
			if err := shopcluster.ScaleOperator(ctx, 0); err != nil {
				return check{}, err
			}
			// What runs goes on; a new pod waits for the operator to sign.
			if err := d.kubectl(ctx, "scale", "deployment/inventory", "--replicas=4"); err != nil {
				return check{}, err
			}
			if err := shopcluster.Sleep(ctx, 5*time.Second); err != nil {
				return check{}, err
			}
			if err := shopcluster.ScaleOperator(ctx, 1); err != nil {
				return check{}, err
			}
			if err := d.kubectl(ctx, "rollout", "status", "deployment/inventory", "--timeout=60s"); err != nil {
				return check{}, err
			}
			return check{more: usedBy(4)}, shopcluster.Sleep(ctx, 2*time.Second)
		}},
	}
}

// evenly wants n instances that answered the same number of calls. Calls of
// the moments before and after are counted in too, hence the allowance.
func (d *demo) evenly(n int) func(shop.Report) error {
	return func(r shop.Report) error {
		if err := usedBy(n)(r); err != nil {
			return err
		}
		counts := make([]int, 0, len(r.By))
		for _, count := range r.By {
			counts = append(counts, count)
		}
		const allowance = 4
		if d := slices.Max(counts) - slices.Min(counts); d > allowance {
			return fmt.Errorf("the instances answered %v calls: want no more than %d apart", counts, allowance)
		}
		d.say("  answered by each: %v", counts)
		return nil
	}
}

func usedBy(n int) func(shop.Report) error {
	return func(r shop.Report) error {
		if len(r.By) < n {
			return fmt.Errorf("%d instances answered, want %d", len(r.By), n)
		}
		return nil
	}
}

func printTable(w io.Writer, results []result) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	lines := []string{"STEP\tCALLS\tFAILED\tIN FLIGHT ON THE POD\tSLOWEST\tTOOK\t"}
	for _, r := range results {
		verdict := "ok"
		if !r.ok {
			verdict = "NOT OK"
		}
		lines = append(lines, fmt.Sprintf("%s\t%d\t%d\t%d\t%s\t%s\t%s", r.step, r.calls, r.failed, r.excused,
			r.slowest.Round(100*time.Microsecond), r.took.Round(100*time.Millisecond), verdict))
	}
	if _, err := io.WriteString(t, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	return t.Flush()
}

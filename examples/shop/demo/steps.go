package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/xinhari/xinhari/examples/shop"
)

const (
	rate = 200 // calls a second, as SHOP_RATE in the manifests says

	// settle is longer than any call may take.
	settle = 1500 * time.Millisecond
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

func (s step) take(ctx context.Context, c *cluster) (result, error) {
	if _, err := c.report(ctx); err != nil { // forget what was before
		return result{step: s.name}, err
	}
	began := time.Now()
	check, err := s.do(ctx)
	r := result{step: s.name}
	if err != nil {
		return r, err
	}
	if err := sleep(ctx, settle); err != nil {
		return r, err
	}
	r.took = time.Since(began)
	report, err := c.report(ctx)
	if err != nil {
		return r, err
	}
	r.calls, r.failed, r.slowest = report.Calls, len(report.Failed), report.Slowest
	var errs []error
	for _, f := range report.Failed {
		if check.excuses != nil && check.excuses(f) {
			r.excused++
			continue
		}
		if len(errs) < 5 {
			errs = append(errs, fmt.Errorf("a call to %q at %s failed after %s: %s", f.Peer, f.Began.Format("15:04:05.000"), f.Took.Round(time.Millisecond), f.Error))
		}
	}
	if want := int(0.9 * rate * r.took.Seconds()); r.calls < want {
		errs = append(errs, fmt.Errorf("only %d calls were made, want at least %d", r.calls, want))
	}
	if check.more != nil {
		if err := check.more(report); err != nil {
			errs = append(errs, err)
		}
	}
	r.ok = len(errs) == 0
	return r, errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// steps are what the demo shows, in order.
func steps(c *cluster) []step {
	return []step{
		{"3 replicas are used evenly", func(ctx context.Context) (check, error) {
			return check{more: c.evenly(3)}, sleep(ctx, 4*time.Second)
		}},
		{"who am I", func(ctx context.Context) (check, error) {
			return check{more: c.whoAmI}, sleep(ctx, time.Second)
		}},
		{"no identity, no entry", func(ctx context.Context) (check, error) {
			return check{}, c.intruders(ctx)
		}},
		{"root rotation under load", func(ctx context.Context) (check, error) {
			return check{more: c.whoAmI}, c.rotateRoot(ctx)
		}},
		{"scale to 5: the new ones are used", func(ctx context.Context) (check, error) {
			if err := c.kubectl(ctx, "scale", "deployment/inventory", "--replicas=5"); err != nil {
				return check{}, err
			}
			if err := c.kubectl(ctx, "rollout", "status", "deployment/inventory", "--timeout=60s"); err != nil {
				return check{}, err
			}
			return check{more: usedBy(5)}, sleep(ctx, 2*time.Second)
		}},
		{"5 replicas are used evenly", func(ctx context.Context) (check, error) {
			return check{more: c.evenly(5)}, sleep(ctx, 3*time.Second)
		}},
		{"a pod is killed with -9", func(ctx context.Context) (check, error) {
			p, err := c.anyPod(ctx, "inventory")
			if err != nil {
				return check{}, err
			}
			killed, err := c.kill(p)
			if err != nil {
				return check{}, err
			}
			c.say("  killed %s", p.name)
			if err := sleep(ctx, time.Second); err != nil {
				return check{}, err
			}
			// In flight are calls that began before the connection was seen
			// to be gone, which the kernel tells the client at once.
			inFlight := func(f shop.Failure) bool { return p.was(f.Peer) && f.Began.Before(killed.Add(50*time.Millisecond)) }
			return check{excuses: inFlight}, c.kubectl(ctx, "wait", "pod", "-l", "app=inventory", "--for=condition=Ready", "--timeout=60s")
		}},
		{"rolling restart", func(ctx context.Context) (check, error) {
			if err := c.kubectl(ctx, "rollout", "restart", "deployment/inventory"); err != nil {
				return check{}, err
			}
			if err := c.kubectl(ctx, "rollout", "status", "deployment/inventory", "--timeout=120s"); err != nil {
				return check{}, err
			}
			return check{}, c.kubectl(ctx, "wait", "pod", "-l", "app=inventory", "--for=condition=Ready", "--timeout=60s")
		}},
		{"a pod is cut off the network, and healed", func(ctx context.Context) (check, error) {
			p, err := c.anyPod(ctx, "inventory")
			if err != nil {
				return check{}, err
			}
			if err := c.devcluster(ctx, "cut", p.name, "-n", namespace); err != nil {
				return check{}, err
			}
			c.say("  cut off %s", p.name)
			if err := sleep(ctx, 7*time.Second); err != nil {
				return check{}, err
			}
			if err := c.devcluster(ctx, "heal", p.name, "-n", namespace); err != nil {
				return check{}, err
			}
			c.say("  healed")
			if err := sleep(ctx, 2*time.Second); err != nil {
				return check{}, err
			}
			return check{excuses: func(f shop.Failure) bool { return p.was(f.Peer) }, more: usedBy(5)},
				c.kubectl(ctx, "wait", "pod", "-l", "app=inventory", "--for=condition=Ready", "--timeout=60s")
		}},
		{"the API server is stopped for 20 s", func(ctx context.Context) (check, error) {
			if err := c.devcluster(ctx, "stop", "kube-apiserver"); err != nil {
				return check{}, err
			}
			if err := sleep(ctx, 20*time.Second); err != nil {
				return check{}, err
			}
			if err := c.devcluster(ctx, "start", "kube-apiserver"); err != nil {
				return check{}, err
			}
			return check{}, c.waitReady(ctx)
		}},
		{"after it: scale to 3", func(ctx context.Context) (check, error) {
			if err := c.kubectl(ctx, "scale", "deployment/inventory", "--replicas=3"); err != nil {
				return check{}, err
			}
			return check{}, sleep(ctx, 4*time.Second)
		}},
		{"the operator is stopped, and back", func(ctx context.Context) (check, error) {
			if err := c.operator(ctx, 0); err != nil {
				return check{}, err
			}
			// What runs goes on; a new pod waits for the operator to sign.
			if err := c.kubectl(ctx, "scale", "deployment/inventory", "--replicas=4"); err != nil {
				return check{}, err
			}
			if err := sleep(ctx, 5*time.Second); err != nil {
				return check{}, err
			}
			if err := c.operator(ctx, 1); err != nil {
				return check{}, err
			}
			if err := c.kubectl(ctx, "rollout", "status", "deployment/inventory", "--timeout=60s"); err != nil {
				return check{}, err
			}
			return check{more: usedBy(4)}, sleep(ctx, 2*time.Second)
		}},
	}
}

// evenly wants n instances that answered the same number of calls. Calls of
// the moments before and after are counted in too, hence the allowance.
func (c *cluster) evenly(n int) func(shop.Report) error {
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
		c.say("  answered by each: %v", counts)
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

// pod is a pod by name and address.
type pod struct{ name, ip string }

// was reports whether a peer's address is the pod's.
func (p pod) was(peer string) bool {
	host, _, err := net.SplitHostPort(peer)
	return err == nil && host == p.ip
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

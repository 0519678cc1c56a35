// Command demo shows the platform at work, in a cluster that it is run in: it
// installs the operator and the shop, has orders call inventory 200 times a
// second, and meanwhile scales, kills, restarts and cuts off what serves the
// calls. It prints what became of the calls, and fails when a call failed that
// had no reason to.
//
// It needs kubectl and helm on PATH, KUBECONFIG, and the devcluster around it:
//
//	devcluster run --images bin -- bin/demo
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	chart := flag.String("chart", "charts/xinhari", "folder of the operator's chart")
	manifests := flag.String("manifests", "examples/shop/deploy", "folder of the shop's manifests")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *chart, *manifests); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, chart, manifests string) error {
	c := &cluster{began: time.Now()}
	c.say("installing the operator (helm install)")
	if err := c.installOperator(ctx, chart); err != nil {
		return err
	}
	c.say("applying the shop (kubectl apply)")
	if err := c.installShop(ctx, manifests); err != nil {
		return err
	}
	if err := c.warmUp(ctx); err != nil {
		return err
	}
	c.say("the first calls arrived %s after the start", time.Since(c.began).Round(100*time.Millisecond))
	var results []result
	var failed []error
	for _, s := range steps(c) {
		c.say("%s", s.name)
		r, err := s.take(ctx, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		results = append(results, r)
		if err != nil {
			c.say("  NOT AS IT MUST BE: %v", err)
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	fmt.Println()
	if err := printTable(os.Stdout, results); err != nil {
		return err
	}
	if len(failed) > 0 {
		c.explain(ctx)
	}
	return errors.Join(failed...)
}

// say prints a line of progress, with the time since the start.
func (c *cluster) say(format string, args ...any) {
	fmt.Printf("%7.1fs  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

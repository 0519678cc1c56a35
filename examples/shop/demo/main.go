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
	"strings"
	"syscall"
	"time"

	"github.com/xinhari/xinhari/test/shopcluster"
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
	d := &demo{began: time.Now(), shop: &shopcluster.Shop{Namespace: namespace, Rate: rate}}
	d.say("installing the operator (helm install)")
	if err := shopcluster.InstallOperator(ctx, chart); err != nil {
		return err
	}
	d.say("applying the shop (kubectl apply)")
	defer d.shop.Close()
	if err := d.shop.Open(ctx, manifests); err != nil {
		return err
	}
	d.say("the first calls arrived %s after the start", time.Since(d.began).Round(100*time.Millisecond))
	var results []result
	var failed []error
	for _, s := range steps(d) {
		d.say("%s", s.name)
		r, err := s.take(ctx, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		results = append(results, r)
		if err != nil {
			d.say("  NOT AS IT MUST BE: %v", err)
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	fmt.Println()
	if err := printTable(os.Stdout, results); err != nil {
		return err
	}
	if len(failed) > 0 {
		d.explain(ctx)
	}
	return errors.Join(failed...)
}

// demo is the shop that is shown.
type demo struct {
	began time.Time
	shop  *shopcluster.Shop
}

func (d *demo) kubectl(ctx context.Context, args ...string) error {
	_, err := d.shop.Kubectl(ctx, args...)
	return err
}

func (d *demo) devcluster(ctx context.Context, args ...string) error {
	_, err := shopcluster.Run(ctx, "devcluster", args...)
	return err
}

// say prints a line of progress, with the time since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Printf("%7.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// explain prints what a person would look at first.
func (d *demo) explain(ctx context.Context) {
	for _, args := range [][]string{
		{"get", "pods,xsvc,endpointslices", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"logs", "deployment/orders", "--tail=20"},
	} {
		out, err := d.shop.Kubectl(ctx, args...)
		if err != nil {
			out = err.Error()
		}
		fmt.Printf("\n$ kubectl -n %s %s\n%s", namespace, strings.Join(args, " "), out)
	}
}

package main

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/xinhari/xinhari/examples/shop"
	"github.com/xinhari/xinhari/pkg/rpc"
)

const (
	defaultTimeout = time.Second // of a call

	// maxFailures bounds a report.
	maxFailures = 1000
)

// load places orders at a steady rate, whatever becomes of those before (an
// open loop), and counts.
type load struct {
	inventory grpc.ClientConnInterface
	timeout   time.Duration

	mu     sync.Mutex
	report shop.Report
}

func newLoad(inventory grpc.ClientConnInterface, timeout time.Duration) *load {
	return &load{inventory: inventory, timeout: timeout, report: newReport()}
}

func newReport() shop.Report {
	return shop.Report{By: map[string]int{}, As: map[string]int{}}
}

func (l *load) run(ctx context.Context, rate int) {
	if rate == 0 {
		return
	}
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	var calls sync.WaitGroup
	defer calls.Wait()
	began, made := time.Now(), 0
	for {
		select {
		case <-ticker.C:
			// A busy machine swallows ticks; the calls are due all the same.
			for due := int(time.Since(began).Seconds() * float64(rate)); made < due; made++ {
				calls.Go(func() { l.call(context.WithoutCancel(ctx)) })
			}
		case <-ctx.Done():
			return
		}
	}
}

func (l *load) call(ctx context.Context) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var to peer.Peer
	reserved, err := rpc.Call[shop.Reserved](ctx, l.inventory, shop.ReserveMethod, &shop.Reservation{Article: "teapot", Quantity: 1}, grpc.Peer(&to))
	took := time.Since(began)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Calls++
	l.report.Slowest = max(l.report.Slowest, took)
	if err == nil {
		l.report.By[reserved.By]++
		l.report.As[reserved.For]++
		return
	}
	if len(l.report.Failed) < maxFailures {
		f := shop.Failure{Began: began, Took: took, Error: err.Error()}
		if to.Addr != nil {
			f.Peer = to.Addr.String()
		}
		l.report.Failed = append(l.report.Failed, f)
	}
}

// Report returns what became of the calls since the last report.
func (l *load) Report(context.Context, *shop.ReportRequest) (*shop.Report, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	l.report = newReport()
	return &r, nil
}

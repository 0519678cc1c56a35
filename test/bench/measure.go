package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/xinhari/xinhari/test/bench/internal/child"
	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/role"
	"github.com/xinhari/xinhari/test/bench/internal/usage"
)

// sample is what was measured of one entry in one round of one scenario, by
// metric.
type sample map[metric]float64

// metric is a figure of a sample.
type metric string

const (
	p50            metric = "p50, µs"
	p99            metric = "p99, µs"
	rate           metric = "calls/s"
	cpuPerCall     metric = "CPU/call, µs"
	allocsPerCall  metric = "allocs/call"
	bytesPerCall   metric = "bytes allocated/call"
	clientResident metric = "client resident, MiB"
	serverResident metric = "server resident, MiB"
	others         metric = "others' CPU, %"
)

// metrics are all, as they are printed. For rate more is better; others says
// what share of the machine other programs had meanwhile.
func metrics() []metric {
	return []metric{p50, p99, rate, cpuPerCall, allocsPerCall, bytesPerCall, clientResident, serverResident, others}
}

// plan is how to measure.
type plan struct {
	dir      string // of the programs
	duration time.Duration
	warmUp   time.Duration
	profiles string // folder for CPU profiles, "" = none
}

const (
	// callDeadline is that of each unary call, at all subjects alike.
	callDeadline = 5 * time.Second

	// spareTime is how much longer than its run a stream may live.
	spareTime = 20 * time.Second
)

// measure takes one sample, with fresh processes.
func (p plan) measure(ctx context.Context, s scenario, e entry) (taken sample, err error) {
	var children []*child.Process
	defer func() {
		for _, c := range slices.Backward(children) { // the client first
			err = errors.Join(err, c.Close())
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	start := func(name, as string) (*child.Process, error) {
		c, err := child.Start(ctx, program(p.dir, name), as)
		if err == nil {
			children = append(children, c)
		}
		return c, err
	}
	order := role.OpenOrder{Spec: s.load}
	order.Spec.Deadline = callDeadline
	if s.load.Shape == load.Stream {
		order.Spec.Deadline = p.warmUp + p.duration + spareTime
	}
	for range servers {
		c, err := start(e.server, role.Server)
		if err != nil {
			return nil, err
		}
		var addr netip.AddrPort
		if err := c.Ask(role.Serve, nil, &addr); err != nil {
			return nil, err
		}
		order.Servers = append(order.Servers, addr)
	}
	client, err := start(e.client, role.Client)
	if err != nil {
		return nil, err
	}
	if err := client.Ask(role.Open, order, nil); err != nil {
		return nil, err
	}
	var awake []*child.Process
	if s.awake {
		c, err := start(bare, role.Awake)
		if err != nil {
			return nil, err
		}
		awake = append(awake, c)
	}
	if err := client.Ask(role.Run, p.warmUp, nil); err != nil {
		return nil, err
	}
	if p.profiles != "" {
		if err := p.record(s, e, client, children[0]); err != nil {
			return nil, err
		}
	}
	return p.sample(client, children[:servers], awake)
}

// sample has the client make its calls. What awake has used is nobody's.
func (p plan) sample(client *child.Process, servers, awake []*child.Process) (sample, error) {
	before, err := usages(servers)
	if err != nil {
		return nil, err
	}
	busyBefore, err := usage.Machine()
	if err != nil {
		return nil, err
	}
	idle, err := usages(awake)
	if err != nil {
		return nil, err
	}
	var r role.Ran
	if err := client.Ask(role.Run, p.duration, &r); err != nil {
		return nil, err
	}
	busyAfter, err := usage.Machine()
	if err != nil {
		return nil, err
	}
	idleAfter, err := usages(awake)
	if err != nil {
		return nil, err
	}
	after, err := usages(servers)
	if err != nil {
		return nil, err
	}
	if r.Calls == 0 {
		return nil, errors.New("no call was made")
	}
	var used usage.Usage
	for i := range servers {
		var calls uint64
		if err := servers[i].Ask(role.Calls, nil, &calls); err != nil {
			return nil, err
		}
		if calls == 0 {
			return nil, fmt.Errorf("server %d of %d was not called", i+1, len(servers))
		}
		used = used.Plus(after[i].Since(before[i]))
	}
	busy := busyAfter - busyBefore
	for i := range awake {
		busy -= idleAfter[i].Since(idle[i]).CPU
	}
	return figures(r, used, len(servers), busy), nil
}

// figures computes a sample from what the client ran, what its servers used
// together, and how long the machine was busy meanwhile.
func figures(r role.Ran, used usage.Usage, servers int, busy time.Duration) sample {
	const mib = 1 << 20
	calls := float64(r.Calls)
	both := r.Usage.Plus(used)
	available := r.Elapsed.Seconds() * float64(runtime.NumCPU())
	return sample{
		p50:            microseconds(r.P50),
		p99:            microseconds(r.P99),
		rate:           calls / r.Elapsed.Seconds(),
		cpuPerCall:     microseconds(both.CPU) / calls,
		allocsPerCall:  float64(both.Mallocs) / calls,
		bytesPerCall:   float64(both.Bytes) / calls,
		clientResident: float64(r.Usage.Resident) / mib,
		serverResident: float64(used.Resident) / mib / float64(servers),
		others:         max(0, 100*(busy-both.CPU).Seconds()/available),
	}
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func usages(servers []*child.Process) ([]usage.Usage, error) {
	read := make([]usage.Usage, len(servers))
	for i, s := range servers {
		if err := s.Ask(role.Usage, nil, &read[i]); err != nil {
			return nil, err
		}
	}
	return read, nil
}

// record has the client and a server write CPU profiles, over those of an
// earlier round.
func (p plan) record(s scenario, e entry, client, server *child.Process) error {
	name := strings.NewReplacer("/", "-", " ", "-").Replace(s.name + " " + e.name)
	return errors.Join(
		client.Ask(role.Record, filepath.Join(p.profiles, name+"-client.pprof"), nil),
		server.Ask(role.Record, filepath.Join(p.profiles, name+"-server.pprof"), nil),
	)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime/pprof"
	"time"

	"github.com/xinhari/xinhari/test/bench/internal/child"
	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/subject"
	"github.com/xinhari/xinhari/test/bench/internal/usage"
)

// What children are asked.
const (
	askServe  = "serve"  // a server: begin, and say where
	askCalls  = "calls"  // a server: how many calls it got
	askUsage  = "usage"  // a server: what it has used so far
	askOpen   = "open"   // a client: connect
	askRun    = "run"    // a client: make calls
	askRecord = "record" // either: write a CPU profile from now to the end
)

// openOrder is what a client needs to know to connect.
type openOrder struct {
	Servers []netip.AddrPort `json:"servers"`
	Spec    load.Spec        `json:"spec"`
}

// ran is what became of a client's calls, and what it used for them.
type ran struct {
	load.Result
	Usage usage.Usage `json:"usage"`
}

// connectTimeout bounds how long a client takes to reach all servers.
const connectTimeout = 10 * time.Second

// runChild is main of the children: "server KIND" or "client KIND".
func runChild(ctx context.Context, args []string) (err error) {
	if len(args) != 2 {
		return fmt.Errorf("a child is called %q: want a role and a subject", args)
	}
	role, kind := args[0], subject.Kind(args[1])
	var stops []subject.Stop
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		for i := range stops {
			err = errors.Join(err, stops[len(stops)-1-i](ctx))
		}
	}()
	onStop := func(s subject.Stop) { stops = append(stops, s) }

	handlers := map[string]child.Handler{
		askRecord: child.Handle(func(_ context.Context, path string) (any, error) {
			stop, err := record(path)
			if err == nil {
				onStop(func(context.Context) error { return stop() })
			}
			return nil, err
		}),
	}
	switch role {
	case roleServer:
		addServer(handlers, kind, onStop)
	case roleClient:
		addClient(handlers, kind, onStop)
	default:
		return fmt.Errorf("role %q: want %s or %s", role, roleServer, roleClient)
	}
	return child.Serve(ctx, os.Stdin, os.Stdout, handlers)
}

const (
	roleServer = "server"
	roleClient = "client"
)

func addServer(handlers map[string]child.Handler, kind subject.Kind, onStop func(subject.Stop)) {
	echo := &load.Echo{}
	handlers[askServe] = child.Handle(func(ctx context.Context, _ any) (netip.AddrPort, error) {
		addr, stop, err := subject.Serve(ctx, kind, echo)
		if err == nil {
			onStop(stop)
		}
		return addr, err
	})
	handlers[askCalls] = child.Handle(func(context.Context, any) (uint64, error) { return echo.Calls(), nil })
	handlers[askUsage] = child.Handle(func(context.Context, any) (usage.Usage, error) { return usage.Read() })
}

func addClient(handlers map[string]child.Handler, kind subject.Kind, onStop func(subject.Stop)) {
	var l *load.Load
	handlers[askOpen] = child.Handle(func(ctx context.Context, o openOrder) (any, error) {
		conn, stop, err := subject.Dial(ctx, kind, o.Servers)
		if err != nil {
			return nil, err
		}
		onStop(stop)
		connecting, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		if err := load.Connect(connecting, conn, len(o.Servers)); err != nil {
			return nil, err
		}
		if l, err = load.Open(ctx, conn, o.Spec); err != nil {
			return nil, err
		}
		onStop(func(context.Context) error { return l.Close() })
		return nil, nil
	})
	handlers[askRun] = child.Handle(func(ctx context.Context, d time.Duration) (ran, error) {
		if l == nil {
			return ran{}, errors.New("the client is not connected")
		}
		before, err := usage.Read()
		if err != nil {
			return ran{}, err
		}
		result, err := l.Run(ctx, d)
		if err != nil {
			return ran{}, err
		}
		after, err := usage.Read()
		return ran{Result: result, Usage: after.Since(before)}, err
	})
}

// record writes a CPU profile to path until stop is called.
func record(path string) (stop func() error, err error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}

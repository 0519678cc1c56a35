// Package role is main of the programs that are measured: a server, a client
// of several servers, or both in one, of any subject; and of the process that
// keeps the machine's processors from sleeping meanwhile.
package role

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/xinhari/xinhari/test/bench/internal/child"
	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/usage"
)

// Subject is one of the compared.
type Subject struct {
	// Serve serves impl on a free port of loopback.
	Serve func(ctx context.Context, impl load.Service) (netip.AddrPort, Stop, error)

	// Dial returns a connection that spreads calls evenly over the servers.
	Dial func(ctx context.Context, servers []netip.AddrPort) (load.Client, Stop, error)

	// Pod serves impl as a pod would, and returns a connection to itself.
	Pod func(ctx context.Context, impl load.Service) (load.Client, Stop, error)
}

// Stop ends what it came with, and waits for what that has started.
type Stop func(context.Context) error

// What children are asked.
const (
	Serve  = "serve"  // a server: begin, and say where
	Calls  = "calls"  // a server: how many calls it got
	Usage  = "usage"  // a server: what it has used so far
	Open   = "open"   // a client: connect
	Run    = "run"    // a client: make calls
	Record = "record" // either: write a CPU profile from now to the end
)

// OpenOrder is what a client needs to know to connect.
type OpenOrder struct {
	Servers []netip.AddrPort `json:"servers"`
	Spec    load.Spec        `json:"spec"`
}

// Ran is what became of a client's calls, and what it used for them.
type Ran struct {
	load.Result
	Usage usage.Usage `json:"usage"`
}

// connectTimeout bounds how long a client takes to reach all servers.
const connectTimeout = 10 * time.Second

// What a program is told to be by its first argument.
const (
	Server = "server"
	Client = "client"
	Pod    = "pod"
	Awake  = "awake"
)

func roles() []string { return []string{Server, Client, Pod, Awake} }

// Main is main of a subject's program. It ends the process.
func Main(s Subject) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run does what Main does, but for the end.
func run(ctx context.Context, s Subject, args []string) (err error) {
	if len(args) != 1 {
		return fmt.Errorf("called with %q: want one of %q", args, roles())
	}
	var stops []Stop
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		for i := range stops {
			err = errors.Join(err, stops[len(stops)-1-i](ctx))
		}
	}()
	onStop := func(s Stop) { stops = append(stops, s) }

	handlers := map[string]child.Handler{
		Record: child.Handle(func(_ context.Context, path string) (any, error) {
			stop, err := record(path)
			if err == nil {
				onStop(func(context.Context) error { return stop() })
			}
			return nil, err
		}),
	}
	switch args[0] {
	case Server:
		s.addServer(handlers, onStop)
	case Client:
		s.addClient(handlers, onStop)
	case Awake:
		if err := addAwake(handlers); err != nil {
			return err
		}
	case Pod:
		return s.pod(ctx, os.Stdout)
	default:
		return fmt.Errorf("role %q: want one of %q", args[0], roles())
	}
	return child.Serve(ctx, os.Stdin, os.Stdout, handlers)
}

func (s Subject) addServer(handlers map[string]child.Handler, onStop func(Stop)) {
	echo := &load.Echo{}
	handlers[Serve] = child.Handle(func(ctx context.Context, _ any) (netip.AddrPort, error) {
		addr, stop, err := s.Serve(ctx, echo)
		if err == nil {
			onStop(stop)
		}
		return addr, err
	})
	handlers[Calls] = child.Handle(func(context.Context, any) (uint64, error) { return echo.Calls(), nil })
	handlers[Usage] = child.Handle(func(context.Context, any) (usage.Usage, error) { return usage.Read() })
}

func (s Subject) addClient(handlers map[string]child.Handler, onStop func(Stop)) {
	var l *load.Load
	handlers[Open] = child.Handle(func(ctx context.Context, o OpenOrder) (any, error) {
		conn, stop, err := s.Dial(ctx, o.Servers)
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
	handlers[Run] = child.Handle(func(ctx context.Context, d time.Duration) (Ran, error) {
		if l == nil {
			return Ran{}, errors.New("the client is not connected")
		}
		before, err := usage.Read()
		if err != nil {
			return Ran{}, err
		}
		result, err := l.Run(ctx, d)
		if err != nil {
			return Ran{}, err
		}
		after, err := usage.Read()
		return Ran{Result: result, Usage: after.Since(before)}, err
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

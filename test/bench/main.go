// Command bench compares calls through the runtime with calls through bare
// grpc-go: unary ones, messages of streams and plain Go ones in JSON, from one
// client process to three server processes over loopback, with mutual TLS.
//
// Every round takes one sample of each competitor with fresh processes, in an
// order that rotates, and figures are compared within a round. Bare grpc-go
// takes part twice: its ratio to itself is the noise. docs/benchmarks.md has
// figures and says what they mean. Targets are printed beside the figures; to
// miss one is no error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "bench: stopped")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	rounds := flags.Int("rounds", 9, "rounds of each scenario")
	duration := flags.Duration("duration", time.Second, "length of each sample")
	only := flags.String("only", "", "regular expression: scenarios to run, such as 'unary/64B'")
	format := flags.String("o", "table", "output: table, markdown or json")
	profiles := flags.String("profiles", "", "folder for CPU profiles of the last round; they slow things down")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("arguments %q: there are flags only, see -help", flags.Args())
	}
	if *rounds < 1 || *duration < 10*time.Millisecond {
		return errors.New("want at least one round, of 10ms or more")
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	chosen := scenarios(pattern)
	if len(chosen) == 0 {
		return fmt.Errorf("-only %q: no scenario is called like this", *only)
	}
	write, ok := writers()[*format]
	if !ok {
		return fmt.Errorf("-o %q: want table, markdown or json", *format)
	}
	if *profiles != "" {
		if err := os.MkdirAll(*profiles, 0o777); err != nil {
			return fmt.Errorf("-profiles: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "xinhari-bench-")
	if err != nil {
		return fmt.Errorf("folder for the run: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := prepare(ctx, dir); err != nil {
		return err
	}
	p := plan{dir: dir, duration: *duration, warmUp: *duration / 4, profiles: *profiles}
	began := time.Now()
	r := report{Machine: describeMachine(), Rounds: *rounds, Duration: *duration}
	for i, s := range chosen {
		taken, err := p.rounds(ctx, s, *rounds, func(round int) {
			fmt.Fprintf(progress, "%4.0fs  %d of %d: %s, round %d of %d\n", time.Since(began).Seconds(), i+1, len(chosen), s.name, round, *rounds)
		})
		if err != nil {
			return err
		}
		r.Rows = append(r.Rows, taken.compare(s.name)...)
	}
	r.Took = time.Since(began)
	return write(r, out)
}

// rounds takes the samples of a scenario, and says which round it is at.
func (p plan) rounds(ctx context.Context, s scenario, rounds int, begin func(round int)) (samples, error) {
	taken := samples{}
	for round := range rounds {
		begin(round + 1)
		for _, e := range order(s.entries(), round) {
			one, err := p.measure(ctx, s, e)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", s.name, e.name, err)
			}
			taken[e.name] = append(taken[e.name], one)
		}
	}
	return taken, nil
}

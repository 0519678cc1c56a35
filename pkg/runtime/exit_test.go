package runtime_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/memorydiscovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

// programEnv names the program that the test program is to be.
const programEnv = "XINHARI_TEST_PROGRAM"

// programs are mains, each with the error that its exit code is of. They print
// a line when their test may go on.
func programs() map[string]func() error {
	run := func(o xinhari.Options, prepare func(*xinhari.Service)) func() error {
		return func() error {
			o := quiet(o)
			o.Profile, o.Discovery, o.Transport = xinhari.Test, memorydiscovery.New(discovery.Options{}), identity.Plaintext()
			s, err := xinhari.New("program", o)
			if err != nil {
				return err
			}
			if err := rpc.Handle(s, "Greeter/Hello", func(ctx context.Context, h *hello) (*hello, error) {
				fmt.Println("called")
				time.Sleep(time.Minute)
				return h, nil
			}); err != nil {
				return err
			}
			prepare(s)
			return s.Run(context.Background())
		}
	}
	say := func(line string, then func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			fmt.Println(line)
			return then(ctx)
		}
	}
	fine := func(context.Context) error { return nil }
	forever := func(context.Context) error { select {} }
	return map[string]func() error{
		"clean":     run(xinhari.Options{}, func(s *xinhari.Service) { s.AfterStart(say("started", fine)) }),
		"starting":  run(xinhari.Options{}, func(s *xinhari.Service) { s.BeforeStart(say("starting", untilDone)) }),
		"nosignals": run(xinhari.Options{NoSignals: true}, func(s *xinhari.Service) { s.AfterStart(say("started", fine)) }),
		"stuck": run(xinhari.Options{}, func(s *xinhari.Service) {
			s.AfterStart(say("started", fine))
			s.BeforeStop(say("stopping", forever))
		}),
		"cutoff": run(xinhari.Options{ShutdownTimeout: 50 * time.Millisecond}, func(s *xinhari.Service) {
			s.AfterStart(func(context.Context) error {
				go func() { _, _ = call(context.Background(), s, "program") }()
				return nil
			})
		}),
		"failed":  run(xinhari.Options{}, func(s *xinhari.Service) { s.BeforeStart(func(context.Context) error { return errors.New("no") }) }),
		"options": run(xinhari.Options{Address: "nowhere"}, func(*xinhari.Service) {}),
	}
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestExit(t *testing.T) {
	for _, c := range []struct {
		program string
		lines   []string // after each of which a SIGTERM is sent
		want    string
	}{
		{"clean", []string{"started"}, "exit status 0"},
		{"starting", []string{"starting"}, "exit status 0"},
		{"failed", nil, "exit status 1"},
		{"options", nil, "exit status 2"},
		{"cutoff", []string{"called"}, "exit status 3"},
		{"stuck", []string{"started", "stopping"}, "signal: terminated"},
		{"nosignals", []string{"started"}, "signal: terminated"},
	} {
		t.Run(c.program, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			program := exec.CommandContext(ctx, os.Args[0])
			program.Env = append(os.Environ(), programEnv+"="+c.program)
			out, err := program.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			said := bufio.NewScanner(out)
			for _, line := range c.lines {
				if !said.Scan() || strings.TrimSpace(said.Text()) != line {
					t.Errorf("said %q, want %q", said.Text(), line)
				}
				if err := program.Process.Signal(syscall.SIGTERM); err != nil {
					t.Error(err)
				}
			}
			_, _ = io.Copy(io.Discard, out)
			_ = program.Wait() // the state says it better
			if got := program.ProcessState.String(); got != c.want {
				t.Errorf("%s after %v, want %s", got, time.Since(began), c.want)
			}
		})
	}
}

func TestExitCode(t *testing.T) {
	_, options := xinhari.New("Or.ders", xinhari.Options{})
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("other"), 1},
		{xinhari.ErrClosed, 1},
		{options, 2},
		{fmt.Errorf("main: %w", options), 2},
		{errors.Join(errors.New("other"), fmt.Errorf("%w: %w", xinhari.ErrCutOff, context.DeadlineExceeded)), 3},
	} {
		if got := xinhari.ExitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

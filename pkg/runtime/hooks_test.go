package runtime_test

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

// journal is what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// note returns a hook that notes its name and returns err.
func (j *journal) note(line string, err error) func(context.Context) error {
	return func(context.Context) error {
		j.add(line)
		return err
	}
}

// hooked adds two hooks at each moment, of which those in failing fail.
func hooked(s *xinhari.Service, j *journal, failing ...string) {
	for _, moment := range []struct {
		name string
		add  func(func(context.Context) error)
	}{{"before start", s.BeforeStart}, {"after start", s.AfterStart}, {"before stop", s.BeforeStop}, {"after stop", s.AfterStop}} {
		for i := 1; i <= 2; i++ {
			name := fmt.Sprintf("%s %d", moment.name, i)
			var err error
			for _, f := range failing {
				if f == name {
					err = errHook{name}
				}
			}
			moment.add(j.note(name, err))
		}
	}
}

type errHook struct{ name string }

func (e errHook) Error() string { return e.name + " failed" }

func TestHooks(t *testing.T) {
	up := []string{"before start 1", "before start 2", "after start 1", "after start 2"}
	down := []string{"before stop 2", "before stop 1", "after stop 2", "after stop 1"}
	all := append(append([]string{}, up...), down...)
	for _, c := range []struct {
		name    string
		failing []string
		job     bool // nothing is registered
		do      func(context.Context, *xinhari.Service) error
		want    []string
	}{
		{name: "of a service", want: all},
		{name: "of a job", job: true, want: all},
		{name: "an error before the start", failing: []string{"before start 1"}, want: []string{"before start 1", "after stop 2", "after stop 1"}},
		{
			name: "an error after the start", failing: []string{"after start 1"},
			want: append([]string{"before start 1", "before start 2", "after start 1"}, down...),
		},
		{name: "errors of the stop", failing: []string{"before stop 1", "before stop 2", "after stop 2"}, want: all},
		{name: "without a start", do: func(ctx context.Context, s *xinhari.Service) error { return s.Close(ctx) }},
		{name: "closed twice", want: all, do: func(ctx context.Context, s *xinhari.Service) error {
			return errors.Join(s.Start(ctx), s.Close(ctx), s.Close(ctx))
		}},
		{name: "run", want: all, do: func(ctx context.Context, s *xinhari.Service) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s.AfterStart(func(context.Context) error { cancel(); return nil })
			return s.Run(ctx)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			var j journal
			s := runtimetest.New(t).Service("orders", xinhari.Options{})
			if !c.job {
				greet(t, s, echo)
			}
			hooked(s, &j, c.failing...)
			if c.do == nil {
				c.do = func(ctx context.Context, s *xinhari.Service) error {
					if err := s.Start(ctx); err != nil {
						return err
					}
					return s.Close(ctx)
				}
			}
			err := c.do(t.Context(), s)
			for _, f := range c.failing {
				if !strings.Contains(fmt.Sprint(err), f+" failed") || !errors.As(err, new(errHook)) {
					t.Errorf("error %v does not say that %s failed", err, f)
				}
			}
			if len(c.failing) == 0 && err != nil {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(c.want, j.lines); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What hooks find: before the start others can be called and nobody calls;
// after it the service answers; before the stop it still does; after it no more.
func TestWhatHooksFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		backend, s, caller := n.Service("backend", xinhari.Options{}), n.Service("orders", xinhari.Options{}), n.Service("caller", xinhari.Options{})
		greet(t, backend, echo)
		greet(t, s, echo)
		n.Start(backend)
		check := func(moment string, served bool) func(context.Context) error {
			return func(ctx context.Context) error {
				synctest.Wait() // until the caller knows what there is to know
				if _, err := call(ctx, s, "backend"); err != nil {
					t.Errorf("%s: the service cannot call: %v", moment, err)
				}
				if _, err := call(ctx, caller, "orders"); (err == nil) != served {
					t.Errorf("%s: a call of the service: %v", moment, err)
				}
				return nil
			}
		}
		s.BeforeStart(check("before the start", false))
		s.AfterStart(check("after the start", true))
		s.BeforeStop(check("before the stop", true))
		s.AfterStop(check("after the stop", false))
		n.Start(s)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestHooksThatMisbehave(t *testing.T) {
	stubborn := func(context.Context) error {
		time.Sleep(time.Hour)
		return nil
	}
	for _, c := range []struct {
		name string
		hook func(context.Context) error
		add  func(*xinhari.Service, func(context.Context) error)
		want []string
		took time.Duration
	}{
		{"a panic before the start", func(context.Context) error { panic("oh") }, (*xinhari.Service).BeforeStart, []string{"BeforeStart hook", "panic: oh"}, 0},
		{"a panic before the stop", func(context.Context) error { panic("oh") }, (*xinhari.Service).BeforeStop, []string{"BeforeStop hook", "panic: oh"}, 0},
		{"a goroutine that ends", func(context.Context) error { goruntime.Goexit(); return nil }, (*xinhari.Service).AfterStop, []string{"ended its goroutine"}, 0},
		{"no heed before the start", stubborn, (*xinhari.Service).BeforeStart, []string{"TestHooksThatMisbehave", "does not heed its context"}, 12 * time.Second},
		{"no heed before the stop", stubborn, (*xinhari.Service).BeforeStop, []string{"does not heed its context"}, 12 * time.Second},
		{"no heed after the stop", stubborn, (*xinhari.Service).AfterStop, []string{"does not heed its context"}, 12 * time.Second},
		{
			"a start that waits for its own close",
			nil, (*xinhari.Service).AfterStart, []string{xinhari.ErrClosed.Error()}, 2 * time.Second,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := runtimetest.New(t).Service("orders", xinhari.Options{})
				greet(t, s, echo)
				var j journal
				hooked(s, &j)
				if c.hook == nil {
					c.hook = func(context.Context) error { return s.Close(context.Background()) }
				}
				c.add(s, c.hook)
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				err := s.Start(ctx)
				if err == nil {
					err = s.Close(ctx)
				}
				for _, part := range c.want {
					if !strings.Contains(fmt.Sprint(err), part) {
						t.Errorf("error %v does not say %q", err, part)
					}
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				time.Sleep(time.Hour) // until those have ended who do not heed
				if last := j.lines[len(j.lines)-1]; last != "after stop 1" {
					t.Errorf("the last was %q", last)
				}
			})
		})
	}
}

// Hooks after the stop have time when calls took all that there was.
func TestCallsThatAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		s, caller := n.Service("orders", xinhari.Options{ShutdownTimeout: 10 * time.Second}), n.Service("caller", xinhari.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		greet(t, s, func(call context.Context, _ *hello) (*hello, error) {
			cancel()
			<-call.Done()
			return nil, call.Err()
		})
		var left time.Duration
		s.AfterStop(func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return ctx.Err()
		})
		s.AfterStart(func(context.Context) error {
			go func() { _, _ = call(t.Context(), caller, "orders") }()
			return nil
		})
		began := time.Now()
		err := s.Run(ctx)
		if !errors.Is(err, xinhari.ErrCutOff) || !errors.Is(err, context.DeadlineExceeded) || xinhari.ExitCode(err) != 3 {
			t.Errorf("Run: %v, exit code %d", err, xinhari.ExitCode(err))
		}
		if took := time.Since(began); took != 10*time.Second || left != 2*time.Second {
			t.Errorf("it took %v, and the hook had %v", took, left)
		}
	})
}

func TestStartThatIsInterrupted(t *testing.T) {
	forever := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for _, c := range []struct {
		name string
		do   func(context.Context, *xinhari.Service) error
		want error
	}{
		{"by its context", func(ctx context.Context, s *xinhari.Service) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return s.Start(ctx)
		}, context.Canceled},
		{"by Close", func(ctx context.Context, s *xinhari.Service) error {
			closed := make(chan error, 1)
			time.AfterFunc(time.Second, func() { closed <- s.Close(ctx) })
			err := s.Start(ctx)
			if err := <-closed; err != nil {
				t.Errorf("close: %v", err)
			}
			return err
		}, xinhari.ErrClosed},
		{"by Run's context", func(ctx context.Context, s *xinhari.Service) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return s.Run(ctx)
		}, nil},
		{"by Run's deadline", func(ctx context.Context, s *xinhari.Service) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return s.Run(ctx)
		}, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := runtimetest.New(t).Service("orders", xinhari.Options{})
				greet(t, s, echo)
				s.BeforeStart(forever)
				began := time.Now()
				if err := c.do(t.Context(), s); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if took := time.Since(began); took != time.Second {
					t.Errorf("it took %v", took)
				}
				if err := s.Start(t.Context()); !errors.Is(err, xinhari.ErrClosed) {
					t.Errorf("the next Start: %v", err)
				}
			})
		})
	}
}

func TestCloseBesideAStartEndsBoth(t *testing.T) {
	noLeaks(t)
	for range 50 {
		s := runtimetest.New(t).Service("orders", xinhari.Options{})
		greet(t, s, echo)
		var both sync.WaitGroup
		both.Go(func() {
			if err := s.Start(t.Context()); err != nil && !errors.Is(err, xinhari.ErrClosed) {
				t.Errorf("start: %v", err)
			}
		})
		both.Go(func() {
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		both.Wait()
		if err := s.Start(t.Context()); !errors.Is(err, xinhari.ErrClosed) {
			t.Errorf("the next Start: %v", err)
		}
	}
}

// A Close that has less patience than the one before it does not wait on.
func TestCloseWhileAnotherCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := runtimetest.New(t).Service("orders", xinhari.Options{})
		greet(t, s, echo)
		s.BeforeStop(func(context.Context) error {
			time.Sleep(time.Minute)
			return nil
		})
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		var closing sync.WaitGroup
		closing.Go(func() {
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the second: %v", err)
		}
		closing.Wait()
	})
}

func TestRunEndsWhenSomebodyCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := runtimetest.New(t).Service("orders", xinhari.Options{})
		greet(t, s, echo)
		var running sync.WaitGroup
		running.Go(func() {
			if err := s.Run(t.Context()); err != nil {
				t.Errorf("run: %v", err)
			}
		})
		synctest.Wait()
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
		running.Wait()
	})
}

// A Job has no port, calls, and leaves nothing.
func TestAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		backend, job := n.Service("backend", xinhari.Options{}), n.Service("job", xinhari.Options{})
		greet(t, backend, echo)
		n.Start(backend)
		began := time.Now()
		if err := job.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := call(t.Context(), job, "backend"); err != nil || got != "Joe" || job.Addr() != nil {
			t.Errorf("the call: %q, %v; it listens on %v", got, err, job.Addr())
		}
		if err := job.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it waited for %v", took)
		}
	})
}

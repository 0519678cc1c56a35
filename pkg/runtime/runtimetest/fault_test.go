package runtimetest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

// noLeaks fails the test if it leaves goroutines; it is called first.
func noLeaks(t testing.TB) {
	left := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, left) })
}

// double is a service whose Doubler/Double answers with twice the number.
func double(t testing.TB, n *runtimetest.Network, name string) *xinhari.Service {
	t.Helper()
	s := n.Service(name, xinhari.Options{})
	if err := rpc.Handle(s, "Doubler/Double", func(_ context.Context, q *question) (*question, error) {
		return &question{N: 2 * q.N}, nil
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// ask calls Doubler/Double, and returns what became of it and in which time.
func ask(ctx context.Context, from *xinhari.Service, to string) (time.Duration, error) {
	began := time.Now()
	answer, err := rpc.Call[question](ctx, from.Conn(to), "Doubler/Double", &question{N: 21})
	if err == nil && answer.N != 42 {
		err = fmt.Errorf("the answer is %d", answer.N)
	}
	return time.Since(began), err
}

// recovers asks until an answer comes, for as long as a client may pause before
// it connects again.
func recovers(t testing.TB, from *xinhari.Service, to string) error {
	t.Helper()
	ctx := within(t, 3*time.Minute)
	for {
		_, err := ask(ctx, from, to)
		if err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// within is a context for a call.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestFaultsOfCalls(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name string
		do   func(*testing.T, *runtimetest.Network, *xinhari.Service) (time.Duration, error)
		took time.Duration
		want codes.Code
		text string
	}{
		{"a delay is of each way", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.Between("caller", "doubler").Delay(50 * ms)
			return ask(t.Context(), caller, "doubler")
		}, 100 * ms, codes.OK, ""},
		{"a delay makes a deadline expire", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.OneWay("doubler", "caller").Delay(50 * ms)
			return ask(within(t, 30*ms), caller, "doubler")
		}, 30 * ms, codes.DeadlineExceeded, ""},
		{"a delay between others", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.Between("caller", "other").Delay(time.Hour)
			return ask(t.Context(), caller, "doubler")
		}, 0, codes.OK, ""},
		{"a partition is noticed", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.Between("caller", "doubler").Partition()
			return ask(t.Context(), caller, "doubler")
		}, 2 * time.Second, codes.Unavailable, "connection timed out"},
		{"a call within a partition that ends in time", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.OneWay("doubler", "caller").Partition()
			time.AfterFunc(time.Second, n.Everywhere().Heal)
			return ask(t.Context(), caller, "doubler")
		}, time.Second, codes.OK, ""},
		{"after a partition calls succeed again", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.Around("doubler").Partition()
			for range 5 { // the first one fails when the connection is lost, others when no other can be made
				if _, err := ask(within(t, 10*time.Second), caller, "doubler"); status.Code(err) != codes.Unavailable {
					t.Errorf("in the partition: %v", err)
				}
				time.Sleep(10 * time.Second)
			}
			n.Around("doubler").Heal()
			if err := recovers(t, caller, "doubler"); err != nil {
				t.Errorf("after it: %v", err)
			}
			return ask(t.Context(), caller, "doubler")
		}, 0, codes.OK, ""},
		{"calls are refused", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.Between("caller", "doubler").Refuse()
			synctest.Wait() // until the caller has noticed
			return ask(t.Context(), caller, "doubler")
		}, 0, codes.Unavailable, "connection refused"},
		{"calls fail", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.OneWay("caller", "doubler").Fail(codes.ResourceExhausted)
			return ask(t.Context(), caller, "doubler")
		}, 0, codes.ResourceExhausted, "calls to doubler.default fail, as the test said"},
		{"calls the other way fail", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.OneWay("doubler", "caller").Fail(codes.Internal)
			return ask(t.Context(), caller, "doubler")
		}, 0, codes.OK, ""},
		{"calls of others fail", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.Between("other", "doubler").Fail(codes.Internal)
			return ask(t.Context(), caller, "doubler")
		}, 0, codes.OK, ""},
		{"a connection breaks, and there is another", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.Between("caller", "doubler").Break()
			synctest.Wait()
			return ask(t.Context(), caller, "doubler")
		}, 0, codes.OK, ""},
		{"a restart after a kill", func(t *testing.T, n *runtimetest.Network, caller *xinhari.Service) (time.Duration, error) {
			n.Start(double(t, n, "doubler"))
			synctest.Wait()
			return ask(t.Context(), caller, "doubler")
		}, 0, codes.OK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := runtimetest.New(t)
				doubler, caller := double(t, n, "doubler"), n.Service("caller", xinhari.Options{})
				n.Start(doubler, caller, n.Service("other", xinhari.Options{}))
				if _, err := ask(t.Context(), caller, "doubler"); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(c.name, "kill") {
					n.Kill(doubler)
				}
				took, err := c.do(t, n, caller)
				if took != c.took || status.Code(err) != c.want || err != nil && !strings.Contains(err.Error(), c.text) {
					t.Errorf("after %v: %v; want %v, %v %s", took, err, c.took, c.want, c.text)
				}
				n.Everywhere().Heal()
				if err := recovers(t, caller, "doubler"); err != nil {
					t.Errorf("in the end: %v", err)
				}
			})
		})
	}
}

// Of two instances, the one that lives takes the calls; with none they fail,
// and say why.
func TestKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		one, two, caller := double(t, n, "doubler"), double(t, n, "doubler"), n.Service("caller", xinhari.Options{})
		n.Start(one, two, caller)
		if _, err := ask(t.Context(), caller, "doubler"); err != nil {
			t.Fatal(err)
		}
		n.Kill(one)
		synctest.Wait()
		for range 20 {
			if took, err := ask(t.Context(), caller, "doubler"); err != nil || took != 0 {
				t.Fatalf("with one left: after %v: %v", took, err)
			}
		}
		n.Kill(two)
		synctest.Wait()
		if _, err := ask(within(t, time.Second), caller, "doubler"); status.Code(err) != codes.Unavailable {
			t.Errorf("with none left: %v", err)
		}
		if _, err := ask(within(t, 10*time.Second), one, "doubler"); status.Code(err) != codes.Unavailable {
			t.Errorf("by who was killed: %v", err)
		}
	})
}

// The first one's deadline is the last one's, less the way.
func TestADeadlineHoldsOverThreeHops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		names := []string{"a", "b", "c", "d"}
		services := map[string]*xinhari.Service{}
		for _, name := range names {
			services[name] = n.Service(name, xinhari.Options{})
		}
		var arrived atomic.Int64 // how much is left at the last
		var gone atomic.Int32
		for i, name := range names {
			if err := rpc.Handle(services[name], "Doubler/Double", func(ctx context.Context, q *question) (*question, error) {
				if i+1 < len(names) {
					_, err := ask(ctx, services[name], names[i+1])
					gone.Add(1)
					return q, err
				}
				deadline, _ := ctx.Deadline()
				arrived.Store(int64(time.Until(deadline)))
				<-ctx.Done()
				gone.Add(1)
				return nil, ctx.Err()
			}); err != nil {
				t.Fatal(err)
			}
			n.Start(services[name])
		}
		n.Everywhere().Delay(100 * time.Millisecond)
		caller := n.Service("caller", xinhari.Options{})
		took, err := ask(within(t, 5*time.Second), caller, "a")
		if took != 5*time.Second || status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("after %v: %v", took, err)
		}
		time.Sleep(time.Second)
		// Each of the four hops connects (the handshakes are round trips) before the call goes on.
		if left := time.Duration(arrived.Load()); left <= 0 || left > 5*time.Second-4*300*time.Millisecond {
			t.Errorf("at the last, %v were left", left)
		}
		if got := gone.Load(); got != int32(len(names)) {
			t.Errorf("%d of %d handlers have ended", got, len(names))
		}
	})
}

// chaos has ten services call each other while parts of their network come
// and go, and then all must be as before.
func chaos(t *testing.T, lasts time.Duration) {
	n := runtimetest.New(t)
	var names []string
	var services []*xinhari.Service
	for i := range 10 {
		names = append(names, fmt.Sprintf("s%d", i))
		services = append(services, double(t, n, names[i]))
	}
	n.Start(services...)
	link := func() *runtimetest.Link {
		a, b := names[rand.IntN(len(names))], names[rand.IntN(len(names))]
		switch rand.IntN(4) {
		case 0:
			return n.OneWay(a, b)
		case 1:
			return n.Around(a)
		}
		return n.Between(a, b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var running sync.WaitGroup
	var succeeded, failed atomic.Int64
	for i, s := range services {
		running.Go(func() {
			for ctx.Err() == nil {
				call, cancel := context.WithTimeout(ctx, lasts/20)
				if _, err := ask(call, s, names[rand.IntN(len(names))]); err == nil {
					succeeded.Add(1)
				} else {
					failed.Add(1)
				}
				cancel()
				pause(ctx, lasts/150)
			}
		})
		if i > 1 {
			continue
		}
		running.Go(func() {
			for ctx.Err() == nil {
				l := link()
				switch rand.IntN(6) {
				case 0:
					l.Delay(rand.N(lasts / 100))
				case 1:
					l.Refuse()
				case 2:
					l.Fail(codes.Unavailable)
				case 3:
					l.Break()
				default:
					l.Partition()
				}
				pause(ctx, rand.N(lasts/20))
				l.Heal()
				pause(ctx, rand.N(lasts/8))
			}
		})
	}
	running.Wait()
	n.Everywhere().Heal()
	for _, s := range services {
		for _, to := range names {
			if err := recovers(t, s, to); err != nil {
				t.Errorf("in the end, %s calls %s: %v", s.Name(), to, err)
			}
		}
	}
	if succeeded.Load() == 0 || failed.Load() == 0 {
		t.Errorf("%d calls succeeded and %d failed: nothing was tried", succeeded.Load(), failed.Load())
	}
	t.Logf("%d calls succeeded, %d failed", succeeded.Load(), failed.Load())
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func TestChaosEndsHealthy(t *testing.T) {
	t.Run("three minutes of fake time", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { chaos(t, 3*time.Minute) }) })
	t.Run("three seconds", func(t *testing.T) {
		noLeaks(t)
		chaos(t, 3*time.Second)
	})
}

// mistaken is a test that may end by Fatal.
type mistaken struct {
	testing.TB
	said string
}

func (m *mistaken) Helper() {}

func (m *mistaken) Fatal(a ...any) { m.Fatalf("%s", fmt.Sprint(a...)) }

func (m *mistaken) Fatalf(format string, a ...any) {
	m.said = fmt.Sprintf(format, a...)
	panic(m)
}

func TestMistakesSayWhatToDo(t *testing.T) {
	other := runtimetest.New(t).Service("orders", xinhari.Options{})
	for _, c := range []struct {
		name string
		do   func(*runtimetest.Network)
		want string
	}{
		{"a misspelt name", func(n *runtimetest.Network) { n.Between("orders", "inventroy") },
			"no service inventroy.default is in this network, which has [inventory.default orders.default]: make it with Service first"},
		{"a name of another namespace", func(n *runtimetest.Network) { n.Around("orders.shop") }, "no service orders.shop"},
		{"no name", func(n *runtimetest.Network) { n.OneWay("", "orders") }, "DNS label"},
		{"a negative delay", func(n *runtimetest.Network) { n.Everywhere().Delay(-1) }, "a delay of -1ns"},
		{"no failure", func(n *runtimetest.Network) { n.Everywhere().Fail(codes.OK) }, "Heal has them succeed"},
		{"the kill of another's", func(n *runtimetest.Network) { n.Kill(other) }, "service orders.default is of another network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &mistaken{TB: t}
			n := runtimetest.New(m)
			n.Service("orders", xinhari.Options{})
			n.Service("inventory", xinhari.Options{})
			func() {
				defer func() {
					if r := recover(); r != nil && r != any(m) {
						panic(r)
					}
				}()
				c.do(n)
			}()
			if !strings.Contains(m.said, c.want) {
				t.Errorf("said %q, want %q", m.said, c.want)
			}
		})
	}
}

package runtime_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

// serving asks gRPC health of orders about a service.
func serving(t *testing.T, from *xinhari.Service, service string) bool {
	t.Helper()
	got, err := healthpb.NewHealthClient(from.Conn("orders")).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetStatus() == healthpb.HealthCheckResponse_SERVING
}

// gRPC health follows the checks, of which none holds another up, and none is
// asked twice at once; calls are served all the same.
func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		s, caller := n.Service("orders", xinhari.Options{}), n.Service("caller", xinhari.Options{})
		greet(t, s, echo)
		var down, stuck atomic.Bool
		var asked, atOnce, most atomic.Int32
		down.Store(true)
		if err := errors.Join(
			s.AddReadiness("stuck", func(ctx context.Context) error {
				most.Store(max(most.Load(), atOnce.Add(1)))
				defer atOnce.Add(-1)
				if stuck.Load() {
					time.Sleep(time.Minute) // it does not heed its context
				}
				return nil
			}),
			s.AddReadiness("db", func(context.Context) error {
				asked.Add(1)
				if down.Load() {
					return errors.New("no connection")
				}
				return nil
			}),
		); err != nil {
			t.Fatal(err)
		}
		n.Start(s, caller)
		check := func(when string, want bool) {
			t.Helper()
			for _, name := range []string{"", "Greeter", "xinhari.runtime.v1.Runtime"} {
				if got := serving(t, caller, name); got != want {
					t.Errorf("%s: %q serves: %v", when, name, got)
				}
			}
			if _, err := call(t.Context(), caller, "orders"); err != nil {
				t.Errorf("%s: a call: %v", when, err)
			}
		}
		check("from the start", false)
		down.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		check("once it is up", true)
		if err := s.SetHealth("Greeter", false); err != nil {
			t.Error(err)
		}
		if serving(t, caller, "Greeter") || !serving(t, caller, "") {
			t.Error("SetHealth: not the one service alone")
		}
		if err := s.SetHealth("Greeter", true); err != nil {
			t.Error(err)
		}

		stuck.Store(true)
		time.Sleep(10 * time.Second)
		check("while a check is stuck", false)
		before := asked.Load()
		time.Sleep(20 * time.Second)
		if got := asked.Load() - before; got < 6 {
			t.Errorf("the other check was asked %d times in 20 s", got)
		}
		if most.Load() != 1 {
			t.Errorf("%d runs of one check at once", most.Load())
		}
		stuck.Store(false)
		time.Sleep(2 * time.Minute)
		check("once it is free", true)

		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		before = asked.Load()
		time.Sleep(time.Minute)
		if got := asked.Load(); got != before {
			t.Errorf("a check was asked %d times after the close", got-before)
		}
	})
}

// A check that hangs while the service stops holds the stop up for two seconds
// and no longer; what a stopping service's checks say makes it ready no more.
func TestTheStopDoesNotWaitForAStuckCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		s := n.Service("orders", xinhari.Options{})
		if err := s.AddReadiness("stuck", func(context.Context) error { time.Sleep(time.Hour); return nil }); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := errors.Join(s.Start(t.Context()), s.Close(t.Context())); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("start and stop took %v", took)
		}
		time.Sleep(time.Hour)
	})
}

func TestReadyz(t *testing.T) {
	noLeaks(t)
	admin := freePort(t)
	s := newService(t, "orders", xinhari.Options{AdminAddress: admin})
	greet(t, s, echo)
	var answer atomic.Pointer[func(context.Context) error]
	is := func(f func(context.Context) error) { answer.Store(&f) }
	is(func(context.Context) error { return nil })
	if err := errors.Join(
		s.AddReadiness("cache", func(context.Context) error { return nil }),
		s.AddReadiness("db", func(ctx context.Context) error { return (*answer.Load())(ctx) }),
	); err != nil {
		t.Fatal(err)
	}
	url := "http://" + admin + "/readyz"
	s.BeforeStart(func(context.Context) error {
		if got, text := get(t, url); got != 503 || !strings.Contains(text, "[-]serving failed") {
			t.Errorf("before the start: %d %q", got, text)
		}
		if got, text := get(t, "http://"+admin+"/healthz"); got != 200 {
			t.Errorf("/healthz before the start: %d %q", got, text)
		}
		return nil
	})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	const all = "[+]serving ok\n[+]certificate ok\n[+]cache ok\n[+]db ok\nok\n"
	const without = "[+]serving ok\n[+]certificate ok\n[+]cache ok\n[-]db failed: the reason is in the log\nnot ready\n"
	for _, c := range []struct {
		name, query string
		db          func(context.Context) error
		status      int
		text        string
	}{
		{"all is well", "", func(context.Context) error { return nil }, 200, "ok\n"},
		{"all is well, and told", "?verbose", func(context.Context) error { return nil }, 200, all},
		{"one fails", "", func(context.Context) error { return errors.New("password x refused") }, 503, without},
		{"one fails, and told", "?verbose=1", func(context.Context) error { return errors.New("password x refused") }, 503, without},
		{"one panics", "", func(context.Context) error { panic("oh") }, 503, without},
		{"one waits", "", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 503, without},
		{"all is well again", "", func(context.Context) error { return nil }, 200, "ok\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is(c.db)
			var status int
			var text string
			// An answer serves for a quarter of a second.
			for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
				began := time.Now()
				if status, text = get(t, url+c.query); status == c.status && text == c.text {
					break
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Fatalf("the answer took %v", took)
				}
			}
			if status != c.status || text != c.text {
				t.Errorf("%d %q, want %d %q", status, text, c.status, c.text)
			}
		})
	}
}

// freePort returns an address that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = free.Close() }()
	return free.Addr().String()
}

func TestMistakesOfReadinessAndHealth(t *testing.T) {
	noLeaks(t)
	n := runtimetest.New(t)
	s := n.Service("orders", xinhari.Options{})
	greet(t, s, echo)
	fine := func(context.Context) error { return nil }
	if err := s.AddReadiness("db", fine); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a name twice", s.AddReadiness("db", fine), `"db": there is one of this name`},
		{"no name", s.AddReadiness("", fine), "without spaces"},
		{"a name of two lines", s.AddReadiness("a\n[+]b", fine), "without spaces"},
		{"no function", s.AddReadiness("x", nil), "no function"},
		{"health of a service that there is not", s.SetHealth("Greter", false), `"Greter": registered are Greeter, grpc.`},
		{"health of all", s.SetHealth("", false), "registered are"},
		{"after the start", errors.Join(s.Start(t.Context()), s.AddReadiness("late", fine)), "before Start"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, c.err, c.want)
		}
	}
	_, err := healthpb.NewHealthClient(s.Conn("orders")).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "Greter"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("health of a service that there is not: %v", err)
	}
}

// Both Services of one process have ports of their own; the admin port is one
// of the process.
func TestTwoServicesAndTheAdminPort(t *testing.T) {
	noLeaks(t)
	admin := freePort(t)
	a, b, c := newService(t, "ports-a", xinhari.Options{AdminAddress: admin}), newService(t, "ports-b", xinhari.Options{}),
		newService(t, "ports-c", xinhari.Options{AdminAddress: admin})
	for _, s := range []*xinhari.Service{a, b, c} {
		greet(t, s, echo)
	}
	if err := errors.Join(a.Start(t.Context()), b.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	if a.Addr().String() == b.Addr().String() {
		t.Errorf("both listen on %v", a.Addr())
	}
	if err := c.Start(t.Context()); err == nil || !strings.Contains(err.Error(), `"off" is none, for all but one of several Services in one process`) {
		t.Errorf("the third: %v", err)
	}
	if got, text := get(t, "http://"+admin+"/readyz"); got != 200 {
		t.Errorf("/readyz of the first: %d %q", got, text)
	}
}

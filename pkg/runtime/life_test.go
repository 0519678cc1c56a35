package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/catalog"
	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

type hello struct {
	Name string `json:"name"`
}

// greet registers Greeter/Hello, which answers by handle.
func greet(t testing.TB, s *xinhari.Service, handle func(context.Context, *hello) (*hello, error)) {
	t.Helper()
	if err := rpc.Handle(s, "Greeter/Hello", handle); err != nil {
		t.Fatal(err)
	}
}

func echo(_ context.Context, h *hello) (*hello, error) { return h, nil }

// call calls Greeter/Hello of the service, and returns the name in the answer.
func call(ctx context.Context, s *xinhari.Service, service string) (string, error) {
	answer, err := rpc.Call[hello](ctx, s.Conn(service), "Greeter/Hello", &hello{Name: "Joe"})
	if err != nil {
		return "", err
	}
	return answer.Name, nil
}

// quiet are options without a log and for this machine alone.
func quiet(o xinhari.Options) xinhari.Options {
	o.Logger = slog.New(slog.DiscardHandler)
	if o.Profile == "" {
		o.Profile = xinhari.Local
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	return o
}

func newService(t testing.TB, name string, o xinhari.Options) *xinhari.Service {
	t.Helper()
	s, err := xinhari.New(name, quiet(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
	})
	return s
}

// noLeaks fails the test if it leaves goroutines; it is called first.
func noLeaks(t testing.TB) {
	left := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, left) })
}

func TestLife(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(context.Context, *xinhari.Service) error
		want string // of the error; "" is none
	}{
		{"start and close", func(ctx context.Context, s *xinhari.Service) error { return errors.Join(s.Start(ctx), s.Close(ctx)) }, ""},
		{"start twice", func(ctx context.Context, s *xinhari.Service) error { return errors.Join(s.Start(ctx), s.Start(ctx)) }, "was started before"},
		{"close twice", func(ctx context.Context, s *xinhari.Service) error {
			return errors.Join(s.Start(ctx), s.Close(ctx), s.Close(ctx))
		}, ""},
		{"close before start", func(ctx context.Context, s *xinhari.Service) error { return s.Close(ctx) }, ""},
		{"start after close", func(ctx context.Context, s *xinhari.Service) error { return errors.Join(s.Close(ctx), s.Start(ctx)) }, xinhari.ErrClosed.Error()},
		{"start after start and close", func(ctx context.Context, s *xinhari.Service) error {
			return errors.Join(s.Start(ctx), s.Close(ctx), s.Start(ctx))
		}, xinhari.ErrClosed.Error()},
		{"run after close", func(ctx context.Context, s *xinhari.Service) error { return errors.Join(s.Close(ctx), s.Run(ctx)) }, xinhari.ErrClosed.Error()},
		{"register after start", func(ctx context.Context, s *xinhari.Service) error {
			return errors.Join(s.Start(ctx), rpc.Handle(s, "Late/Method", echo))
		}, "before the server starts"},
		{"close at the same time, often", func(ctx context.Context, s *xinhari.Service) error {
			errs := make([]error, 8)
			var closing sync.WaitGroup
			err := s.Start(ctx)
			for i := range errs {
				closing.Go(func() { errs[i] = s.Close(ctx) })
			}
			closing.Wait()
			return errors.Join(append(errs, err)...)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			s := runtimetest.New(t).Service("orders", xinhari.Options{})
			greet(t, s, echo)
			err := c.do(t.Context(), s)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("error %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestAServiceWithNothingRegisteredHasNoPort(t *testing.T) {
	noLeaks(t)
	s := newService(t, "job", xinhari.Options{})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != nil {
		t.Errorf("it listens on %v", s.Addr())
	}
}

func TestConnErrors(t *testing.T) {
	noLeaks(t)
	n := runtimetest.New(t)
	closed, open := n.Service("closed", xinhari.Options{}), n.Service("open", xinhari.Options{})
	if err := closed.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		service *xinhari.Service
		callee  string
		code    codes.Code
		want    string
	}{
		{"of a closed service", closed, "other", codes.Canceled, "closed"},
		{"to no name", open, "", codes.InvalidArgument, "DNS label"},
		{"to a name in capitals", open, "Other", codes.InvalidArgument, `"Other"`},
		{"to a host name", open, "a.b.c", codes.InvalidArgument, `"a.b.c"`},
		{"to an address", open, "127.0.0.1:80", codes.InvalidArgument, `"127.0.0.1:80"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := call(t.Context(), c.service, c.callee)
			if status.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %v and %q", err, c.code, c.want)
			}
			if _, err := c.service.Conn(c.callee).NewStream(t.Context(), nil, "/a/b"); status.Code(err) != c.code {
				t.Errorf("stream: error %v, want %v", err, c.code)
			}
		})
	}
	if open.Conn("other") != open.Conn("other.default") {
		t.Error("two connections to one service")
	}
}

// A handler that is in flight while its service stops goes on calling others:
// over connections that there are, and to a clear error where there is none.
func TestAHandlerThatCallsDuringTheStopIsNotStuck(t *testing.T) {
	noLeaks(t)
	n := runtimetest.New(t)
	backend, front, caller := n.Service("backend", xinhari.Options{}), n.Service("front", xinhari.Options{}), n.Service("caller", xinhari.Options{})
	greet(t, backend, echo)
	inHandler, stopping := make(chan struct{}), make(chan struct{})
	greet(t, front, func(ctx context.Context, h *hello) (*hello, error) {
		if _, err := call(ctx, front, "backend"); err != nil {
			return nil, err
		}
		close(inHandler)
		<-stopping
		if _, err := call(ctx, front, "unknown"); status.Code(err) != codes.Canceled {
			return nil, fmt.Errorf("a new connection while stopping: %w", err)
		}
		_, err := call(ctx, front, "backend")
		return h, err
	})
	n.Start(backend, front, caller)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		if got, err := call(t.Context(), caller, "front"); err != nil || got != "Joe" {
			t.Errorf("the call in flight: %q, error %v", got, err)
		}
	})
	<-inHandler
	running.Go(func() {
		if err := front.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	for i := 0; ; i++ { // until the stop has begun
		probe, stop := context.WithTimeout(ctx, 10*time.Millisecond)
		_, err := call(probe, front, fmt.Sprintf("probe-%d", i))
		stop()
		if status.Code(err) == codes.Canceled {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the service does not stop: %v", err)
		}
	}
	close(stopping)
}

func TestRunEndsCleanlyWithItsContext(t *testing.T) {
	noLeaks(t)
	s := newService(t, "orders", xinhari.Options{})
	greet(t, s, echo)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before it began: %v", err)
	}

	s = newService(t, "orders", xinhari.Options{})
	started := make(chan struct{})
	greet(t, s, func(context.Context, *hello) (*hello, error) {
		close(started)
		return &hello{}, nil
	})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if _, err := call(t.Context(), newService(t, "caller", xinhari.Options{Discovery: s.Discovery()}), "orders"); err != nil {
		t.Error(err)
	}
	<-started
	cancel()
	running.Wait()
}

// failing is a network whose listener breaks.
type failing struct{}

var errBroken = errors.New("the listener broke")

func (failing) Listen(ctx context.Context, _ string) (net.Listener, error) {
	var lc net.ListenConfig
	lis, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	return brokenListener{lis}, err
}

func (failing) Dial(context.Context, string) (net.Conn, error) { return nil, errBroken }

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errBroken }

func TestServingThatFailsEndsRun(t *testing.T) {
	noLeaks(t)
	s := newService(t, "orders", xinhari.Options{Network: failing{}})
	greet(t, s, echo)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Run(ctx); !errors.Is(err, errBroken) || ctx.Err() != nil {
		t.Errorf("Run: %v (context: %v), want %v", err, ctx.Err(), errBroken)
	}
}

func TestAPortInUseIsAnErrorOfStartThatNamesIt(t *testing.T) {
	noLeaks(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address := taken.Addr().String()
	for _, c := range []struct {
		name    string
		options xinhari.Options
		want    []string
	}{
		{"for calls", xinhari.Options{Address: address}, []string{"listen for calls", address, "address already in use"}},
		{"for probes", xinhari.Options{AdminAddress: address}, []string{"listen for probes", address, "XINHARI_ADMIN_ADDRESS", `"off"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService(t, "orders", c.options)
			greet(t, s, echo)
			err := s.Start(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if err := s.Start(t.Context()); !errors.Is(err, xinhari.ErrClosed) {
				t.Errorf("the next Start: %v", err)
			}
		})
	}
}

// scripted is a source that says what the test says.
type scripted chan discovery.Snapshot

func (scripted) Name() string { return "script" }

func (s scripted) Watch(ctx context.Context, _ discovery.Service, set func(discovery.Snapshot)) error {
	for {
		select {
		case snapshot := <-s:
			set(snapshot)
		case <-ctx.Done():
			return nil
		}
	}
}

func endpoint(a net.Addr) []discovery.Endpoint {
	return []discovery.Endpoint{{Addresses: []netip.AddrPort{netip.MustParseAddrPort(a.String())}}}
}

func TestACallWaitsUntilDiscoveryHasAnswered(t *testing.T) {
	noLeaks(t)
	server := newService(t, "greeter", xinhari.Options{})
	greet(t, server, echo)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	script := make(scripted)
	caller := newService(t, "caller", xinhari.Options{Discovery: discovery.New(script, discovery.Options{})})

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := call(ctx, caller, "greeter")
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "script has not answered yet") {
		t.Errorf("before: error %v", err)
	}
	var calling sync.WaitGroup
	calling.Go(func() {
		if got, err := call(t.Context(), caller, "greeter"); err != nil || got != "Joe" {
			t.Errorf("the call that waited: %q, error %v", got, err)
		}
	})
	script <- discovery.Snapshot{Known: true, Synced: time.Now(), Endpoints: endpoint(server.Addr())}
	calling.Wait()
}

func TestACallToAServiceThatNobodyServesSaysWhoWasAsked(t *testing.T) {
	noLeaks(t)
	other := newService(t, "present-here", xinhari.Options{})
	greet(t, other, echo)
	if err := other.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	caller := newService(t, "caller", xinhari.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := call(ctx, caller, "absent-here")
	if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
		t.Errorf("error %v (context: %v), want Unavailable in time", err, ctx.Err())
	}
	for _, part := range []string{"absent-here.default", "mDNS does not know it", "heard on the loopback interface", "present-here.default"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// get returns the status and the text at url.
func get(t testing.TB, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// A service in a cluster is first not ready, then waits to be taken out while
// it still serves, and then stops.
func TestProbesAndTheOrderOfTheStop(t *testing.T) {
	noLeaks(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	script := make(scripted)
	certificate, err := localsource.New("orders", localsource.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := newService(t, "orders", xinhari.Options{
		Identity: certificate,
		Profile:  xinhari.Kubernetes, Address: "127.0.0.1:0", AdminAddress: admin, DrainTimeout: time.Minute,
		Discovery: discovery.New(script, discovery.Options{}), Catalog: catalog.New(nothing{}),
	})
	greet(t, s, echo)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 404, "/metricz": 404, "/debug/pprof/": 404, "/Greeter/Hello": 404, "/healthz/x": 404} {
		if got, text := get(t, "http://"+admin+path); got != want {
			t.Errorf("%s: %d %q, want %d", path, got, text, want)
		}
	}
	_, metrics := get(t, "http://"+admin+"/metrics")
	for which, life := range map[string]float64{"leaf": 24 * 3600, "root": 5 * 365 * 24 * 3600} {
		_, after, _ := strings.Cut(metrics, "\nxinhari_certificate_expiry_seconds{certificate=\""+which+"\"} ")
		value, _, _ := strings.Cut(after, "\n")
		if left, err := strconv.ParseFloat(value, 64); err != nil || left < 0.9*life || left > 2.1*life {
			t.Errorf("the %s ends in %q seconds, %v", which, value, err)
		}
	}
	own := discovery.Snapshot{Known: true, Synced: time.Now(), Endpoints: endpoint(s.Addr())}
	var closing sync.WaitGroup
	closing.Go(func() {
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	script <- own // taken only by the watch of a service that stops
	script <- own
	if got, text := get(t, "http://"+admin+"/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz while stopping: %d %q", got, text)
	}
	if got, text := get(t, "http://"+admin+"/healthz"); got != http.StatusOK {
		t.Errorf("/healthz while stopping: %d %q", got, text)
	}
	late := make(scripted)
	caller := newService(t, "caller", xinhari.Options{Discovery: discovery.New(late, discovery.Options{})})
	var calling sync.WaitGroup
	calling.Go(func() {
		if _, err := call(t.Context(), caller, "orders"); err != nil {
			t.Errorf("a call that came before the service was taken out: %v", err)
		}
	})
	late <- own
	calling.Wait()
	script <- discovery.Snapshot{Known: true, Synced: time.Now()}
	closing.Wait()
}

// nothing is a catalog without objects.
type nothing struct{}

func (nothing) Name() string { return "nothing" }

func (nothing) Watch(ctx context.Context, _ catalog.Selection, set func(catalog.State)) error {
	set(catalog.State{Synced: time.Now()})
	<-ctx.Done()
	return nil
}

func TestTwoServicesInOneProcessDoNotCollide(t *testing.T) {
	noLeaks(t)
	a, b := newService(t, "both-a", xinhari.Options{}), newService(t, "both-b", xinhari.Options{})
	for s, name := range map[*xinhari.Service]string{a: "a", b: "b"} {
		greet(t, s, func(context.Context, *hello) (*hello, error) { return &hello{Name: name}, nil })
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for callee, caller := range map[string]*xinhari.Service{"a": b, "b": a} {
		if got, err := call(t.Context(), caller, "both-"+callee); err != nil || got != callee {
			t.Errorf("call both-%s: %q, error %v", callee, got, err)
		}
	}
}

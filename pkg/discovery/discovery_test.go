package discovery_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/discovery/memorydiscovery"
	"github.com/xinhari/xinhari/pkg/discovery/staticdiscovery"
)

var svc = discovery.Service{Namespace: "shop", Name: "inventory"}

func endpoint(addr string, s discovery.State) discovery.Endpoint {
	return discovery.Endpoint{Addresses: []netip.AddrPort{netip.MustParseAddrPort(addr)}, State: s}
}

// script is a driver that plays one step for each time that it is asked.
type script struct {
	steps []func(set func(discovery.Snapshot)) error
	asked int
}

func (*script) Name() string { return "script" }

func (s *script) Watch(ctx context.Context, _ discovery.Service, set func(discovery.Snapshot)) error {
	if s.asked >= len(s.steps) {
		<-ctx.Done()
		return nil
	}
	step := s.steps[s.asked]
	s.asked++
	return step(set)
}

func says(endpoints ...discovery.Endpoint) func(func(discovery.Snapshot)) error {
	return func(set func(discovery.Snapshot)) error {
		set(discovery.Snapshot{Endpoints: endpoints, Known: true, Synced: time.Now()})
		return errors.New("lost")
	}
}

// play returns the snapshots of a script, in a bubble of its own time.
func play(t *testing.T, for_ time.Duration, steps ...func(func(discovery.Snapshot)) error) (snapshots []discovery.Snapshot, asked int) {
	synctest.Test(t, func(t *testing.T) {
		driver := &script{steps: steps}
		ctx, cancel := context.WithTimeout(t.Context(), for_)
		defer cancel()
		if err := discovery.New(driver, discovery.Options{}).Watch(ctx, svc, func(s discovery.Snapshot) { snapshots = append(snapshots, s) }); err != nil {
			t.Error(err)
		}
		asked = driver.asked
	})
	return snapshots, asked
}

func TestALostSourceKeepsTheLastSnapshot(t *testing.T) {
	fails := func(func(discovery.Snapshot)) error { return errors.New("still lost") }
	snapshots, asked := play(t, time.Hour, says(endpoint("10.0.0.1:80", discovery.Ready)), fails, fails, fails)
	if asked != 4 {
		t.Errorf("the driver was asked %d times, want 4", asked)
	}
	if first := snapshots[0]; first.Source != "script" || !first.Synced.IsZero() {
		t.Errorf("the first snapshot does not say who is asked: %+v", first)
	}
	for i, s := range snapshots[1:] {
		if len(s.Usable) != 1 || s.Synced.IsZero() {
			t.Errorf("snapshot %d lost the endpoints: %+v", i, s)
		}
	}
	if last := snapshots[len(snapshots)-1]; last.Err == nil || last.Err.Error() != "still lost" {
		t.Errorf("the last snapshot does not tell: %v", last.Err)
	}
}

func TestWhichEndpointsAreUsable(t *testing.T) {
	ready, draining, not := discovery.Ready, discovery.Draining, discovery.NotReady
	a, b := "10.0.0.1:80", "10.0.0.2:80"
	for _, c := range []struct {
		name   string
		before []discovery.Endpoint
		now    []discovery.Endpoint
		want   string
	}{
		{"ready ones alone", nil, []discovery.Endpoint{endpoint(a, ready), endpoint(b, draining)}, a},
		{"draining ones if none is ready", nil, []discovery.Endpoint{endpoint(a, not), endpoint(b, draining)}, b},
		{"none that never was ready", nil, []discovery.Endpoint{endpoint(a, not)}, ""},
		{"those that were, and still exist, if none is", []discovery.Endpoint{endpoint(a, ready)}, []discovery.Endpoint{endpoint(a, not), endpoint(b, not)}, a},
		{"none that no longer exists", []discovery.Endpoint{endpoint(a, ready)}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			steps := []func(func(discovery.Snapshot)) error{says(c.now...)}
			if c.before != nil {
				steps = []func(func(discovery.Snapshot)) error{says(c.before...), says(c.now...)}
			}
			snapshots, _ := play(t, time.Hour, steps...)
			var got []string
			for _, e := range snapshots[len(snapshots)-1].Usable {
				got = append(got, e.Addresses[0].String())
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

func TestFallbackTakesTheFirstThatKnows(t *testing.T) {
	table := func(m map[discovery.Service][]discovery.Endpoint) *discovery.Discovery {
		d, err := staticdiscovery.New(m, discovery.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	other := discovery.Service{Namespace: "shop", Name: "other"}
	first := table(map[discovery.Service][]discovery.Endpoint{svc: {endpoint("10.0.0.1:80", discovery.Ready)}})
	second := table(map[discovery.Service][]discovery.Endpoint{svc: {endpoint("10.0.0.2:80", discovery.Ready)}, other: {endpoint("10.0.0.3:80", discovery.Ready)}})
	never := discovery.New(&script{}, discovery.Options{})
	for _, c := range []struct {
		name    string
		sources []*discovery.Discovery
		service discovery.Service
		want    string
	}{
		{"both know", []*discovery.Discovery{first, second}, svc, "10.0.0.1:80"},
		{"the second knows", []*discovery.Discovery{first, second}, other, "10.0.0.3:80"},
		{"the first never syncs", []*discovery.Discovery{never, second}, svc, "10.0.0.2:80"},
		{"nobody knows", []*discovery.Discovery{first}, other, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var last discovery.Snapshot
				_ = discovery.Fallback(c.sources...).Watch(ctx, c.service, func(s discovery.Snapshot) { last = s })
				got := ""
				if len(last.Usable) > 0 {
					got = last.Usable[0].Addresses[0].String()
				}
				if got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if c.want == "" && (last.Synced.IsZero() || !strings.Contains(last.Reason(c.service).Error(), "static does not know it")) {
					t.Errorf("got %v", last.Reason(c.service))
				}
			})
		})
	}
}

func TestMemoryFindsWhatIsAnnounced(t *testing.T) {
	d := memorydiscovery.New(discovery.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	snapshots := make(chan discovery.Snapshot, 10)
	done := make(chan error, 2)
	go func() { done <- d.Watch(ctx, svc, func(s discovery.Snapshot) { snapshots <- s }) }()
	if s := <-snapshots; s.Source != "memory" || !s.Synced.IsZero() {
		t.Errorf("before it has answered: %+v", s)
	}
	if s := <-snapshots; s.Known || s.Synced.IsZero() {
		t.Errorf("at first: %+v", s)
	}
	announcing, stop := context.WithCancel(ctx)
	go func() {
		done <- d.Announce(announcing, discovery.Instance{Service: svc, Address: netip.MustParseAddrPort("127.0.0.1:1")}, func() {})
	}()
	if s := <-snapshots; len(s.Usable) != 1 {
		t.Errorf("announced: %+v", s)
	}
	stop()
	if s := <-snapshots; len(s.Usable) != 0 || s.Known {
		t.Errorf("taken back: %+v", s)
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestServiceNames(t *testing.T) {
	for _, c := range []struct {
		in   string
		want discovery.Service
		ok   bool
	}{
		{"inventory", discovery.Service{Namespace: "shop", Name: "inventory"}, true},
		{"inventory.other", discovery.Service{Namespace: "other", Name: "inventory"}, true},
		{"", discovery.Service{}, false},
		{"inventory.", discovery.Service{}, false},
		{"inventory.shop.svc", discovery.Service{}, false},
		{"Inventory", discovery.Service{}, false},
		{"in_ventory", discovery.Service{}, false},
		{"-inventory", discovery.Service{}, false},
		{strings.Repeat("x", 64), discovery.Service{}, false},
	} {
		got, err := discovery.ParseService(c.in, "shop")
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: got %v, %v", c.in, got, err)
		}
	}
}

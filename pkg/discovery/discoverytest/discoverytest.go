// Package discoverytest is the suite that every source of endpoints passes.
package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xinhari/xinhari/internal/watchtest"
	"github.com/xinhari/xinhari/pkg/discovery"
)

// World is a source of endpoints.
type World struct {
	Discovery *discovery.Discovery

	// Service, Same and Other are services that nobody else adds to; Same has
	// the name of Service in another namespace.
	Service, Same, Other discovery.Service

	// Address returns an address that an instance may have, another one for
	// each number from 0 to 9.
	Address func(number int) netip.AddrPort
}

// Driver says how the suite gets a source.
type Driver struct {
	// Open returns a source that knows the instances at the addresses of
	// these numbers. What it opens is closed by the test that it is given.
	Open func(t testing.TB, service, other []int) *World

	// Add makes an instance known until remove is called; nil for sources
	// that do not change.
	Add func(t testing.TB, w *World, service discovery.Service, address netip.AddrPort) (remove func())

	// Leaks are options for the search of goroutines that were left.
	Leaks []goleak.Option
}

// Run runs the suite.
func Run(t *testing.T, d Driver) {
	for _, c := range []struct {
		name    string
		changes bool
		test    func(testing.TB, Driver)
	}{
		{"a watch tells of all instances of the service and of no other's", false, testInstances},
		{"a service of the same name in another namespace is another", false, testNamespaces},
		{"a service that the source does not have is not known, and the reason names the source", false, testUnknown},
		{"a list has the services, or says that the source cannot", false, testList},
		{"an instance that comes is told of, and one that goes no longer", true, testChanges},
		{"the last instance to go leaves an empty snapshot", true, testLast},
		{"what was delivered does not change", true, testImmutable},
		{"several watches at once each get what they asked for", false, testSeveral},
	} {
		if c.changes && d.Add == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			left := append([]goleak.Option{goleak.IgnoreCurrent()}, d.Leaks...)
			t.Cleanup(func() { goleak.VerifyNone(t, left...) })
			c.test(t, d)
		})
	}
}

func watch(t testing.TB, w *World, service discovery.Service) (*watchtest.Recorder[discovery.Snapshot], func()) {
	r := &watchtest.Recorder[discovery.Snapshot]{}
	return r, watchtest.Run(t, func(ctx context.Context) error { return w.Discovery.Watch(ctx, service, r.Set) })
}

// text writes the addresses of endpoints, sorted.
func text(endpoints []discovery.Endpoint) string {
	var all []string
	for _, e := range endpoints {
		for _, a := range e.Addresses {
			all = append(all, a.String())
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// at asks for a confirmed snapshot of usable instances at the addresses of
// the numbers.
func at(w *World, numbers ...int) func(discovery.Snapshot) string {
	var addresses []discovery.Endpoint
	for _, n := range numbers {
		addresses = append(addresses, discovery.Endpoint{Addresses: []netip.AddrPort{w.Address(n)}})
	}
	want := text(addresses)
	return func(s discovery.Snapshot) string {
		if got := text(s.Endpoints); got != want || text(s.Usable) != want || s.Err != nil || s.Synced.IsZero() {
			return fmt.Sprintf("got %q, usable %q (synced %v, error %v), want %q", got, text(s.Usable), s.Synced, s.Err, want)
		}
		return ""
	}
}

func testInstances(t testing.TB, d Driver) {
	w := d.Open(t, []int{0, 1}, []int{2})
	r, stop := watch(t, w, w.Service)
	s := r.Await(t, 0, at(w, 0, 1))
	if !s.Known || s.Source != w.Discovery.Name() {
		t.Errorf("known %v by %q, want to be known by %q", s.Known, s.Source, w.Discovery.Name())
	}
	if len(s.Endpoints) != 2 {
		t.Errorf("%d endpoints, want 2", len(s.Endpoints))
	}
	other, stopOther := watch(t, w, w.Other)
	other.Await(t, 0, at(w, 2))
	stop()
	stopOther()
}

func testNamespaces(t testing.TB, d Driver) {
	w := d.Open(t, []int{0}, nil)
	if w.Same.Name != w.Service.Name || w.Same.Namespace == w.Service.Namespace {
		t.Fatalf("%s and %s do not suit this test", w.Service, w.Same)
	}
	r, stop := watch(t, w, w.Same)
	r.Await(t, 0, at(w))
	stop()
}

func testUnknown(t testing.TB, d Driver) {
	w := d.Open(t, nil, nil)
	r, stop := watch(t, w, w.Service)
	s := r.Await(t, 0, at(w))
	stop()
	if s.Known {
		t.Error("known")
	}
	got := s.Reason(w.Service).Error()
	for _, part := range []string{w.Service.String(), w.Discovery.Name() + " does not know it"} {
		if !strings.Contains(got, part) {
			t.Errorf("reason %q does not say %q", got, part)
		}
	}
}

func testList(t testing.TB, d Driver) {
	w := d.Open(t, []int{0, 1}, []int{2})
	list, err := w.Discovery.List(t.Context())
	if errors.Is(err, discovery.ErrUnsupported) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want := []discovery.Service{w.Service, w.Other}
	slices.SortFunc(want, func(a, b discovery.Service) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	var got []discovery.Service
	for _, s := range list { // which has those of others, too, on a network that is shared
		if slices.Contains(want, s) {
			got = append(got, s)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}

func testChanges(t testing.TB, d Driver) {
	w := d.Open(t, []int{0}, nil)
	r, stop := watch(t, w, w.Service)
	defer stop()
	r.Await(t, 0, at(w, 0))
	remove := d.Add(t, w, w.Service, w.Address(1))
	r.Await(t, 0, at(w, 0, 1))
	remove2 := d.Add(t, w, w.Service, w.Address(2))
	r.Await(t, 0, at(w, 0, 1, 2))
	seen := len(r.All())
	remove()
	r.Await(t, seen, at(w, 0, 2))
	remove2()
	r.Await(t, seen, at(w, 0))
}

func testLast(t testing.TB, d Driver) {
	w := d.Open(t, nil, nil)
	r, stop := watch(t, w, w.Service)
	defer stop()
	r.Await(t, 0, at(w))
	remove := d.Add(t, w, w.Service, w.Address(0))
	r.Await(t, 0, at(w, 0))
	seen := len(r.All())
	remove()
	r.Await(t, seen, at(w))
}

func testImmutable(t testing.TB, d Driver) {
	w := d.Open(t, []int{0, 1}, nil)
	r, stop := watch(t, w, w.Service)
	defer stop()
	before := r.Await(t, 0, at(w, 0, 1))
	remove := d.Add(t, w, w.Service, w.Address(2))
	r.Await(t, 0, at(w, 0, 1, 2))
	seen := len(r.All())
	remove()
	r.Await(t, seen, at(w, 0, 1))
	if problem := at(w, 0, 1)(before); problem != "" {
		t.Errorf("the first snapshot changed: %s", problem)
	}
}

func testSeveral(t testing.TB, d Driver) {
	w := d.Open(t, []int{0, 1}, []int{2})
	type asked struct {
		r    *watchtest.Recorder[discovery.Snapshot]
		want []int
	}
	var all []asked
	var stops []func()
	for range 3 {
		for service, want := range map[discovery.Service][]int{w.Service: {0, 1}, w.Other: {2}, w.Same: nil} {
			r, stop := watch(t, w, service)
			all, stops = append(all, asked{r, want}), append(stops, stop)
		}
	}
	for _, a := range all {
		a.r.Await(t, 0, at(w, a.want...))
	}
	for _, stop := range stops {
		stop()
	}
}

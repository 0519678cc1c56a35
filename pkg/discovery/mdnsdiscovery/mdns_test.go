package mdnsdiscovery

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/pkg/discovery"
)

// The tests use real multicast on the loopback interface, with service names
// that nobody else on the machine has.

func service(t *testing.T) discovery.Service {
	return discovery.Service{Namespace: "default", Name: "test-" + time.Now().Format("150405-000000000")}
}

// watch delivers snapshots until the test ends.
func watch(t *testing.T, d *discovery.Discovery, s discovery.Service) <-chan discovery.Snapshot {
	ctx, cancel := context.WithCancel(t.Context())
	snapshots := make(chan discovery.Snapshot, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.Watch(ctx, s, func(s discovery.Snapshot) { snapshots <- s })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return snapshots
}

// until returns the first snapshot that is as wanted.
func until(t *testing.T, snapshots <-chan discovery.Snapshot, want func(discovery.Snapshot) bool) discovery.Snapshot {
	t.Helper()
	timeout := time.After(15 * time.Second)
	for {
		select {
		case s := <-snapshots:
			if s.Err != nil {
				t.Fatal(s.Err)
			}
			if want(s) {
				return s
			}
		case <-timeout:
			t.Fatal("no such snapshot in 15 s")
		}
	}
}

func instances(n int) func(discovery.Snapshot) bool {
	return func(s discovery.Snapshot) bool { return len(s.Usable) == n && !s.Synced.IsZero() }
}

func TestInstancesComeAndSayGoodbye(t *testing.T) {
	d, svc := New(Options{}), service(t)
	announce := func(port uint16) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- d.Announce(ctx, discovery.Instance{Service: svc, Version: "v1", Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}, func() {})
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	stopFirst := announce(4001) // there before the watch
	snapshots := watch(t, d, svc)
	got := until(t, snapshots, instances(1))
	want := []discovery.Endpoint{{Addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:4001")}, Version: "v1"}}
	if diff := cmp.Diff(want, got.Usable, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	stopSecond := announce(4002) // comes later
	until(t, snapshots, instances(2))

	listed, err := d.List(t.Context())
	if err != nil || !slices.Contains(listed, svc) {
		t.Errorf("List: %v, %v", listed, err)
	}
	began := time.Now()
	stopFirst()
	until(t, snapshots, instances(1))
	stopSecond()
	none := until(t, snapshots, instances(0))
	if none.Known {
		t.Error("the service is still known")
	}
	if took := time.Since(began); took > ttl {
		t.Errorf("it took %v: the records ran out, there was no goodbye", took)
	}
}

func TestAServiceThatNobodyAnnouncesIsNotKnown(t *testing.T) {
	got := until(t, watch(t, New(Options{}), service(t)), func(s discovery.Snapshot) bool { return !s.Synced.IsZero() })
	if got.Known || len(got.Usable) != 0 || got.Detail == "" {
		t.Errorf("got %+v", got)
	}
}

func TestAnInstanceThatDiesRunsOut(t *testing.T) {
	c, now := newCache(true), time.Now()
	r := record{instance: "a", service: discovery.Service{Namespace: "default", Name: "x"}, port: 1, addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	if !c.apply(message{records: []found{{record: r, ttl: ttl}}}, now) {
		t.Fatal("the instance is no news")
	}
	if c.apply(message{records: []found{{record: r, ttl: ttl}}}, now.Add(ttl/2)) {
		t.Error("hearing it again is news")
	}
	if c.expire(now.Add(ttl + time.Second)) {
		t.Error("it ran out though it was heard again")
	}
	if !c.expire(now.Add(ttl/2+ttl)) || len(c.instances) != 0 {
		t.Error("it did not run out")
	}
}

func TestOnLoopbackOtherAddressesAreNotBelieved(t *testing.T) {
	r := record{instance: "a", service: discovery.Service{Namespace: "default", Name: "x"}, port: 1, addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	m := message{records: []found{{record: r, ttl: ttl}}}
	if newCache(true).apply(m, time.Now()) {
		t.Error("an address of another machine was taken from the loopback interface")
	}
	if !newCache(false).apply(m, time.Now()) {
		t.Error("it was not taken from another interface either")
	}
}

func TestAnnouncementsAreReadAsTheyWereWritten(t *testing.T) {
	want := record{
		instance: "inventory-0123456789abcdef",
		service:  discovery.Service{Namespace: "shop", Name: "inventory"},
		version:  "v2",
		port:     8080,
		addrs:    []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
	}
	for _, life := range []time.Duration{ttl, 0} {
		data, err := want.announcement(life)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]found{{record: want, ttl: life}}, got.records, cmp.AllowUnexported(found{}, record{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	}
	query, err := browseQuery()
	if err != nil {
		t.Fatal(err)
	}
	if m, err := parse(query); err != nil || !m.asks("any") {
		t.Errorf("the query asks for nothing: %+v, %v", m, err)
	}
}

func TestAListenerThatNobodyCouldReachIsAnError(t *testing.T) {
	err := New(Options{}).Announce(t.Context(), discovery.Instance{Service: service(t), Address: netip.MustParseAddrPort("192.0.2.1:80")}, func() {})
	if err == nil {
		t.Error("no error")
	}
	if err := New(Options{Interface: "nope0"}).Announce(t.Context(), discovery.Instance{}, func() {}); err == nil {
		t.Error("no error for an interface that does not exist")
	}
}

func FuzzParse(f *testing.F) {
	query, err := browseQuery()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(query)
	r := record{instance: "a", service: discovery.Service{Namespace: "default", Name: "x"}, port: 1, addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	data, err := r.announcement(ttl)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err != nil {
			return
		}
		c := newCache(true)
		c.apply(m, time.Now())
		for _, r := range c.instances {
			if !r.addrs[0].IsLoopback() || r.port == 0 || r.service.Name == "" || r.service.Namespace == "" {
				t.Errorf("taken in: %+v", r)
			}
		}
	})
}

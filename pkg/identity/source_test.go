package identity_test

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xinhari/xinhari/pkg/identity"
)

// driver signs with a CA in the process, and fails while err is set.
type driver struct {
	ca   *authority
	life time.Duration
	now  func() time.Time

	mu       sync.Mutex
	err      error
	requests []identity.Request
	at       []time.Time
}

func (*driver) Name() string { return "test" }

func (d *driver) Issue(_ context.Context, r identity.Request) (identity.Issued, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests, d.at = append(d.requests, r), append(d.at, d.now())
	if d.err != nil {
		return identity.Issued{}, d.err
	}
	leaf := d.ca.leaf(orders, r.Key, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = d.now().Add(-2*time.Minute), d.now().Add(d.life)
	})
	return identity.Issued{Chain: []*x509.Certificate{leaf.Leaf}, Roots: []*x509.Certificate{d.ca.cert}}, nil
}

func (d *driver) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *driver) asked() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

// rootDriver is a driver whose roots come apart.
type rootDriver struct {
	*driver
	roots chan []*x509.Certificate
	why   chan error
}

func (d rootDriver) WatchRoots(ctx context.Context, set func([]*x509.Certificate), waiting func(error)) error {
	for {
		select {
		case roots := <-d.roots:
			set(roots)
		case why := <-d.why:
			waiting(why)
		case <-ctx.Done():
			return nil
		}
	}
}

// clock is a wall clock that can be set.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// bubble runs a Source over a driver in virtual time.
func bubble(t *testing.T, life time.Duration, f func(t *testing.T, s *identity.Source, d *driver, c *clock)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &clock{}
		d := &driver{ca: newCA(t), life: life, now: c.now}
		run(t, identity.NewSource(d, identity.SourceOptions{Now: c.now}), func(s *identity.Source) { f(t, s, d, c) })
	})
}

// run calls f while s runs.
func run(t *testing.T, s *identity.Source, f func(*identity.Source)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	defer running.Wait()
	defer cancel()
	synctest.Wait()
	f(s)
}

func TestRenewalAtHalfOfLife(t *testing.T) {
	const life = time.Hour
	early, late := life, time.Duration(0)
	bubble(t, life, func(t *testing.T, s *identity.Source, d *driver, _ *clock) {
		<-s.Ready()
		for range 30 {
			first := s.Current()
			for s.Current() == first {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			waited := s.Current().IssuedAt().Sub(first.IssuedAt())
			early, late = min(early, waited), max(late, waited)
			if waited < life*4/10 || waited > life*6/10+time.Second {
				t.Errorf("renewed after %s of %s", waited, life)
			}
		}
		keys := map[string]bool{}
		for _, r := range d.requests {
			der, err := x509.MarshalPKIXPublicKey(r.Key.Public())
			if err != nil {
				t.Fatal(err)
			}
			keys[string(der)] = true
		}
		if len(keys) != len(d.requests) {
			t.Errorf("%d keys for %d requests", len(keys), len(d.requests))
		}
	})
	if late-early < life/20 {
		t.Errorf("all renewals between %s and %s: no spread", early, late)
	}
}

// TestShortLife holds that a certificate that is dated back by more than its
// life is renewed by what is left of it, and not all the time.
func TestShortLife(t *testing.T) {
	bubble(t, 30*time.Second, func(t *testing.T, _ *identity.Source, d *driver, _ *clock) {
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := len(d.asked()); n < 15 || n > 30 {
			t.Errorf("%d requests in 5 min for certificates of 30 s", n)
		}
	})
}

func TestSleepPastExpiry(t *testing.T) {
	bubble(t, time.Hour, func(t *testing.T, s *identity.Source, _ *driver, c *clock) {
		old := s.Current()
		c.advance(8 * time.Hour) // timers stood still
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if fresh := s.Current(); fresh == old || !fresh.NotAfter().After(c.now()) {
			t.Errorf("10 s after waking the certificate is that of %s, and ends %s", fresh.IssuedAt(), fresh.NotAfter())
		}
	})
}

func TestClockSetBack(t *testing.T) {
	bubble(t, time.Hour, func(t *testing.T, s *identity.Source, _ *driver, c *clock) {
		old := s.Current()
		c.advance(-8 * time.Hour)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if fresh := s.Current(); fresh == old {
			t.Error("a certificate that is not yet valid is kept")
		}
	})
}

func TestRetriesKeepTheLastGood(t *testing.T) {
	bubble(t, time.Hour, func(t *testing.T, s *identity.Source, d *driver, _ *clock) {
		old := s.Current()
		away := errors.New("away")
		d.fail(away)
		s.Renew()
		began := time.Now()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s.Current() != old {
			t.Error("the last good credentials are gone")
		}
		if !errors.Is(s.Err(), away) {
			t.Errorf("Err() = %v", s.Err())
		}
		if n := len(d.asked()); n < 20 || n > 40 {
			t.Errorf("%d requests in 10 min", n)
		}
		if second := d.asked()[2].Sub(began); second > time.Second {
			t.Errorf("the first retry came after %s", second)
		}
		d.fail(nil)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if s.Current() == old || s.Err() != nil {
			t.Errorf("not renewed: %v", s.Err())
		}
	})
}

func TestRenewAtOnce(t *testing.T) {
	bubble(t, time.Hour, func(t *testing.T, s *identity.Source, d *driver, _ *clock) {
		s.Renew()
		s.Renew()
		synctest.Wait()
		if n := len(d.asked()); n < 2 || n > 3 {
			t.Errorf("%d requests", n)
		}
		if now, last := time.Now(), d.asked()[1]; !last.Equal(now) {
			t.Errorf("renewed after %s", last.Sub(now))
		}
	})
}

func TestWatch(t *testing.T) {
	bubble(t, time.Hour, func(t *testing.T, s *identity.Source, _ *driver, _ *clock) {
		ctx, cancel := context.WithCancel(t.Context())
		var seen []identity.Credentials
		var watching sync.WaitGroup
		watching.Go(func() {
			if err := s.Watch(ctx, func(c identity.Credentials) { seen = append(seen, c) }); err != nil {
				t.Errorf("Watch: %v", err)
			}
		})
		synctest.Wait()
		for range 3 {
			s.Renew()
			synctest.Wait()
		}
		cancel()
		watching.Wait()
		if len(seen) != 4 || seen[3] != s.Current() {
			t.Errorf("%d credentials seen", len(seen))
		}
	})
}

// TestSetup holds that Run gives up on what only a person can mend, but not
// once there were credentials.
func TestSetup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &driver{ca: newCA(t), life: time.Hour, now: time.Now, err: identity.ErrSetup}
		if err := identity.NewSource(d, identity.SourceOptions{}).Run(t.Context()); !errors.Is(err, identity.ErrSetup) {
			t.Errorf("Run: %v", err)
		}
		d.fail(nil)
		run(t, identity.NewSource(d, identity.SourceOptions{}), func(s *identity.Source) {
			d.fail(identity.ErrSetup)
			s.Renew()
			synctest.Wait()
			if !errors.Is(s.Err(), identity.ErrSetup) {
				t.Errorf("Err() = %v", s.Err())
			}
		})
	})
}

// TestRoots holds that new roots are trusted at once, also while nobody signs,
// and that the next certificate is asked for in their name.
func TestRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newCA(t), newCA(t)
		d := rootDriver{driver: &driver{ca: a, life: time.Hour, now: time.Now}, roots: make(chan []*x509.Certificate)}
		run(t, identity.NewSource(d, identity.SourceOptions{}), func(s *identity.Source) {
			if len(d.asked()) != 0 {
				t.Error("asked for a certificate before there were roots")
			}
			d.roots <- []*x509.Certificate{a.cert}
			synctest.Wait()
			first := s.Current()
			if first.BundleHash() != identity.BundleHash([]*x509.Certificate{a.cert}) {
				t.Fatalf("bundle %q, %v", first.BundleHash(), s.Err())
			}
			d.fail(errors.New("away"))
			d.roots <- []*x509.Certificate{b.cert, a.cert}
			synctest.Wait()
			want := identity.BundleHash([]*x509.Certificate{a.cert, b.cert})
			if got := s.Current(); got.BundleHash() != want || got.Certificate().Leaf != first.Certificate().Leaf {
				t.Errorf("bundle %q, want %q, with the first certificate", got.BundleHash(), want)
			}
			pool := b.pool()
			pool.AddCert(a.cert)
			if !pool.Equal(s.Current().Roots()) {
				t.Error("the pool is not the bundle's")
			}
			d.mu.Lock()
			if got := d.requests[len(d.requests)-1].BundleHash; len(d.requests) != 2 || got != want {
				t.Errorf("request %d names bundle %q, want %q", len(d.requests), got, want)
			}
			d.mu.Unlock()
			d.roots <- nil
			synctest.Wait()
			if s.Current().BundleHash() != want || s.Err() == nil {
				t.Errorf("an empty bundle: %q, %v", s.Current().BundleHash(), s.Err())
			}
			d.fail(nil)
			s.Renew()
			synctest.Wait()
			if got := s.Current(); got.BundleHash() != want || got.Certificate().Leaf == first.Certificate().Leaf {
				t.Errorf("a new certificate brings bundle %q, want %q", got.BundleHash(), want)
			}
			d.roots <- []*x509.Certificate{b.cert} // the own certificate is under a
			synctest.Wait()
			if got := identity.BundleHash([]*x509.Certificate{b.cert}); s.Current().BundleHash() != got {
				t.Error("a retired root is trusted on")
			}
			if s.Err() == nil {
				t.Error("nobody says that the own certificate is under a retired root")
			}
		})
	})
}

// blocked is a driver that issues when it may, and renews when it is told to.
type blocked struct {
	rootDriver
	may   chan struct{}
	renew chan struct{}
}

func (d blocked) Issue(ctx context.Context, r identity.Request) (identity.Issued, error) {
	select {
	case <-d.may:
		return d.driver.Issue(ctx, r)
	case <-ctx.Done():
		return identity.Issued{}, ctx.Err()
	}
}

func (d blocked) WatchRenewals(ctx context.Context, renew func()) {
	for {
		select {
		case <-d.renew:
			renew()
		case <-ctx.Done():
			return
		}
	}
}

func newBlocked(t *testing.T, ca *authority) blocked {
	t.Helper()
	return blocked{
		rootDriver: rootDriver{driver: &driver{ca: ca, life: time.Hour, now: time.Now}, roots: make(chan []*x509.Certificate), why: make(chan error)},
		may:        make(chan struct{}), renew: make(chan struct{}),
	}
}

// TestWaitingForRoots holds that a driver can say why there are no roots.
func TestWaitingForRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		d := newBlocked(t, ca)
		run(t, identity.NewSource(d, identity.SourceOptions{}), func(s *identity.Source) {
			for _, why := range []error{errors.New("no ConfigMap"), nil, errors.New("away")} {
				d.why <- why
				synctest.Wait()
				if got := s.Err(); !errors.Is(got, why) || (got == nil) != (why == nil) {
					t.Errorf("Err() = %v, want %v", got, why)
				}
			}
			d.roots <- []*x509.Certificate{ca.cert}
			synctest.Wait()
			if err := s.Err(); err != nil {
				t.Errorf("Err() = %v once there are roots", err)
			}
		})
	})
}

// TestRootsWhileAsking holds that the request that was made in the name of
// other roots is followed by one in the name of those that came meanwhile.
func TestRootsWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newCA(t), newCA(t)
		d := newBlocked(t, a)
		run(t, identity.NewSource(d, identity.SourceOptions{}), func(*identity.Source) {
			d.roots <- []*x509.Certificate{a.cert}
			synctest.Wait()
			d.roots <- []*x509.Certificate{a.cert, b.cert}
			synctest.Wait()
			began := time.Now()
			d.may <- struct{}{}
			d.may <- struct{}{}
			synctest.Wait()
			if took := time.Since(began); took > time.Second {
				t.Errorf("the next request came after %s", took)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if got, want := d.requests[len(d.requests)-1].BundleHash, identity.BundleHash([]*x509.Certificate{a.cert, b.cert}); got != want {
				t.Errorf("the last of %d requests names %s, want %s", len(d.requests), got, want)
			}
		})
	})
}

// TestRenewalWatcher holds that a driver can have a certificate renewed, and
// that nothing of it is left when the Source has ended.
func TestRenewalWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		d := newBlocked(t, ca)
		run(t, identity.NewSource(d, identity.SourceOptions{}), func(s *identity.Source) {
			d.roots <- []*x509.Certificate{ca.cert}
			d.may <- struct{}{}
			synctest.Wait()
			first := s.Current()
			d.renew <- struct{}{}
			d.may <- struct{}{}
			synctest.Wait()
			if first.IsZero() || s.Current() == first {
				t.Errorf("not renewed: %v", s.Err())
			}
		})
	})
}

func TestBundleHash(t *testing.T) {
	a, b := newCA(t).cert, newCA(t).cert
	hash := func(roots ...*x509.Certificate) string { return identity.BundleHash(roots) }
	if hash(a, b) != hash(b, a, b) || hash(a, b) == hash(a) || hash(a) == hash(b) || len(hash(a)) != 64 {
		t.Error("the hash is not that of the set")
	}
}

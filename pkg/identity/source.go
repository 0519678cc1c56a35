package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// SourceOptions are the options of NewSource; the zero value is good.
type SourceOptions struct {
	// Poll, if not 0, is how often to ask a driver whose certificates somebody
	// else renews. Otherwise the Source renews at half of the certificate's
	// life, give or take a tenth of the life.
	Poll time.Duration

	// Now is the wall clock; nil is time.Now.
	Now func() time.Time

	// Logger takes what has no caller to be told; nil is silent.
	Logger *slog.Logger
}

// Source keeps a process in credentials: it gets them from a driver, renews
// them in time, and keeps the last good ones while the driver is out of reach
// or offers something that peers would refuse. It is safe for concurrent use.
//
// Time is the wall clock's, which goes on while a laptop sleeps: what ran out
// meanwhile is renewed within seconds of waking.
type Source struct {
	driver   Driver
	schedule schedule
	logger   *slog.Logger
	renew    chan struct{} // holds at most one wish
	ready    chan struct{}
	current  atomic.Pointer[material]

	mu       sync.Mutex
	roots    []*x509.Certificate // of a RootWatcher
	rooted   chan struct{}       // closed once there are roots of a RootWatcher
	changed  chan struct{}       // closed at the next change of current
	err      error               // of the certificate
	rootsErr error               // of a RootWatcher
}

// NewSource returns a Source that gets credentials from driver while its Run
// runs. Opener functions of the driver packages call it.
func NewSource(driver Driver, o SourceOptions) *Source {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Source{
		driver:   driver,
		schedule: schedule{poll: o.Poll, clock: o.Now},
		logger:   o.Logger,
		renew:    make(chan struct{}, 1),
		ready:    make(chan struct{}),
		rooted:   make(chan struct{}),
		changed:  make(chan struct{}),
	}
}

// Name returns the driver's name.
func (s *Source) Name() string { return s.driver.Name() }

// Current returns the last good credentials; zero if there were none yet. It
// does not block, and they may have run out.
func (s *Source) Current() Credentials { return Credentials{s.current.Load()} }

// Ready returns a channel that is closed once there are credentials.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// Err returns why there are no newer credentials, or what the driver waits
// for; nil while all is well.
func (s *Source) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.err, s.rootsErr)
}

// Renew asks for a new certificate at once, for example because it is to have
// other names. It does not block; wishes that meet become one.
func (s *Source) Renew() {
	select {
	case s.renew <- struct{}{}:
	default:
	}
}

// Watch calls set with the credentials, first when there are some, then at
// each change, from one goroutine. When changes come fast only the last one is
// sure to be seen. It blocks until ctx ends, and returns nil.
func (s *Source) Watch(ctx context.Context, set func(Credentials)) error {
	var last Credentials
	for {
		s.mu.Lock()
		c, changed := s.Current(), s.changed
		s.mu.Unlock()
		if c != last {
			set(c)
			last = c
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Run gets and renews credentials until ctx ends, and then returns nil. It
// tries again after whatever fails, but for an error that matches ErrSetup
// while there never were credentials: that one it returns. It is called once.
func (s *Source) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w, ok := s.driver.(RenewalWatcher); ok {
		watching.Go(func() { w.WatchRenewals(ctx, s.Renew) })
	}
	if w, ok := s.driver.(RootWatcher); ok {
		watching.Go(func() { s.watchRoots(ctx, w) })
		select {
		case <-s.rooted:
		case <-ctx.Done():
			return nil
		}
	}
	for failures := 0; ; {
		err := s.issue(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.report(err)
		var from, due time.Time
		switch {
		case err == nil:
			failures = 0
			from, due = s.schedule.renewal(s.Current())
		case errors.Is(err, ErrSetup) && s.Current().IsZero():
			return fmt.Errorf("%s: %w", s.driver.Name(), err)
		default:
			failures++
			from, due = s.schedule.retry(s.Current(), failures)
		}
		if !s.schedule.wait(ctx, from, due, s.renew) {
			return nil
		}
	}
}

// issue asks the driver once.
func (s *Source) issue(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	s.mu.Lock()
	hash := s.Current().BundleHash()
	if s.roots != nil {
		hash = BundleHash(s.roots)
	}
	s.mu.Unlock()
	issued, err := s.driver.Issue(ctx, Request{Key: key, BundleHash: hash, Waiting: s.report})
	if err != nil {
		return err
	}
	if issued.Key == nil {
		issued.Key = key
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.roots != nil { // as they are now, not as they were asked for
		issued.Roots = s.roots
	}
	c, err := NewCredentials(issued.Chain, issued.Key, issued.Roots, s.schedule.now())
	if err != nil {
		return err
	}
	s.setLocked(c)
	return nil
}

// watchRoots trusts what w says until ctx ends.
func (s *Source) watchRoots(ctx context.Context, w RootWatcher) {
	for failures := 1; ; failures++ {
		err := w.WatchRoots(ctx, func(roots []*x509.Certificate) {
			failures = 1
			s.setRoots(roots)
		}, s.reportRoots)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the watch ended")
		}
		s.reportRoots(err)
		from, due := s.schedule.retry(s.Current(), failures)
		if !s.schedule.wait(ctx, from, due, nil) {
			return
		}
	}
}

func (s *Source) setRoots(roots []*x509.Certificate) {
	if len(roots) == 0 { // a mistake: to trust nobody ends every connection
		s.reportRoots(errors.New("the trust bundle is empty: the last one is kept"))
		return
	}
	s.reportRoots(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.roots == nil:
		close(s.rooted)
	case BundleHash(s.roots) == BundleHash(roots):
		return
	default: // also before the first certificate: the request for it may be on its way, and names the roots before
		s.Renew()
	}
	s.roots = roots
	if c := s.Current(); !c.IsZero() {
		s.setLocked(c.withRoots(roots))
	}
}

// setLocked makes c the current credentials unless they say nothing new. The
// caller holds mu.
func (s *Source) setLocked(c Credentials) {
	before := s.Current()
	if before.same(c) {
		return
	}
	s.current.Store(c.m)
	close(s.changed)
	s.changed = make(chan struct{})
	if before.IsZero() {
		close(s.ready)
	}
	s.logger.Info("credentials", "source", s.driver.Name(), "id", c.ID().String(), "not_after", c.NotAfter().UTC(), "bundle", c.BundleHash())
}

// report remembers what keeps new certificates away; nil if nothing does.
func (s *Source) report(err error) { s.remember(&s.err, "no new certificate", err) }

// reportRoots remembers what keeps new roots away; nil if nothing does.
func (s *Source) reportRoots(err error) { s.remember(&s.rootsErr, "no new roots", err) }

// remember puts err where, and logs it unless it was there.
func (s *Source) remember(where *error, message string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := err == nil || *where != nil && (*where).Error() == err.Error()
	*where = err
	if !known {
		s.logger.Warn(message, "source", s.driver.Name(), "error", err, "not_after", s.Current().NotAfter().UTC())
	}
}

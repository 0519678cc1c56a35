package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// Start begins to serve: it waits for the service's credentials, runs the
// BeforeStart hooks, listens, makes the service known to others, runs the
// AfterStart hooks, and asks the readiness checks for the first time; then the
// service is ready, unless a check says otherwise. Where nothing is registered
// there is no port and nobody to be made known, as for a Job that only calls.
//
// It may be called once. After an error, of which the end of ctx is one, what
// was started is undone and the service is closed.
func (s *Service) Start(ctx context.Context) error {
	started, undone := s.open(ctx)
	return errors.Join(started, undone)
}

// open does Start's work, and returns apart what went wrong with the start and
// with undoing it.
func (s *Service) open(ctx context.Context) (started, undone error) {
	select {
	case s.life <- struct{}{}:
		defer func() { <-s.life }()
	case <-ctx.Done():
		return ctx.Err(), nil
	}
	switch s.enter(stateStarted) {
	case stateStarted:
		return errors.New("xinhari: the service was started before"), nil
	case stateClosed:
		return ErrClosed, nil
	}
	s.opened = true
	s.logger.Info("starting", "profile", string(s.settings.Profile), "because", s.settings.why,
		"discovery", s.sources.discovery.Name(), "objects", s.sources.catalogName())
	starting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.interruptible(cancel)
	err := s.start(starting)
	if err == nil {
		return nil, nil
	}
	if errors.Is(context.Cause(starting), ErrClosed) {
		err = ErrClosed
	}
	s.enter(stateClosed)
	defer close(s.ended)
	undoing, stop := context.WithTimeout(context.WithoutCancel(ctx), s.settings.ShutdownTimeout)
	defer stop()
	return err, s.stop(undoing)
}

// interruptible lets Close end what is being started, by cancel.
func (s *Service) interruptible(cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupt = cancel
	if s.closing {
		cancel(ErrClosed)
	}
}

// enter goes on to a later state and returns the one before.
func (s *Service) enter(next state) (before state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.state
	s.state = max(before, next)
	return before
}

// start does Start's work. The caller holds life and stops what was started
// when there is an error.
func (s *Service) start(ctx context.Context) error {
	if err := s.server.Check(); err != nil {
		return err
	}
	if s.settings.AdminAddress != off {
		a, err := startAdmin(ctx, s.settings.AdminAddress, s.proof.valid, s.observe.handler())
		if err != nil {
			return err
		}
		s.admin = a
	}
	s.proof.run()
	if err := s.proof.wait(ctx); err != nil {
		return fmt.Errorf("xinhari: %w", err)
	}
	if err := s.hooks.start(ctx, beforeStart); err != nil {
		return err
	}
	s.mu.Lock()
	registered := s.registered
	s.mu.Unlock()
	if registered {
		if err := s.serve(ctx); err != nil {
			return err
		}
	}
	s.up = true
	if err := s.hooks.start(ctx, afterStart); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.health.serves(slices.Collect(maps.Keys(s.server.GetServiceInfo())))
	ask := s.readiness.start()
	if s.admin != nil {
		s.admin.ready.Store(&ask)
	}
	return nil
}

// serve listens, and makes the service known.
func (s *Service) serve(ctx context.Context) error {
	lis, err := s.settings.Network.Listen(ctx, s.settings.Address)
	if err != nil {
		return fmt.Errorf("xinhari: listen for calls: %w", err)
	}
	addr, err := addrPort(lis)
	if err != nil {
		_ = lis.Close()
		return fmt.Errorf("xinhari: listener: %w", err)
	}
	s.mu.Lock()
	s.listener = lis
	s.mu.Unlock()
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() {
		// Closed before it began to serve is closed all the same.
		if err := s.server.Serve(lis); err != nil && !errors.Is(err, rpc.ErrServerClosed) {
			s.fail(fmt.Errorf("xinhari: serve: %w", err))
		}
	})
	known, unknown := make(chan struct{}), make(chan error, 1)
	announced, withdraw := context.WithCancel(background)
	var announcing sync.WaitGroup
	announcing.Go(func() {
		i := discovery.Instance{Service: s.settings.service, Version: s.settings.Version, Address: addr}
		if err := s.sources.discovery.Announce(announced, i, func() { close(known) }); err != nil {
			unknown <- err
			s.fail(fmt.Errorf("xinhari: announce: %w", err))
		}
	})
	if s.sources.callees != nil {
		running.Go(func() { s.sources.callees.watch(background, s.settings.service, s.proof.setMode) })
	}
	s.withdraw = func() { withdraw(); announcing.Wait() }
	s.began = func() { cancel(); running.Wait() }
	select {
	case <-known:
	case err := <-unknown:
		return fmt.Errorf("xinhari: announce: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
	s.logger.Info("serving", "address", lis.Addr().String())
	return nil
}

// fail makes Run return err.
func (s *Service) fail(err error) {
	s.logger.Error("failed", "error", err)
	select {
	case s.failed <- err:
	default:
	}
}

// Close stops the service, in this order: it is not ready any more; its
// BeforeStop hooks run; it waits until its clients can know that it stops (in
// a cluster until discovery has taken it out, or DrainTimeout, elsewhere until
// it has withdrawn its announcement); it tells those that are still connected
// to go elsewhere (GOAWAY); it waits for the calls in flight; its AfterStop
// hooks run; it closes its own connections to others.
//
// Calls still in flight when ctx ends are cut off, and the error matches
// ErrCutOff and ctx's. A Start that is under way ends with ErrClosed. Without
// Start there is nothing to wait for, and no hooks. It is safe to call more
// than once, and returns when the service is closed or ctx ends.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	if s.interrupt != nil {
		s.interrupt(ErrClosed)
	}
	s.mu.Unlock()
	select {
	case s.life <- struct{}{}:
		defer func() { <-s.life }()
	case <-ctx.Done():
		return fmt.Errorf("xinhari: waiting for another Start or Close: %w", ctx.Err())
	}
	if s.enter(stateClosed) == stateClosed {
		return nil
	}
	defer close(s.ended)
	s.logger.Info("stopping")
	err := s.stop(ctx)
	if err != nil {
		s.logger.Warn("stopped, not cleanly", "error", err)
	} else {
		s.logger.Info("stopped")
	}
	return err
}

// shutdownGrace is what a server without calls needs to stop. It has that much
// when hooks took all the time there was, so that no call is said to be cut off.
const shutdownGrace = 100 * time.Millisecond

// stop ends everything, whatever of it was started. The caller is in life.
func (s *Service) stop(ctx context.Context) error {
	if s.admin != nil {
		s.admin.ready.Store(nil)
	}
	s.health.server.Shutdown()
	s.readiness.stop()
	var errs []error
	if s.up {
		errs = append(errs, s.hooks.stop(ctx, beforeStop))
	}
	if s.up && s.Addr() != nil && s.settings.Profile == Kubernetes {
		s.waitUntilTakenOut(ctx)
	}
	if s.withdraw != nil {
		s.withdraw()
	}
	answering, cancel := atLeast(ctx, shutdownGrace)
	defer cancel()
	if err := s.server.Shutdown(answering); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ErrCutOff, err)
		}
		errs = append(errs, err)
	}
	if s.began != nil {
		s.began()
	}
	if s.opened {
		closing, cancel := atLeast(ctx, hookGrace)
		defer cancel()
		errs = append(errs, s.hooks.stop(closing, afterStop))
	}
	s.mu.Lock()
	conns := slices.Collect(maps.Values(s.conns))
	s.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
	s.proof.stop()
	if s.admin != nil {
		s.admin.close()
	}
	return errors.Join(errs...)
}

// Run starts the service, waits until ctx ends, a SIGINT or SIGTERM arrives
// (but see Options.NoSignals), serving fails or somebody closes the service,
// and closes it. It returns nil after a clean stop, also one that came while
// the service started; see ExitCode for the rest. A second signal ends the
// process at once.
func (s *Service) Run(ctx context.Context) error {
	stop := func() {}
	if !s.settings.NoSignals {
		ctx, stop = untilSignal(ctx)
	}
	defer stop()
	if started, undone := s.open(ctx); started != nil {
		if errors.Is(ctx.Err(), context.Canceled) && errors.Is(started, context.Canceled) {
			s.logger.Info("stopped while starting", "error", started)
			return undone
		}
		return errors.Join(started, undone)
	}
	var failed error
	select {
	case <-ctx.Done():
	case <-s.ended:
	case failed = <-s.failed:
	}
	stop()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.settings.ShutdownTimeout)
	defer cancel()
	return errors.Join(failed, s.Close(closing))
}

// untilSignal returns a context that the first SIGINT or SIGTERM ends, and
// leaves the second one to the system. signal.NotifyContext would
// take those as well that come between the end of its context and its stop.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals) // before anybody knows
		cancel()
	})
	return ctx, func() {
		cancel()
		watching.Wait()
	}
}

// waitUntilTakenOut waits until discovery no longer has this instance as
// ready, so that no client places new calls here, or for DrainTimeout.
func (s *Service) waitUntilTakenOut(ctx context.Context) {
	own, err := ownAddresses()
	if err != nil {
		s.logger.Warn("own addresses", "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.settings.DrainTimeout)
	defer cancel()
	_ = s.sources.discovery.Watch(ctx, s.settings.service, func(snapshot discovery.Snapshot) {
		if snapshot.Synced.IsZero() {
			return
		}
		if !slices.ContainsFunc(snapshot.Endpoints, func(e discovery.Endpoint) bool {
			return e.State == discovery.Ready && slices.ContainsFunc(own, e.Has)
		}) {
			cancel()
		}
	})
}

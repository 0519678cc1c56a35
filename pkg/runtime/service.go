package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/rpc"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
)

// Service is a service in this process: what it serves and what it calls. It
// is safe for concurrent use.
//
// It is a grpc.ServiceRegistrar for generated services and an rpc.Registrar
// for plain Go handlers. With nothing registered it has no port.
type Service struct {
	settings settings
	logger   *slog.Logger
	proof    *proof
	server   *rpc.Server
	health   *health.Server
	sources  *sources

	failed chan error // at most one error that ends Run

	life    sync.Mutex // held by Start and Close from beginning to end
	started func()     // ends what Start began
	admin   *admin

	mu         sync.Mutex // never held while anything is waited for
	conns      map[discovery.Service]*conn
	registered bool
	state      state
	listener   net.Listener
}

type state int

const (
	stateNew state = iota
	stateStarted
	stateClosed
)

// ErrClosed is returned for what a closed Service is asked to do.
var ErrClosed = errors.New("xinhari: the service is closed")

// New returns the service called name, a DNS label. It does no I/O beyond
// reading the environment and, in a cluster, the pod's own account. An option
// out of range, or a cluster that is expected and not there, is an error that
// says what to do.
func New(name string, o Options) (*Service, error) {
	s, err := decide(name, o, os.Getenv)
	if err != nil {
		return nil, err
	}
	p := newProof(s)
	src, err := openSources(s, p.trust)
	if err != nil {
		return nil, err
	}
	if err := p.open(s, src); err != nil {
		return nil, err
	}
	server, err := rpc.NewServer(rpc.ServerOptions{
		Service:      s.service.String(),
		Transport:    p.transport,
		Anonymous:    p.anonymous,
		Codecs:       s.Codecs,
		Middleware:   s.Middleware,
		GRPC:         s.ServerOptions,
		LoopbackOnly: s.Profile == Local,
		Logger:       s.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("xinhari: %w", err)
	}
	service := &Service{
		settings: s,
		logger:   s.Logger.With("service", s.service.String()),
		proof:    p,
		server:   server,
		health:   health.NewServer(),
		sources:  src,
		conns:    map[discovery.Service]*conn{},
		failed:   make(chan error, 1),
	}
	service.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(server, service.health)
	reflection.Register(server)
	runtimev1.RegisterRuntimeServer(server, &runtimeServer{service: service, started: time.Now()})
	return service, nil
}

// Name returns the service's name and namespace.
func (s *Service) Name() discovery.Service { return s.settings.service }

// RegisterService implements grpc.ServiceRegistrar, for generated code. A
// mistake, such as a service registered twice, is Start's error.
func (s *Service) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.mu.Lock()
	s.registered = true
	s.mu.Unlock()
	s.server.RegisterService(desc, impl)
}

// RegisterMethod implements rpc.Registrar, for rpc.Handle.
func (s *Service) RegisterMethod(service string, m grpc.MethodDesc) error {
	s.mu.Lock()
	s.registered = true
	s.mu.Unlock()
	return s.server.RegisterMethod(service, m)
}

// Identity returns the source of the service's certificate, for servers and
// clients that are not this package's: see identity.ServerConfig and
// identity.Dialer. It is nil where Options.Transport took its place.
func (s *Service) Identity() *identity.Source { return s.proof.source }

// Discovery returns where the service looks for others.
func (s *Service) Discovery() *discovery.Discovery { return s.sources.discovery }

// Conn returns a connection to the service called name: "inventory" of this
// namespace, or "inventory.shop". There is one for each service, made at the
// first call of Conn, and Close ends it. What is wrong with the name, or a
// closed Service, is the error of each call.
func (s *Service) Conn(name string) grpc.ClientConnInterface {
	callee, err := discovery.ParseService(name, s.settings.Namespace)
	if err != nil {
		return failedConn{status.Error(codes.InvalidArgument, err.Error())}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.conns[callee]; ok {
		return c
	}
	if s.state == stateClosed {
		return failedConn{status.Error(codes.Canceled, ErrClosed.Error())}
	}
	s.proof.run()
	c, err := s.sources.connect(callee, s.proof, s.settings)
	if err != nil {
		return failedConn{status.Error(codes.Internal, err.Error())}
	}
	s.conns[callee] = c
	return c
}

// failedConn fails every call.
type failedConn struct{ err error }

func (c failedConn) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return c.err }

func (c failedConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, c.err
}

// Addr returns the address that RPCs are served on, or nil before Start and
// where nothing is served.
func (s *Service) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Start begins to serve and returns when the service is ready. It may be
// called once; after an error the service is closed.
func (s *Service) Start(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	switch s.enter(stateStarted) {
	case stateStarted:
		return errors.New("xinhari: the service was started before")
	case stateClosed:
		return ErrClosed
	}
	s.logger.Info("starting", "profile", string(s.settings.Profile), "because", s.settings.why,
		"discovery", s.sources.discovery.Name(), "objects", s.sources.catalogName())
	if err := s.start(ctx); err != nil {
		s.enter(stateClosed)
		return errors.Join(err, s.stop(context.WithoutCancel(ctx)))
	}
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	if s.admin != nil {
		s.admin.ready.Store(true)
	}
	return nil
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
		a, err := startAdmin(ctx, s.settings.AdminAddress, s.proof.valid, newMetrics(s.proof, s.logger))
		if err != nil {
			return err
		}
		s.admin = a
	}
	s.proof.run()
	if err := s.proof.wait(ctx); err != nil {
		return fmt.Errorf("xinhari: %w", err)
	}
	s.mu.Lock()
	registered := s.registered
	s.mu.Unlock()
	if !registered {
		return nil
	}
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
	running.Go(func() {
		i := discovery.Instance{Service: s.settings.service, Version: s.settings.Version, Address: addr}
		if err := s.sources.discovery.Announce(background, i, func() { close(known) }); err != nil {
			unknown <- err
			s.fail(fmt.Errorf("xinhari: announce: %w", err))
		}
	})
	if s.sources.callees != nil {
		running.Go(func() { s.sources.callees.watch(background, s.settings.service, s.proof.setMode) })
	}
	s.started = func() { cancel(); running.Wait() }
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

// Close stops the service: it stops being ready, waits until its clients can
// know (in a cluster), tells them to go elsewhere, waits for the calls in
// flight, and closes its connections. Calls still in flight when ctx ends are
// cut off, and the error is ctx's. It is safe to call more than once.
func (s *Service) Close(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.enter(stateClosed) == stateClosed {
		return nil
	}
	s.logger.Info("stopping")
	err := s.stop(ctx)
	if err != nil {
		s.logger.Warn("stopped before all calls were done", "error", err)
	} else {
		s.logger.Info("stopped")
	}
	return err
}

// stop ends everything, whatever of it was started. The caller holds life.
func (s *Service) stop(ctx context.Context) error {
	if s.admin != nil {
		s.admin.ready.Store(false)
	}
	s.health.Shutdown()
	if s.Addr() != nil && s.settings.Profile == Kubernetes {
		s.waitUntilTakenOut(ctx)
	}
	err := s.server.Shutdown(ctx)
	if s.started != nil {
		s.started()
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
	return err
}

// Run starts the service, waits until ctx ends, a SIGINT or SIGTERM arrives or
// serving fails, and closes it. It returns nil after a clean stop. A second
// signal ends the process at once.
func (s *Service) Run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.Start(ctx); err != nil {
		return err
	}
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-s.failed:
	}
	stop()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.settings.ShutdownTimeout)
	defer cancel()
	return errors.Join(failed, s.Close(closing))
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

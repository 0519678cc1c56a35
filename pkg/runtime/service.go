package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
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
	health   *healthOf
	sources  *sources
	observe  *observers

	hooks     *hooks
	readiness *readiness

	failed chan error    // at most one error that ends Run
	ended  chan struct{} // closed by the Close that closed the service

	// What is in life owns these.
	life     chan struct{} // has room for one: Start and Close are in it from beginning to end
	opened   bool          // Start was called
	up       bool          // it got as far as the AfterStart hooks
	began    func()        // ends what Start began, but for the announcement
	withdraw func()        // ends the announcement
	admin    *admin

	mu         sync.Mutex // never held while anything is waited for
	conns      map[discovery.Service]*conn
	registered bool
	state      state
	listener   net.Listener
	closing    bool                    // Close was called
	interrupt  context.CancelCauseFunc // ends a Start that is under way
}

type state int

const (
	stateNew state = iota
	stateStarted
	stateClosed
)

// New returns the service called name, a DNS label. It does no I/O beyond
// reading the environment and, in a cluster, the pod's own account. An option
// out of range, or a cluster that is expected and not there, is an error that
// says what to do, and matches ErrOptions.
func New(name string, o Options) (*Service, error) {
	s, err := newService(name, o)
	if err != nil {
		return nil, optionsError{err}
	}
	return s, nil
}

func newService(name string, o Options) (*Service, error) {
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
	looking, err := newObservers(s, p)
	if err != nil {
		return nil, err
	}
	server, err := rpc.NewServer(rpc.ServerOptions{
		Service:      s.service.String(),
		Transport:    p.transport,
		Anonymous:    p.anonymous,
		Codecs:       s.Codecs,
		Compressor:   s.Compressor,
		Observers:    looking.served(),
		Middleware:   s.Middleware,
		GRPC:         s.ServerOptions,
		ServerLimits: s.ServerLimits,
		LoopbackOnly: s.Profile == Local,
		Logger:       s.Logger,

		DynamicWindows: s.DynamicWindows,
	})
	if err != nil {
		return nil, fmt.Errorf("xinhari: %w", err)
	}
	service := &Service{
		settings: s,
		logger:   s.Logger.With("service", s.service.String()),
		proof:    p,
		server:   server,
		health:   newHealth(),
		sources:  src,
		observe:  looking,
		conns:    map[discovery.Service]*conn{},
		failed:   make(chan error, 1),
		ended:    make(chan struct{}),
		life:     make(chan struct{}, 1),
	}
	service.hooks = &hooks{logger: service.logger}
	service.readiness = &readiness{logger: service.logger, tell: service.health.setReady}
	healthpb.RegisterHealthServer(server, service.health.server)
	registerReflection(server)
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
func (s *Service) RegisterMethod(m rpc.Method) error {
	s.mu.Lock()
	s.registered = true
	s.mu.Unlock()
	return s.server.RegisterMethod(m)
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
	settings := s.settings
	settings.Middleware = s.observe.made(settings.Middleware)
	c, err := s.sources.connect(callee, s.proof, settings)
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

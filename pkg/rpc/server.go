package rpc

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/rpc/internal/connect"
	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// ServerOptions are the options of NewServer; the zero value is good.
type ServerOptions struct {
	// Service is the name that middleware is told of the server's service; ""
	// is none.
	Service string

	// ServerLimits bound what callers can cost; what is not set is as documented there.
	ServerLimits

	// Transport accepts the connections; nil is identity.Plaintext.
	Transport identity.Transport

	// Codecs serve content types beside proto, JSON and raw bytes.
	Codecs []Codec

	// Compressor compresses answers, such as "gzip", for callers that take it;
	// "" is none, but for callers that compress their requests so. A program
	// knows gzip that imports google.golang.org/grpc/encoding/gzip.
	Compressor string

	// Observers see every call of a method that there is, before it is
	// admitted and anything of it is read: for metrics, traces and logs.
	Observers []middleware.Middleware

	// Authorize decides on calls whose caller is known, before anything of
	// them is read; nil is to allow all. Its error is the caller's.
	Authorize func(context.Context, *middleware.Operation) error

	// Middleware sees the calls that are served, in the declared order, the
	// first outermost.
	Middleware []middleware.Middleware

	// GRPC are options for grpc-go, such as limits. Options that choose codecs,
	// credentials or who serves unknown methods are this package's own and must
	// not be among them.
	// Interceptors are better written as Middleware: grpc-go's for unary calls
	// run after it, those for streams run before a call is admitted, and see
	// messages that are not decoded.
	GRPC []grpc.ServerOption

	// DynamicWindows lets grpc-go find out, at some cost to each call, how much
	// of a stream may be under way, up to 16 MiB, instead of 1 MiB for all: for
	// clients on long fat links.
	DynamicWindows bool

	// Anonymous reports whether callers that showed no certificate are served;
	// it is asked at each of their calls. nil: none is.
	Anonymous func() bool

	// LoopbackOnly serves anonymous callers of this machine, and turns away
	// those of others and, of their HTTP requests, what a web page could have
	// made or what came through a proxy: for servers on a laptop.
	LoopbackOnly bool

	// Now is the wall clock that certificates are held against; nil is time.Now.
	Now func() time.Time

	// Logger takes what has no caller to be told; nil is silent.
	Logger *slog.Logger
}

// Server serves RPCs on one port. Make it with NewServer, register services,
// then Serve.
type Server struct {
	options   ServerOptions
	admission admission
	dispatch  dispatch
	calls     *callLimit
	idle      *idleStreams
	logger    *slog.Logger

	mu       sync.Mutex
	registry registry
	state    serverState
	cancel   context.CancelFunc // ends handshakes
	listener net.Listener
	done     chan struct{} // closed when Serve has returned
	sealed   bool
	files    *schema.Files // of the plain services, once sealed

	// Two gRPC servers of the same services: native has our clients'
	// connections, foreign answers what net/http hands it. A single one could
	// not stop gracefully: grpc-go's GracefulStop cuts off calls that came
	// through ServeHTTP, and net/http's Shutdown waits for them.
	native  *grpc.Server // nil until Serve: it begins with goroutines
	foreign *grpc.Server
	bridge  *connect.Bridge
	http    *http.Server

	newNative func() *grpc.Server
}

type serverState int

const (
	stateNew serverState = iota
	stateServing
	stateClosed
)

// NewServer returns a server without services. It does no I/O.
func NewServer(o ServerOptions) (*Server, error) {
	types := schema.New()
	table, err := newCodecs(o.Codecs, types)
	if err != nil {
		return nil, err
	}
	if err := checkCompressor(o.Compressor); err != nil {
		return nil, err
	}
	limits := &o.ServerLimits
	if err := limits.decide(); err != nil {
		return nil, err
	}
	if o.Transport == nil {
		o.Transport = identity.Plaintext()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	admission := admission{anonymous: o.Anonymous, loopback: o.LoopbackOnly, now: o.Now}
	s := &Server{
		options:   o,
		admission: admission,
		dispatch:  newDispatch(table, admission, o),
		registry:  registry{types: types},
		calls:     newCallLimit(o.MaxCalls),
		idle:      newIdleStreams(o.StreamIdleTimeout),
		logger:    o.Logger,
		done:      make(chan struct{}),
	}
	options := append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(envelopeCodec{}),
	}, slices.Concat(limits.grpc(), compressAnswers(o.Compressor), o.GRPC)...)
	unknown := s.wrap(unknown())
	s.foreign = grpc.NewServer(append(options[:len(options):len(options)], grpc.UnknownServiceHandler(wrapForeign(unknown, o.MaxStreams).Streams[0].Handler))...)
	s.newNative = func() *grpc.Server {
		return grpc.NewServer(slices.Concat(nativeTuning(o.DynamicWindows), options,
			[]grpc.ServerOption{grpc.UnknownServiceHandler(unknown.Streams[0].Handler), grpc.Creds(handedCredentials{})})...)
	}
	s.bridge = s.newBridge()
	s.http = s.newHTTPServer()
	return s, nil
}

// RegisterService implements grpc.ServiceRegistrar, for generated code. A
// mistake, such as a service registered twice or after Serve, is Serve's
// error.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		s.registry.err = errors.Join(s.registry.err, errSealed)
		return
	}
	s.registry.addService(desc, impl)
}

// RegisterMethod implements Registrar, for Handle.
func (s *Server) RegisterMethod(m Method) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		return errSealed
	}
	return s.registry.addMethod(m)
}

var errSealed = errors.New("rpc: services are registered before the server starts")

// ErrServerClosed is returned by Serve when the server was shut down before.
var ErrServerClosed = errors.New("rpc: the server is closed")

// GetServiceInfo implements reflection.ServiceInfoProvider: what is
// registered so far.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := make(map[string]grpc.ServiceInfo, len(s.registry.services))
	for name, r := range s.registry.services {
		var methods []grpc.MethodInfo
		for _, m := range r.desc.Methods {
			methods = append(methods, grpc.MethodInfo{Name: m.MethodName})
		}
		for _, m := range r.desc.Streams {
			methods = append(methods, grpc.MethodInfo{Name: m.StreamName, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams})
		}
		info[name] = grpc.ServiceInfo{Methods: methods, Metadata: r.desc.Metadata}
	}
	return info
}

// Encodings returns the names of the server's codecs: the content subtypes
// that calls may have.
func (s *Server) Encodings() []string { return s.dispatch.codecs.names() }

// Check returns the first mistake that was made in registering services. No
// more can be registered after it.
func (s *Server) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seal()
}

// seal ends the registering of services, and hands them to the foreign server.
func (s *Server) seal() error {
	if s.registry.err != nil || s.sealed {
		return s.registry.err
	}
	s.sealed = true
	if s.files, s.registry.err = s.registry.describe(); s.registry.err != nil {
		return s.registry.err
	}
	for _, name := range s.registry.order {
		r := s.registry.services[name]
		s.foreign.RegisterService(wrapForeign(s.wrap(r.desc), s.options.MaxStreams), r.impl)
		maps.Copy(s.bridge.Methods, r.httpMethods())
	}
	return nil
}

// wrap returns desc with every call dispatched, counted and watched.
func (s *Server) wrap(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	return s.dispatch.wrap(s.calls.wrapService(desc, s.idle))
}

// Serve accepts connections from lis, which it closes, until Shutdown. It
// returns nil after a Shutdown. It may be called once.
func (s *Server) Serve(lis net.Listener) error {
	s.mu.Lock()
	if err := s.seal(); err != nil {
		s.mu.Unlock()
		_ = lis.Close()
		return err
	}
	if s.state != stateNew {
		s.mu.Unlock()
		_ = lis.Close()
		return ErrServerClosed
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.state, s.listener, s.cancel = stateServing, lis, cancel
	s.native = s.newNative()
	for _, name := range s.registry.order {
		r := s.registry.services[name]
		s.native.RegisterService(s.wrap(r.desc), r.impl)
	}
	native, foreign := newHandoff(lis.Addr(), true), newHandoff(lis.Addr(), false)
	s.mu.Unlock()

	defer close(s.done)
	defer cancel()
	var servers sync.WaitGroup
	servers.Go(func() { _ = s.native.Serve(native) })
	servers.Go(func() { _ = s.http.Serve(foreign) })
	a := &acceptor{
		transport: s.options.Transport,
		loopback:  s.options.LoopbackOnly,
		now:       s.options.Now,
		timeout:   s.options.HandshakeTimeout,
		stalled:   s.options.WriteTimeout,
		alive:     net.KeepAliveConfig{Enable: true, Idle: s.options.KeepaliveTime, Interval: s.options.KeepaliveTimeout / keepaliveProbes, Count: keepaliveProbes},
		served:    s.admission.anonymousFrom,
		room:      &quota{max: int64(s.options.MaxConnections)},
		slots:     make(chan struct{}, s.options.MaxHandshakes),
		native:    native,
		foreign:   foreign,
		logger:    s.logger,
	}
	err := a.run(ctx, lis)
	_ = lis.Close()
	_ = native.Close()
	_ = foreign.Close()
	if err != nil {
		s.native.Stop()
		_ = s.http.Close()
	}
	servers.Wait()
	return err
}

// Shutdown stops accepting connections, tells every client to go elsewhere
// (GOAWAY) and waits for the calls in flight. When ctx ends first, it cuts
// them off and returns ctx's error; a handler that does not heed its own
// context then runs on. It is safe to call more than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	serving := s.state == stateServing
	s.state, s.sealed = stateClosed, true
	native := s.native
	if serving {
		s.cancel()
		_ = s.listener.Close()
	}
	s.mu.Unlock()

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if native != nil {
			native.GracefulStop()
		}
	}()
	httpErr := s.http.Shutdown(ctx)
	var err error
	select {
	case <-stopped:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		err = httpErr
	}
	// After a graceful stop these find nothing left to do.
	if native != nil {
		native.Stop()
	}
	_ = s.http.Close()
	s.foreign.Stop()
	if serving {
		<-s.done
	}
	return err
}

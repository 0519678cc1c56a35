package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/balancer"
	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/rpc/schema"
)

// Endpoints is where the instances of services are: a discovery.Discovery.
type Endpoints interface {
	Watch(ctx context.Context, service discovery.Service, set func(discovery.Snapshot)) error
}

// ConnOptions are the options of NewConn; the zero value is good.
type ConnOptions struct {
	// ConnLimits bound what the server can cost; what is not set is as documented there.
	ConnLimits

	// Transport secures the connections; nil is identity.Plaintext.
	Transport identity.Transport

	// Codecs serve content types beside proto, JSON and raw bytes.
	Codecs []Codec

	// Compressor compresses requests, such as "gzip", which a program knows that
	// imports google.golang.org/grpc/encoding/gzip; "" is none. A call's
	// grpc.UseCompressor goes before it. Answers come compressed as requests are.
	Compressor string

	// Traffic says how to call until SetTraffic says otherwise.
	Traffic Traffic

	// Middleware sees the calls that are made, in the declared order, the
	// first outermost; interceptors among GRPC come after it.
	Middleware []middleware.Middleware

	// Dial makes a connection to an address, host:port; nil is DialTCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	// GRPC are options for grpc-go, such as interceptors. Options that choose
	// codecs, credentials, resolvers or the service config are this package's
	// own and must not be among them.
	GRPC []grpc.DialOption

	// DynamicWindows is as ServerOptions.DynamicWindows, for what comes back.
	DynamicWindows bool

	// Now is the wall clock that certificates are held against; nil is time.Now.
	Now func() time.Time

	// Logger takes what has no caller to be told; nil is silent.
	Logger *slog.Logger
}

// Traffic says how a service is called; the zero value is good.
type Traffic struct {
	// Policy picks endpoints; "" is RoundRobin.
	Policy balancer.Policy

	// Timeout is the deadline of unary calls that bring none; 0 is none.
	Timeout time.Duration
}

// Conn is a connection to a service: to as many of its instances as the
// balancer wants. It is a grpc.ClientConnInterface, safe for concurrent use.
//
// A call that is made before it is known whether the service has instances
// waits until its deadline, or for 10 s if it has none. If there are no
// instances it is codes.Unavailable, and the message says who was asked.
type Conn struct {
	service   discovery.Service
	name      string // of the service
	endpoints Endpoints
	codecs    codecs
	chain     middleware.Handler // nil: there is no middleware
	cc        *grpc.ClientConn
	logger    *slog.Logger

	cancel   context.CancelFunc
	watching sync.WaitGroup
	synced   chan struct{} // closed once it is known whether there are instances
	syncOnce sync.Once

	timeout atomic.Int64 // of unary calls without a deadline; 0 = none

	mu     sync.Mutex
	closed bool
	last   discovery.Snapshot
	config string              // the gRPC service config
	tell   resolver.ClientConn // grpc-go, once it listens
}

// syncTimeout bounds how long a call without a deadline waits for discovery.
const syncTimeout = 10 * time.Second

// NewConn returns a connection to service. Connections are made in the
// background; Close ends them.
func NewConn(service discovery.Service, endpoints Endpoints, o ConnOptions) (*Conn, error) {
	table, err := newCodecs(o.Codecs, schema.New())
	if err != nil {
		return nil, err
	}
	serviceConfig, err := o.Traffic.serviceConfig()
	if err != nil {
		return nil, err
	}
	if err := checkCompressor(o.Compressor); err != nil {
		return nil, err
	}
	limits := &o.ConnLimits
	if err := limits.decide(); err != nil {
		return nil, err
	}
	if o.Transport == nil {
		o.Transport = identity.Plaintext()
	}
	if o.Dial == nil {
		o.Dial = DialTCP
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Conn{
		service: service, name: service.String(), endpoints: endpoints, codecs: table, chain: middleware.Chain(o.Middleware...),
		logger: o.Logger, synced: make(chan struct{}), config: serviceConfig,
	}
	c.timeout.Store(int64(o.Traffic.Timeout))
	c.cc, err = grpc.NewClient(scheme+":///"+service.String(), append(slices.Concat(clientTuning(o.DynamicWindows), limits.grpc(), compressRequests(o.Compressor), o.GRPC),
		grpc.WithResolvers(resolverBuilder{c}),
		grpc.WithTransportCredentials(replacingCredentials{o.Transport.Client(service.Namespace, service.Name), o.Now}),
		grpc.WithContextDialer(o.Dial),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithIdleTimeout(0), // discovery is watched for as long as the Conn is open
		grpc.WithNoProxy(),
	)...)
	if err != nil {
		return nil, fmt.Errorf("rpc: connection to %s: %w", service, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.watching.Go(func() {
		if err := endpoints.Watch(ctx, service, c.update); err != nil {
			c.logger.Error("watching endpoints", "service", service.String(), "error", err)
		}
	})
	c.cc.Connect()
	return c, nil
}

// Service returns the service's name.
func (c *Conn) Service() discovery.Service { return c.service }

// Snapshot returns what is known of the service's endpoints.
func (c *Conn) Snapshot() discovery.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Close ends the connection; calls in flight are cut off. It is safe to call
// more than once.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	err := c.cc.Close()
	c.watching.Wait()
	if err != nil && status.Code(err) != codes.Canceled { // closed before
		return err
	}
	return nil
}

// goWatched runs f in a goroutine that Close waits for, or reports false: the
// Conn is closed.
func (c *Conn) goWatched(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.watching.Go(f)
	return true
}

var errConnClosed = status.Error(codes.Canceled, "the connection is closed")

// Invoke implements grpc.ClientConnInterface.
func (c *Conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if c.chain != nil {
		return fromWire(ctx, c.through(ctx, method, args, reply, opts))
	}
	return c.invoke(ctx, method, args, reply, opts)
}

// invoke makes a unary call.
func (c *Conn) invoke(ctx context.Context, method string, args, reply any, opts []grpc.CallOption) error {
	if err := c.wait(ctx); err != nil {
		return fromWire(ctx, err)
	}
	opts, err := c.ownCodec(opts)
	if err != nil {
		return fromWire(ctx, err)
	}
	if timeout := time.Duration(c.timeout.Load()); timeout > 0 {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
	}
	return fromWire(ctx, c.cc.Invoke(ctx, method, args, reply, opts...))
}

// NewStream implements grpc.ClientConnInterface.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if c.chain != nil {
		stream, err := c.openThrough(ctx, desc, method, opts)
		return stream, fromWire(ctx, err)
	}
	stream := &clientStream{ctx: ctx}
	if err := stream.open(c, desc, method, opts); err != nil {
		return nil, err
	}
	return stream, nil
}

// ownCodec replaces grpc.CallContentSubtype, which would look in grpc-go's
// global registry, by the codec of that name from the table.
func (c *Conn) ownCodec(opts []grpc.CallOption) ([]grpc.CallOption, error) {
	if err := unknownCompressor(opts); err != nil {
		return nil, err
	}
	for i, o := range opts {
		if subtype, ok := o.(grpc.ContentSubtypeCallOption); ok {
			codec, err := c.codecs.lookup(subtype.ContentSubtype)
			if err != nil {
				return nil, err
			}
			opts = slices.Clone(opts)
			opts[i] = grpc.ForceCodecV2(codec)
		}
	}
	return opts, nil
}

// wait returns once it is known whether the service has instances.
func (c *Conn) wait(ctx context.Context) error {
	select {
	case <-c.synced:
		return nil
	default:
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, syncTimeout)
		defer cancel()
	}
	select {
	case <-c.synced:
		return nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return status.FromContextError(ctx.Err()).Err()
		}
		return status.Error(codes.Unavailable, c.Snapshot().Reason(c.service).Error())
	}
}

// SetTraffic changes how the service is called from the next call on.
func (c *Conn) SetTraffic(t Traffic) error {
	config, err := t.serviceConfig()
	if err != nil {
		return err
	}
	c.timeout.Store(int64(t.Timeout))
	c.mu.Lock()
	defer c.mu.Unlock()
	if config != c.config {
		c.config = config
		c.publish()
	}
	return nil
}

func (t Traffic) serviceConfig() (string, error) {
	if t.Timeout < 0 {
		return "", fmt.Errorf("rpc: timeout %v is negative", t.Timeout)
	}
	if t.Policy == "" {
		t.Policy = balancer.RoundRobin
	}
	return balancer.ServiceConfig(t.Policy)
}

// update takes a snapshot from discovery.
func (c *Conn) update(s discovery.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = s
	c.publish()
}

// publish tells grpc-go what is known. The caller holds mu.
func (c *Conn) publish() {
	if c.tell == nil || c.last.Synced.IsZero() {
		return
	}
	state := resolverState(c.service, c.last)
	state.ServiceConfig = c.tell.ParseServiceConfig(c.config)
	// An error says that the balancer wants to be told again soon; what is
	// known now was told, and a change will be.
	_ = c.tell.UpdateState(state)
	c.syncOnce.Do(func() { close(c.synced) })
}

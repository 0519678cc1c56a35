package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/xinhari/xinhari/pkg/catalog"
	"github.com/xinhari/xinhari/pkg/discovery"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/middleware"
	"github.com/xinhari/xinhari/pkg/rpc"
)

// Options are the options of New; the zero value is good.
type Options struct {
	// Version of the program, announced where the profile announces; "" is none.
	Version string

	// Namespace of the service; "" is XINHARI_NAMESPACE, else that of the pod
	// in a cluster and "default" elsewhere.
	Namespace string

	// Address to serve RPCs on, host:port; "" is XINHARI_ADDRESS, else :8080
	// in a cluster and a free port of 127.0.0.1 elsewhere.
	Address string

	// AdminAddress is where /healthz, /readyz and /metrics are served by plain HTTP; ""
	// is XINHARI_ADMIN_ADDRESS, else :8081 in a cluster and none elsewhere.
	// "off" is none: of several Services in one process, all but one need it.
	AdminAddress string

	// Profile says what the service runs in; "" finds out.
	Profile Profile

	// Logger takes the runtime's own log; nil writes to standard error, from
	// the level in XINHARI_LOG on (debug, info, warn, error or off; info if it
	// is not set), as JSON in a cluster.
	Logger *slog.Logger

	// Manifests is a folder of the four kinds' YAML, for the local profile; ""
	// is XINHARI_MANIFESTS, else there are none.
	Manifests string

	// Discovery finds instances; nil is the profile's: mDNS on the loopback
	// interface, or Kubernetes.
	Discovery *discovery.Discovery

	// Catalog reads the four kinds; nil is the profile's: Manifests, or
	// Kubernetes.
	Catalog *catalog.Catalog

	// Identity is where the service's certificate comes from; nil is the
	// profile's: the operator, or this user's local CA. The Service runs it,
	// and no two share one.
	Identity *identity.Source

	// Transport, if not nil, takes the place of mutual TLS by Identity, and
	// callers that it does not identify are served as anonymous ones:
	// identity.Plaintext is for where something else secures connections.
	Transport identity.Transport

	// Network makes listeners and connections; nil is TCP.
	Network Network

	// Codecs serve content types beside proto and JSON, both ways.
	Codecs []rpc.Codec

	// Compressor compresses what the service sends to those who can take it;
	// "" is not to. A program knows "gzip" that imports
	// google.golang.org/grpc/encoding/gzip, and others by grpc-go's registry.
	Compressor string

	// Middleware sees the service's calls, those that it serves and those that
	// it makes, in the declared order, the first outermost. Outside of it are
	// the runtime's own: traces, metrics, access log and recovery from panics,
	// and, of what is served, admission. Served calls get no deadline that they
	// do not bring, unless middleware.Deadline is among these.
	Middleware []middleware.Middleware

	// TracerProvider takes a span of each operation, by OpenTelemetry's
	// conventions, and says what is sampled; nil is not to trace, and not to
	// pass on the traces of others.
	TracerProvider trace.TracerProvider

	// AccessLog takes a line for each operation that is over; nil is none.
	AccessLog *slog.Logger

	// ServerLimits bound what callers can cost this service, ConnLimits what
	// those that it calls can.
	ServerLimits rpc.ServerLimits
	ConnLimits   rpc.ConnLimits

	// DynamicWindows lets grpc-go find out how much of a stream may be under
	// way; see rpc.ServerOptions.
	DynamicWindows bool

	// ServerOptions and DialOptions are handed to grpc-go; see
	// rpc.ServerOptions and rpc.ConnOptions for those that must not be here.
	ServerOptions []grpc.ServerOption
	DialOptions   []grpc.DialOption

	// DrainTimeout bounds how long a stopping service in a cluster waits
	// until it sees itself taken out of service, before it tells its clients
	// to go elsewhere; 0 is 5 s.
	DrainTimeout time.Duration

	// ShutdownTimeout bounds the whole stop in Run; calls still in flight
	// then are cut off. 0 is 25 s, which fits Kubernetes' default of 30 s.
	ShutdownTimeout time.Duration

	// NoSignals leaves SIGINT and SIGTERM to the program: Run then ends with
	// its context only.
	NoSignals bool
}

const (
	defaultDrainTimeout    = 5 * time.Second
	defaultShutdownTimeout = 25 * time.Second
)

// Network makes listeners and connections. It is safe for concurrent use.
type Network interface {
	Listen(ctx context.Context, address string) (net.Listener, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// settings are Options with everything decided.
type settings struct {
	Options
	service discovery.Service
	why     string // why the profile is what it is
}

// decide fills in what the options leave open, from the environment.
func decide(name string, o Options, getenv func(string) string) (settings, error) {
	profile, why, err := decideProfile(o.Profile, getenv)
	if err != nil {
		return settings{}, err
	}
	o.Profile = profile
	if o.Logger == nil {
		if o.Logger, err = newLogger(profile, getenv("XINHARI_LOG")); err != nil {
			return settings{}, err
		}
	}
	o.Namespace = first(o.Namespace, getenv("XINHARI_NAMESPACE"))
	if o.Namespace == "" {
		if o.Namespace, err = profile.namespace(getenv); err != nil {
			return settings{}, err
		}
	}
	service, err := discovery.ParseService(name+"."+o.Namespace, "")
	if err != nil {
		return settings{}, fmt.Errorf("xinhari: service %q in namespace %q: both want to be DNS labels: up to 63 of a-z, 0-9 and -", name, o.Namespace)
	}
	o.Address = first(o.Address, getenv("XINHARI_ADDRESS"), profile.address())
	if _, _, err := net.SplitHostPort(o.Address); err != nil {
		return settings{}, fmt.Errorf("xinhari: address %q: want host:port, such as 127.0.0.1:8080 or :8080: %w", o.Address, err)
	}
	o.AdminAddress = first(o.AdminAddress, getenv("XINHARI_ADMIN_ADDRESS"), profile.adminAddress())
	if o.AdminAddress != off {
		if _, _, err := net.SplitHostPort(o.AdminAddress); err != nil {
			return settings{}, fmt.Errorf("xinhari: admin address %q: want host:port, or %q for none: %w", o.AdminAddress, off, err)
		}
	}
	o.Manifests = first(o.Manifests, getenv("XINHARI_MANIFESTS"))
	if o.Manifests != "" && profile == Kubernetes {
		return settings{}, errors.New("xinhari: a folder of manifests (XINHARI_MANIFESTS) is for the local profile: in a cluster apply them with kubectl")
	}
	if profile == Test && (o.Discovery == nil || o.Identity == nil && o.Transport == nil) {
		return settings{}, errors.New("xinhari: the test profile needs a network of its own: make the Service with runtimetest.New(t).Service(...)")
	}
	if o.DrainTimeout < 0 || o.ShutdownTimeout < 0 {
		return settings{}, errors.New("xinhari: DrainTimeout or ShutdownTimeout is negative")
	}
	if err := o.ConnLimits.Check(); err != nil {
		return settings{}, fmt.Errorf("xinhari: ConnLimits: %w", err)
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = defaultDrainTimeout
	}
	if o.ShutdownTimeout == 0 {
		o.ShutdownTimeout = defaultShutdownTimeout
	}
	if o.Network == nil {
		o.Network = tcp{}
	}
	return settings{Options: o, service: service, why: why}, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

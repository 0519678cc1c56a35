package rpc

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// ServerLimits bound what callers can cost a server; the zero value is good.
// A negative limit is NewServer's error. What exceeds a limit of calls or
// messages is codes.ResourceExhausted, and the message names the limit.
type ServerLimits struct {
	// MaxMessage is the size in bytes of the largest message that is received,
	// as it is encoded and not compressed. 0 is 4 MiB.
	MaxMessage int

	// MaxSendMessage is the size in bytes of the largest message that is sent.
	// 0 is 2 GiB, the most that there can be: each client has a limit of its own.
	MaxSendMessage int

	// MaxHeaderBytes is the size of a call's headers (its metadata, path and
	// content type), measured as HTTP/2 does: names, values and 32 bytes for
	// each. 0 is 64 KiB.
	MaxHeaderBytes int

	// MaxStreams is how many calls a connection may have open at once; clients
	// have further ones wait. 0 is 1000.
	MaxStreams int

	// MaxCalls is how many calls may be open at once at this server, of all
	// callers together; further ones are refused. 0 is 16384; math.MaxInt is
	// no limit.
	MaxCalls int

	// MaxConnections is how many connections may be open at once; further ones
	// are closed. 0 is 16384; math.MaxInt is no limit.
	MaxConnections int

	// MaxHandshakes bounds how many handshakes are under way at once; more
	// connections wait to be accepted. 0 is 256.
	MaxHandshakes int

	// HandshakeTimeout bounds one handshake, and after it the time until the
	// client speaks. 0 is 10 s.
	HandshakeTimeout time.Duration

	// BodyTimeout bounds how long an HTTP client may take to send the body of
	// a unary call. 0 is 30 s.
	BodyTimeout time.Duration

	// WriteTimeout bounds how long the server waits for a client that takes
	// nothing off its connection, or very little (some 64 KiB in that time),
	// before it closes the connection. 0 is 1 min. It does not touch streams
	// whose messages a client lets wait: HTTP/2 holds those back one by one.
	WriteTimeout time.Duration

	// IdleTimeout is how long a connection may be open without a call. 0 is
	// 10 min.
	IdleTimeout time.Duration

	// StreamIdleTimeout is how long a streaming call may be open without a
	// message either way, before it ends with codes.DeadlineExceeded. 0 is no
	// limit: many a stream is quiet for good reason.
	StreamIdleTimeout time.Duration

	// KeepaliveTime is how long a connection may be silent until the server
	// asks whether the client is still there, KeepaliveTimeout how long that
	// may take to answer: clients that vanish are noticed after both. 0 is
	// 20 s and 10 s. grpc-go takes less than 1 s for 1 s.
	KeepaliveTime    time.Duration
	KeepaliveTimeout time.Duration
}

// ConnLimits bound what a server can cost its client; the zero value is good.
// A negative limit is NewConn's error.
type ConnLimits struct {
	// MaxMessage is the size in bytes of the largest message that is received,
	// as it is encoded and not compressed. 0 is 4 MiB.
	MaxMessage int

	// MaxSendMessage is the size in bytes of the largest message that is sent.
	// 0 is 2 GiB, the most that there can be: the server has a limit of its own.
	MaxSendMessage int

	// MaxHeaderBytes is the size of an answer's headers and trailers, measured
	// as ServerLimits.MaxHeaderBytes is. 0 is 64 KiB.
	MaxHeaderBytes int

	// KeepaliveTime is how long a connection with open calls may be silent
	// until the client asks by HTTP/2 whether the server is still there,
	// KeepaliveTimeout how long that may take to answer; 0 is not to ask, and
	// 10 s. A server whose machine is gone is noticed without it, by TCP; it
	// is for proxies that stay when the server goes. Servers that are not this
	// package's may take it for an attack: those of grpc-go close the
	// connection if asked more often than every 5 min.
	KeepaliveTime    time.Duration
	KeepaliveTimeout time.Duration
}

const (
	defaultMaxMessage       = 4 << 20
	defaultMaxHeaderBytes   = 64 << 10
	defaultMaxStreams       = 1000
	defaultMaxCalls         = 16384
	defaultMaxConnections   = 16384
	defaultMaxHandshakes    = 256
	defaultHandshakeTimeout = 10 * time.Second
	defaultBodyTimeout      = 30 * time.Second
	defaultWriteTimeout     = time.Minute
	defaultIdleTimeout      = 10 * time.Minute
	defaultKeepaliveTime    = 20 * time.Second
	defaultKeepaliveTimeout = 10 * time.Second

	// headerTimeout bounds how long an HTTP client may take for its headers.
	headerTimeout = 10 * time.Second

	// pingEvery is the shortest time between two pings of a client: half of the
	// shortest that grpc-go's clients let their users choose.
	pingEvery = 5 * time.Second
)

// limit is one field of a struct of limits.
type limit[T int | time.Duration] struct {
	name  string
	value *T
	zero  T // what 0 stands for
}

// decide fills in what is not set.
func decide[T int | time.Duration](limits ...limit[T]) error {
	for _, l := range limits {
		if *l.value < 0 {
			return fmt.Errorf("rpc: %s is negative", l.name)
		}
		if *l.value == 0 {
			*l.value = l.zero
		}
	}
	return nil
}

func (l *ServerLimits) decide() error {
	if err := decide(
		limit[int]{"MaxMessage", &l.MaxMessage, defaultMaxMessage},
		limit[int]{"MaxSendMessage", &l.MaxSendMessage, math.MaxInt32},
		limit[int]{"MaxHeaderBytes", &l.MaxHeaderBytes, defaultMaxHeaderBytes},
		limit[int]{"MaxStreams", &l.MaxStreams, defaultMaxStreams},
		limit[int]{"MaxCalls", &l.MaxCalls, defaultMaxCalls},
		limit[int]{"MaxConnections", &l.MaxConnections, defaultMaxConnections},
		limit[int]{"MaxHandshakes", &l.MaxHandshakes, defaultMaxHandshakes},
	); err != nil {
		return err
	}
	if l.MaxHeaderBytes > math.MaxInt32 || l.MaxStreams > math.MaxInt32 {
		return fmt.Errorf("rpc: MaxHeaderBytes and MaxStreams are at most %d", math.MaxInt32)
	}
	return decide(
		limit[time.Duration]{"HandshakeTimeout", &l.HandshakeTimeout, defaultHandshakeTimeout},
		limit[time.Duration]{"BodyTimeout", &l.BodyTimeout, defaultBodyTimeout},
		limit[time.Duration]{"WriteTimeout", &l.WriteTimeout, defaultWriteTimeout},
		limit[time.Duration]{"IdleTimeout", &l.IdleTimeout, defaultIdleTimeout},
		limit[time.Duration]{"StreamIdleTimeout", &l.StreamIdleTimeout, 0},
		limit[time.Duration]{"KeepaliveTime", &l.KeepaliveTime, defaultKeepaliveTime},
		limit[time.Duration]{"KeepaliveTimeout", &l.KeepaliveTimeout, defaultKeepaliveTimeout},
	)
}

// grpc are the limits that grpc-go keeps.
func (l *ServerLimits) grpc() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(l.MaxMessage),
		grpc.MaxSendMsgSize(l.MaxSendMessage),
		grpc.MaxHeaderListSize(uint32(l.MaxHeaderBytes)),
		grpc.MaxConcurrentStreams(uint32(l.MaxStreams)),
		grpc.ConnectionTimeout(l.HandshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: l.IdleTimeout,
			Time:              l.KeepaliveTime,
			Timeout:           l.KeepaliveTimeout,
		}),
		// Clients may ask whether the server is there, also without a call.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery, PermitWithoutStream: true}),
	}
}

// http sets the limits that net/http keeps.
func (l *ServerLimits) http(s *http.Server) {
	s.ReadHeaderTimeout = headerTimeout
	s.IdleTimeout = l.IdleTimeout
	s.MaxHeaderBytes = l.MaxHeaderBytes
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: l.MaxStreams,
		SendPingTimeout:      l.KeepaliveTime,
		PingTimeout:          l.KeepaliveTimeout,
		WriteByteTimeout:     l.WriteTimeout,
	}
}

// boundBodies wraps next with BodyTimeout, for bodies that are read at once. A
// body that was read to its end has no deadline any more, so handlers may take
// their time, and so may streams.
func (l *ServerLimits) boundBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := http.NewResponseController(w)
		if r.Body != http.NoBody && !streams(r.Header.Get("Content-Type")) {
			_ = conn.SetReadDeadline(time.Now().Add(l.BodyTimeout)) // an error is that there is no connection
		}
		next.ServeHTTP(w, r)
		if r.ProtoMajor == 1 {
			// What was not read of the body net/http reads now, to keep the
			// connection. It sets a deadline of its own afterwards.
			_ = conn.SetReadDeadline(time.Now().Add(lastAnswer))
		}
	})
}

// streams reports whether bodies of the content type are streams: those of
// gRPC, and Connect's application/connect+json and the like.
func streams(contentType string) bool {
	return strings.HasPrefix(contentType, "application/grpc") || strings.HasPrefix(contentType, "application/connect+")
}

// Check returns what NewConn would find wrong with the limits.
func (l ConnLimits) Check() error { return l.decide() }

func (l *ConnLimits) decide() error {
	if err := decide(
		limit[int]{"MaxMessage", &l.MaxMessage, defaultMaxMessage},
		limit[int]{"MaxSendMessage", &l.MaxSendMessage, math.MaxInt32},
		limit[int]{"MaxHeaderBytes", &l.MaxHeaderBytes, defaultMaxHeaderBytes},
	); err != nil {
		return err
	}
	if l.MaxHeaderBytes > math.MaxInt32 {
		return fmt.Errorf("rpc: MaxHeaderBytes is at most %d", math.MaxInt32)
	}
	return decide(
		limit[time.Duration]{"KeepaliveTime", &l.KeepaliveTime, 0},
		limit[time.Duration]{"KeepaliveTimeout", &l.KeepaliveTimeout, defaultKeepaliveTimeout},
	)
}

// grpc are the limits that grpc-go keeps.
func (l *ConnLimits) grpc() []grpc.DialOption {
	options := []grpc.DialOption{grpc.WithMaxHeaderListSize(uint32(l.MaxHeaderBytes))}
	// Call options that all calls have cost each call that has others an
	// allocation, so those that change nothing are left out.
	if l.MaxMessage != defaultMaxMessage {
		options = append(options, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(l.MaxMessage)))
	}
	if l.MaxSendMessage != math.MaxInt32 {
		options = append(options, grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(l.MaxSendMessage)))
	}
	if l.KeepaliveTime > 0 {
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: l.KeepaliveTime, Timeout: l.KeepaliveTimeout}))
	}
	return options
}

// quota counts what is open of something that is limited.
type quota struct {
	open atomic.Int64
	max  int64
}

// take counts one more, or reports false where there are as many as may be. It
// allocates nothing.
func (q *quota) take() bool {
	if q.open.Add(1) > q.max {
		q.open.Add(-1)
		return false
	}
	return true
}

func (q *quota) give() { q.open.Add(-1) }

// callLimit bounds the calls that are open at a server.
type callLimit struct {
	quota
	refused error
}

func newCallLimit(most int) *callLimit {
	return &callLimit{quota: quota{max: int64(most)}, refused: status.Errorf(codes.ResourceExhausted,
		"%d calls are open at this server, the most that ServerOptions.MaxCalls allows", most)}
}

// wrapService returns desc with its calls counted, before anything of them is
// read.
func (l *callLimit) wrapService(desc grpc.ServiceDesc, idle *idleStreams) grpc.ServiceDesc {
	methods := make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		methods[i] = grpc.MethodDesc{MethodName: m.MethodName, Handler: func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			if !l.take() {
				return nil, l.refused
			}
			defer l.give()
			return m.Handler(srv, ctx, dec, interceptor)
		}}
	}
	streams := make([]grpc.StreamDesc, len(desc.Streams))
	for i, s := range desc.Streams {
		streams[i] = s
		next := idle.wrapHandler(s.Handler)
		streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			if !l.take() {
				return l.refused
			}
			defer l.give()
			return next(srv, stream)
		}
	}
	desc.Methods, desc.Streams = methods, streams
	return desc
}

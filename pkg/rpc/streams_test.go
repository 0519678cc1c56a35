package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/xinhari/xinhari/pkg/rpc"
)

type (
	number = wrapperspb.Int64Value
	blob   = wrapperspb.BytesValue
)

// streaming registers a service Streams with one bidirectional method, Do.
func streaming(do func(grpc.ServerStream) error) func(*testServer) {
	return func(s *testServer) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "Streams", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
			StreamName: "Do", ClientStreams: true, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return do(stream) },
		}}}, nil)
	}
}

// bidirectional is how clients see the method Do.
func bidirectional() *grpc.StreamDesc {
	return &grpc.StreamDesc{StreamName: "Do", ClientStreams: true, ServerStreams: true}
}

func open(ctx context.Context, t *testing.T, cc grpc.ClientConnInterface) grpc.ClientStream {
	t.Helper()
	stream, err := cc.NewStream(ctx, bidirectional(), "/Streams/Do")
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// eachClient runs a test with a client of this project and with another one.
func eachClient(t *testing.T, s *testServer, test func(*testing.T, grpc.ClientConnInterface)) {
	t.Helper()
	t.Run("our client", func(t *testing.T) { test(t, ownConn(t, rpc.ConnOptions{}, s.addr)) })
	t.Run("another client", func(t *testing.T) { test(t, foreignConn(t, s.addr)) })
}

func TestACountEndsWithEOF(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, streaming(func(stream grpc.ServerStream) error {
		count := new(number)
		if err := stream.RecvMsg(count); err != nil {
			return err
		}
		for i := range count.Value {
			if err := stream.SendMsg(wrapperspb.Int64(i)); err != nil {
				return err
			}
		}
		return nil
	}))
	eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
		stream := open(t.Context(), t, cc)
		if err := errors.Join(stream.SendMsg(wrapperspb.Int64(10)), stream.CloseSend()); err != nil {
			t.Fatal(err)
		}
		for want := range int64(10) {
			got := new(number)
			if err := stream.RecvMsg(got); err != nil || got.Value != want {
				t.Fatalf("%d, %v; want %d", got.Value, err, want)
			}
		}
		if err := stream.RecvMsg(new(number)); !errors.Is(err, io.EOF) {
			t.Errorf("after the last: %v, want EOF", err)
		}
	})
}

// echo sends back what it receives, until the client has no more, and then
// once more, so that the half that is still open is used.
func echo(stream grpc.ServerStream) error {
	for {
		m := new(number)
		err := stream.RecvMsg(m)
		if errors.Is(err, io.EOF) {
			return stream.SendMsg(wrapperspb.Int64(-1))
		}
		if err == nil {
			err = stream.SendMsg(m)
		}
		if err != nil {
			return err
		}
	}
}

// ping sends n numbers and holds that each comes back, in order.
func ping(stream grpc.ClientStream, n int64) error {
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := stream.SendMsg(wrapperspb.Int64(i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	for want := range n + 1 {
		if want == n {
			want = -1
		}
		got := new(number)
		if err := stream.RecvMsg(got); err != nil || got.Value != want {
			return fmt.Errorf("%d, %w; want %d", got.Value, err, want)
		}
	}
	if err := stream.RecvMsg(new(number)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last: %w", err)
	}
	return <-sent
}

func TestPingsAreEchoedInOrder(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, streaming(echo))
	eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
		if err := ping(open(t.Context(), t, cc), 1000); err != nil {
			t.Error(err)
		}
	})
}

// countingListener counts the connections that it accepted.
type countingListener struct {
	net.Listener
	accepted atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return conn, err
}

func TestStreamsShareAConnection(t *testing.T) {
	for _, streams := range []int{64, 600} {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		counted := &countingListener{Listener: lis}
		var here sync.WaitGroup // all streams are open at once
		s := newServerOn(t, counted, rpc.ServerOptions{}, streaming(func(stream grpc.ServerStream) error {
			here.Done()
			here.Wait()
			return echo(stream)
		}))
		before := int32(0) // clients may connect as soon as they are made
		eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			here.Add(streams)
			results := make(chan error, streams)
			for range streams {
				go func() {
					stream, err := cc.NewStream(ctx, bidirectional(), "/Streams/Do")
					if err == nil {
						err = ping(stream, 10)
					}
					results <- err
				}()
			}
			for range streams {
				if err := <-results; err != nil {
					t.Fatal(err)
				}
			}
			n := counted.accepted.Load()
			if n-before != 1 {
				t.Errorf("%d streams took %d connections", streams, n-before)
			}
			before = n
		})
	}
}

// severable is a connection to a server that can be cut off.
type severable struct {
	net.Conn
	gone   chan struct{}
	once   sync.Once
	closed chan struct{}
	ended  sync.Once
}

// cut has nothing arrive any more, either way, as if the network were gone.
func (c *severable) cut() { c.once.Do(func() { close(c.gone) }) }

func (c *severable) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.gone:
		if err == nil {
			<-c.closed
			return 0, net.ErrClosed
		}
	default:
	}
	return n, err
}

func (c *severable) Close() error {
	c.ended.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *severable) Write(p []byte) (int, error) {
	select {
	case <-c.gone:
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}

// A handler whose caller has gone is free at once, whatever it was doing.
func TestAnEndedCallFreesItsHandler(t *testing.T) {
	type doing struct {
		name string
		do   func(grpc.ServerStream) error
	}
	type way struct {
		name   string
		limits rpc.ServerLimits
		within time.Duration
		end    func(cancel func(), conn *severable)
	}
	for _, d := range []doing{
		{"waiting for a message", func(s grpc.ServerStream) error { return s.RecvMsg(new(number)) }},
		{"waiting to send", func(s grpc.ServerStream) error {
			for {
				if err := s.SendMsg(wrapperspb.Bytes(make([]byte, 64<<10))); err != nil {
					return err
				}
			}
		}},
		{"waiting for its context", func(s grpc.ServerStream) error { <-s.Context().Done(); return s.Context().Err() }},
	} {
		for _, w := range []way{
			{"the client cancels", rpc.ServerLimits{}, time.Second, func(cancel func(), _ *severable) { cancel() }},
			{"the client's process dies", rpc.ServerLimits{}, time.Second, func(_ func(), c *severable) { _ = c.Conn.Close() }},
			{"the network is cut", rpc.ServerLimits{KeepaliveTime: time.Second, KeepaliveTimeout: time.Second}, 4 * time.Second, func(_ func(), c *severable) { c.cut() }},
		} {
			for _, own := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, our client %v", d.name, w.name, own), func(t *testing.T) {
					t.Parallel()
					entered, left := make(chan struct{}, 1), make(chan error, 1)
					s := newServer(t, rpc.ServerOptions{ServerLimits: w.limits}, streaming(func(stream grpc.ServerStream) error {
						entered <- struct{}{}
						err := d.do(stream)
						left <- err
						return err
					}))
					conns := make(chan *severable, 10)
					dial := func(ctx context.Context, address string) (net.Conn, error) {
						conn, err := rpc.DialTCP(ctx, address)
						if err != nil {
							return nil, err
						}
						c := &severable{Conn: conn, gone: make(chan struct{}), closed: make(chan struct{})}
						conns <- c
						return c, nil
					}
					var cc grpc.ClientConnInterface
					if own {
						cc = ownConn(t, rpc.ConnOptions{Dial: dial}, s.addr)
					} else {
						cc = foreignConn(t, s.addr, grpc.WithContextDialer(dial))
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					open(ctx, t, cc)
					<-entered
					began := time.Now()
					w.end(cancel, <-conns)
					select {
					case err := <-left:
						if err == nil {
							t.Error("the handler was told nothing")
						}
						if took := time.Since(began); took > w.within {
							t.Errorf("the handler was free after %v", took)
						}
					case <-time.After(20 * time.Second):
						t.Fatal("the handler is still busy")
					}
				})
			}
		}
	}
}

func TestAStreamEndsWithTheClientsDeadline(t *testing.T) {
	left := make(chan error, 1)
	s := newServer(t, rpc.ServerOptions{}, streaming(func(stream grpc.ServerStream) error {
		err := stream.RecvMsg(new(number))
		left <- err
		return err
	}))
	eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		stream := open(ctx, t, cc)
		if err := stream.RecvMsg(new(number)); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("the client got %v", err)
		}
		select {
		case err := <-left:
			if err == nil {
				t.Error("the handler got a message")
			}
		case <-time.After(time.Second):
			t.Error("the handler is still busy")
		}
	})
}

func TestShutdownAndStreams(t *testing.T) {
	for _, own := range []bool{true, false} {
		for _, patient := range []bool{true, false} {
			t.Run(fmt.Sprintf("our client %v, with time %v", own, patient), func(t *testing.T) {
				s := newServer(t, rpc.ServerOptions{}, streaming(echo))
				var cc grpc.ClientConnInterface = foreignConn(t, s.addr)
				if own {
					cc = ownConn(t, rpc.ConnOptions{}, s.addr)
				}
				stream := open(t.Context(), t, cc)
				once := func() error {
					if err := stream.SendMsg(wrapperspb.Int64(1)); err != nil {
						return err
					}
					return stream.RecvMsg(new(number))
				}
				if err := once(); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stopped := make(chan error, 1)
				go func() { stopped <- s.Shutdown(ctx) }()
				waitRefused(t, s.addr)
				if err := once(); err != nil {
					t.Fatalf("after the shutdown began: %v", err)
				}
				if !patient {
					cancel()
					if err := <-stopped; !errors.Is(err, context.Canceled) {
						t.Errorf("Shutdown: %v", err)
					}
					if err := stream.RecvMsg(new(number)); status.Code(err) != codes.Unavailable {
						t.Errorf("the stream got %v, want Unavailable", err)
					}
					return
				}
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if err := stream.RecvMsg(new(number)); err != nil {
					t.Error(err)
				}
				if err := stream.RecvMsg(new(number)); !errors.Is(err, io.EOF) {
					t.Errorf("the stream ended with %v", err)
				}
				if err := <-stopped; err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			})
		}
	}
}

package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// memory is what the process has in use: client and server alike.
func memory() (bytes int64, goroutines int) {
	runtime.GC()
	runtime.GC() // what the first one found in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), runtime.NumGoroutine()
}

// settled waits until n stands still, and returns it.
func settled(n *atomic.Int64) int64 {
	const quiet = 500 * time.Millisecond
	last, since := n.Load(), time.Now()
	for time.Since(since) < quiet {
		time.Sleep(20 * time.Millisecond) // until nothing happens is what is measured
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
	}
	return last
}

// messages are what both ends of a stream have in common.
type messages interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// A reader that does not read holds the sender up, so that neither side's
// memory grows, and nothing is lost when it reads on.
func TestASlowReaderHoldsTheSenderUp(t *testing.T) {
	const (
		size  = 64 << 10
		total = 512                   // messages, 32 MiB
		held  = total * size / 4      // bytes that may be under way, whatever the windows
		heap  = int64(2*held + 4<<20) // at both sides
	)
	send := func(stream messages, sent *atomic.Int64) error {
		for range total {
			if err := stream.SendMsg(wrapperspb.Bytes(make([]byte, size))); err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	}
	receive := func(stream messages) error {
		for i := range total {
			if err := stream.RecvMsg(new(blob)); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		}
		return nil
	}
	for _, c := range []struct {
		name     string
		upstream bool // the client sends
	}{{"the server reads slowly", true}, {"the client reads slowly", false}} {
		t.Run(c.name, func(t *testing.T) {
			read := make(chan struct{})
			var sent *atomic.Int64
			s := newServer(t, rpc.ServerOptions{}, streaming(func(stream grpc.ServerStream) error {
				if !c.upstream {
					return send(stream, sent)
				}
				<-read
				return receive(stream)
			}))
			eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
				read, sent = make(chan struct{}), new(atomic.Int64)
				before, _ := memory()
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()
				stream := open(ctx, t, cc)
				done := make(chan error, 1)
				if c.upstream {
					go func() { done <- send(stream, sent) }()
				}
				n := settled(sent) * size
				if n == 0 || n > held {
					t.Errorf("%d bytes were sent to a reader that does not read, of %d", n, total*size)
				}
				after, _ := memory()
				if grown := after - before; grown > heap {
					t.Errorf("%d bytes of memory for %d that were sent", grown, n)
				}
				t.Logf("%d KiB sent, %d KiB of memory at both sides", n>>10, (after-before)>>10)
				close(read)
				if !c.upstream {
					if err := receive(stream); err != nil {
						t.Fatal(err)
					}
				} else if err := <-done; err != nil {
					t.Fatal(err)
				}
				if err := stream.RecvMsg(new(blob)); !errors.Is(err, io.EOF) {
					t.Errorf("the stream ended with %v", err)
				}
			})
		})
	}
}

// limited is the error of a call that exceeded a limit.
func limited(t *testing.T, err error, want ...string) {
	t.Helper()
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v, want ResourceExhausted", err)
	}
	for _, text := range want {
		if !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%v does not name %q", err, text)
		}
	}
}

func TestLimitsOfMessages(t *testing.T) {
	unary := func(cc grpc.ClientConnInterface, size int) error {
		_, err := testgrpc.NewTestServiceClient(cc).UnaryCall(t.Context(), &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, size)}})
		return err
	}
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{MaxMessage: 1 << 20, MaxSendMessage: 1 << 19}}, nil)
	eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
		if err := unary(cc, 1<<18); err != nil {
			t.Error(err)
		}
		limited(t, unary(cc, 3<<18), "524288") // the answer
		limited(t, unary(cc, 1<<20), "1048576")
	})
	t.Run("JSON", func(t *testing.T) {
		code, body := post(t, s.addr, "/Echo/Echo", `{"text":"`+strings.Repeat("x", 1<<20)+`"}`)
		if code != http.StatusRequestEntityTooLarge || !strings.Contains(body, "resource_exhausted") || !strings.Contains(body, "ServerOptions.MaxMessage") {
			t.Errorf("%d %s", code, body)
		}
	})
	t.Run("the client's", func(t *testing.T) {
		cc := ownConn(t, rpc.ConnOptions{ConnLimits: rpc.ConnLimits{MaxMessage: 1 << 10, MaxSendMessage: 1 << 12}}, s.addr)
		if err := unary(cc, 1000); err != nil {
			t.Error(err)
		}
		limited(t, unary(cc, 2000), "1024")
		limited(t, unary(cc, 5000), "4096")
	})
}

func TestLimitsOfHeaders(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, func(s *testServer) {
		if err := rpc.Handle(s, "Headers/Back", func(ctx context.Context, r *echoRequest) (*echoRequest, error) {
			return r, grpc.SetHeader(ctx, metadata.Pairs("x", strings.Repeat("x", int(r.N))))
		}); err != nil {
			t.Fatal(err)
		}
	})
	for _, c := range []struct {
		size int
		good bool
	}{{60 << 10, true}, {72 << 10, false}} { // net/http allows 4 KiB more
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", c.size))
		eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
			err := call(ctx, cc)
			if (err == nil) != c.good {
				t.Errorf("%d bytes: %v", c.size, err)
			}
			if _, own := cc.(*rpc.Conn); own && !c.good {
				limited(t, err, "ServerOptions.MaxHeaderBytes", "65536")
			}
		})
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr.String()+"/Echo/Echo", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X", strings.Repeat("x", c.size))
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		switch {
		case err == nil && answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge,
			(err == nil && answer.StatusCode == http.StatusOK) != c.good:
			t.Errorf("HTTP/1.1, %d bytes: %v, %v", c.size, answer, err)
		case err == nil:
			_ = answer.Body.Close()
		default: // the connection was reset while the client still wrote
		}
	}
	t.Run("the client's", func(t *testing.T) {
		cc := ownConn(t, rpc.ConnOptions{ConnLimits: rpc.ConnLimits{MaxHeaderBytes: 1 << 10}}, s.addr)
		if _, err := rpc.Call[echoRequest](t.Context(), cc, "Headers/Back", &echoRequest{N: 500}); err != nil {
			t.Error(err)
		}
		if _, err := rpc.Call[echoRequest](t.Context(), cc, "Headers/Back", &echoRequest{N: 2000}); err == nil {
			t.Error("it took more than it said")
		}
	})
}

func TestLimitOfCalls(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{MaxCalls: 3}}, streaming(echo))
	eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		once := func(stream grpc.ClientStream) error {
			return errors.Join(stream.SendMsg(wrapperspb.Int64(1)), stream.RecvMsg(new(number)))
		}
		var streams []grpc.ClientStream
		for range 3 {
			stream := open(ctx, t, cc)
			if err := once(stream); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, stream)
		}
		limited(t, call(ctx, cc), "3 calls", "ServerOptions.MaxCalls")
		limited(t, open(ctx, t, cc).RecvMsg(new(number)), "ServerOptions.MaxCalls")
		if code, body := post(t, s.addr, "/Echo/Echo", "{}"); code != http.StatusTooManyRequests || !strings.Contains(body, "ServerOptions.MaxCalls") {
			t.Errorf("%d %s", code, body)
		}
		for _, stream := range streams {
			if err := errors.Join(stream.CloseSend(), stream.RecvMsg(new(number))); err != nil {
				t.Fatal(err)
			}
			if err := stream.RecvMsg(new(number)); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		for err := call(ctx, cc); err != nil; err = call(ctx, cc) { // until the handlers have returned
			limited(t, err, "ServerOptions.MaxCalls")
			if t.Failed() {
				return
			}
		}
	})
}

func TestCountingACallAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, rpc.TakeAndGive(10)); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Calls beyond what a connection may have wait at the client.
func TestLimitOfStreamsOfAConnection(t *testing.T) {
	var now, most atomic.Int64
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{MaxStreams: 4}}, streaming(func(stream grpc.ServerStream) error {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		return echo(stream)
	}))
	eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
		most.Store(0)
		results := make(chan error, 32)
		for range cap(results) {
			go func() {
				stream, err := cc.NewStream(t.Context(), bidirectional(), "/Streams/Do")
				if err == nil {
					err = ping(stream, 20)
				}
				results <- err
			}()
		}
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if n := most.Load(); n > 4 {
			t.Errorf("%d calls at once", n)
		}
	})
}

// A caller that cancels its calls does not have more handlers than others by
// that, where handlers do not heed it.
func TestHandlersWhoseCallersHaveGone(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{MaxStreams: 4}}, streaming(func(grpc.ServerStream) error {
		entered <- struct{}{}
		<-release
		return nil
	}))
	defer close(release)
	deadline, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	cc := foreignConn(t, s.addr)
	for range 8 {
		ctx, cancel := context.WithCancel(deadline)
		open(ctx, t, cc)
		<-entered
		cancel()
	}
	refused := make(chan error, 1)
	stream := open(deadline, t, cc)
	go func() { refused <- stream.RecvMsg(new(number)) }()
	select {
	case err := <-refused:
		limited(t, err, "8 handlers", "ServerOptions.MaxStreams")
	case <-entered:
		t.Error("there is a ninth handler")
	}
	if err := call(deadline, ownConn(t, rpc.ConnOptions{}, s.addr)); err != nil {
		t.Errorf("another caller: %v", err)
	}
}

func TestLimitOfConnections(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{MaxConnections: 2}}, nil)
	first, second := foreignConn(t, s.addr), ownConn(t, rpc.ConnOptions{}, s.addr)
	for _, cc := range []grpc.ClientConnInterface{first, second} {
		if err := call(t.Context(), cc); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	said(t, conn, "")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	third := foreignConn(t, s.addr, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err := call(ctx, third); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{IdleTimeout: 300 * time.Millisecond}}, streaming(echo))
	for _, c := range []struct{ name, first string }{
		{"our client", "\x00xinhari-grpc\n" + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		{"h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		{"HTTP/1.1", "POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", s.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, c.first); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it stays open")
			}
		})
	}
	eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
		stream := open(t.Context(), t, cc)
		time.Sleep(time.Second) // the test's subject, and no synchronisation
		if err := ping(stream, 1); err != nil {
			t.Errorf("with a call it is not idle: %v", err)
		}
	})
}

func TestQuietStreamsEnd(t *testing.T) {
	left := make(chan error, 1)
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{StreamIdleTimeout: 500 * time.Millisecond}}, streaming(func(stream grpc.ServerStream) error {
		err := echo(stream)
		left <- err
		return err
	}))
	eachClient(t, s, func(t *testing.T, cc grpc.ClientConnInterface) {
		stream := open(t.Context(), t, cc)
		for range 4 {
			time.Sleep(200 * time.Millisecond) // less than the limit each, and more together
			if err := errors.Join(stream.SendMsg(wrapperspb.Int64(1)), stream.RecvMsg(new(number))); err != nil {
				t.Fatalf("a stream that is not quiet: %v", err)
			}
		}
		err := stream.RecvMsg(new(number))
		if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "ServerOptions.StreamIdleTimeout") {
			t.Errorf("a quiet stream: %v", err)
		}
		select {
		case err := <-left:
			if err == nil {
				t.Error("its handler was told nothing")
			}
		case <-time.After(time.Second):
			t.Error("its handler is still busy")
		}
	})
	if err := call(t.Context(), ownConn(t, rpc.ConnOptions{}, s.addr)); err != nil {
		t.Error(err)
	}
}

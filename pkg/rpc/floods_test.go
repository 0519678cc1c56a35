package rpc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// attacker is a client that writes what frames it likes.
type attacker struct {
	net.Conn
	*http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
	stream uint32 // the next one's number
}

// attack connects to the server, to be served by grpc-go itself or through
// net/http. What the server says is not read.
func attack(t *testing.T, s *testServer, native bool, settings ...http2.Setting) *attacker {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	a := newAttacker(conn)
	first := http2.ClientPreface
	if native {
		first = "\x00xinhari-grpc\n" + first
	}
	if _, err := io.WriteString(conn, first); err != nil {
		t.Fatal(err)
	}
	if err := a.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	// A server that stops reading holds no test up.
	if err := conn.SetWriteDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return a
}

func newAttacker(conn net.Conn) *attacker {
	a := &attacker{Conn: conn, Framer: http2.NewFramer(conn, conn), stream: 1}
	a.AllowIllegalWrites = true
	a.hpack = hpack.NewEncoder(&a.block)
	a.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return a
}

// status reads until the stream's end and returns its code; Unavailable if the
// connection ended first.
func (a *attacker) status(t *testing.T, id uint32) codes.Code {
	t.Helper()
	for {
		f, err := a.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server says nothing")
		}
		if err != nil {
			return codes.Unavailable
		}
		h, ok := f.(*http2.MetaHeadersFrame)
		if !ok || h.StreamID != id {
			continue
		}
		for _, field := range h.Fields {
			if field.Name == "grpc-status" {
				n, err := strconv.Atoi(field.Value)
				if err != nil {
					t.Fatal(err)
				}
				return codes.Code(n)
			}
		}
	}
}

// headers are those of a call of the method.
func (a *attacker) headers(method string, more ...hpack.HeaderField) []byte {
	a.block.Reset()
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method},
		{Name: ":authority", Value: "localhost"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, more...) {
		_ = a.hpack.WriteField(f) // to memory
	}
	return a.block.Bytes()
}

// open begins a call and returns its stream.
func (a *attacker) open(method string) (uint32, error) {
	id := a.stream
	a.stream += 2
	return id, a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: a.headers(method), EndHeaders: true})
}

// message is one of gRPC's frames with a blob of n bytes.
func message(n int) []byte {
	data := append([]byte{0, 0, 0, 0, 0}, make([]byte, n)...)
	if n > 0 {
		data[5] = 0x10 // no field that there is
	}
	data[1], data[2], data[3], data[4] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return data
}

// floods are what an attacker may send; an error ends it, as when the server
// closed the connection.
var floods = map[string]func(a *attacker) error{
	"rapid reset": func(a *attacker) error {
		for range 10000 {
			id, err := a.open("/Streams/Do")
			if err == nil {
				err = a.WriteRSTStream(id, http2.ErrCodeCancel)
			}
			if err != nil {
				return err
			}
		}
		return nil
	},
	"streams without number": func(a *attacker) error {
		for range 10000 {
			if _, err := a.open("/Streams/Do"); err != nil {
				return err
			}
		}
		return nil
	},
	"CONTINUATION without end": func(a *attacker) error {
		if err := a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.headers("/Streams/Do")}); err != nil {
			return err
		}
		for i := range 4096 {
			a.block.Reset()
			for j := range 200 { // a literal that is not indexed: it cannot be left out
				_ = a.hpack.WriteField(hpack.HeaderField{Name: fmt.Sprintf("x-%d-%d", i, j), Value: "0123456789012345678901234567890123456789012345678901234567890123456789", Sensitive: true})
			}
			if err := a.WriteContinuation(1, false, a.block.Bytes()); err != nil {
				return err
			}
		}
		return nil
	},
	"HPACK bombs": func(a *attacker) error {
		value := bytes.Repeat([]byte("x"), 3900)
		for n := range 64 {
			block := bytes.Clone(a.headers("/Streams/Do"))
			if n == 0 { // the one entry of the table, then by its number
				a.block.Reset()
				_ = a.hpack.WriteField(hpack.HeaderField{Name: "x", Value: string(value)})
				block = append(block, a.block.Bytes()...)
			}
			block = append(block, bytes.Repeat([]byte{0x80 | 62}, 15<<10)...)
			if err := a.WriteHeaders(http2.HeadersFrameParam{StreamID: a.stream, BlockFragment: block[:min(len(block), 16<<10)], EndHeaders: true}); err != nil {
				return err
			}
			a.stream += 2
		}
		return nil
	},
	"large metadata": func(a *attacker) error {
		for range 64 {
			block := a.headers("/Streams/Do", hpack.HeaderField{Name: "x", Value: string(bytes.Repeat([]byte("x"), 1<<20)), Sensitive: true})
			for first := true; first || len(block) > 0; first = false {
				n := min(len(block), 16<<10)
				var err error
				if first {
					err = a.WriteHeaders(http2.HeadersFrameParam{StreamID: a.stream, BlockFragment: block[:n]})
				} else {
					err = a.WriteContinuation(a.stream, n == len(block), block[:n])
				}
				if err != nil {
					return err
				}
				block = block[n:]
			}
			a.stream += 2
		}
		return nil
	},
	"SETTINGS": func(a *attacker) error {
		for range 50000 {
			if err := a.WriteSettings(); err != nil {
				return err
			}
		}
		return nil
	},
	"SETTINGS that change the window of open streams": func(a *attacker) error {
		for range 100 {
			if _, err := a.open("/Streams/Do"); err != nil {
				return err
			}
		}
		for i := range 10000 {
			window := uint32(i % 2 * (1<<31 - 1))
			if err := a.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
				return err
			}
		}
		return nil
	},
	"PING": func(a *attacker) error {
		for range 50000 {
			if err := a.WritePing(false, [8]byte{}); err != nil {
				return err
			}
		}
		return nil
	},
	"PING whose answers are read": func(a *attacker) error {
		go func() { _, _ = io.Copy(io.Discard, a.Conn) }() // until the connection ends
		for range 50000 {
			if err := a.WritePing(false, [8]byte{}); err != nil {
				return err
			}
		}
		return nil
	},
	"WINDOW_UPDATE": func(a *attacker) error {
		id, err := a.open("/Streams/Do")
		for i := 0; i < 50000 && err == nil; i++ {
			err = a.WriteWindowUpdate(id*uint32(i%2), 1)
		}
		return err
	},
	"windows that overflow": func(a *attacker) error {
		id, err := a.open("/Streams/Do")
		for i := 0; i < 1000 && err == nil; i++ {
			err = a.WriteWindowUpdate(id*uint32(i%2), 1<<31-1)
		}
		return err
	},
	"PRIORITY": func(a *attacker) error {
		for i := range uint32(50000) {
			if err := a.WritePriority(2*i+1, http2.PriorityParam{StreamDep: 2*i + 3, Weight: 1}); err != nil {
				return err
			}
		}
		return nil
	},
	"frames of no known kind": func(a *attacker) error {
		for range 4096 {
			if err := a.WriteRawFrame(0xfa, 0, 0, make([]byte, 16<<10)); err != nil {
				return err
			}
		}
		return nil
	},
	"RST_STREAM of no stream": func(a *attacker) error {
		for range 50000 {
			if err := a.WriteRSTStream(1, http2.ErrCodeCancel); err != nil {
				return err
			}
		}
		return nil
	},
	"empty DATA": func(a *attacker) error {
		id, err := a.open("/Streams/Do")
		for i := 0; i < 50000 && err == nil; i++ {
			err = a.WriteData(id, false, nil)
		}
		return err
	},
	"DATA of padding": func(a *attacker) error {
		id, err := a.open("/Streams/Do")
		for i := 0; i < 10000 && err == nil; i++ {
			err = a.WriteDataPadded(id, false, nil, make([]byte, 255))
		}
		return err
	},
	"DATA beyond the window": func(a *attacker) error {
		id, err := a.open("/Streams/Do")
		for i := 0; i < 4096 && err == nil; i++ {
			err = a.WriteData(id, false, make([]byte, 16<<10))
		}
		return err
	},
	"DATA after the end": func(a *attacker) error {
		id, err := a.open("/Streams/Do")
		for i := 0; i < 10000 && err == nil; i++ {
			err = a.WriteData(id, true, message(0))
		}
		return err
	},
	"trailers": func(a *attacker) error {
		id, err := a.open("/Streams/Do")
		for i := 0; i < 10000 && err == nil; i++ {
			a.block.Reset()
			_ = a.hpack.WriteField(hpack.HeaderField{Name: "x-trailer", Value: "x"})
			err = a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: a.block.Bytes(), EndHeaders: true, EndStream: true})
		}
		return err
	},
	"garbage": func(a *attacker) error {
		garbage := make([]byte, 1<<20)
		_, _ = rand.Read(garbage) // it never fails
		_, err := a.Write(garbage)
		return err
	},
	"half a frame, and half a connection": func(a *attacker) error {
		if _, err := a.open("/Streams/Do"); err != nil {
			return err
		}
		if _, err := a.Write([]byte{0, 1, 0, 0, 0}); err != nil {
			return err
		}
		return a.Conn.(*net.TCPConn).CloseWrite()
	},
}

// floodLimits are small, so that what they do shows.
var floodLimits = rpc.ServerLimits{MaxStreams: 100, WriteTimeout: 2 * time.Second}

// A flood costs the server a bounded amount of memory and handlers, holds
// nobody else up, and leaves nothing behind.
func TestFloods(t *testing.T) {
	const (
		attackers = 4
		most      = 48 << 20 // bytes beyond those before, client and server alike
	)
	for name, flood := range floods {
		for _, native := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, our protocol %v", name, native), func(t *testing.T) {
				var busy, busiest atomic.Int64
				release := make(chan struct{})
				s := newServer(t, rpc.ServerOptions{ServerLimits: floodLimits}, streaming(func(stream grpc.ServerStream) error {
					n := busy.Add(1)
					defer busy.Add(-1)
					for old := busiest.Load(); n > old && !busiest.CompareAndSwap(old, n); old = busiest.Load() {
					}
					<-release // whatever its context says, as a handler that waits for a database
					return nil
				}))
				others := []grpc.ClientConnInterface{ownConn(t, rpc.ConnOptions{}, s.addr), foreignConn(t, s.addr)}
				answered := func() {
					t.Helper()
					for _, cc := range others {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						if err := call(ctx, cc); err != nil {
							t.Errorf("another client: %v", err)
						}
						cancel()
					}
				}
				answered()
				before, goroutines := memory()
				var flooding sync.WaitGroup
				var conns []*attacker
				for range attackers {
					a := attack(t, s, native)
					conns = append(conns, a)
					flooding.Go(func() { _ = flood(a) })
				}
				over := make(chan struct{})
				go func() { flooding.Wait(); close(over) }()
				var peak int64
				for done := false; !done; {
					select {
					case <-over:
						done = true
					case <-time.After(20 * time.Millisecond):
					}
					answered()
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					peak = max(peak, int64(m.HeapAlloc)-before)
				}
				during, _ := memory()
				for _, a := range conns {
					_ = a.Close()
				}
				handlers := int64(attackers * floodLimits.MaxStreams)
				if !native {
					handlers *= 2 // as many again whose callers have gone
				}
				if n := busiest.Load(); n > handlers {
					t.Errorf("%d handlers at once", n)
				}
				close(release)
				if during-before > most {
					t.Errorf("%d KiB of memory during the flood", (during-before)>>10)
				}
				answered()
				flat(t, before, goroutines)
				t.Logf("%d KiB in use at the end of the flood, %d with garbage, %d handlers", (during-before)>>10, peak>>10, busiest.Load())
			})
		}
	}
}

// flat holds that memory and goroutines come back to what they were.
func flat(t *testing.T, before int64, goroutines int) {
	t.Helper()
	const slack = 8 << 20
	var bytes int64
	var n int
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if bytes, n = memory(); bytes-before < slack && n <= goroutines+4 {
			return
		}
	}
	stacks := make([]byte, 1<<16)
	t.Errorf("%d KiB and %d goroutines more than before\n%s", (bytes-before)>>10, n-goroutines, stacks[:runtime.Stack(stacks, true)])
}

// A client that has answers sent and reads none of them is closed.
func TestAClientThatNeverReadsIsClosed(t *testing.T) {
	for _, tt := range []struct {
		name string
		ask  func(*testing.T, *testServer) net.Conn
	}{
		{"our protocol", func(t *testing.T, s *testServer) net.Conn { return wantsAll(t, s, true) }},
		{"h2", func(t *testing.T, s *testServer) net.Conn { return wantsAll(t, s, false) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			left := make(chan error, 1)
			s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{WriteTimeout: time.Second}}, streaming(func(stream grpc.ServerStream) error {
				for {
					if err := stream.SendMsg(wrapperspb.Bytes(make([]byte, 64<<10))); err != nil {
						left <- err
						return err
					}
				}
			}))
			tt.ask(t, s)
			select {
			case err := <-left:
				if err == nil {
					t.Error("it took all of it")
				}
			case <-time.After(20 * time.Second):
				t.Error("the handler still waits for it")
			}
		})
	}
}

// wantsAll asks for a stream without end, and lets all of it come.
func wantsAll(t *testing.T, s *testServer, native bool) net.Conn {
	a := attack(t, s, native, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	if err := a.WriteWindowUpdate(0, 1<<31-1-65535); err != nil {
		t.Fatal(err)
	}
	if _, err := a.open("/Streams/Do"); err != nil {
		t.Fatal(err)
	}
	return a.Conn
}

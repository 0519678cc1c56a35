package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// TestStalledWritesEnd holds that a peer that takes nothing, or next to
// nothing, loses its connection, and one that is merely slow does not.
func TestStalledWritesEnd(t *testing.T) {
	const timeout = time.Minute
	for _, tt := range []struct {
		name  string
		each  int           // bytes that the peer takes
		every time.Duration // so often
		want  bool          // the connection ends
	}{
		{"nothing", 0, 0, true},
		{"a byte now and then", 1, timeout / 3, true},
		{"slowly", writePiece, timeout - time.Second, false},
		{"at once", 1 << 20, time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				l := &link{Conn: here}
				l.limitWrites(timeout)
				defer func() { _ = l.Close() }()
				began := time.Now()
				wrote := make(chan time.Duration, 1)
				go func() {
					_, err := l.Write(make([]byte, 10*writePiece))
					if (err != nil) != tt.want {
						t.Errorf("the write: %v", err)
					}
					wrote <- time.Since(began)
				}()
				var reading sync.WaitGroup
				reading.Go(func() {
					for tt.each > 0 {
						time.Sleep(tt.every)
						if _, err := io.ReadFull(there, make([]byte, tt.each)); err != nil {
							return
						}
					}
				})
				if took := <-wrote; tt.want && (took < timeout || took > 2*timeout) {
					t.Errorf("it took %v", took)
				}
				_ = there.Close()
				reading.Wait()
			})
		})
	}
}

// TestUnservedConnectionsEnd holds that a peer without a certificate keeps no
// connection where nobody without one is served.
func TestUnservedConnectionsEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		served func(time.Duration) bool
		ends   time.Duration // at the latest; 0 = never
	}{
		{"never served", func(time.Duration) bool { return false }, unservedTimeout},
		{"served", func(time.Duration) bool { return true }, 0},
		{"served no longer", func(at time.Duration) bool { return at < time.Hour }, time.Hour + unservedTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				l := &link{Conn: here}
				defer func() { _ = l.Close() }()
				began := time.Now()
				l.endUnserved(func() bool { return tt.served(time.Since(began)) })
				var ended atomic.Int64
				go func() {
					_, _ = there.Read(make([]byte, 1))
					ended.Store(int64(time.Since(began)))
				}()
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if at := time.Duration(ended.Load()); (at == 0) != (tt.ends == 0) || at > tt.ends {
					t.Errorf("it ended after %v, want %v", at, tt.ends)
				}
				_ = there.Close()
			})
		})
	}
}

// TestTheAcceptorEndsUnservedConnections holds that a server does it: a client
// without a certificate, which connects anew when it has lost its connection.
func TestTheAcceptorEndsUnservedConnections(t *testing.T) {
	for _, tt := range []struct {
		name   string
		served bool
		dials  int32 // in three and a half times unservedTimeout
	}{
		{"served", true, 1},
		{"not served", false, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, dials := inMemory(t, ServerOptions{Anonymous: func() bool { return tt.served }}, ConnOptions{}, nil)
				time.Sleep(unservedTimeout*7/2 + 10*time.Second) // and some back-off
				if got := dials.Load(); got != tt.dials {
					t.Errorf("connected %d times, want %d", got, tt.dials)
				}
			})
		})
	}
}

// TestKeepaliveIsPermitted holds that a server takes the pings of a client that
// sends them as often as grpc-go lets it, on a connection without calls and on
// one with a quiet stream.
func TestKeepaliveIsPermitted(t *testing.T) {
	for _, streams := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			conn, dials := inMemory(t, ServerOptions{Anonymous: func() bool { return true }},
				ConnOptions{GRPC: []grpc.DialOption{grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true})}},
				func(s *Server) {
					if err := HandleBidiStream(s, "Quiet/Echo", func(_ context.Context, stream *Stream[struct{}, struct{}]) error {
						for m, err := range stream.All() {
							if err != nil {
								return err
							}
							if err := stream.Send(m); err != nil {
								return err
							}
						}
						return nil
					}); err != nil {
						t.Fatal(err)
					}
				})
			var open []*ClientStream[struct{}, struct{}]
			for range streams {
				stream, err := CallBidiStream[struct{}, struct{}](t.Context(), conn, "Quiet/Echo")
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, stream)
			}
			time.Sleep(10 * time.Minute)
			for _, stream := range open {
				if err := stream.Send(&struct{}{}); err != nil {
					t.Error(err)
				}
				if _, err := stream.Receive(); err != nil {
					t.Error(err)
				}
				if err := stream.CloseSend(); err != nil {
					t.Error(err)
				}
				if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
					t.Error(err)
				}
			}
			if got := dials.Load(); got != 1 {
				t.Errorf("with %d streams: connected %d times", streams, got)
			}
		})
	}
}

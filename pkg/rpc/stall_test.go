package rpc

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
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

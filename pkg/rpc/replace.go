package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"

	"github.com/xinhari/xinhari/pkg/identity"
)

// A connection proves who its two sides were when it was made. So that it is
// not believed for longer than it should be, clients replace theirs in time
// (identity.TLSInfo.ReplaceBy), without a call noticing: they take the way by
// which a server sends its clients elsewhere. A GOAWAY frame is slipped in
// between two frames from the server; grpc-go then makes new calls on a new
// connection, and closes the old one when the calls on it are done.

// replacingCredentials are credentials whose connections replace themselves.
type replacingCredentials struct {
	credentials.TransportCredentials
	now func() time.Time
}

func (c replacingCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	if t, ok := info.(identity.TLSInfo); ok {
		conn = newReplacedConn(conn, t.ReplaceBy, c.now)
	}
	return conn, info, nil
}

func (c replacingCredentials) Clone() credentials.TransportCredentials {
	return replacingCredentials{c.TransportCredentials.Clone(), c.now}
}

// replacedConn is a client's HTTP/2 connection that says GOAWAY to its own
// reader when its time has come. One goroutine reads from it.
type replacedConn struct {
	net.Conn
	by    time.Time
	now   func() time.Time
	timer *time.Timer
	due   atomic.Bool
	shut  atomic.Bool // grpc-go bounded the reads: it closes the connection

	header  [frameHeader]byte // of the frame that is being read
	got     int               // bytes of header that were read
	body    int               // bytes of the frame's payload that are to come
	frames  int               // frames that were read
	pending []byte            // of the GOAWAY, once it is being read
	said    bool              // the GOAWAY was begun
}

const (
	// frameHeader is the length of a frame's header in bytes; its first three
	// are the payload's length, big-endian (RFC 9113, section 4.1).
	frameHeader = 9

	// clockLook is how often the wall clock is looked at: timers stand still
	// while the machine sleeps.
	clockLook = 10 * time.Second
)

func newReplacedConn(conn net.Conn, by time.Time, now func() time.Time) *replacedConn {
	c := &replacedConn{Conn: conn, by: by, now: now}
	// Made with its first delay far away, so that c.timer is there when it fires.
	c.timer = time.AfterFunc(time.Hour, c.look)
	c.timer.Reset(c.next())
	return c
}

func (c *replacedConn) next() time.Duration { return min(max(c.by.Sub(c.now()), 0), clockLook) }

// look notes when the time has come, and wakes the reader.
func (c *replacedConn) look() {
	if left := c.next(); left > 0 {
		c.timer.Reset(left)
		return
	}
	c.due.Store(true)
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
}

// SetReadDeadline implements net.Conn. grpc-go calls it when it closes the
// connection, to be sure that its reader ends.
func (c *replacedConn) SetReadDeadline(t time.Time) error {
	c.shut.Store(true)
	return c.Conn.SetReadDeadline(t)
}

// Close implements net.Conn.
func (c *replacedConn) Close() error {
	c.timer.Stop()
	return c.Conn.Close()
}

// Read implements net.Conn.
func (c *replacedConn) Read(p []byte) (int, error) {
	for {
		if !c.said && c.frames > 0 && c.got == 0 && c.body == 0 && c.due.Load() {
			c.said, c.pending = true, goAway()
		}
		if len(c.pending) > 0 {
			n := copy(p, c.pending)
			c.pending = c.pending[n:]
			return n, nil
		}
		n, err := c.Conn.Read(p)
		c.track(p[:n])
		if n == 0 && c.due.Load() && !c.shut.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
			// The deadline was look's.
			if err := c.Conn.SetReadDeadline(time.Time{}); err != nil {
				return 0, err
			}
			continue
		}
		return n, err
	}
}

// track follows the frames in what was read.
func (c *replacedConn) track(p []byte) {
	for len(p) > 0 {
		if c.body > 0 {
			n := min(c.body, len(p))
			c.body -= n
			p = p[n:]
			continue
		}
		n := copy(c.header[c.got:], p)
		c.got += n
		p = p[n:]
		if c.got == frameHeader {
			c.got = 0
			c.body = int(c.header[0])<<16 | int(c.header[1])<<8 | int(c.header[2])
			c.frames++
		}
	}
}

// goAway returns the frame that says that the server takes no more streams
// after the last one there can be: those in flight go on (RFC 9113, section 6.8).
func goAway() []byte {
	const payload = 8
	frame := []byte{0, 0, payload, byte(http2.FrameGoAway), 0, 0, 0, 0, 0}
	frame = binary.BigEndian.AppendUint32(frame, 1<<31-1)
	return binary.BigEndian.AppendUint32(frame, uint32(http2.ErrCodeNo))
}

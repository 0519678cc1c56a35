package runtimetest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// window is how many bytes may be under way to, or unread at, one end of a
	// connection before the other's writes wait.
	window = 256 << 10

	// lossTimeout is how long what was sent may stay unconfirmed before an end
	// gives the connection up, as the runtime's TCP connections do.
	lossTimeout = 2 * time.Second

	// dialTimeout bounds one attempt to connect, as the runtime's does.
	dialTimeout = 3 * time.Second
)

// A wire is a connection in memory that behaves as a TCP connection does, with
// what the network's faults do to it. It has no goroutines: what takes time
// is done by timers, so that fake time works and nothing is left behind.
type wire struct {
	mu      sync.Mutex // holds for both ends
	changed sync.Cond
	ends    [2]*end // of the client, of the server
	forget  func()  // called once both ends are closed
}

// end is one of the two, a net.Conn.
type end struct {
	wire          *wire
	peer          *end
	host          *host
	local, remote net.Addr

	// What comes from the peer.
	arrived []byte
	flying  []parcel      // in the order in which they were sent; none overtakes
	flyer   *time.Timer   // has the first of them arrive
	size    int           // bytes arrived and flying
	delay   time.Duration // of what is sent from now on
	cut     bool          // nothing arrives
	eof     bool          // the peer has closed

	closed  bool
	err     error       // why the connection is broken
	unheard bool        // something was sent while nothing could confirm it
	loss    *time.Timer // runs while something stays unconfirmed

	read, write deadline
}

// parcel is what travels: bytes, or the news that the sender closed or reset
// the connection.
type parcel struct {
	at         time.Time
	data       []byte
	fin, reset bool
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func newWire(client, server *host, from, to net.Addr, forget func()) *wire {
	w := &wire{forget: forget}
	w.changed.L = &w.mu
	w.ends[0] = &end{wire: w, host: client, local: from, remote: to}
	w.ends[1] = &end{wire: w, host: server, local: to, remote: from}
	w.ends[0].peer, w.ends[1].peer = w.ends[1], w.ends[0]
	return w
}

// Read implements net.Conn.
func (e *end) Read(p []byte) (int, error) {
	w := e.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, e.fault("read", net.ErrClosed)
		case e.err != nil:
			return 0, e.fault("read", e.err)
		case e.read.expired():
			return 0, e.fault("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case len(e.arrived) > 0:
			n := copy(p, e.arrived)
			if e.arrived = e.arrived[n:]; len(e.arrived) == 0 {
				e.arrived = nil
			}
			e.size -= n
			w.changed.Broadcast()
			return n, nil
		case e.eof:
			return 0, io.EOF
		}
		w.changed.Wait()
	}
}

// Write implements net.Conn.
func (e *end) Write(p []byte) (written int, err error) {
	w := e.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case written > 0 && written == len(p):
			return written, nil
		case e.closed:
			return written, e.fault("write", net.ErrClosed)
		case e.err != nil:
			return written, e.fault("write", e.err)
		case e.write.expired():
			return written, e.fault("write", os.ErrDeadlineExceeded)
		case written == len(p):
			return written, nil
		}
		if n := min(window-e.peer.size, len(p)-written); n > 0 {
			e.send(parcel{data: append([]byte(nil), p[written:written+n]...)})
			written += n
			continue
		}
		w.changed.Wait()
	}
}

// Close implements net.Conn.
func (e *end) Close() error {
	w := e.wire
	w.mu.Lock()
	if e.closed {
		w.mu.Unlock()
		return e.fault("close", net.ErrClosed)
	}
	e.closed, e.arrived = true, nil
	for _, t := range []*time.Timer{e.read.timer, e.write.timer, e.loss} {
		if t != nil {
			t.Stop()
		}
	}
	if e.err == nil {
		e.send(parcel{fin: true})
	}
	w.changed.Broadcast()
	over := e.peer.closed
	if over {
		for _, one := range w.ends {
			if one.flyer != nil {
				one.flyer.Stop()
			}
		}
	}
	w.mu.Unlock()
	if over {
		w.forget()
	}
	return nil
}

// LocalAddr implements net.Conn.
func (e *end) LocalAddr() net.Addr { return e.local }

// RemoteAddr implements net.Conn.
func (e *end) RemoteAddr() net.Addr { return e.remote }

// SetDeadline implements net.Conn.
func (e *end) SetDeadline(t time.Time) error { return e.setDeadlines(t, &e.read, &e.write) }

// SetReadDeadline implements net.Conn.
func (e *end) SetReadDeadline(t time.Time) error { return e.setDeadlines(t, &e.read) }

// SetWriteDeadline implements net.Conn.
func (e *end) SetWriteDeadline(t time.Time) error { return e.setDeadlines(t, &e.write) }

func (e *end) setDeadlines(t time.Time, which ...*deadline) error {
	w := e.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.closed {
		return e.fault("set", net.ErrClosed)
	}
	for _, d := range which {
		if d.timer != nil {
			d.timer.Stop()
		}
		d.at, d.timer = t, nil
		if left := time.Until(t); !t.IsZero() && left > 0 {
			d.timer = time.AfterFunc(left, w.wake)
		}
	}
	w.changed.Broadcast()
	return nil
}

// expired reports whether the time is over. The caller holds the wire's mu.
func (d *deadline) expired() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (w *wire) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed.Broadcast()
}

func (e *end) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: e.local, Addr: e.remote, Err: err}
}

// The rest is called with the wire's mu held.

// send has p travel to the peer.
func (e *end) send(p parcel) {
	to := e.peer
	p.at = time.Now().Add(to.delay)
	to.size += len(p.data)
	e.unheard = e.unheard || len(p.data) > 0
	to.flying = append(to.flying, p)
	to.land()
	e.watchLoss()
}

// land takes in what has arrived by now, and comes back for the rest.
func (e *end) land() {
	if e.cut {
		return
	}
	for len(e.flying) > 0 {
		p := e.flying[0]
		if left := time.Until(p.at); left > 0 {
			if e.flyer == nil {
				e.flyer = time.AfterFunc(left, func() {
					e.wire.mu.Lock()
					defer e.wire.mu.Unlock()
					e.land()
					e.peer.watchLoss()
				})
			} else {
				e.flyer.Reset(left)
			}
			break
		}
		e.flying = e.flying[1:]
		e.take(p)
	}
	e.wire.changed.Broadcast()
}

// take takes in what has arrived.
func (e *end) take(p parcel) {
	switch {
	case p.reset:
		e.fail(syscall.ECONNRESET)
	case p.fin:
		e.eof = true
	case e.closed || e.err != nil: // nobody reads it: the sender learns so
		e.size -= len(p.data)
		if e.peer.err == nil && !e.peer.closed {
			e.send(parcel{reset: true})
		}
	default:
		e.arrived = append(e.arrived, p.data...)
	}
}

// fail breaks this end; the first reason stays.
func (e *end) fail(err error) {
	if e.err == nil {
		e.err = err
	}
	e.wire.changed.Broadcast()
}

// watchLoss begins or ends the time after which this end gives up.
func (e *end) watchLoss() {
	if !e.cut && !e.peer.cut {
		e.unheard = e.unheard && len(e.peer.flying) > 0
		if e.loss != nil {
			e.loss.Stop()
			e.loss = nil
		}
		return
	}
	if !e.unheard || e.loss != nil || e.closed || e.err != nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(lossTimeout, func() {
		e.wire.mu.Lock()
		defer e.wire.mu.Unlock()
		if e.loss != timer || e.closed {
			return
		}
		e.abort(syscall.ETIMEDOUT)
	})
	e.loss = timer
}

// abort ends the connection for this end at once; the peer learns of it when
// it can, and of what was under way to it nothing arrives.
func (e *end) abort(err error) {
	if e.err != nil {
		return
	}
	e.fail(err)
	e.peer.drop()
	e.send(parcel{reset: true})
}

// drop loses what is under way to this end.
func (e *end) drop() {
	for _, p := range e.flying {
		e.size -= len(p.data)
	}
	e.flying = nil
}

// shape makes the way to this end what the network's faults say.
func (e *end) shape(delay time.Duration, cut bool) {
	e.delay = delay
	if e.cut == cut {
		return
	}
	if cut {
		e.land()
		e.cut = true
	} else {
		e.cut = false
		// What waited is sent again.
		for i := range e.flying {
			if at := time.Now().Add(delay); e.flying[i].at.Before(at) {
				e.flying[i].at = at
			}
		}
		e.land()
	}
}

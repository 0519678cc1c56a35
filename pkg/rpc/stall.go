package rpc

import (
	"sync/atomic"
	"time"
)

// A peer that takes nothing off its connection holds up whoever writes to it,
// and what is to be written in memory, for as long as TCP lets it: forever. A
// deadline for each write would be set with each write, so writes are counted
// instead, and looked at now and then: one that is still under way when it is
// looked at again has stalled.

// writes are the writes to a connection.
type writes struct {
	count atomic.Uint64 // of beginnings and ends: odd while one is under way
	timer *time.Timer
}

// writePiece is how much is written at a time, so that a large write to a slow
// peer, which does take something, is not one that stalls.
const writePiece = 64 << 10

// looksPerTimeout is how often writes are looked at within the time that one
// may take, so that it gets little more than that.
const looksPerTimeout = 4

// keepaliveProbes is how many questions of the kernel may stay unanswered.
const keepaliveProbes = 3

// Write implements net.Conn. One goroutine writes at a time.
func (l *link) Write(p []byte) (int, error) {
	written := 0
	for {
		piece := p[written:min(written+writePiece, len(p))]
		l.writes.count.Add(1)
		n, err := l.Conn.Write(piece)
		l.writes.count.Add(1)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// limitWrites closes the connection when a write is under way for longer than
// timeout.
func (l *link) limitWrites(timeout time.Duration) {
	var seen uint64
	looks := 0
	// Made with its first delay far away, so that l.writes.timer is there when it fires.
	l.writes.timer = time.AfterFunc(time.Hour, func() {
		if now := l.writes.count.Load(); now%2 == 0 || now != seen {
			seen, looks = now, 0
		} else if looks++; looks >= looksPerTimeout {
			_ = l.Conn.Close()
			return
		}
		if !l.closed.Load() {
			l.writes.timer.Reset(timeout / looksPerTimeout)
		}
	})
	l.writes.timer.Reset(timeout / looksPerTimeout)
}

// unservedTimeout is how long a peer that showed no certificate may keep a
// connection where nobody without one is served: enough to be told so.
const unservedTimeout = 30 * time.Second

// endUnserved closes the connection of an anonymous peer that is not served,
// in its time.
func (l *link) endUnserved(served func() bool) {
	// Made with its first delay far away, so that l.expiry is there when it fires.
	l.expiry = time.AfterFunc(time.Hour, func() {
		switch {
		case l.closed.Load():
		case served():
			l.expiry.Reset(unservedTimeout)
		default:
			_ = l.Conn.Close()
		}
	})
	l.expiry.Reset(unservedTimeout)
}

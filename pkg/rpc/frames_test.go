package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// chunks is a connection from which its bytes come in pieces of given sizes.
type chunks struct {
	net.Conn
	data  []byte
	sizes []byte
	then  func() // before each piece
}

func (c *chunks) Read(p []byte) (int, error) {
	c.then()
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(c.sizes) > 0 {
		n, c.sizes = int(c.sizes[0])+1, c.sizes[1:]
	}
	n = copy(p, c.data[:min(n, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

func (*chunks) SetReadDeadline(time.Time) error { return nil }
func (*chunks) Close() error                    { return nil }

// boundaries returns where frames of data end, but for the start.
func boundaries(data []byte) map[int]bool {
	all := map[int]bool{}
	for at := 0; len(data)-at >= frameHeader; {
		at += frameHeader + int(binary.BigEndian.Uint32(append([]byte{0}, data[at:at+3]...)))
		if at <= len(data) {
			all[at] = true
		}
	}
	return all
}

// FuzzReplacedConn holds that a client reads what the server sent, however it
// was cut into pieces, with one GOAWAY between two frames at most, and exactly
// one where a frame ends after the time has come.
func FuzzReplacedConn(f *testing.F) {
	settings := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	data := append([]byte{0, 0, 3, 0, 0, 0, 0, 0, 1}, "abc"...)
	f.Add(append(bytes.Clone(settings), data...), []byte{0, 3, 9, 1}, []byte{4, 30}, uint8(2))
	f.Add(settings, []byte{8}, []byte{}, uint8(0))
	f.Add(bytes.Repeat(data, 5), []byte{255}, []byte{0, 0, 0, 0}, uint8(1))
	f.Add(append(bytes.Clone(settings), 0, 1, 0, 0), []byte{}, []byte{16, 1}, uint8(3))
	f.Fuzz(func(t *testing.T, sent, sizes, reads []byte, due uint8) {
		if len(sent) > 4096 {
			return
		}
		var c *replacedConn
		pieces, dueAt := uint8(0), -1
		raw := &chunks{data: bytes.Clone(sent), sizes: sizes, then: func() {}}
		c = newReplacedConn(raw, time.Now().Add(time.Hour), time.Now)
		defer func() { _ = c.Close() }()
		raw.then = func() {
			if pieces == due {
				dueAt = len(sent) - len(raw.data)
				c.due.Store(true)
			}
			pieces++ // it may come round: due stays what it is
		}
		var got []byte
		for {
			size := 64
			if len(reads) > 0 {
				size, reads = int(reads[0])+1, reads[1:]
			}
			p := make([]byte, size)
			n, err := c.Read(p)
			got = append(got, p[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || n == 0 || len(got) > len(sent)+2*frameHeader {
				t.Fatalf("read %d of %d, %v", len(got), len(sent), err)
			}
		}
		ends := boundaries(sent)
		away := goAway()
		if len(got) == len(sent) {
			if !bytes.Equal(got, sent) {
				t.Fatalf("read %x of %x", got, sent)
			}
			return
		}
		if len(got) != len(sent)+len(away) || dueAt < 0 {
			t.Fatalf("read %d bytes of %d, due at %d", len(got), len(sent), dueAt)
		}
		for at := range ends {
			if bytes.Equal(got[:at], sent[:at]) && bytes.Equal(got[at:at+len(away)], away) && bytes.Equal(got[at+len(away):], sent[at:]) {
				return
			}
		}
		t.Fatalf("the GOAWAY is not between two frames: %x of %x", got, sent)
	})
}

// TestTheGoAwayComes holds that the client is told once a frame has ended, and
// not before the first, without which a connection is none.
func TestTheGoAwayComes(t *testing.T) {
	settings := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	data := append([]byte{0, 0, 3, 0, 0, 0, 0, 0, 1}, "abc"...)
	large := append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 1<<16)...)
	for _, tt := range []struct {
		name  string
		sent  []byte
		sizes []byte
		due   int // the read before which the time comes; -1 is before all
		want  int // the bytes before the GOAWAY; -1 is none
	}{
		{"due from the first", slices.Concat(settings, data), []byte{8, 255}, -1, 9},
		{"due from the first, in one piece", slices.Concat(settings, data), []byte{255}, -1, 21},
		{"due within a header", slices.Concat(settings, data), []byte{12, 255}, 1, 21},
		{"due within a body", slices.Concat(settings, data), []byte{18, 255}, 1, 21},
		{"due between frames", slices.Concat(settings, data, data), []byte{8, 11, 255}, 1, 9 + 12},
		{"due at the end", slices.Concat(settings, data), []byte{255}, 1, -1},
		{"within a frame of more than 64 KiB", slices.Concat(settings, large, settings), append([]byte{8}, bytes.Repeat([]byte{255}, 300)...), 3, 9 + len(large) + 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := &chunks{data: bytes.Clone(tt.sent), sizes: tt.sizes}
			c := newReplacedConn(raw, time.Now().Add(time.Hour), time.Now)
			defer func() { _ = c.Close() }()
			c.due.Store(tt.due < 0)
			reads := 0
			raw.then = func() {
				if reads == tt.due {
					c.due.Store(true)
				}
				reads++
			}
			got, err := io.ReadAll(io.LimitReader(c, int64(len(tt.sent)+1000)))
			want := tt.sent
			if tt.want >= 0 {
				want = slices.Concat(tt.sent[:tt.want], goAway(), tt.sent[tt.want:])
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, the GOAWAY after %d of them, %v; want it after %d", len(got), bytes.Index(got, goAway()), err, tt.want)
			}
		})
	}
}

package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Options say what of a log to read.
type Options struct {
	Follow     bool
	Timestamps bool
	Since      time.Time // zero: from the start
	Tail       int64     // last lines; negative: all
	LimitBytes int64     // 0: no limit
	Stream     string    // "stdout" or "stderr"; empty: both
}

// Read writes the log's lines to w. With Follow it goes on until the log or
// ctx ends.
func (l *Log) Read(ctx context.Context, w io.Writer, o Options) error {
	out := &limited{w: w, left: o.LimitBytes, unlimited: o.LimitBytes <= 0}
	r := &reader{log: l, number: -1}
	defer r.close()
	var skip int64
	if o.Tail >= 0 {
		lines, err := l.count(ctx, o)
		if err != nil {
			return err
		}
		skip = max(0, lines-o.Tail)
	}
	for {
		line, err := r.next(ctx, o.Follow)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := parse(line)
		if !ok || !o.wants(e) {
			continue
		}
		if skip > 0 {
			if !e.partial {
				skip--
			}
			continue
		}
		if err := out.entry(e, o.Timestamps); err != nil {
			if errors.Is(err, io.ErrShortWrite) {
				return nil
			}
			return err
		}
	}
}

// count counts the whole lines that are there now.
func (l *Log) count(ctx context.Context, o Options) (int64, error) {
	r := &reader{log: l, number: -1}
	defer r.close()
	var lines int64
	for {
		line, err := r.next(ctx, false)
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return 0, err
		}
		if e, ok := parse(line); ok && o.wants(e) && !e.partial {
			lines++
		}
	}
}

// entry is a line of a log's file.
type entry struct {
	time    time.Time
	stamp   []byte
	stream  string
	partial bool
	text    []byte
}

func parse(line []byte) (entry, bool) {
	fields := bytes.SplitN(line, []byte(" "), 4)
	if len(fields) < 4 {
		return entry{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(fields[0]))
	if err != nil {
		return entry{}, false
	}
	return entry{
		time: at, stamp: fields[0], stream: string(fields[1]),
		partial: string(fields[2]) == "P", text: fields[3],
	}, true
}

func (o Options) wants(e entry) bool {
	return (o.Stream == "" || o.Stream == e.stream) && !e.time.Before(o.Since)
}

// reader goes through the files of a log.
type reader struct {
	log    *Log
	number int
	file   *os.File
	lines  *bufio.Reader
	line   []byte // the start of one that is still being written
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// next returns a whole line without its end. It is io.EOF at the end of the
// log, or, without follow, of what is there now.
func (r *reader) next(ctx context.Context, follow bool) ([]byte, error) {
	for {
		r.log.mu.Lock()
		grown, closed, last := r.log.grown, r.log.closed, r.log.number
		r.log.mu.Unlock()
		if r.file == nil {
			if err := r.open(max(r.number+1, last-1, 0)); err != nil {
				return nil, err
			}
			continue
		}
		part, err := r.lines.ReadBytes('\n')
		r.line = append(r.line, part...)
		if err == nil {
			line := r.line[:len(r.line)-1]
			r.line = nil
			return line, nil
		}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
		switch {
		case r.number < last:
			r.file.Close()
			r.file = nil
		case closed || !follow:
			return nil, io.EOF
		default:
			select {
			case <-grown:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

func (r *reader) open(number int) error {
	file, err := os.Open(r.log.name(number))
	r.number = number
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Rotated away in the meantime: on to the next.
	}
	if err != nil {
		return err
	}
	r.file, r.lines = file, bufio.NewReader(file)
	return nil
}

// limited writes entries up to a number of bytes.
type limited struct {
	w         io.Writer
	left      int64
	unlimited bool
	inLine    bool
}

// entry is io.ErrShortWrite when the limit is reached.
func (l *limited) entry(e entry, stamps bool) error {
	var out []byte
	if stamps && !l.inLine {
		out = fmt.Appendf(out, "%s ", e.stamp)
	}
	out = append(out, e.text...)
	if !e.partial {
		out = append(out, '\n')
	}
	l.inLine = e.partial
	short := false
	if !l.unlimited && int64(len(out)) >= l.left {
		out, short = out[:l.left], true
	}
	l.left -= int64(len(out))
	if _, err := l.w.Write(out); err != nil {
		return err
	}
	if short {
		return io.ErrShortWrite
	}
	return nil
}

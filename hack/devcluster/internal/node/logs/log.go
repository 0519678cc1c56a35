// Package logs keeps what containers write, in files of bounded size.
//
// A log is a series of files; when one is full the next begins, and the one
// before the last is removed. Each line carries its time and stream, in the
// format of the Container Runtime Interface. Readers follow without polling.
package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// maxLine is the length at which a line is split into parts.
	maxLine = 16 << 10
	// defaultLimit is the size of one file.
	defaultLimit = 10 << 20
)

// Log is what one run of a container wrote. Its methods may be called
// concurrently.
type Log struct {
	path  string
	limit int64
	now   func() time.Time

	mu     sync.Mutex
	file   *os.File
	number int   // of the current file
	size   int64 // of the current file
	closed bool
	grown  chan struct{} // closed when any of the above changes
}

// Create begins a log at path, which is the start of its files' names.
func Create(path string) (*Log, error) {
	l := &Log{path: path, limit: defaultLimit, now: time.Now, grown: make(chan struct{})}
	file, err := os.Create(l.name(0))
	if err != nil {
		return nil, err
	}
	l.file = file
	return l, nil
}

// Close ends the log: readers that follow it come to an end.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.wake()
	return l.file.Close()
}

// Remove closes the log and removes its files.
func (l *Log) Remove() {
	l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, number := range []int{l.number - 1, l.number} {
		os.Remove(l.name(number))
	}
}

// Stream returns a writer of lines for "stdout" or "stderr". It never fails,
// so that a full disk does not end the container: such lines are lost. Its
// Flush writes a last line without an end.
func (l *Log) Stream(name string) *Stream { return &Stream{log: l, name: name} }

// Stream is one of the outputs of a container.
type Stream struct {
	log  *Log
	name string
	mu   sync.Mutex
	line []byte
}

var _ io.Writer = (*Stream)(nil)

// Write adds p to the log, line by line.
func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			break
		}
		s.line = append(s.line, p[:end]...)
		s.split()
		s.log.append(s.name, 'F', s.line)
		s.line, p = s.line[:0], p[end+1:]
	}
	s.line = append(s.line, p...)
	s.split()
	return written, nil
}

// Flush writes the line that has not ended yet, if any.
func (s *Stream) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.line) > 0 {
		s.log.append(s.name, 'P', s.line)
		s.line = nil
	}
}

// split writes the full parts of a long line.
func (s *Stream) split() {
	for len(s.line) > maxLine {
		s.log.append(s.name, 'P', s.line[:maxLine])
		s.line = append(s.line[:0], s.line[maxLine:]...)
	}
}

func (l *Log) append(stream string, tag byte, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if l.size >= l.limit {
		l.rotate()
	}
	entry := fmt.Appendf(nil, "%s %s %c %s\n", l.now().UTC().Format(time.RFC3339Nano), stream, tag, line)
	n, _ := l.file.Write(entry)
	l.size += int64(n)
	l.wake()
}

// rotate begins the next file; if it cannot, the current one goes on.
func (l *Log) rotate() {
	file, err := os.Create(l.name(l.number + 1))
	if err != nil {
		return
	}
	l.file.Close()
	os.Remove(l.name(l.number - 1))
	l.file, l.number, l.size = file, l.number+1, 0
}

func (l *Log) wake() {
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *Log) name(number int) string { return fmt.Sprintf("%s.%d", l.path, number) }

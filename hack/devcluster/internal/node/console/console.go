// Package console connects a container with those who attach to it: it keeps
// the container's input open for them, and passes on what the container writes,
// as it is written, after it went to the log.
//
// An attached client that does not read holds the container up, as a full pipe
// does, until it leaves.
package console

import (
	"context"
	"io"
	"os"
	"sync"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/runtime"
)

// Options say what of a console a container has, as the fields of the same
// names in its spec do. The zero value has outputs only.
type Options struct{ Stdin, StdinOnce, TTY bool }

// Client is one who attaches. What is nil is not wanted.
type Client struct {
	In        io.Reader
	Out, Errs io.Writer
	Resize    <-chan remotecommand.TerminalSize
}

// Console is that of one run of a container.
type Console struct {
	o        Options
	terminal *runtime.Terminal // nil: pipes
	read     *os.File          // the container's side of its input
	ended    chan struct{}

	mu      sync.Mutex
	input   *os.File // nil: there is none, or it has been closed
	clients map[*attached]bool
	// backlog is what an interactive container wrote before the first client
	// came: whoever started it for that wants to see the prompt.
	backlog []chunk
	kept    int // bytes in it; negative: no more are kept
}

type chunk struct {
	errs bool
	data []byte
}

type attached struct {
	chunks chan chunk
	gone   chan struct{}
}

// backlogLimit bounds what is kept for the first client, in bytes.
const backlogLimit = 64 << 10

// New makes a console. What the container writes goes to stdout and stderr.
func New(o Options, stdout, stderr io.Writer) (*Console, runtime.Streams, error) {
	c := &Console{o: o, ended: make(chan struct{}), clients: map[*attached]bool{}, kept: -1}
	if o.Stdin || o.TTY {
		c.kept = 0
	}
	streams := runtime.Streams{Stdout: output{c, stdout, false}, Stderr: output{c, stderr, true}}
	var err error
	switch {
	case o.TTY:
		if c.terminal, err = runtime.OpenTerminal(); err != nil {
			return nil, runtime.Streams{}, err
		}
		streams.Terminal = c.terminal
		if o.Stdin {
			c.input = c.terminal.File
		}
	case o.Stdin:
		if c.read, c.input, err = os.Pipe(); err != nil {
			return nil, runtime.Streams{}, err
		}
		streams.Stdin = c.read
	}
	return c, streams, nil
}

// Close ends the console with its container: clients leave once they have all
// that was written.
func (c *Console) Close() {
	close(c.ended)
	c.closeInput()
	if c.read != nil {
		c.read.Close()
	}
	if c.terminal != nil {
		c.terminal.File.Close()
	}
}

func (c *Console) closeInput() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.input != nil && c.terminal == nil { // A terminal's is its output as well.
		c.input.Close()
	}
	c.input = nil
}

// Attach serves a client until the container or ctx ends.
func (c *Console) Attach(ctx context.Context, client Client) error {
	a := c.join()
	defer c.leave(a)
	c.feed(client.In)
	for {
		select {
		case next := <-a.chunks:
			if err := next.to(client); err != nil {
				return err
			}
		case size, ok := <-client.Resize:
			if !ok {
				client.Resize = nil
				continue
			}
			if c.terminal != nil {
				_ = c.terminal.Resize(size.Width, size.Height) // One that has ended has no size.
			}
		case <-c.ended:
			for len(a.chunks) > 0 {
				next := <-a.chunks
				if err := next.to(client); err != nil {
					return err
				}
			}
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// feed passes the client's input on, in the background: reading it ends when
// its connection is closed, after Attach has returned.
func (c *Console) feed(in io.Reader) {
	c.mu.Lock()
	input := c.input
	c.mu.Unlock()
	if in == nil || input == nil {
		return
	}
	go func() {
		_, _ = io.Copy(input, in)
		if c.o.StdinOnce {
			c.closeInput()
		}
	}()
}

func (k chunk) to(client Client) error {
	w := client.Out
	if k.errs {
		w = client.Errs
	}
	if w == nil {
		return nil
	}
	_, err := w.Write(k.data)
	return err
}

func (c *Console) join() *attached {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &attached{chunks: make(chan chunk, len(c.backlog)+16), gone: make(chan struct{})}
	for _, k := range c.backlog {
		a.chunks <- k
	}
	c.backlog, c.kept = nil, -1
	c.clients[a] = true
	return a
}

func (c *Console) leave(a *attached) {
	close(a.gone)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.clients, a)
}

// output is one of the two that the container writes to.
type output struct {
	console *Console
	log     io.Writer
	errs    bool
}

// Write never fails: the log does not, and clients that fail leave.
func (o output) Write(p []byte) (int, error) {
	_, _ = o.log.Write(p)
	c := o.console
	k := chunk{o.errs, append([]byte(nil), p...)}
	c.mu.Lock()
	if c.kept >= 0 {
		c.backlog = append(c.backlog, k)
		if c.kept += len(p); c.kept > backlogLimit {
			c.backlog, c.kept = nil, -1
		}
	}
	clients := make([]*attached, 0, len(c.clients))
	for a := range c.clients {
		clients = append(clients, a)
	}
	c.mu.Unlock()
	for _, a := range clients {
		select {
		case a.chunks <- k:
		case <-a.gone:
		case <-c.ended:
		}
	}
	return len(p), nil
}

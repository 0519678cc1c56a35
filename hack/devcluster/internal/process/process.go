// Package process keeps a program running: it is started again when it ends
// unasked, and can be stopped, paused and started by request.
//
// All of a cluster's programs end with its supervisor, by its PID namespace:
// nothing here is done for that.
package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/netns"
)

const (
	stopGrace    = 2 * time.Second // from SIGTERM to SIGKILL
	restartDelay = time.Second     // after an end that nobody asked for
)

type verb int

const (
	start verb = iota
	stop
	kill
	pause
	restart // if it runs, and is not paused
)

type request struct {
	verb verb
	done chan error // has room for the answer
}

// Options describe a process. Name, Path, Log and Ended are required.
type Options struct {
	Name      string                       // for messages
	Path      string                       // of the program
	Args      []string                     // without the program's name
	Env       []string                     // beyond HOME and PATH
	Input     []byte                       // what it reads from its descriptor 3, up to 64 KB; nil: it has none
	Namespace *netns.Namespace             // its network; nil: the caller's
	Mounts    bool                         // give it a mount namespace of its own, whose mounts end with it
	Log       string                       // file that gets its output, appended
	Ended     func(name string, err error) // told of each end that nobody asked for
}

// Supervised is a process that is kept running. All its state is Run's.
type Supervised struct {
	o        Options
	requests chan request
}

// New takes the options. It starts nothing.
func New(o Options) *Supervised {
	return &Supervised{o: o, requests: make(chan request)}
}

// Name is the process's.
func (s *Supervised) Name() string { return s.o.Name }

// Start starts a process that was stopped, and wakes one that was paused.
func (s *Supervised) Start(ctx context.Context) error { return s.ask(ctx, start) }

// Stop ends the process, gently at first, until Start.
func (s *Supervised) Stop(ctx context.Context) error { return s.ask(ctx, stop) }

// Kill ends the process without warning, until Start.
func (s *Supervised) Kill(ctx context.Context) error { return s.ask(ctx, kill) }

// Pause freezes the process until Start.
func (s *Supervised) Pause(ctx context.Context) error { return s.ask(ctx, pause) }

// Restart ends a process that runs, which is then started again. One that is
// paused stays as it is.
func (s *Supervised) Restart(ctx context.Context) error { return s.ask(ctx, restart) }

// ask does one verb and waits until it is done.
func (s *Supervised) ask(ctx context.Context, v verb) error {
	r := request{verb: v, done: make(chan error, 1)}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run keeps the process running, unless it is asked to stop, until ctx ends.
func (s *Supervised) Run(ctx context.Context) {
	var (
		wanted = true
		paused bool
		proc   *child
		retry  <-chan time.Time
	)
	for {
		if wanted && proc == nil && retry == nil {
			var err error
			if proc, err = s.start(); err != nil {
				s.o.Ended(s.o.Name, err)
				retry = time.After(restartDelay)
			}
		}
		var exited <-chan error
		if proc != nil {
			exited = proc.exited
		}
		select {
		case <-ctx.Done():
			if proc != nil {
				// Nothing outlives the cluster, so there is nothing to end gently.
				proc.Kill()
				<-proc.exited
			}
			return
		case <-retry:
			retry = nil
		case err := <-exited:
			proc, paused, retry = nil, false, time.After(restartDelay)
			s.o.Ended(s.o.Name, err)
		case r := <-s.requests:
			switch r.verb {
			case start:
				wanted, paused = true, false
				if proc != nil {
					proc.Signal(unix.SIGCONT)
				}
				retry = nil
				r.done <- nil
			case stop:
				wanted, paused, retry = false, false, nil
				if proc != nil {
					proc.stop()
					proc = nil
				}
				r.done <- nil
			case kill:
				wanted, paused, retry = false, false, nil
				if proc != nil {
					proc.Kill()
					<-proc.exited
					proc = nil
				}
				r.done <- nil
			case restart:
				if proc != nil && !paused {
					proc.stop()
					proc = nil
				}
				r.done <- nil
			case pause:
				if proc == nil {
					r.done <- fmt.Errorf("%s does not run: start it first", s.o.Name)
					continue
				}
				paused = true
				proc.Signal(unix.SIGSTOP)
				r.done <- nil
			}
		}
	}
}

func (s *Supervised) start() (*child, error) {
	log, err := os.OpenFile(s.o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(s.o.Path, s.o.Args...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"HOME=/", "PATH=" + os.Getenv("PATH")}, s.o.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: signals of the terminal are not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.o.Mounts {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNS
	}
	if err := s.launch(cmd); err != nil {
		return nil, err
	}
	c := &child{Process: cmd.Process, exited: make(chan error, 1)}
	go func() { c.exited <- cmd.Wait() }()
	return c, nil
}

// launch starts the program and gives it its input, which a pipe has room for.
func (s *Supervised) launch(cmd *exec.Cmd) error {
	if s.o.Input == nil {
		return s.o.Namespace.Do(cmd.Start)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	defer write.Close()
	if _, err := write.Write(s.o.Input); err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{read}
	return s.o.Namespace.Do(cmd.Start)
}

type child struct {
	*os.Process
	exited chan error // gets the one end
}

// stop ends the process, gently at first, and waits for its end.
func (c *child) stop() {
	c.Signal(unix.SIGTERM)
	c.Signal(unix.SIGCONT)
	select {
	case <-c.exited:
	case <-time.After(stopGrace):
		c.Signal(unix.SIGKILL)
		<-c.exited
	}
}

// LastLines returns the last n lines of the log.
func (s *Supervised) LastLines(n int) string {
	text, err := os.ReadFile(s.o.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

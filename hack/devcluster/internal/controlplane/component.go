package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stopGrace    = 2 * time.Second // from SIGTERM to SIGKILL
	restartDelay = time.Second     // after an end that nobody asked for
)

type verb int

const (
	start verb = iota
	stop
	pause
	restart // if it runs
)

type request struct {
	verb verb
	done chan error // has room for the answer
}

// component is one supervised process. All its state is run's.
type component struct {
	name     string
	path     string
	args     []string
	log      string
	requests chan request
	ended    func(name string, err error) // told of each end that nobody asked for
}

func newComponent(name, bin, logs string, args []string, ended func(string, error)) *component {
	return &component{
		name:     name,
		path:     filepath.Join(bin, name),
		args:     args,
		log:      filepath.Join(logs, name+".log"),
		requests: make(chan request),
		ended:    ended,
	}
}

// ask does one verb and waits until it is done.
func (c *component) ask(ctx context.Context, v verb) error {
	r := request{verb: v, done: make(chan error, 1)}
	select {
	case c.requests <- r:
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

// run keeps the process running, unless it is asked to stop, until ctx ends.
func (c *component) run(ctx context.Context) {
	var (
		wanted = true
		proc   *process
		retry  <-chan time.Time
	)
	for {
		if wanted && proc == nil && retry == nil {
			var err error
			if proc, err = c.start(); err != nil {
				c.ended(c.name, err)
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
			proc, retry = nil, time.After(restartDelay)
			c.ended(c.name, err)
		case r := <-c.requests:
			switch r.verb {
			case start:
				wanted = true
				if proc != nil {
					proc.Signal(unix.SIGCONT)
				}
				retry = nil
				r.done <- nil
			case stop:
				wanted, retry = false, nil
				if proc != nil {
					proc.stop()
					proc = nil
				}
				r.done <- nil
			case restart:
				if proc != nil {
					proc.stop()
					proc = nil
				}
				r.done <- nil
			case pause:
				if proc == nil {
					r.done <- fmt.Errorf("%s does not run: start it first", c.name)
					continue
				}
				proc.Signal(unix.SIGSTOP)
				r.done <- nil
			}
		}
	}
}

func (c *component) start() (*process, error) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(c.path, c.args...)
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=/", "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: signals of the terminal are not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{Process: cmd.Process, exited: make(chan error, 1)}
	go func() { p.exited <- cmd.Wait() }()
	return p, nil
}

type process struct {
	*os.Process
	exited chan error // gets the one end
}

// stop ends the process, gently at first, and waits for its end.
func (p *process) stop() {
	p.Signal(unix.SIGTERM)
	p.Signal(unix.SIGCONT)
	select {
	case <-p.exited:
	case <-time.After(stopGrace):
		p.Signal(unix.SIGKILL)
		<-p.exited
	}
}

// lastLines returns the last n lines of the component's log.
func (c *component) lastLines(n int) string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Container is a running, or ended, container.
type Container struct {
	// PID is that of its first process, as the caller sees it.
	PID     int
	Started time.Time

	spec    *Spec
	sandbox *Sandbox
	process *os.Process
	done    chan struct{}
	exit    Exit

	mu         sync.Mutex
	namespaces []*os.File // mount, PID; empty once the container has ended
}

// Exit is how a container ended.
type Exit struct {
	// Code is the exit code, or 128 and the signal's number.
	Code int
	// Signal is what ended it, 0 if it ended by itself.
	Signal syscall.Signal
	Time   time.Time
}

// Streams are what a container's program reads and writes.
type Streams struct {
	// Stdin is what the program reads; nil is nothing. It stays the caller's.
	Stdin          *os.File
	Stdout, Stderr io.Writer
	// Terminal, if any, takes the place of the three for the program; what is
	// written on it goes to Stdout. Its File stays the caller's.
	Terminal *Terminal
}

// Start runs a container in the sandbox, among the processes of another, beside,
// if that is not nil. It returns once the program runs, or with what hindered it.
func Start(sandbox *Sandbox, spec *Spec, streams Streams, beside *Container) (*Container, error) {
	c := &Container{spec: spec, sandbox: sandbox, done: make(chan struct{})}
	started := make(chan error)
	go c.run(streams, beside, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// run starts the process, waits for it, and ends with it. It stays on one
// thread, which ends as well, since the end of the thread that started a process
// counts as the end of its parent.
func (c *Container) run(streams Streams, beside *Container, started chan<- error) {
	runtime.LockOSThread()
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{initName},
		Env:         []string{},
		SysProcAttr: sysProcAttr(),
		// What outlives PID 1 is killed by the kernel; this is for pipes
		// that went elsewhere.
		WaitDelay: time.Second,
	}
	if beside != nil {
		if err := beside.enterProcesses(); err != nil {
			started <- err
			return
		}
		cmd.SysProcAttr.Cloneflags &^= unix.CLONE_NEWPID
		cmd.SysProcAttr.Pdeathsig = 0 // As in execHere; the first process sets it itself.
	}
	shown := streams.connect(cmd)
	err := c.launch(cmd)
	if streams.Terminal != nil {
		_ = streams.Terminal.CloseTTY() // It has only been handed on.
	}
	if err != nil {
		shown()
		started <- err
		return
	}
	c.PID, c.process, c.Started = cmd.Process.Pid, cmd.Process, time.Now()
	started <- nil
	_ = cmd.Wait() // The state says all that matters.
	c.exit = exitOf(cmd.ProcessState)
	shown()
	close(c.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, file := range c.namespaces {
		file.Close()
	}
	c.namespaces = nil
}

// connect gives the streams to the command. The returned function waits until
// what was written on the terminal, whose side of the program must be closed,
// has been passed on, or for the command's delay.
func (s Streams) connect(cmd *exec.Cmd) (shown func()) {
	if s.Terminal == nil {
		if s.Stdin != nil {
			cmd.Stdin = s.Stdin
		}
		cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
		return func() {}
	}
	tty := s.Terminal.tty
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr.Setctty = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(s.Stdout, s.Terminal.File) // Ends with the last program on the terminal.
	}()
	return func() {
		select {
		case <-done:
		case <-time.After(cmd.WaitDelay): // Programs beside another container may go on.
		}
	}
}

func (c *Container) launch(cmd *exec.Cmd) error {
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer specRead.Close()
	defer specWrite.Close()
	errorRead, errorWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer errorRead.Close()
	defer errorWrite.Close()
	cmd.ExtraFiles = append([]*os.File{specRead, errorWrite}, c.sandbox.namespaces...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	specRead.Close()
	errorWrite.Close()
	input := struct {
		*Spec
		Namespaces int
	}{c.spec, len(c.sandbox.namespaces)}
	// An end before it has read everything shows below.
	writeErr := json.NewEncoder(specWrite).Encode(input)
	specWrite.Close()
	message, err := io.ReadAll(errorRead)
	if err == nil && len(message) > 0 {
		err = errors.New(strings.TrimSpace(string(message)))
	}
	if err == nil {
		err = writeErr
	}
	if err == nil {
		err = c.openNamespaces(cmd.Process.Pid)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	return err
}

// openNamespaces keeps the container's own namespaces for Exec. A process
// that has already ended is not waited for yet, so that its folder is there,
// but its mount namespace may not be: then there is nothing to enter.
func (c *Container) openNamespaces(pid int) error {
	for _, name := range []string{"mnt", "pid"} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
			return nil
		}
		if err != nil {
			return err
		}
		c.namespaces = append(c.namespaces, file)
	}
	return nil
}

// Done is closed when the container has ended and what it wrote has been
// passed on.
func (c *Container) Done() <-chan struct{} { return c.done }

// Exit is how the container ended. It waits for the end.
func (c *Container) Exit() Exit {
	<-c.done
	return c.exit
}

// Signal sends a signal to the container's first process. One that has ended
// is no error.
func (c *Container) Signal(signal syscall.Signal) error {
	if err := c.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal container: %w", err)
	}
	return nil
}

func exitOf(state *os.ProcessState) Exit {
	exit := Exit{Code: -1, Time: time.Now()}
	if state == nil {
		return exit
	}
	status := state.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		exit.Signal = status.Signal()
		exit.Code = 128 + int(exit.Signal)
		return exit
	}
	exit.Code = status.ExitStatus()
	return exit
}

// Package sandbox runs a program in Linux namespaces of its own: PID, mount,
// network, UTS and IPC, and a user namespace when the caller is not root.
//
// Three processes take part. The outer one, which calls Run, stays outside and
// waits. Init is PID 1 inside: it makes the file tree, starts the program and
// reaps orphans. The program is the third, and everything else is below it.
// The kernel kills a PID namespace with its init, and init ends when either of
// the other two does, however they end. Nothing is written outside: the root
// inside is a tmpfs that shows the host's folders and has one more, Dir.
//
// The package is not a security boundary: the host's files are all there.
package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is the folder inside that the program has for itself. It is gone with the sandbox.
const Dir = "/devcluster"

// Executable is the path inside at which the running binary is found, also after its file was replaced.
const Executable = Dir + "/bin/devcluster"

// Logs is the folder inside for logs.
const Logs = Dir + "/logs"

// ResolvConf is the file inside that stands in for /etc/resolv.conf.
const ResolvConf = Dir + "/resolv.conf"

// ErrNamespaces says that the kernel did not give this process the namespaces of a sandbox.
var ErrNamespaces = errors.New("make namespaces")

// StatusSetup is the exit code of a sandbox that could not be made. The reason is on stderr.
const StatusSetup = 125

const initName = "devcluster-init"

// Options say what runs in a sandbox. Program is required.
type Options struct {
	Program    string        // the name that the binary is started under inside
	Input      []byte        // what the program gets from Input
	Files      []*os.File    // what the program gets from File, by index
	Hostname   string        // empty: devcluster
	Logs       string        // folder of the host that appears at Logs; empty: on tmpfs, gone with the rest
	Resolv     string        // text of /etc/resolv.conf inside; empty: the host's
	Grace      time.Duration // how long a program may take to end after a signal; 0: 30 s
	Foreground bool          // give the terminal back to the caller's process group at the end
}

// spec is what the outer process tells init.
type spec struct {
	Program    string
	Input      []byte
	Files      int // how many
	Hostname   string
	Logs       string
	Resolv     string
	Executable string
	Dir        string
}

// Lookup returns the main function of the sandbox's own program called name.
func Lookup(name string) (main func(), ok bool) {
	if name == initName {
		return initMain, true
	}
	return nil, false
}

// Input returns what the caller of Run passed. Only the program itself may call it, once.
func Input() ([]byte, error) {
	file := os.NewFile(inputFD, "input")
	defer file.Close()
	return io.ReadAll(file)
}

// File returns one of the files that the caller of Run passed. Only the program itself may call it, once for each.
func File(index int) *os.File {
	fd := inputFD + 1 + index
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), fmt.Sprintf("file %d", index))
}

// Run starts the program in a new sandbox, passes interrupts and terminations
// on to it, waits until all in the sandbox is gone, and returns the program's
// exit code.
func Run(o Options) (int, error) {
	// Pdeathsig is sent when the thread that forked ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	input, err := o.spec()
	if err != nil {
		return 0, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer write.Close()
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{initName},
		Env:         os.Environ(),
		Stdin:       os.Stdin,
		Stdout:      os.Stdout,
		Stderr:      os.Stderr,
		ExtraFiles:  append([]*os.File{read}, o.Files...),
		SysProcAttr: attributes(os.Geteuid(), os.Getegid()),
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)
	err = cmd.Start()
	read.Close()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNamespaces, err)
	}
	if o.Foreground {
		defer takeTerminal()
	}
	ended := make(chan struct{})
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		relay(cmd.Process, signals, ended, o.Grace)
	}()
	// Init reads one value and then watches for the end of the pipe, which comes with the end of this process.
	_, err = write.Write(input)
	if err != nil {
		cmd.Process.Kill()
	}
	status := cmd.Wait()
	close(ended)
	<-relayed
	if err != nil {
		return 0, fmt.Errorf("start init: %w", err)
	}
	exit, ok := errors.AsType[*exec.ExitError](status)
	switch {
	case status == nil:
		return 0, nil
	case !ok:
		return 0, status
	case exit.ExitCode() < 0:
		return 0, fmt.Errorf("the sandbox was ended from outside: %w", status)
	}
	return exit.ExitCode(), nil
}

func (o Options) spec() ([]byte, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	s := spec{Program: o.Program, Input: o.Input, Files: len(o.Files), Hostname: o.Hostname, Resolv: o.Resolv, Executable: executable, Dir: dir}
	if s.Hostname == "" {
		s.Hostname = "devcluster"
	}
	if o.Logs != "" {
		if s.Logs, err = filepath.Abs(o.Logs); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(s.Logs, 0o755); err != nil {
			return nil, err
		}
	}
	return json.Marshal(s)
}

func attributes(uid, gid int) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
		// The terminal's Ctrl-C is for the outer process alone, which passes it on in order.
		Setpgid: true,
	}
	if uid != 0 {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	return a
}

// relay passes signals on to init, and kills it when it takes longer than grace to end after the first.
func relay(init *os.Process, signals <-chan os.Signal, ended <-chan struct{}, grace time.Duration) {
	if grace == 0 {
		grace = 30 * time.Second
	}
	var late <-chan time.Time
	for {
		select {
		case s := <-signals:
			init.Signal(s)
			if late == nil {
				late = time.After(grace)
			}
		case <-late:
			init.Kill()
		case <-ended:
			return
		}
	}
}

// takeTerminal makes the caller's process group the terminal's foreground one again.
func takeTerminal() {
	// A background process that asks for the terminal is stopped unless it ignores this.
	signal.Ignore(unix.SIGTTOU)
	defer signal.Reset(unix.SIGTTOU)
	_ = unix.IoctlSetPointerInt(int(os.Stdin.Fd()), unix.TIOCSPGRP, unix.Getpgrp())
}

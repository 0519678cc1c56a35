package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// inputFD is the descriptor on which init is told its spec and the program its input. Passed files follow.
const inputFD = 3

// initMain is PID 1 of the sandbox. Its end is the end of all.
func initMain() {
	status, err := runInit()
	if err != nil {
		fmt.Fprintf(os.Stderr, "devcluster: make the sandbox: %v\n", err)
		status = StatusSetup
	}
	os.Exit(status)
}

func runInit() (int, error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	unix.CloseOnExec(inputFD)
	outer := os.NewFile(inputFD, "outer")
	decoder := json.NewDecoder(outer)
	var s spec
	if err := decoder.Decode(&s); err != nil {
		return 0, fmt.Errorf("read from the outer process: %w", err)
	}
	go func() {
		// Nothing is written after the spec: this ends when the outer process does.
		_, _ = io.Copy(io.Discard, outer)
		os.Exit(128 + int(unix.SIGKILL))
	}()
	if err := makeRoot(s); err != nil {
		return 0, err
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return 0, fmt.Errorf("set the host name: %w", err)
	}
	if err := os.Chdir(s.Dir); err != nil {
		return 0, err
	}
	program, err := startProgram(s)
	if err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			syscall.Kill(program, s.(syscall.Signal))
		}
	}()
	return reap(program)
}

// startProgram does without os/exec, which would wait for its child itself while reap waits for all.
func startProgram(s spec) (pid int, err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer read.Close()
	files := []uintptr{0, 1, 2, read.Fd()}
	for i := range s.Files {
		file := File(i)
		defer file.Close()
		files = append(files, file.Fd())
	}
	pid, err = syscall.ForkExec(Executable, []string{s.Program}, &syscall.ProcAttr{Env: os.Environ(), Files: files})
	if err != nil {
		write.Close()
		return 0, fmt.Errorf("start %s: %w", s.Program, err)
	}
	_, err = write.Write(s.Input)
	write.Close()
	return pid, err
}

// reap waits for every process that has no other parent, until the program ends.
func reap(program int) (int, error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait: %w", err)
		case pid != program:
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}

//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confinedEnv makes this test binary a program that denies itself new
// namespaces, as the filter of a container engine does, and becomes its arguments.
const confinedEnv = "DEVCLUSTER_TEST_CONFINED"

func TestDoctorInContainer(t *testing.T) {
	cmd := exec.Command(os.Args[0], os.Getenv(binaryEnv), "doctor")
	cmd.Env = append(os.Environ(), confinedEnv+"=1")
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "--security-opt seccomp=unconfined") {
		t.Errorf("exit code %d, want 1 and how to start the container:\n%s", code, out)
	}
}

// confine becomes the program args[0] under a filter. It returns only with an error.
func confine(args []string) error {
	const (
		load, equal, anySet, answer = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, unix.BPF_RET | unix.BPF_K
		number, firstArgument       = 0, 16 // offsets in struct seccomp_data
	)
	filter := []unix.SockFilter{
		{Code: load, K: number},
		{Code: equal, Jf: 3, K: unix.SYS_CLONE},
		{Code: load, K: firstArgument},
		{Code: anySet, Jt: 2, K: unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		{Code: equal, Jt: 2, Jf: 1, K: unix.SYS_CLONE3},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}, // a filter cannot look at its flags
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, err := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); err != 0 {
		return fmt.Errorf("seccomp: %w", err)
	}
	return unix.Exec(args[0], args, os.Environ())
}

package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// initName is the name under which this program starts itself as the first
// process of a container.
const initName = "xinhari-container"

// Files that a container's first process is started with.
const (
	specFile  = 3 // its Spec, as JSON
	errorFile = 4 // for what went wrong; closed without a word by the program's start
	firstFile = 5 // the sandbox's namespaces
)

// init is an exception to the rule that packages have none: main functions run
// after the initialization of every package of the binary, which for all of
// Kubernetes takes 60 ms of a processor, for each container anew. This package
// imports little and so comes early in the order. What Lookup returns would do
// the same later.
func init() { //nolint:gochecknoinits // Six times faster; see above.
	if len(os.Args) > 0 && filepath.Base(os.Args[0]) == initName {
		initMain()
	}
}

// Lookup returns the main function of the program called name, for main
// functions to call before anything else. It does not return from a call.
func Lookup(name string) (main func(), ok bool) {
	if name == initName {
		return initMain, true
	}
	return nil, false
}

// initMain makes the process what its Spec says, and becomes the program.
func initMain() {
	unix.CloseOnExec(errorFile)
	report := os.NewFile(errorFile, "error")
	_, _ = fmt.Fprint(report, become())
	os.Exit(1)
}

// become returns only with an error.
func become() error {
	// What follows is about this thread, which alone outlives the exec.
	runtime.LockOSThread()
	file := os.NewFile(specFile, "spec")
	var spec struct {
		Spec
		Namespaces int
	}
	if err := json.NewDecoder(file).Decode(&spec); err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	file.Close()
	for fd := firstFile; fd < firstFile+spec.Namespaces; fd++ {
		if err := unix.Setns(fd, 0); err != nil {
			return fmt.Errorf("enter sandbox: %w", err)
		}
		unix.Close(fd)
	}
	unix.Umask(0o022)
	if err := buildRoot(&spec.Spec); err != nil {
		return err
	}
	if err := pivot(&spec.Spec); err != nil {
		return err
	}
	dir := spec.Dir
	if dir == "" {
		dir = "/"
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter working directory %s: %w", dir, err)
	}
	path, err := lookPath(spec.Args[0], spec.Env)
	if err != nil {
		return err
	}
	if err := dropRights(&spec.Spec); err != nil {
		return err
	}
	if err := unix.Exec(path, spec.Args, spec.Env); err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}

// dropRights turns the calling thread into the spec's user.
func dropRights(spec *Spec) error {
	if err := keepCapabilities(spec.Capabilities); err != nil {
		return err
	}
	// What is opened anew through /dev/stdout is checked against its owner.
	for _, fd := range []int{1, 2} {
		_ = unix.Fchown(fd, spec.UID, spec.GID)
	}
	if err := setCredentials(spec); err != nil {
		return err
	}
	// A change of user clears this.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent death signal: %w", err)
	}
	return setNoNewPrivileges(spec)
}

func setNoNewPrivileges(spec *Spec) error {
	if !spec.NoNewPrivileges {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	return nil
}

// setCredentials changes the calling thread only, unlike the functions of
// package syscall, which fail where threads differ.
func setCredentials(spec *Spec) error {
	if groupsAllowed() {
		groups := make([]uint32, len(spec.Groups)+1) // One more, so that it can be addressed.
		for i, group := range spec.Groups {
			groups[i] = uint32(group)
		}
		if err := setGroups(groups[:len(spec.Groups)]); err != nil {
			return err
		}
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(spec.GID), uintptr(spec.GID), uintptr(spec.GID)); errno != 0 {
		return fmt.Errorf("become group %d: %w", spec.GID, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(spec.UID), uintptr(spec.UID), uintptr(spec.UID)); errno != 0 {
		return fmt.Errorf("become user %d: %w", spec.UID, errno)
	}
	return nil
}

// groupsAllowed reports whether the user namespace lets its processes choose
// their supplementary groups. One made without root does not.
func groupsAllowed() bool {
	data, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(data)) == "allow"
}

// lookPath finds a program as the shell does, in the PATH of env.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, entry := range env {
		path, ok := strings.CutPrefix(entry, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// sysProcAttr is how a container's first process is started.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
}

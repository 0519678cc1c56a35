package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/controlplane"
	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
	"github.com/xinhari/xinhari/hack/devcluster/internal/sandbox"
)

const commandGrace = 10 * time.Second // from the first signal to SIGKILL

// Exit codes of a command that did not run, as shells have them.
const (
	statusNotExecutable = 126
	statusNotFound      = 127
)

// command runs the user's command and returns its exit code. The first signal
// is passed on to it; when it is still there after a grace, or at the second
// one, or when a part of the cluster fails for good, it is killed.
func (s *supervisor) command(ctx context.Context, signals <-chan os.Signal) (int, error) {
	env := s.environ()
	path, err := lookPath(s.Command[0], s.Dir, env)
	if err != nil {
		status := statusNotExecutable
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			status = statusNotFound
		}
		return status, err
	}
	cmd := &exec.Cmd{
		Path:   path,
		Args:   s.Command,
		Env:    env,
		Dir:    s.Dir,
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		// Its own group, so that a signal reaches all of it, and Ctrl-C only it.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Foreground: s.Terminal, Ctty: int(os.Stdin.Fd())},
	}
	if err := cmd.Start(); err != nil {
		return statusNotExecutable, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	kill := func() { syscall.Kill(-cmd.Process.Pid, unix.SIGKILL) }

	var failure error
	var late <-chan time.Time
	failed := ctx.Done()
	for {
		select {
		case sig := <-signals:
			if late != nil {
				kill()
				continue
			}
			syscall.Kill(-cmd.Process.Pid, sig.(syscall.Signal))
			late = time.After(commandGrace)
		case <-late:
			kill()
		case <-failed:
			failed = nil
			failure = context.Cause(ctx)
			kill()
		case <-ended:
			kill() // what it left in its group
			if failure != nil {
				return sandbox.StatusSetup, failure
			}
			return exitStatus(cmd.ProcessState), nil
		}
	}
}

func exitStatus(p *os.ProcessState) int {
	if w := p.Sys().(syscall.WaitStatus); w.Signaled() {
		return 128 + int(w.Signal())
	}
	return p.ExitCode()
}

// environ is the environment of the command: the caller's, pointed at the cluster.
func (s *supervisor) environ() []string {
	path := filepath.Dir(sandbox.Executable)
	if s.Images != "" {
		path += ":" + s.Images
	}
	noProxy := strings.Join([]string{controlplane.ServiceCIDR, network.Pods().String(), network.Nodes().String(), ".svc", "." + Domain}, ",")
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		// A host that is itself a pod would make clients ask its cluster instead.
		return strings.HasPrefix(v, "KUBERNETES_")
	})
	for _, v := range []struct{ name, before, after string }{
		{name: "KUBECONFIG", before: kubeconfig},
		{name: "KUBERC", before: "off"},                        // preferences of the user are not for tests
		{name: "KUBECACHEDIR", before: sandbox.Dir + "/cache"}, // what kubectl remembers of one cluster is wrong for the next
		{name: DirEnv, before: sandbox.Dir},
		{name: "PATH", before: path, after: ":" + os.Getenv("PATH")},
		{name: "NO_PROXY", before: noProxy, after: prefixed(",", os.Getenv("NO_PROXY"))},
		{name: "no_proxy", before: noProxy, after: prefixed(",", os.Getenv("no_proxy"))},
	} {
		env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, v.name+"=") })
		env = append(env, v.name+"="+v.before+v.after)
	}
	return env
}

func prefixed(separator, s string) string {
	if s == "" {
		return ""
	}
	return separator + s
}

// lookPath finds a program as the command's shell would, with its folder and its PATH.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return exec.LookPath(name)
	}
	for _, e := range env {
		list, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for _, folder := range filepath.SplitList(list) {
			if !filepath.IsAbs(folder) {
				folder = filepath.Join(dir, folder)
			}
			if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

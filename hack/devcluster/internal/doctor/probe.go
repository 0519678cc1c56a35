package doctor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
	"github.com/xinhari/xinhari/hack/devcluster/internal/sandbox"
)

const (
	probeName = "devcluster-probe"
	podName   = "devcluster-probe-pod"
)

// Lookup returns the main function of the doctor's own program called name.
func Lookup(name string) (main func(), ok bool) {
	switch name {
	case probeName:
		return probeMain, true
	case podName:
		// It is there to be attached, and ends when its stdin does.
		return func() { _, _ = os.Stdin.Read(make([]byte, 1)) }, true
	}
	return nil, false
}

// Try makes a sandbox, the pod network in it and one pod's namespaces. What goes wrong inside is on stderr.
func Try() error {
	status, err := sandbox.Run(sandbox.Options{Program: probeName})
	if err == nil && status != 0 {
		err = errors.New("no sandbox (see above)")
	}
	return err
}

func probeMain() {
	if err := probe(); err != nil {
		fmt.Fprintf(os.Stderr, "devcluster: %v\n", err)
		os.Exit(1)
	}
}

func probe() error {
	bridge, err := network.New()
	if err != nil {
		return fmt.Errorf("make a bridge: %w (modprobe bridge veth)", err)
	}
	if _, err := bridge.AddNode(1); err != nil {
		return fmt.Errorf("%w (modprobe veth)", err)
	}
	node, err := network.OpenNode(network.Cluster(), network.NodeRange(2), "")
	if err != nil {
		return err
	}
	pod := &exec.Cmd{
		Path:        sandbox.Executable,
		Args:        []string{podName},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS},
	}
	stdin, err := pod.StdinPipe()
	if err != nil {
		return err
	}
	if err := pod.Start(); err != nil {
		return fmt.Errorf("make a pod's namespaces: %w", err)
	}
	_, err = node.Attach(pod.Process.Pid)
	stdin.Close()
	return errors.Join(err, pod.Wait())
}

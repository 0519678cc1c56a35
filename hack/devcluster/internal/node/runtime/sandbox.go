// Package runtime runs containers as processes in Linux namespaces.
//
// A Sandbox is what the containers of a pod share: network, IPC and UTS
// namespaces, kept by open files alone, without a process. A Container is a
// process with a mount and a PID namespace of its own. Its root is a tmpfs on
// which the host's programs and libraries are bound read-only, so that what is
// built on the host runs as it is; the host's homes and state are not in it.
// The container's first process is PID 1 there: when it ends, the kernel kills
// the rest.
//
// All this works as root and as the one mapped user of a user namespace. In
// the second case there are no other users to run as, see Mapped.
//
// Limits on CPU and memory are not enforced.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Sandbox holds the namespaces that the containers of a pod share.
type Sandbox struct {
	namespaces []*os.File // network, IPC, UTS; empty ones are the caller's own
}

// NewSandbox makes the namespaces of a pod. It calls attach with the id of a
// thread inside them; nil leaves the pod in the caller's network.
func NewSandbox(hostname string, attach func(tid int) error) (*Sandbox, error) {
	s := &Sandbox{}
	var err error
	onThread(func() { err = s.open(hostname, attach) })
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("make sandbox: %w", err)
	}
	return s, nil
}

func (s *Sandbox) open(hostname string, attach func(tid int) error) error {
	flags, names := unix.CLONE_NEWIPC|unix.CLONE_NEWUTS, []string{"ipc", "uts"}
	if attach != nil {
		flags, names = flags|unix.CLONE_NEWNET, append(names, "net")
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	for _, name := range names {
		file, err := os.Open("/proc/thread-self/ns/" + name)
		if err != nil {
			return err
		}
		s.namespaces = append(s.namespaces, file)
	}
	if attach == nil {
		return nil
	}
	// As in the containers of every common runtime, any user may listen on low ports.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0); err != nil {
		return err
	}
	return attach(unix.Gettid())
}

// Close lets go of the namespaces; they end with the last process in them.
func (s *Sandbox) Close() error {
	var errs []error
	for _, file := range s.namespaces {
		errs = append(errs, file.Close())
	}
	s.namespaces = nil
	return errors.Join(errs...)
}

// Dial connects to a TCP port on the pod's loopback address.
func (s *Sandbox) Dial(ctx context.Context, port int) (conn net.Conn, err error) {
	onThread(func() {
		if err = s.enter(); err != nil {
			return
		}
		// A literal address of one family is dialled on the calling thread.
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		conn, err = new(net.Dialer).DialContext(ctx, "tcp4", address)
	})
	return conn, err
}

// enter moves the calling thread into the sandbox.
func (s *Sandbox) enter() error {
	for _, file := range s.namespaces {
		if err := unix.Setns(int(file.Fd()), 0); err != nil {
			return fmt.Errorf("enter sandbox: %w", err)
		}
	}
	return nil
}

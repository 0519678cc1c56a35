// Package netns holds Linux network namespaces: each is kept by an open file
// alone, without a process, and ends with the last file, socket and process in
// it.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace.
type Namespace struct{ file *os.File }

// New makes an empty namespace, with a loopback interface that is down.
func New() (*Namespace, error) {
	var n *Namespace
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		n = &Namespace{file: file}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return n, nil
}

// Do runs f on a thread in the namespace, which ends with f. Sockets that f
// makes and processes that it starts belong to the namespace. A nil Namespace
// is the caller's own.
func (n *Namespace) Do(f func() error) error {
	if n == nil {
		return f()
	}
	return onThread(func() error {
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// FD is the open file's descriptor.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Close lets go of the namespace.
func (n *Namespace) Close() error { return n.file.Close() }

// onThread runs f on an operating system thread of its own, which ends with f.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and /proc/self shows its
			// namespaces as those of the process: keep it out of the way.
			err := onThread(f)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

package network

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const insideVariable = "DEVCLUSTER_TEST_INSIDE"

// TestMain runs the tests in a user and a network namespace of their own.
func TestMain(m *testing.M) {
	if os.Getenv(insideVariable) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Run(); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

// namespace runs functions in a network namespace of its own.
type namespace struct {
	tid  int
	work chan func()
}

func newNamespace(t *testing.T) *namespace {
	ns := &namespace{work: make(chan func())}
	ready := make(chan error)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // Never unlocked: the thread ends here.
		ns.tid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range ns.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(ns.work); <-done })
	return ns
}

func (ns *namespace) do(f func()) {
	done := make(chan struct{})
	ns.work <- func() { defer close(done); f() }
	<-done
}

// dial reports whether a connection comes about in a short time.
func (ns *namespace) dial(address string) (conn net.Conn, err error) {
	ns.do(func() { conn, err = net.DialTimeout("tcp4", address, 300*time.Millisecond) })
	return conn, err
}

func (ns *namespace) listen(t *testing.T, address string) {
	var listener net.Listener
	var err error
	ns.do(func() { listener, err = net.Listen("tcp4", address) })
	if err != nil {
		t.Fatal(err)
	}
	echo(t, listener)
}

// echo answers each connection with what it sends.
func echo(t *testing.T, listener net.Listener) {
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 16)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					conn.Write(buffer[:n])
				}
			}()
		}
	}()
}

func newNetwork(t *testing.T) *Network {
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func attach(t *testing.T, n *Network, ns *namespace) netip.Addr {
	addr, err := n.Attach(ns.tid)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func TestPodsReachEachOtherAndTheCluster(t *testing.T) {
	n := newNetwork(t)
	a, b := newNamespace(t), newNamespace(t)
	attach(t, n, a)
	to := attach(t, n, b)
	b.listen(t, to.String()+":80")
	b.listen(t, "127.0.0.1:81")
	for _, address := range []string{"10.96.0.1:443", "10.244.0.1:53", "127.0.0.1:8080"} {
		listener, err := net.Listen("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		echo(t, listener)
	}
	tests := []struct {
		name, address string
		want          bool
	}{
		{"another pod", to.String() + ":80", true},
		{"a ClusterIP", "10.96.0.1:443", true},
		{"the gateway", "10.244.0.1:53", true},
		{"the loopback of the cluster", "127.0.0.1:8080", false},
		{"the loopback of another pod", to.String() + ":81", false},
	}
	for _, test := range tests {
		conn, err := a.dial(test.address)
		if (err == nil) != test.want {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestCutDropsWithoutClosing(t *testing.T) {
	n := newNetwork(t)
	a, b := newNamespace(t), newNamespace(t)
	attach(t, n, a)
	to := attach(t, n, b)
	b.listen(t, to.String()+":80")
	conn, err := a.dial(to.String() + ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	say := func(timeout time.Duration) error {
		conn.SetDeadline(time.Now().Add(timeout))
		if _, err := conn.Write([]byte("x")); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 1))
		return err
	}
	if err := say(time.Second); err != nil {
		t.Fatal(err)
	}
	if err := n.Cut(to); err != nil {
		t.Fatal(err)
	}
	if err := say(200 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("over a cut link: %v", err)
	}
	if c, err := a.dial(to.String() + ":80"); err == nil {
		c.Close()
		t.Error("a cut pod can be dialled")
	}
	if err := n.Heal(to); err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("the answer over the healed link: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	n := newNetwork(t)
	a, b := newNamespace(t), newNamespace(t)
	first := attach(t, n, a)
	if err := n.Detach(first); err != nil {
		t.Fatal(err)
	}
	if err := n.Detach(first); err != nil {
		t.Errorf("detach again: %v", err)
	}
	if second := attach(t, n, b); second == first {
		t.Errorf("%s is given again at once", first)
	}
	if err := n.Cut(first); !errors.Is(err, ErrUnknown) {
		t.Errorf("cut of a free address: %v", err)
	}
	if got, want := next(netip.MustParseAddr("10.244.255.254")), netip.MustParseAddr("10.244.0.1"); got != want {
		t.Errorf("after the last comes %s, want %s", got, want)
	}
}

func TestFullNetwork(t *testing.T) {
	n := &Network{used: map[netip.Addr]bool{}, last: gateway.Addr()}
	for range 65533 {
		if _, err := n.take(); err != nil {
			t.Fatal(err)
		}
	}
	if addr, err := n.take(); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, %v", addr, err)
	}
	delete(n.used, n.last)
	if addr, err := n.take(); err != nil || addr != n.last {
		t.Errorf("got %v, %v, want the one free address", addr, err)
	}
}

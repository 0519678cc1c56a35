// Package networktest makes a cluster's network with pods for tests, without
// a cluster. The tests that use it run in namespaces of their own, by Main.
package networktest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/netns"
	"github.com/xinhari/xinhari/hack/devcluster/internal/network"
)

const insideVariable = "DEVCLUSTER_TEST_INSIDE"

// Main runs the tests in a user, a mount and a network namespace of their own,
// and returns their exit code.
func Main(m *testing.M) int {
	if os.Getenv(insideVariable) != "" {
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Run(); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

// Cluster is a network with nodes.
type Cluster struct {
	Network *network.Network
	Proxy   *network.Member
	Nodes   []*Node
}

// Node is a node of a Cluster.
type Node struct {
	*network.Member
	Attacher *network.Node
}

// Own is the ClusterIP that is local in the namespace of the tests.
func Own() netip.Addr { return netip.AddrFrom4([4]byte{10, 96, 0, 1}) }

// New makes a network of n nodes, which ends with the test.
func New(t *testing.T, n int) *Cluster {
	t.Helper()
	c := &Cluster{}
	var err error
	if c.Network, err = network.New(Own()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Network.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range n {
		member, err := c.Network.AddNode(i + 1)
		if err != nil {
			t.Fatal(err)
		}
		node := &Node{Member: member}
		err = member.Namespace.Do(func() error {
			node.Attacher, err = network.OpenNode(member.Addr, member.Ranges[0], "")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { node.Attacher.Close() })
		c.Nodes = append(c.Nodes, node)
	}
	if c.Proxy, err = c.Network.AddProxy(); err != nil {
		t.Fatal(err)
	}
	return c
}

// Place is a network namespace with an address.
type Place struct {
	Namespace *netns.Namespace
	Addr      netip.Addr
}

// Pod makes a pod on the node, which ends with the test.
func (n *Node) Pod(t *testing.T) *Place {
	t.Helper()
	namespace, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { namespace.Close() })
	p := &Place{Namespace: namespace}
	err = namespace.Do(func() (err error) {
		p.Addr, err = n.Attacher.Attach(unix.Gettid())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Place is the node itself.
func (n *Node) Place() *Place { return &Place{Namespace: n.Namespace, Addr: n.Addr} }

// Here is the namespace of the tests, which is the cluster's.
func Here() *Place { return &Place{Addr: network.Cluster()} }

// Dial connects to a TCP port, not much longer than a network on one machine needs.
func (p *Place) Dial(to netip.Addr, port uint16) (conn net.Conn, err error) {
	err = p.Namespace.Do(func() error {
		conn, err = net.DialTimeout("tcp4", netip.AddrPortFrom(to, port).String(), 300*time.Millisecond)
		return err
	})
	return conn, err
}

// Reaches fails the test unless a connection comes about, or is met by silence.
func (p *Place) Reaches(t *testing.T, to netip.Addr, want bool) {
	t.Helper()
	conn, err := p.Dial(to, Port)
	if err == nil {
		conn.Close()
	}
	if (err == nil) != want {
		t.Errorf("from %s to %s: %v, want a connection: %v", p.Addr, to, err, want)
	}
	if timeout, ok := errors.AsType[net.Error](err); err != nil && (!ok || !timeout.Timeout()) {
		t.Errorf("from %s to %s: %v, want silence", p.Addr, to, err)
	}
}

// Port is where Echo listens.
const Port = 80

// Echo answers what is sent to Port on the address, by TCP and UDP, with the same.
func (p *Place) Echo(t *testing.T, at netip.Addr) {
	t.Helper()
	var listener *net.TCPListener
	var packets *net.UDPConn
	err := p.Namespace.Do(func() (err error) {
		if listener, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, Port))); err != nil {
			return err
		}
		packets, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, Port)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close(); packets.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go echo(conn)
		}
	}()
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := packets.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			packets.WriteToUDPAddrPort(buffer[:n], from)
		}
	}()
}

func echo(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 1500)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		conn.Write(buffer[:n])
	}
}

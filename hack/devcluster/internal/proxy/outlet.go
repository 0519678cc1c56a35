package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xinhari/xinhari/hack/devcluster/internal/netns"
)

// outlet is where connections of clients end, and those to backends begin.
type outlet struct {
	in        *netns.Namespace
	namespace *netns.Namespace
	source    func(client netip.Addr) netip.Addr
}

// from is the address to speak from for a client; the zero one: any.
func (o *outlet) from(client netip.Addr) netip.Addr {
	if o.source == nil {
		return netip.IPv4Unspecified()
	}
	return o.source(client.Unmap())
}

func (o *outlet) dialUDP(client netip.Addr, to netip.AddrPort) (conn *net.UDPConn, err error) {
	from := net.UDPAddrFromAddrPort(netip.AddrPortFrom(o.from(client), 0))
	err = o.namespace.Do(func() error {
		conn, err = net.DialUDP("udp4", from, net.UDPAddrFromAddrPort(to))
		return err
	})
	return conn, err
}

// dialTCP connects to a backend. The thread that is in the namespace only
// begins with it, and does not wait: backends that do not answer are the
// ordinary case in a cluster that is broken on purpose.
func (o *outlet) dialTCP(ctx context.Context, client netip.Addr, to netip.AddrPort) (*net.TCPConn, error) {
	var fd int
	err := o.namespace.Do(func() (err error) {
		fd, err = connecting(o.from(client), to)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	file := os.NewFile(uintptr(fd), "")
	defer file.Close()
	if err := connected(ctx, file); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// connecting makes a socket that has begun to connect.
func connecting(from netip.Addr, to netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	// The port is chosen with the connection, so that there can be more of
	// them from one address than it has ports.
	err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()})
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// connected waits until a socket that has begun to connect has done so.
func connected(ctx context.Context, file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if err := file.SetWriteDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { file.SetWriteDeadline(time.Now()) })
	defer stop()
	var result error
	err = raw.Write(func(fd uintptr) bool {
		// The word that it is writable may have come before anyone waited for
		// it, and does not come twice: look first.
		var status int
		if status, result = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); status != 0 {
			result = unix.Errno(status)
		}
		_, unfinished := unix.Getpeername(int(fd))
		return result != nil || unfinished == nil
	})
	return errors.Join(err, result)
}

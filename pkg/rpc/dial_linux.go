package rpc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// controlSocket sets lossTimeout on a socket before it connects.
func controlSocket(_, _ string, conn syscall.RawConn) error {
	var err error
	if ctrl := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lossTimeout.Milliseconds()))
	}); ctrl != nil {
		return ctrl
	}
	return err
}

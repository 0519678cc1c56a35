//go:build !linux

package rpc

import "syscall"

// controlSocket does nothing: the kernel has no TCP_USER_TIMEOUT, and a peer
// that vanished is noticed by TCP's own retransmission limit.
func controlSocket(_, _ string, _ syscall.RawConn) error { return nil }

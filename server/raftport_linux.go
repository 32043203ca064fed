package server

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// boundLoss makes the kernel end a connection when nothing that was sent has been acknowledged for so long.
// Source: tcp(7), TCP_USER_TIMEOUT.
func boundLoss(after time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
		})
		if err != nil {
			return err
		}
		return failed
	}
}

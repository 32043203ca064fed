// Package deaf cuts TCP connections in tests as a network does: the kernel drops what comes for a socket and acknowledges
// none of it.
package deaf

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Set has the kernel drop what comes for a socket, or not any more. Multipath TCP takes no filters.
func Set(t testing.TB, s syscall.Conn, deaf bool) {
	raw, err := s.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) {
			if deaf {
				nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
				err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
			} else if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err == unix.ENOENT {
				err = nil // there was none
			}
		})
	}
	if err != nil {
		t.Error(err)
	}
}

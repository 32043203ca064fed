package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// local spares a connection between programs of one machine what is for networks: where the system's own congestion control is BBR,
// it models a path that is not there, and times each segment. Reno is part of every kernel.
func local(c *net.TCPConn, raw syscall.RawConn) {
	if to, ok := c.RemoteAddr().(*net.TCPAddr); ok && to.IP.IsLoopback() {
		_ = raw.Control(func(fd uintptr) { // if that fails it only costs more
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
		})
	}
}

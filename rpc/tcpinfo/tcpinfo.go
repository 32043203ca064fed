// Package tcpinfo asks the kernel how TCP connections do.
package tcpinfo

import (
	"net"
	"syscall"
	"time"
)

// Info is what the kernel knows of a TCP connection.
type Info struct {
	Opening bool          // the peer has not answered yet
	Repeats int           // how often in a row something was sent again without an answer, be it data or whether the peer takes any
	Wait    time.Duration // until that is done once more: twice as long as the time before
	Heard   time.Duration // since an acknowledgement came last
}

// Socket is the socket under a connection, be it TLS on top of it; nil where there is none.
func Socket(c net.Conn) syscall.RawConn {
	for {
		if s, ok := c.(syscall.Conn); ok {
			raw, err := s.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		}
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = over.NetConn()
	}
}

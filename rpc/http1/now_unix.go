//go:build unix

package http1

import (
	"io"
	"syscall"
	"time"
)

// WriteNow writes what the connection takes without waiting and returns how much that was, which is nothing where
// there is no way to tell. Its caller has taken the connection.
func (c *Conn) WriteNow(b []byte) (n int, err error) {
	s, ok := c.Conn.(syscall.Conn)
	if !ok || len(b) == 0 {
		return 0, nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, nil
	}
	c.lease(time.Now())
	failed := raw.Write(func(fd uintptr) bool {
		n, err = syscall.Write(int(fd), b)
		return true
	})
	switch {
	case failed != nil:
		return 0, failed
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return 0, nil
	case err != nil:
		return 0, err
	case n < 0:
		return 0, io.ErrShortWrite
	}
	return n, nil
}

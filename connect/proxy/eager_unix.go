//go:build unix

package proxy

import (
	"net"
	"syscall"
)

// eager writes to a socket what it takes at once. It is used by one goroutine at a time.
type eager struct {
	raw  syscall.RawConn
	send func(fd uintptr) bool
	b    []byte
	n    int
	err  error
}

// newEager returns that of the socket under a connection, nil where there is none.
func newEager(c net.Conn) *eager {
	raw := socketOf(c)
	if raw == nil {
		return nil
	}
	e := &eager{raw: raw}
	e.send = e.once
	return e
}

// once tries, and does not wait for room.
func (e *eager) once(fd uintptr) bool {
	e.n, e.err = sendNow(fd, e.b)
	return true
}

// write returns how much was written, which may be nothing.
func (e *eager) write(b []byte) (int, error) {
	e.b = b
	err := e.raw.Write(e.send)
	e.b = nil
	switch {
	case err != nil:
		return 0, err
	case e.err == syscall.EAGAIN:
		return 0, nil
	case e.err != nil:
		return 0, &net.OpError{Op: "write", Net: "socket", Err: e.err}
	}
	return e.n, nil
}

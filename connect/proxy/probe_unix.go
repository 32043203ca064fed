//go:build unix

package proxy

import (
	"net"
	"syscall"
)

// probe looks at what has come over a connection without taking it. It is used by one goroutine at a time.
type probe struct {
	raw  syscall.RawConn
	look func(fd uintptr)
	b    [1]byte
	n    int
	err  error
}

func newProbe(c net.Conn) *probe {
	s, ok := c.(syscall.Conn)
	if !ok {
		return &probe{}
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return &probe{}
	}
	p := &probe{raw: raw}
	p.look = func(fd uintptr) {
		p.n, _, p.err = syscall.Recvfrom(int(fd), p.b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	return p
}

// state reports whether the connection is open and nothing has come, and whether it has ended.
func (p *probe) state() (quiet, ended bool) {
	if p.raw == nil {
		return false, false
	}
	if p.raw.Control(p.look) != nil {
		return false, true
	}
	switch {
	case p.err == syscall.EAGAIN || p.err == syscall.EINTR:
		return true, false
	case p.err != nil || p.n == 0:
		return false, true
	}
	return false, false
}

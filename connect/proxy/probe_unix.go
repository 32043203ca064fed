//go:build unix

package proxy

import (
	"io"
	"net"
	"syscall"
)

// probe looks at what has come over a connection without taking it. It is used by one goroutine at a time.
type probe struct {
	raw    syscall.RawConn
	look   func(fd uintptr)
	b      [1]byte
	n      int
	err    error
	arrive func(fd uintptr) bool
	taken  *buffer
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
		p.n, p.err = recvNow(fd, p.b[:], syscall.MSG_PEEK)
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
	case p.err == syscall.EAGAIN:
		return true, false
	case p.err != nil || p.n == 0:
		return false, true
	}
	return false, false
}

// await waits for something to come and takes it, in one of idles, which it borrows when there is something to take. Without
// it a connection that nothing comes over would hold one.
func (p *probe) await() (*buffer, int, error) {
	if p.arrive == nil {
		p.arrive = func(fd uintptr) bool {
			b := idles.Get().(*buffer)
			p.n, p.err = recvNow(fd, b.b, 0)
			if p.err == syscall.EAGAIN {
				idles.Put(b)
				return false
			}
			p.taken = b
			return true
		}
	}
	if err := p.raw.Read(p.arrive); err != nil {
		return nil, 0, err
	}
	b, n, err := p.taken, p.n, p.err
	p.taken = nil
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		idles.Put(b)
		return nil, 0, err
	}
	return b, n, nil
}

// awaits reports whether await can be used.
func (p *probe) awaits() bool { return p.raw != nil }

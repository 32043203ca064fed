//go:build unix

package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// direct is a TCP connection that reads and writes by recvNow and sendNow. One goroutine at a time reads, and one writes.
type direct struct {
	*net.TCPConn
	in  inward
	out outward
}

// half is a direction of a direct connection.
type half struct {
	raw  syscall.RawConn
	call func(fd uintptr) bool
	b    []byte
	n    int
	err  error
}

// outward is the direction that is written to.
type outward struct {
	half
	once bool // what is not taken at once is not waited for
}

// inward is the direction that is read from.
type inward struct {
	half
	said []byte // before what is read, which answers it
	// eager counts reads in a row that did not wait. Who passes on what never makes it wait leaves the others no core, and only the
	// runtime's monitor sees to that; it sleeps when it has not heard of a call since the process rested.
	eager int
}

// mostEager is after how many reads in a row that did not wait the scheduler is told of one.
const mostEager = 32

// directly is a connection that was just made, as it is to be used.
func directly(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw := socketOf(t)
	if raw == nil {
		return c
	}
	local(t, raw)
	d := &direct{TCPConn: t}
	d.in.raw, d.in.call = raw, d.in.recv
	d.out.raw, d.out.call = raw, d.out.send
	return d
}

// recv takes what has come, and reports whether that was anything, or the end.
func (h *inward) recv(fd uintptr) bool {
	if len(h.said) > 0 {
		n, err := sendNow(fd, h.said)
		h.said, h.err, h.eager = h.said[max(n, 0):], err, 0
		return err != nil || len(h.said) > 0
	}
	h.n, h.err = recvNow(fd, h.b, 0)
	if h.err != syscall.EAGAIN {
		return true
	}
	h.eager = 0
	return false
}

// send sends what is taken, and reports whether that was all.
func (h *outward) send(fd uintptr) bool {
	for h.n < len(h.b) {
		n, err := sendNow(fd, h.b[h.n:])
		if err != nil {
			h.err = err
			return err != syscall.EAGAIN || h.once
		}
		h.n += n
	}
	h.err = nil
	return true
}

// Read implements net.Conn.
func (d *direct) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	h := &d.in
	if h.eager++; h.eager > mostEager {
		h.eager = 0
		return d.TCPConn.Read(b)
	}
	h.b, h.n, h.err = b, 0, nil
	err := h.raw.Read(h.call)
	h.b = nil
	switch {
	case err != nil || h.err != nil:
		return 0, d.failed("read", err, h.err)
	case h.n == 0:
		return 0, io.EOF
	}
	return h.n, nil
}

// ask implements plain.
func (d *direct) ask(question, answer []byte) (written, n int, err error) {
	h := &d.in
	h.said, h.b, h.n, h.err = question, answer, 0, nil
	err = h.raw.Read(h.call)
	written = len(question) - len(h.said)
	h.said, h.b = nil, nil
	switch {
	case err != nil:
		return written, 0, d.failed("read", err, nil)
	case written < len(question) && (h.err == nil || h.err == syscall.EAGAIN):
		return written, 0, nil
	case written < len(question):
		return written, 0, d.failed("write", nil, h.err)
	case h.err != nil:
		return written, 0, d.failed("read", nil, h.err)
	case h.n == 0:
		return written, 0, io.EOF
	}
	return written, h.n, nil
}

// Write implements net.Conn.
func (d *direct) Write(b []byte) (int, error) { return d.write(b, false) }

// offer implements plain.
func (d *direct) offer(b []byte) (int, error) { return d.write(b, true) }

func (d *direct) write(b []byte, once bool) (int, error) {
	h := &d.out
	h.b, h.n, h.err, h.once = b, 0, nil, once
	err := h.raw.Write(h.call)
	h.b = nil
	switch {
	case err == nil && once && h.err == syscall.EAGAIN:
	case err != nil || h.err != nil:
		return h.n, d.failed("write", err, h.err)
	}
	return h.n, nil
}

// failed says why something failed as package net does: waited is why waiting for the socket did.
func (d *direct) failed(what string, waited, called error) error {
	if waited == nil {
		return &net.OpError{Op: what, Net: "tcp", Source: d.LocalAddr(), Addr: d.RemoteAddr(), Err: os.NewSyscallError(what, called)}
	}
	if e := (*net.OpError)(nil); errors.As(waited, &e) {
		e.Op = what
	}
	return waited
}

// NetConn is what is under it.
func (d *direct) NetConn() net.Conn { return d.TCPConn }

// bare is a connection between plain sockets as the kernel can pass it on.
func bare(c net.Conn) net.Conn {
	if d, ok := c.(*direct); ok {
		return d.TCPConn
	}
	return c
}

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"
)

// wire is one connection's side of a protocol. An engine calls it from one goroutine.
type wire interface {
	// next returns the bytes of the next request. They are the wire's own and hold until the next call.
	next() []byte
	// take is handed what arrived and says whether the answer is whole. An error ends the run, so an
	// answer that is whole but tells of a failure is counted by the wire and is no error.
	take([]byte) (whole bool, err error)
	// failures is how many answers told of a failure.
	failures() int
	// reason describes one of them; it holds only when there are any.
	reason() string
}

// conn is one connection with at most one request under way.
type conn struct {
	fd   int
	wire wire
	sent time.Time
	busy bool
}

// engine drives many connections from one goroutine over epoll: no goroutine and no timer per connection,
// so that on few cores the generator stays out of the server's way.
type engine struct {
	epoll     int
	datagrams bool
	conns     []*conn
	busy      int
	lost      int
	patience  time.Duration // for an answer; a stream fails with it, a datagram counts as lost
	buf       []byte
	events    []syscall.EpollEvent
}

// dial opens n connections to a loopback address, "tcp" or "udp"; wires gives the wire of each.
func dial(network string, to netip.AddrPort, n int, wires func(i int) wire) (*engine, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	e := &engine{epoll: ep, datagrams: network == "udp", patience: 20 * time.Second,
		buf: make([]byte, 256<<10), events: make([]syscall.EpollEvent, 256)}
	if e.datagrams {
		e.patience = time.Second
	}
	for i := range n {
		c := &conn{wire: wires(i)}
		if c.fd, err = connect(e.datagrams, to); err != nil {
			e.close()
			return nil, fmt.Errorf("connection %d of %d to %s: %w", i+1, n, to, err)
		}
		e.conns = append(e.conns, c)
		ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)} // Fd carries the index, the kernel does not care
		if err := syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, c.fd, &ev); err != nil {
			e.close()
			return nil, fmt.Errorf("epoll: %w", err)
		}
	}
	return e, nil
}

func connect(datagrams bool, to netip.AddrPort) (int, error) {
	kind := syscall.SOCK_STREAM
	if datagrams {
		kind = syscall.SOCK_DGRAM
	}
	fd, err := syscall.Socket(syscall.AF_INET, kind|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	if err == nil && !datagrams {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// close closes all connections.
func (e *engine) close() {
	for _, c := range e.conns {
		syscall.Close(c.fd)
	}
	syscall.Close(e.epoll)
}

// failures is how many answers told of a failure, on all connections together, and how many never came.
func (e *engine) failures() int {
	n := e.lost
	for _, c := range e.conns {
		n += c.wire.failures()
	}
	return n
}

// reason describes a failure, "" when there is none.
func (e *engine) reason() string {
	for _, c := range e.conns {
		if c.wire.failures() > 0 {
			return c.wire.reason()
		}
	}
	if e.lost > 0 {
		return "no answer in " + e.patience.String()
	}
	return ""
}

// sendAll starts one request on every connection.
func (e *engine) sendAll() error {
	for i := range e.conns {
		if err := e.send(i); err != nil {
			return err
		}
	}
	return nil
}

// send starts the next request of connection i. A request is far smaller than a socket's buffer and the
// one before it was answered, so there is always room.
func (e *engine) send(i int) error {
	c := e.conns[i]
	request := c.wire.next()
	if c.sent = time.Now(); !c.busy {
		c.busy = true
		e.busy++
	}
	for len(request) > 0 {
		n, err := syscall.Write(c.fd, request)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		request = request[n:]
	}
	return nil
}

// pump reads answers until no request is under way. It calls answered for each whole answer, at the time it
// was read; true sends the connection's next request.
func (e *engine) pump(ctx context.Context, answered func(c *conn, now time.Time) (again bool)) error {
	swept := time.Now()
	for e.busy > 0 {
		n, err := syscall.EpollWait(e.epoll, e.events, 100)
		if err != nil && err != syscall.EINTR {
			return fmt.Errorf("epoll: %w", err)
		}
		now := time.Now()
		for _, ev := range e.events[:max(n, 0)] {
			if err := e.handle(int(ev.Fd), answered); err != nil {
				return err
			}
		}
		if now.Sub(swept) > 100*time.Millisecond {
			swept = now
			if err := e.sweep(ctx, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *engine) handle(i int, answered func(*conn, time.Time) bool) error {
	c := e.conns[i]
	n, err := syscall.Read(c.fd, e.buf)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return nil
	case err != nil:
		return fmt.Errorf("receive: %w", err)
	case n == 0 && !e.datagrams:
		return fmt.Errorf("receive: the server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	whole, err := c.wire.take(e.buf[:n])
	if err != nil || !whole {
		return err
	}
	if !c.busy {
		return errors.New("receive: an answer that nothing asked for")
	}
	if answered(c, time.Now()) {
		return e.send(i)
	}
	c.busy = false
	e.busy--
	return nil
}

// sweep looks for requests that had no answer in time.
func (e *engine) sweep(ctx context.Context, now time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for i, c := range e.conns {
		switch {
		case !c.busy || now.Sub(c.sent) < e.patience:
		case !e.datagrams:
			return fmt.Errorf("receive: no answer in %s", e.patience)
		case e.lost > 10*len(e.conns):
			return fmt.Errorf("receive: %d requests without an answer", e.lost)
		default:
			e.lost++
			if err := e.send(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// early says whether an answer waits to be read, which nothing parked should have.
func (e *engine) early() bool {
	n, _ := syscall.EpollWait(e.epoll, e.events, 0)
	return n > 0
}

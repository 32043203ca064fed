package agent

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// limitPerClient bounds how many connections one address may have on a listener: limit says at any time.
// What is above hears refusal, which may be empty, and is closed. Zero or less is no limit. Unix sockets
// have none.
func limitPerClient(l net.Listener, limit *atomic.Int64, refusal string) net.Listener {
	return &limited{Listener: l, limit: limit, refusal: []byte(refusal), open: map[netip.Addr]int{}}
}

// tooMany is what a plain HTTP client hears above the limit.
const tooMany = "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 81\r\n\r\n" +
	"Too many connections from this address: see limits.http_max_conns_per_client here"

type limited struct {
	net.Listener
	limit   *atomic.Int64
	refusal []byte
	leaving atomic.Int32 // refused connections that are not closed yet

	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
		if !ok {
			return conn, nil
		}
		addr := tcp.AddrPort().Addr().Unmap()
		if l.take(addr) {
			return &limitedConn{Conn: conn, give: func() { l.give(addr) }}, nil
		}
		l.refuse(conn)
	}
}

// refuse tells the client why and closes. The close waits a moment: with the client's request unread it
// would take the words back. In a flood it waits for a few only.
func (l *limited) refuse(conn net.Conn) {
	if len(l.refusal) == 0 {
		conn.Close()
		return
	}
	conn.SetDeadline(time.Now().Add(refusalTime))
	conn.Write(l.refusal) // into an empty buffer: it does not block
	if half, ok := conn.(*net.TCPConn); ok {
		half.CloseWrite()
	}
	if l.leaving.Add(1) > maxLeaving {
		l.leaving.Add(-1)
		conn.Close()
		return
	}
	time.AfterFunc(refusalTime, func() {
		conn.Close()
		l.leaving.Add(-1)
	})
}

const (
	refusalTime = 300 * time.Millisecond
	maxLeaving  = 64
)

func (l *limited) take(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limit := l.limit.Load(); limit > 0 && int64(l.open[addr]) >= limit {
		return false
	}
	l.open[addr]++
	return true
}

func (l *limited) give(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[addr]--; l.open[addr] <= 0 {
		delete(l.open, addr)
	}
}

type limitedConn struct {
	net.Conn
	once sync.Once
	give func()
}

// CloseWrite lets the server end its own words while the client's are still coming.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(*net.TCPConn); ok {
		return half.CloseWrite()
	}
	return nil
}

// SyscallConn lets the server write without waiting.
func (c *limitedConn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.once.Do(c.give)
	return c.Conn.Close()
}

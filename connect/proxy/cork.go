package proxy

import (
	"net"
	"sync"
)

// cork is a connection under TLS that holds back what is written while it is corked, so that the records of one message
// leave together: package tls writes each by itself.
type cork struct {
	net.Conn
	mu    sync.Mutex // reading may write too, such as an alert
	out   *buffer    // nil while it is not corked
	eager *eager     // while what is written is offered; nil else
	rest  []byte     // of what was offered: it comes before all else
}

// maxRecord is how much data a record takes. Less leaves in one write anyway.
const maxRecord = 16 << 10

// corked are what is held back in, which is a part of a body and what its records add.
var corked = sync.Pool{New: func() any { return &buffer{make([]byte, 0, defaultPart+4<<10)} }}

// NetConn is what is under it.
func (c *cork) NetConn() net.Conn { return c.Conn }

// Write implements net.Conn.
func (c *cork) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.out != nil:
		c.out.b = append(c.out.b, b...)
	case c.eager != nil:
		return len(b), c.offered(c.eager, b)
	case len(c.rest) > 0:
		c.rest = append(c.rest, b...)
	default:
		return c.Conn.Write(b)
	}
	return len(b), nil
}

// offered writes what is taken at once and keeps the rest. The lock is held.
func (c *cork) offered(to *eager, b []byte) error {
	if len(c.rest) == 0 {
		n, err := to.write(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	c.rest = append(c.rest, b...)
	return nil
}

// offer writes b to a connection over the cork as far as that is taken at once. It reports whether there is a rest, which
// finish writes.
func (c *cork) offer(to *eager, over net.Conn, b []byte) (left bool, err error) {
	c.mu.Lock()
	c.eager = to
	if len(b) > maxRecord {
		c.out = corked.Get().(*buffer)
	}
	c.mu.Unlock()
	_, err = over.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eager = nil
	if out := c.out; out != nil {
		c.out = nil
		if err == nil {
			err = c.offered(to, out.b)
		}
		out.b = out.b[:0]
		corked.Put(out)
	}
	return len(c.rest) > 0, err
}

// finish writes the rest of what was offered, before anything else is.
func (c *cork) finish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rest) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.rest)
	c.rest = nil
	return err
}

// through writes b to a connection over the cork as one.
func (c *cork) through(over net.Conn, b []byte) error {
	if c == nil || len(b) <= maxRecord {
		_, err := over.Write(b)
		return err
	}
	c.mu.Lock()
	c.out = corked.Get().(*buffer)
	c.mu.Unlock()
	_, err := over.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.out
	c.out = nil
	if len(out.b) > 0 {
		if _, failed := c.Conn.Write(out.b); failed != nil {
			err = failed
		}
	}
	out.b = out.b[:0]
	corked.Put(out)
	return err
}

// writersOf are how a connection of HTTP/2 writes: waiting for the peer, and not. The latter is nil where that cannot be
// done.
func writersOf(conn net.Conn) (write func(b []byte) error, offer func(b []byte) (bool, error)) {
	under, over := corkOf(conn), conn
	if under == nil {
		under = &cork{Conn: conn}
		over = under
	}
	if to := newEager(under.Conn); to != nil {
		offer = func(b []byte) (bool, error) { return under.offer(to, over, b) }
	}
	return func(b []byte) error {
		if err := under.finish(); err != nil || len(b) == 0 {
			return err
		}
		return under.through(over, b)
	}, offer
}

// corkOf is the cork under a connection, nil without TLS.
func corkOf(conn net.Conn) *cork {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		c, _ := t.NetConn().(*cork)
		return c
	}
	return nil
}

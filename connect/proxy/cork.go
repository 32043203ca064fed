package proxy

import (
	"net"
	"sync"
)

// cork is a connection under TLS that holds back what is written while it is corked, so that the records of one message
// leave together: package tls writes each by itself.
type cork struct {
	net.Conn
	mu  sync.Mutex // reading may write too, such as an alert
	out *buffer    // nil while it is not corked
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
	if c.out == nil {
		return c.Conn.Write(b)
	}
	c.out.b = append(c.out.b, b...)
	return len(b), nil
}

// through writes b to a connection over the cork as one.
func (c *cork) through(over net.Conn, b []byte) (int, error) {
	if c == nil || len(b) <= maxRecord {
		return over.Write(b)
	}
	c.mu.Lock()
	c.out = corked.Get().(*buffer)
	c.mu.Unlock()
	n, err := over.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.out
	c.out = nil
	if len(out.b) > 0 {
		if _, failed := c.Conn.Write(out.b); failed != nil {
			n, err = 0, failed
		}
	}
	out.b = out.b[:0]
	corked.Put(out)
	return n, err
}

// corkOf is the cork under a connection, nil without TLS.
func corkOf(conn net.Conn) *cork {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		c, _ := t.NetConn().(*cork)
		return c
	}
	return nil
}

package proxy

import (
	"encoding/binary"
	"net"
	"os"
)

// records is a connection under TLS that hands over one record at a time. So what came beyond the one that is being read
// lies here, where it can be seen, and a system call takes as many as there are.
type records struct {
	net.Conn
	buf  *buffer // nil while there is nothing in it
	r, w int

	header [recordHeader]byte
	seen   int  // bytes of the header
	left   int  // bytes of the record behind it
	dry    bool // what is here has to do: else reading times out, which package tls takes for passing
}

const recordHeader = 5

func newRecords(c net.Conn) *records { return &records{Conn: c} }

// NetConn is what is under the records.
func (c *records) NetConn() net.Conn { return c.Conn }

// pending reports whether something came that was not asked for.
func (c *records) pending() bool { return c.r < c.w || c.seen > 0 }

// whole reports whether all of a record is here.
func (c *records) whole() bool {
	n := c.w - c.r
	switch c.seen {
	case 0:
		return n >= recordHeader && n >= recordHeader+int(binary.BigEndian.Uint16(c.buf.b[c.r+3:]))
	case recordHeader:
		return n > 0 && n >= c.left
	}
	return false
}

// Read implements net.Conn. It returns no bytes of more than one record.
func (c *records) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.r == c.w {
		if c.dry {
			return 0, os.ErrDeadlineExceeded
		}
		if c.buf == nil {
			c.buf = buffers.Get().(*buffer)
		}
		n, err := c.Conn.Read(c.buf.b)
		if c.r, c.w = 0, n; n == 0 {
			c.release()
			return 0, err
		}
	}
	n := 0
	for c.seen < recordHeader && c.r < c.w && n < len(p) {
		c.header[c.seen] = c.buf.b[c.r]
		p[n] = c.header[c.seen]
		n, c.r, c.seen = n+1, c.r+1, c.seen+1
		if c.seen == recordHeader {
			c.left = int(binary.BigEndian.Uint16(c.header[3:]))
		}
	}
	if c.seen == recordHeader {
		k := copy(p[n:], c.buf.b[c.r:min(c.w, c.r+c.left)])
		n, c.r, c.left = n+k, c.r+k, c.left-k
		if c.left == 0 {
			c.seen = 0
		}
	}
	if c.r == c.w {
		c.release()
	}
	return n, nil
}

func (c *records) release() {
	buffers.Put(c.buf)
	c.buf, c.r, c.w = nil, 0, 0
}

package http2

import "encoding/binary"

func (c *Conn) takeHeaders(flags byte, id uint32, b []byte) error {
	if id == 0 {
		return broken(ProtocolError, "HEADERS without a stream")
	}
	b, err := padded(flags, b)
	if err != nil {
		return err
	}
	self := false
	if flags&flagPriority != 0 {
		if len(b) < 5 {
			return broken(FrameSizeError, "no room for priority")
		}
		self = binary.BigEndian.Uint32(b)&maxStreamID == id
		b = b[5:]
	}
	c.blockOf, c.blockEnds, c.blockParts, c.blockSelf = id, flags&flagEndStream != 0, 0, self
	c.block = append(c.block[:0], b...)
	if flags&flagEndHeaders == 0 {
		return nil
	}
	return c.head()
}

// maxParts is how many CONTINUATION frames a head may have.
const maxParts = 128

func (c *Conn) takeContinuation(flags byte, id uint32, b []byte) error {
	if c.blockOf == 0 {
		return broken(ProtocolError, "CONTINUATION without HEADERS")
	}
	if c.blockParts++; c.blockParts > maxParts || len(c.block)+len(b) > c.o.MaxHead+minFrame {
		return broken(EnhanceYourCalm, "a header block without end")
	}
	c.block = append(c.block, b...)
	if flags&flagEndHeaders == 0 {
		return nil
	}
	return c.head()
}

// head takes in a header block that is complete. It is read even if nobody wants it: it changes the table.
func (c *Conn) head() error {
	id := c.blockOf
	c.blockOf = 0
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	c.asm.begin(c.o.MaxHead, s != nil && s.hasHead)
	if err := c.decode(); err != nil {
		return err
	}
	if cap(c.block) > largeIn {
		c.block = nil
	}
	if s == nil && c.server {
		return c.newcomer(id)
	}
	if s == nil {
		if c.beyond(id) {
			return broken(ProtocolError, "HEADERS of a stream that has not begun")
		}
		return c.idle(1)
	}
	if s.err != nil {
		return c.afterEnd(s)
	}
	if s.over() {
		return broken(StreamClosed, "HEADERS of a stream that has ended")
	}
	if s.inEnded {
		s.reset(StreamClosed)
		c.woken = append(c.woken, s)
		return c.idle(10)
	}
	if !c.deliver(s) {
		c.woken = append(c.woken, s)
		return c.idle(10)
	}
	c.woken = append(c.woken, s)
	return nil
}

func (c *Conn) decode() error {
	b, err := c.dec.updates(c.block)
	for err == nil && len(b) > 0 {
		var name, value []byte
		if name, value, b, err = c.dec.field(b); err == nil {
			c.asm.add(name, value)
		}
	}
	if err != nil {
		return broken(CompressionError, err.Error())
	}
	return nil
}

// newcomer begins a stream of the peer's.
func (c *Conn) newcomer(id uint32) error {
	if id%2 == 0 {
		return broken(ProtocolError, "a stream that is not the client's to begin")
	}
	if id <= c.last {
		switch known, reset := c.past.find(id); {
		case reset:
			return c.idle(1)
		case known:
			return broken(StreamClosed, "HEADERS of a stream that has ended")
		}
		return broken(ProtocolError, "a stream with a number below the last one's")
	}
	if c.draining || c.err != nil {
		return c.idle(1)
	}
	c.last = id
	if c.running >= c.o.MaxStreams {
		c.past.add(id, true)
		c.out = appendReset(c.out, id, RefusedStream)
		c.kick()
		return c.idle(10)
	}
	s := c.stream(id)
	if c.blockSelf || !c.deliver(s) {
		s.reset(ProtocolError)
		c.drop(s)
		return c.idle(10)
	}
	c.start(s)
	return nil
}

// deliver gives a stream what was read: a head, or the trailers. It reports whether the stream goes on.
func (c *Conn) deliver(s *Stream) bool {
	a := &c.asm
	if s.hasHead {
		if a.large {
			a.refuse("trailers that are too large")
		}
		if !c.blockEnds {
			a.refuse("trailers that do not end the stream")
		}
		if s.length > 0 {
			a.refuse("a body that is shorter than Content-Length")
		}
		s.rear = append(s.rear[:0], a.lines...)
		s.inEnded = true
	} else if c.server {
		s.heads = a.request(s.heads, c.blockEnds)
		s.hasHead, s.inEnded, s.length = true, c.blockEnds, a.length
	} else {
		var status int
		s.heads, status = a.response(s.heads, c.blockEnds)
		if status >= 200 {
			s.hasHead, s.inEnded, s.length = true, c.blockEnds, a.length
			if s.headOnly || c.blockEnds { // the length is that of another body
				s.length = or64(c.blockEnds, -1, 0)
			}
		}
		if len(s.heads) > 2*c.o.MaxHead {
			a.large = true
		}
	}
	if a.large && a.bad == "" && c.server {
		s.large = true
		return true
	}
	if a.bad != "" || a.large {
		s.reset(ProtocolError)
		return false
	}
	return true
}

func or64(is bool, a, b int64) int64 {
	if is {
		return a
	}
	return b
}

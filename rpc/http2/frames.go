package http2

import (
	"encoding/binary"
	"time"
)

// frames takes in all frames that are complete.
func (c *Conn) frames() error {
	for c.w-c.r >= frameHeader {
		h := c.in[c.r:]
		n := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
		if n > minFrame {
			return broken(FrameSizeError, "a frame is too long")
		}
		if c.w-c.r < frameHeader+n {
			if len(c.in) < frameHeader+n {
				c.enlarge()
			}
			return nil
		}
		c.r += frameHeader + n
		stream := binary.BigEndian.Uint32(h[5:]) & maxStreamID
		if err := c.take(frameType(h[3]), h[4], stream, h[frameHeader:frameHeader+n:frameHeader+n]); err != nil {
			return err
		}
		if c.blockOf == 0 {
			c.since = time.Time{}
		}
	}
	return nil
}

// take takes one frame in.
func (c *Conn) take(t frameType, flags byte, id uint32, b []byte) error {
	if !c.settled && (t != frameSettings || flags&flagAck != 0) {
		return broken(ProtocolError, "the first frame is not SETTINGS")
	}
	if c.blockOf != 0 && (t != frameContinuation || id != c.blockOf) {
		return broken(ProtocolError, "a frame within a header block")
	}
	switch t {
	case frameData:
		return c.takeData(flags, id, b)
	case frameHeaders:
		return c.takeHeaders(flags, id, b)
	case frameContinuation:
		return c.takeContinuation(flags, id, b)
	case framePriority:
		return c.takePriority(id, b)
	case frameReset:
		return c.takeReset(id, b)
	case frameSettings:
		return c.takeSettings(flags, id, b)
	case framePush:
		return broken(ProtocolError, "a push that nobody asked for")
	case framePing:
		return c.takePing(flags, id, b)
	case frameGoAway:
		return c.takeGoAway(id, b)
	case frameWindow:
		return c.takeWindow(id, b)
	}
	return c.idle(1) // what is unknown is ignored
}

// idle counts what leads to nothing.
func (c *Conn) idle(n int) error {
	if c.calm.spend(n) {
		return broken(EnhanceYourCalm, "too much that leads to nothing")
	}
	return nil
}

// padded is what a frame has without its padding.
func padded(flags byte, b []byte) ([]byte, error) {
	if flags&flagPadded == 0 {
		return b, nil
	}
	if len(b) == 0 {
		return nil, broken(FrameSizeError, "no room for padding")
	}
	n := int(b[0])
	if b = b[1:]; n > len(b) {
		return nil, broken(ProtocolError, "more padding than there is room")
	}
	return b[:len(b)-n], nil
}

// beyond reports whether a stream is one that has not begun.
func (c *Conn) beyond(id uint32) bool {
	if c.server {
		return id > c.last || id%2 == 0
	}
	return id >= c.nextID || id%2 == 0
}

func (c *Conn) takeData(flags byte, id uint32, b []byte) error {
	if id == 0 {
		return broken(ProtocolError, "DATA without a stream")
	}
	size := len(b)
	b, err := padded(flags, b)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.beyond(id) {
		return broken(ProtocolError, "DATA of a stream that has not begun")
	}
	if c.received -= int64(size); c.received < 0 {
		return broken(FlowControlError, "more than the window of the connection")
	}
	if len(b) == 0 && flags&flagEndStream == 0 {
		if err := c.idle(1); err != nil {
			return err
		}
	} else {
		c.calm.earn(1)
	}
	s := c.streams[id]
	if s == nil || s.inEnded {
		c.consumed(size)
		if s == nil || s.over() {
			return c.stray(id)
		}
		s.reset(StreamClosed)
		return c.idle(10)
	}
	if s.err != nil {
		c.consumed(size)
		return c.afterEnd(s)
	}
	c.consumed(size - len(b))
	if s.received -= int64(size); s.received < 0 {
		c.consumed(len(b))
		s.reset(FlowControlError)
		return c.idle(10)
	}
	s.received += int64(size - len(b))
	return c.data(s, b, flags&flagEndStream != 0)
}

// data gives a stream more of its body.
func (c *Conn) data(s *Stream, b []byte, ended bool) error {
	if !s.hasHead {
		c.consumed(len(b))
		s.reset(ProtocolError)
		return c.idle(10)
	}
	if s.length >= 0 {
		if s.length -= int64(len(b)); s.length < 0 || ended && s.length > 0 {
			c.consumed(len(b))
			s.reset(ProtocolError)
			return c.idle(10)
		}
	}
	s.in.add(b)
	s.inEnded = ended
	c.woken = append(c.woken, s)
	return nil
}

// afterEnd answers a frame of a stream that has ended and is still known. The peer is told again only when it was the one
// who ended it.
func (c *Conn) afterEnd(s *Stream) error {
	if e, ok := s.err.(*ResetError); ok && e.Peer {
		c.out = appendReset(c.out, s.id, StreamClosed)
		c.kick()
	}
	return c.idle(4)
}

// stray answers data of a stream that has ended.
func (c *Conn) stray(id uint32) error {
	if !c.past.reset(id) {
		c.out = appendReset(c.out, id, StreamClosed)
		c.kick()
	}
	return c.idle(1)
}

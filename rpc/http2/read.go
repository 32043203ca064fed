package http2

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"
)

// Sizes of what is read into, in bytes.
const (
	smallIn = 2 << 10 // while nothing goes on
	largeIn = 32 << 10
)

// read reads frames until the connection ends.
func (c *Conn) read() error {
	if c.server {
		if err := c.readPreface(); err != nil {
			return err
		}
	}
	for {
		if err := c.frames(); err != nil {
			c.wake()
			return err
		}
		c.wake()
		if c.flooded() {
			return broken(EnhanceYourCalm, "too much to answer, and nobody reads the answers")
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

func (c *Conn) readPreface() error {
	for c.w < len(Preface) {
		if string(c.in[:c.w]) != Preface[:c.w] {
			break
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
	if c.w < len(Preface) || string(c.in[:len(Preface)]) != Preface {
		return broken(ProtocolError, "the client does not begin with the preface")
	}
	c.r = len(Preface)
	return nil
}

// fill reads more.
func (c *Conn) fill() error {
	switch {
	case c.r == c.w:
		c.r, c.w = 0, 0
	case c.r > 0 && (c.w == len(c.in) || len(c.in)-c.r < minFrame+frameHeader):
		c.w, c.r = copy(c.in, c.in[c.r:c.w]), 0
	}
	if c.w == len(c.in) || c.w == 0 && len(c.in) < largeIn && c.busy() {
		more := make([]byte, largeIn)
		c.w = copy(more, c.in[:c.w])
		c.in = more
	}
	for {
		c.patience()
		n, err := c.Conn.Read(c.in[c.w:])
		if c.w += n; n > 0 {
			c.heard = time.Now()
			return nil
		}
		switch {
		case err == nil:
			return io.ErrNoProgress
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		if err := c.late(); err != nil {
			return err
		}
	}
}

// flooded reports whether more is to be written than streams have to say.
func (c *Conn) flooded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) > maxControl
}

func (c *Conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams) > 0
}

// patience sets how long the next bytes are waited for.
func (c *Conn) patience() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var by time.Time
	now := time.Now()
	switch {
	case c.draining && c.empty():
		by = longAgo
	case c.server && !c.settled || c.r < c.w || c.blockOf != 0: // something has begun
		by = now.Add(c.o.Patience)
	case c.warned && !c.draining:
		by = now.Add(drainTime)
	case len(c.streams) > 0:
		by = now.Add(probeAfter)
	case c.o.Idle > 0:
		by = now.Add(c.o.Idle)
	}
	if c.readBy.IsZero() || by.IsZero() || by.Before(c.readBy.Add(-slack)) || by.After(c.readBy) {
		c.readBy = by
		if !by.IsZero() {
			c.readBy = by.Add(slack)
		}
		c.SetReadDeadline(c.readBy)
	}
}

// slack is how much later than they should times may end, so that they need not be set for each message.
const slack = 250 * time.Millisecond

// probeAfter is how long a peer may be silent with exchanges under way before it is asked whether it is there.
const probeAfter = 30 * time.Second

const probePing = "presence"

var errIdle = errors.New("http2: the connection was idle")

// late decides what it means that nothing came.
func (c *Conn) late() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = time.Time{}
	switch {
	case c.warned && !c.draining: // it had its moment
		c.refuse()
		return nil
	case c.draining && c.empty():
		return errIdle
	case c.server && !c.settled || c.r < c.w || c.blockOf != 0:
		return broken(ProtocolError, "the peer does not go on")
	case len(c.streams) > 0:
		if time.Since(c.heard) < probeAfter {
			return nil // the deadline was an older one
		}
		if c.probed {
			return broken(NoError, "the peer is gone")
		}
		c.probed = true
		c.out = append(appendFrame(c.out, 8, framePing, 0, 0), probePing...)
		c.kick()
		return nil
	case c.opening > 0:
		return nil
	case c.server:
		return broken(NoError, "")
	}
	c.draining = true
	return errIdle
}

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
				more := make([]byte, largeIn)
				c.w = copy(more, c.in[c.r:c.w])
				c.in, c.r = more, 0
			}
			return nil
		}
		c.r += frameHeader + n
		stream := binary.BigEndian.Uint32(h[5:]) & maxStreamID
		if err := c.take(frameType(h[3]), h[4], stream, h[frameHeader:frameHeader+n:frameHeader+n]); err != nil {
			return err
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
		if s == nil {
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

func (c *Conn) takePriority(id uint32, b []byte) error {
	switch {
	case id == 0:
		return broken(ProtocolError, "PRIORITY without a stream")
	case len(b) != 5:
		return c.refuseFrame(id, FrameSizeError)
	case binary.BigEndian.Uint32(b)&maxStreamID == id:
		return c.refuseFrame(id, ProtocolError)
	}
	return c.idle(1)
}

// refuseFrame resets the stream of a frame.
func (c *Conn) refuseFrame(id uint32, code Code) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[id]; s != nil {
		s.reset(code)
		c.woken = append(c.woken, s)
	} else {
		c.out = appendReset(c.out, id, code)
		c.kick()
	}
	return c.idle(10)
}

func (c *Conn) takeReset(id uint32, b []byte) error {
	if len(b) != 4 {
		return broken(FrameSizeError, "RST_STREAM is of 4 bytes")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == 0 || c.beyond(id) {
		return broken(ProtocolError, "RST_STREAM of a stream that has not begun")
	}
	if s := c.streams[id]; s != nil {
		if s.err == nil {
			s.end(&ResetError{Code(binary.BigEndian.Uint32(b)), true})
		}
		c.woken = append(c.woken, s)
	}
	return c.idle(4)
}

func (c *Conn) takePing(flags byte, id uint32, b []byte) error {
	if id != 0 {
		return broken(ProtocolError, "PING with a stream")
	}
	if len(b) != 8 {
		return broken(FrameSizeError, "PING is of 8 bytes")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if flags&flagAck == 0 {
		c.out = append(appendFrame(c.out, 8, framePing, flagAck, 0), b...)
		c.kick()
		return c.idle(1)
	}
	switch string(b) {
	case drainPing:
		if c.warned {
			c.refuse()
		}
	case probePing:
		c.probed = false
	}
	return nil
}

func (c *Conn) takeGoAway(id uint32, b []byte) error {
	if id != 0 {
		return broken(ProtocolError, "GOAWAY with a stream")
	}
	if len(b) < 8 {
		return broken(FrameSizeError, "GOAWAY is of 8 bytes and more")
	}
	last := binary.BigEndian.Uint32(b) & maxStreamID
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining, c.goneAway = true, true
	if !c.server {
		for id, s := range c.streams {
			if id > last && s.err == nil {
				s.end(&ResetError{RefusedStream, true})
				c.woken = append(c.woken, s)
			}
		}
	}
	c.finishLocked()
	return c.idle(10)
}

func (c *Conn) takeWindow(id uint32, b []byte) error {
	if len(b) != 4 {
		return broken(FrameSizeError, "WINDOW_UPDATE is of 4 bytes")
	}
	n := int64(binary.BigEndian.Uint32(b) & maxWindow)
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == 0 {
		if c.window += n; n == 0 || c.window > maxWindow {
			return broken(or(n == 0, ProtocolError, FlowControlError), "WINDOW_UPDATE of 0, or above all bounds")
		}
		c.windowOpened()
		return c.idle(1)
	}
	if c.beyond(id) {
		return broken(ProtocolError, "WINDOW_UPDATE of a stream that has not begun")
	}
	s := c.streams[id]
	if s == nil || s.err != nil {
		return c.idle(1)
	}
	if s.window += n; n == 0 || s.window > maxWindow {
		s.reset(or(n == 0, ProtocolError, FlowControlError))
		c.woken = append(c.woken, s)
		return c.idle(10)
	}
	s.signalSend()
	return c.idle(1)
}

// windowOpened has all streams go on that wait for the window of the connection.
func (c *Conn) windowOpened() {
	if c.waiting > 0 {
		for _, s := range c.streams {
			s.signalSend()
		}
	}
}

func or(is bool, a, b Code) Code {
	if is {
		return a
	}
	return b
}

func (c *Conn) takeSettings(flags byte, id uint32, b []byte) error {
	if id != 0 {
		return broken(ProtocolError, "SETTINGS with a stream")
	}
	if flags&flagAck != 0 {
		if len(b) > 0 {
			return broken(FrameSizeError, "an acknowledgement of SETTINGS is empty")
		}
		return nil
	}
	if len(b)%settingLength != 0 {
		return broken(FrameSizeError, "SETTINGS are of 6 bytes each")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.settled
	c.settled = true
	n := 1 + len(b)/settingLength/4
	for ; len(b) > 0; b = b[settingLength:] {
		if err := c.setting(settingID(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:])); err != nil {
			return err
		}
	}
	if first {
		close(c.met)
	}
	c.out = appendFrame(c.out, 0, frameSettings, flagAck, 0)
	c.kick()
	return c.idle(n)
}

func (c *Conn) setting(id settingID, v uint32) error {
	switch id {
	case settingTableSize:
		c.enc.limit(v)
	case settingPush:
		if v > 1 || v == 1 && !c.server {
			return broken(ProtocolError, "SETTINGS_ENABLE_PUSH is 0 or 1")
		}
	case settingMaxStreams:
		c.theirs = v
	case settingWindow:
		if v > maxWindow {
			return broken(FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE is too large")
		}
		more := int64(v) - c.first
		c.first = int64(v)
		for _, s := range c.streams {
			if s.window += more; s.window > maxWindow {
				return broken(FlowControlError, "a window above all bounds")
			}
			s.signalSend()
		}
	case settingMaxFrame:
		if v < minFrame || v > maxFrame {
			return broken(ProtocolError, "SETTINGS_MAX_FRAME_SIZE is out of bounds")
		}
	case settingConnect:
		if v > 1 {
			return broken(ProtocolError, "SETTINGS_ENABLE_CONNECT_PROTOCOL is 0 or 1")
		}
		c.connect = v == 1
	}
	return nil
}

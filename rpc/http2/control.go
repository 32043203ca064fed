package http2

import "encoding/binary"

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
	if string(b) == drainPing && c.warned {
		c.refuse()
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

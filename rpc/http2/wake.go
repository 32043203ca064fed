package http2

import "time"

// tick is how exact the times are that streams wait until.
const tick = 50 * time.Millisecond

func (s *Stream) signal() {
	if s.waits {
		select {
		case s.wakeIn <- struct{}{}:
		default:
		}
	}
}

func (s *Stream) signalSend() {
	if s.sends {
		select {
		case s.wakeOut <- struct{}{}:
		default:
		}
	}
}

// wake has all streams go on that something came for.
func (c *Conn) wake() {
	if len(c.woken) == 0 {
		return
	}
	c.mu.Lock()
	for _, s := range c.woken {
		s.signal()
	}
	c.mu.Unlock()
	clear(c.woken)
	c.woken = c.woken[:0]
}

// clock has the streams look at their times that wait until one. The lock is held.
func (c *Conn) clock() {
	if c.ticking {
		return
	}
	c.ticking = true
	if c.ticker == nil {
		c.ticker = time.AfterFunc(tick, c.ticked)
	} else {
		c.ticker.Reset(tick)
	}
}

func (c *Conn) ticked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ticking = false
	if c.err != nil {
		return
	}
	now := time.Now()
	for _, s := range c.streams {
		if s.waits && !s.inBy.IsZero() && !now.Before(s.inBy) {
			s.signal()
		}
		if s.sends && !now.Before(s.outBy) {
			s.signalSend()
		}
	}
	if len(c.streams) > 0 {
		c.clock()
	}
}

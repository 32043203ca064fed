package http2

import (
	"os"
	"time"
)

// Fields are what a head is written from.
type Fields interface {
	// Encode adds all fields, those for control first.
	Encode(e *Encoder)
}

// Send writes a head, which for a client begins the exchange, and what follows of the body, all of it or not. It is
// written at once, or with what else there is when now is false: then Flush has to be called.
func (s *Stream) Send(f Fields, body []byte, whole, now bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.id != 0 && len(c.out) >= maxQueued {
		if err := s.room(); err != nil {
			return err
		}
	}
	if err := s.sendable(); err != nil {
		return err
	}
	if s.id == 0 {
		if c.goneAway || c.nextID > maxStreamID {
			return ErrFull
		}
		c.opening--
		c.name(s, c.nextID)
		c.nextID += 2
	}
	s.headers(f, whole && len(body) == 0)
	if len(body) > 0 {
		if err := s.data(body, whole); err != nil {
			return err
		}
	}
	if now {
		c.flush()
	}
	return nil
}

// Begun reports whether the peer may know of the exchange.
func (s *Stream) Begun() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.id != 0
}

// room waits until there is room for a head.
func (s *Stream) room() error {
	for began := time.Now(); len(s.c.out) >= maxQueued && s.sendable() == nil; {
		if err := s.waitOut(began, false); err != nil {
			return err
		}
	}
	return nil
}

// HeadOnly says that the response has no body, whatever its head says.
func (s *Stream) HeadOnly() { s.headOnly = true }

// Patient lets the peer take all the time for what is written.
func (s *Stream) Patient() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.patient = true
}

// SendBy says until when what is sent may wait for the peer, where that is sooner than the peer's patience; zero takes it
// back.
func (s *Stream) SendBy(by time.Time) { s.sendBy = by } // only who sends looks at it

func (s *Stream) sendable() error {
	switch {
	case s.err != nil:
		return s.err
	case s.c.err != nil:
		return s.c.err
	case s.ended:
		return errEnded
	case s.stop[1]:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// headers appends a block of fields.
func (s *Stream) headers(f Fields, last bool) {
	c := s.c
	at := len(c.out)
	c.out = appendFrame(c.out, 0, frameHeaders, 0, s.id)
	c.enc.begin(c.out)
	f.Encode(c.enc)
	c.out = c.enc.out
	c.enc.out = nil
	flags := byte(0)
	if last {
		flags, s.ended = flagEndStream, true
	}
	n := len(c.out) - at - frameHeader
	if n > minFrame {
		c.split(at, flags)
		return
	}
	appendFrame(c.out[:at], n, frameHeaders, flags|flagEndHeaders, s.id)
}

// split writes a block that is too long for one frame as several.
func (c *Conn) split(at int, flags byte) {
	block := append([]byte(nil), c.out[at+frameHeader:]...)
	id := uint32(c.out[at+5])<<24 | uint32(c.out[at+6])<<16 | uint32(c.out[at+7])<<8 | uint32(c.out[at+8])
	c.out = c.out[:at]
	for t := frameHeaders; len(block) > 0; t = frameContinuation {
		n := min(len(block), minFrame)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		c.out = append(appendFrame(c.out, n, t, flags, id), block[:n]...)
		block, flags = block[n:], 0
	}
}

// Body writes more of the body, perhaps its end, or leaves it to the next flush.
func (s *Stream) Body(b []byte, whole, now bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.data(b, whole); err != nil {
		return err
	}
	if now {
		c.flush()
	}
	return nil
}

// data appends DATA frames as far as the windows allow, and waits for more. The lock is held and let go.
func (s *Stream) data(b []byte, last bool) error {
	c := s.c
	began := time.Time{}
	for len(b) > 0 {
		if err := s.sendable(); err != nil {
			return err
		}
		n := int(min(int64(len(b)), s.window, c.window, maxData))
		if n <= 0 || len(c.out) >= maxQueued {
			if began.IsZero() {
				began = time.Now()
			}
			if err := s.waitOut(began, true); err != nil {
				return err
			}
			continue
		}
		began = time.Time{}
		flags := byte(0)
		if last && n == len(b) {
			flags, s.ended = flagEndStream, true
		}
		c.out = append(appendFrame(c.out, n, frameData, flags, s.id), b[:n]...)
		s.window -= int64(n)
		c.window -= int64(n)
		c.calm.earn(2)
		b = b[n:]
	}
	return nil
}

// waitOut waits until the connection may have room, and for data the windows. The lock is let go.
func (s *Stream) waitOut(began time.Time, data bool) error {
	c := s.c
	by := began.Add(c.o.Patience)
	if s.patient {
		by = began.AddDate(1, 0, 0)
	}
	if !s.sendBy.IsZero() && s.sendBy.Before(by) {
		by = s.sendBy
	}
	if !time.Now().Before(by) {
		return os.ErrDeadlineExceeded
	}
	s.sends, s.outBy = true, by
	c.waiting++
	c.clock()
	c.flush()
	if len(c.out) < maxQueued && (!data || s.window > 0 && c.window > 0) || s.err != nil || c.err != nil || s.stop[1] {
		s.sends = false
		c.waiting--
		return nil
	}
	if len(c.out) >= maxQueued {
		s.queued = true
		c.line = append(c.line, s)
	}
	c.mu.Unlock()
	<-s.wakeOut
	c.mu.Lock()
	s.sends, s.queued = false, false
	c.waiting--
	return nil
}

// End ends the message, with trailers as lines of HTTP/1.1 or without, and writes everything.
func (s *Stream) End(trailers []byte) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended {
		c.flush()
		return s.err
	}
	if err := s.sendable(); err != nil {
		return err
	}
	if len(trailers) > 0 {
		s.trailers = trailers
		s.headers((*rear)(s), true)
		s.trailers = nil
	} else {
		c.out = appendFrame(c.out, 0, frameData, flagEndStream, s.id)
		s.ended = true
	}
	c.flush()
	return nil
}

// rear writes the trailers of a stream.
type rear Stream

// Encode implements Fields.
func (r *rear) Encode(e *Encoder) { e.Lines(r.trailers) }

// Flush writes what there is.
func (s *Stream) Flush() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.flush()
	return s.err
}

package http2

import (
	"bytes"
	"io"
	"os"
	"time"
)

// Head is the head of the next message: the request, or a response, of which there can be several before the one that
// has status 200 and above. It waits for it until a time; zero is for ever. It is valid until the next call.
func (s *Stream) Head(by time.Time) ([]byte, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for first := true; s.headOff == len(s.head); first = false {
		if len(s.heads) > 0 {
			s.head, s.heads, s.headOff = s.heads, s.head[:0], 0
			break
		}
		if err := s.broken(); err != nil {
			return nil, err
		}
		if s.hasHead {
			return nil, io.ErrUnexpectedEOF
		}
		if err := s.waitIn(by, !first); err != nil {
			return nil, err
		}
	}
	rest := s.head[s.headOff:]
	n := bytes.Index(rest, headEnd) + len(headEnd)
	s.headOff += n
	return rest[:n], nil
}

var headEnd = []byte("\r\n\r\n")

// Whole reports whether all that comes of a message has come with its head, so that it has no body.
func (s *Stream) Whole() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.inEnded && s.in.n == 0 && len(s.rear) == 0
}

// TooLarge reports whether the head of a request was larger than what is taken.
func (s *Stream) TooLarge() bool { return s.large }

// Next is the next part of the body, which is valid until the next call, and io.EOF at its end. It waits for it until a
// time; zero is for ever.
func (s *Stream) Next(by time.Time) ([]byte, error) { return s.Within(0, by) }

// Within is Next that waits for as long as patience, and no longer than until a time; zero is for ever.
func (s *Stream) Within(patience time.Duration, by time.Time) ([]byte, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.lent != nil {
		s.taken(len(s.lent.bytes()))
		s.lent.give()
		s.lent = nil
	}
	for first := true; s.in.n == 0; first = false {
		switch {
		case s.stop[0]:
			return nil, os.ErrDeadlineExceeded
		case s.inEnded:
			return nil, io.EOF
		case s.broken() != nil:
			return nil, s.broken()
		}
		if first && patience > 0 {
			if until := time.Now().Add(patience); by.IsZero() || until.Before(by) {
				by = until
			}
		}
		if err := s.waitIn(by, !first); err != nil {
			return nil, err
		}
	}
	s.lent = s.in.take()
	part := s.lent.bytes()
	s.total += int64(len(part))
	return part, nil
}

// Buffered reports whether Next has something without waiting.
func (s *Stream) Buffered() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.in.n > 0 || s.inEnded || s.err != nil
}

// Over reports whether all of the body was read.
func (s *Stream) Over() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.inEnded && s.in.n == 0
}

// Trailers are the fields behind the body as lines, once it is over.
func (s *Stream) Trailers() []byte {
	if !s.Over() {
		return nil
	}
	return s.rear
}

// Total is how many bytes of the body were read.
func (s *Stream) Total() int64 { return s.total }

// Interrupt ends reading and writing that is under way and comes yet, or has them go on.
func (s *Stream) Interrupt(reads, writes bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.stop = [2]bool{reads, writes}
	s.signal()
	s.signalSend()
}

// broken is why nothing comes any more.
func (s *Stream) broken() error {
	if s.err != nil {
		return s.err
	}
	return s.c.err
}

// waitIn waits until something has come, or a time that it looks at when it was waited before. The lock is let go.
func (s *Stream) waitIn(by time.Time, again bool) error {
	if again && !by.IsZero() && !time.Now().Before(by) {
		return os.ErrDeadlineExceeded
	}
	s.waits, s.inBy = true, by
	if !by.IsZero() {
		s.c.clock()
	}
	s.c.mu.Unlock()
	<-s.wakeIn
	s.c.mu.Lock()
	s.waits = false
	return nil
}

// taken gives the peer the window back that what was read took. The lock is held.
func (s *Stream) taken(n int) {
	if n == 0 {
		return
	}
	s.c.consumed(n)
	if s.inEnded || s.err != nil {
		return
	}
	if s.credit += int64(n); s.credit >= streamWindow/4 {
		s.c.out = appendWindow(s.c.out, s.id, int(s.credit))
		s.received += s.credit
		s.credit = 0
		s.c.kick()
	}
}

// consumed gives the window of the connection back. The lock is held.
func (c *Conn) consumed(n int) {
	if c.credit += int64(n); c.credit >= connWindow/4 {
		c.out = appendWindow(c.out, 0, int(c.credit))
		c.received += c.credit
		c.credit = 0
		c.kick()
	}
}

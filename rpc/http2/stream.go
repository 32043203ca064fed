package http2

import (
	"errors"
	"io"
	"time"
)

// Stream is one exchange. Of its methods, those that send are called by one goroutine at a time, those that receive by
// one, and Reset by any.
type Stream struct {
	c  *Conn
	id uint32

	// Of what comes:
	heads    []byte // that were not read yet
	head     []byte // that was
	headOff  int
	hasHead  bool // the last one has come
	headOnly bool
	large    bool // the head was too large to be kept
	in       chunks
	lent     *chunk // what was read last
	inEnded  bool
	rear     []byte // trailers
	length   int64  // that has to come; -1 for whatever does
	received int64  // of the window that the peer has
	credit   int64  // that it has not been told of
	total    int64
	wakeIn   chan struct{}
	waits    bool
	inBy     time.Time

	// Of what goes:
	ended    bool // all of it
	window   int64
	trailers []byte // that are being written
	wakeOut  chan struct{}
	sends    bool // waits until it can
	queued   bool // for room among what is written
	patient  bool
	sendBy   time.Time // from then on nothing is waited for; zero is never
	outBy    time.Time

	err   error // why it has ended
	onEnd io.Closer
	stop  [2]bool // reading and writing were interrupted
}

// unborn is a stream that has no number yet. The lock is held.
func (c *Conn) unborn() *Stream {
	var s *Stream
	if n := len(c.free); n > 0 {
		s = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		s = &Stream{wakeIn: make(chan struct{}, 1), wakeOut: make(chan struct{}, 1)}
	}
	drained(s.wakeIn)
	drained(s.wakeOut)
	heads, head, in, rear, wakeIn, wakeOut := s.heads[:0], s.head[:0], s.in, s.rear[:0], s.wakeIn, s.wakeOut
	*s = Stream{} // one with what is kept would be made elsewhere, and copied
	s.c, s.heads, s.head, s.in, s.rear, s.wakeIn, s.wakeOut = c, heads, head, in, rear, wakeIn, wakeOut
	s.length, s.received = -1, streamWindow
	return s
}

func drained(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// stream makes a stream with a number. The lock is held.
func (c *Conn) stream(id uint32) *Stream {
	s := c.unborn()
	c.name(s, id)
	return s
}

func (c *Conn) name(s *Stream, id uint32) {
	s.id, s.window = id, c.first
	c.streams[id] = s
}

// Open begins an exchange, whose request is sent with Send. Release has to be called.
func (c *Conn) Open() (*Stream, error) { return c.OpenBelow(maxStreamID) }

// OpenBelow is Open where fewer exchanges are under way than so many.
func (c *Conn) OpenBelow(most int) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams)+c.opening >= most || c.err != nil || c.draining || c.nextID > maxStreamID || len(c.streams)+c.opening >= int(c.theirs) {
		return nil, ErrFull
	}
	c.opening++
	return c.unborn(), nil
}

// ErrFull is that no exchange can be begun over a connection.
var ErrFull = errors.New("http2: no exchange can be begun")

var errEnded = errors.New("http2: the message has ended")

// start has a stream served. The lock is held.
func (c *Conn) start(s *Stream) {
	c.running++
	select {
	case c.work <- s:
	default:
		c.served.Add(1)
		go c.serve(s)
	}
}

// maxIdling is how many goroutines wait for the next stream.
const maxIdling = 256

// serve serves one stream after the other.
func (c *Conn) serve(s *Stream) {
	defer c.served.Done()
	for ok := true; ok; {
		c.o.Serve(s)
		c.mu.Lock()
		if s.err == nil && (!s.ended || !s.inEnded) { // an answer was all that was wanted
			s.reset(or(s.ended, NoError, Cancel))
		}
		c.drop(s)
		c.running--
		stay := c.idling < maxIdling && c.err == nil
		if stay {
			c.idling++
		}
		c.mu.Unlock()
		if !stay {
			return
		}
		s, ok = <-c.work
		c.mu.Lock()
		c.idling--
		c.mu.Unlock()
	}
}

// drop forgets a stream. The lock is held.
func (c *Conn) drop(s *Stream) {
	if s.id == 0 {
		c.opening--
	} else {
		e, reset := s.err.(*ResetError)
		c.past.add(s.id, reset && !e.Peer)
		delete(c.streams, s.id)
	}
	n := s.in.n
	if s.lent != nil {
		n += len(s.lent.bytes())
		s.lent.give()
		s.lent = nil
	}
	s.in.clear()
	c.consumed(n)
	s.onEnd = nil
	if len(c.free) < maxFree && cap(s.heads) <= maxRoom {
		c.free = append(c.free, s)
	}
	if c.server {
		c.calm.earn(2)
	} else { // the exchange was ours to begin
		c.calm.earn(6)
	}
	c.finishLocked()
}

// maxFree is how many streams are kept to be used again.
const maxFree = 256

// Release ends an exchange. One that is not over is broken off.
func (s *Stream) Release() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.err == nil && s.id != 0 && (!s.ended || !s.inEnded) {
		s.reset(or(s.inEnded, NoError, Cancel))
	}
	c.drop(s)
}

// Reset breaks an exchange off.
func (s *Stream) Reset(code Code) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.err == nil {
		s.reset(code)
	}
}

// Close breaks an exchange off that nobody wants any more.
func (s *Stream) Close() error {
	s.Reset(Cancel)
	return nil
}

// reset tells the peer that a stream is broken off. The lock is held.
func (s *Stream) reset(code Code) {
	if s.id != 0 && !(s.ended && s.inEnded) {
		s.c.out = appendReset(s.c.out, s.id, code)
		s.c.kick()
	}
	s.end(&ResetError{Code: code})
}

// over reports whether both sides have said all, and who serves it has only not let go of it yet. The lock is held.
func (s *Stream) over() bool { return s.ended && s.inEnded && s.err == nil }

// end ends a stream with an error. The lock is held.
func (s *Stream) end(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.signal()
	s.signalSend()
	if s.onEnd != nil {
		s.onEnd.Close()
		s.onEnd = nil
	}
}

// OnEnd has something closed when the stream ends before it is over; nil does not. It reports whether it has not yet.
func (s *Stream) OnEnd(to io.Closer) bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.onEnd = to
	return s.err == nil
}

// Err is why the stream ended before it was over, nil when it did not.
func (s *Stream) Err() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err
}

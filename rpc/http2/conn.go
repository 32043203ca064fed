package http2

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how a connection behaves. Zero values stand for defaults.
type Options struct {
	// Serve carries out an exchange that the peer began, in a goroutine of its own. The stream ends when it returns. Nil
	// for a client.
	Serve func(*Stream)
	// MaxStreams is how many exchanges the peer may have under way.
	MaxStreams int
	// MaxHead is how many bytes the fields of a head may have, by the measure of RFC 9113, 6.5.2.
	MaxHead int
	// Patience is how long the peer may take for what it has begun, and to take what is written to it.
	Patience time.Duration
	// Idle is how long a connection may have no exchange; 0 for ever.
	Idle time.Duration
	// Secure is whether requests come over TLS.
	Secure bool
	// Write writes to the connection, all of b at once. Nil for its own method.
	Write func(b []byte) error
	// Offer writes what the connection takes without waiting. What is left it keeps, and Write writes that first, also
	// where it gets nothing more. So who has something to say need not wait for a peer that takes nothing. Nil has who writes
	// wait.
	Offer func(b []byte) (left bool, err error)
}

// Defaults.
const (
	defaultMaxStreams = 250
	defaultMaxHead    = 64 << 10
	defaultPatience   = 30 * time.Second
)

// Windows that peers get, in bytes.
const (
	streamWindow = 256 << 10
	connWindow   = 4 << 20
)

// Conn is a connection with a peer.
type Conn struct {
	net.Conn
	o      Options
	server bool
	began  time.Time

	mu      sync.Mutex
	err     error // why it has ended
	streams map[uint32]*Stream
	opening int       // that have no number yet
	free    []*Stream // of which nobody knows any more
	ticker  *time.Timer
	ticking bool
	running int // goroutines of streams
	idling  int // of those, how many have none
	work    chan *Stream
	served  sync.WaitGroup

	// What is written:
	out     []byte
	spare   []byte
	writing bool
	left    bool          // Offer has kept something
	quiet   chan struct{} // closed when nobody writes, for who ends the connection
	enc     *Encoder
	window  int64 // that the peer has left for us
	first   int64 // that its streams begin with
	nextID  uint32
	theirs  uint32    // how many exchanges we may have under way
	connect bool      // the peer takes extended CONNECT
	waiting int       // streams that wait until they can write
	line    []*Stream // those of them that wait for room in out
	credit  int64     // bytes that were taken, of which the peer has not been told

	draining bool   // no exchange is opened any more
	goneAway bool   // the peer takes no more
	warned   bool   // the peer was told that there will be none
	last     uint32 // the last stream of the peer's
	past     pastStreams

	// What is read, by one goroutine:
	in         []byte
	small      []byte
	large      *[largeIn]byte // borrowed, or nil
	r, w       int
	dec        *decoder
	received   int64  // of the window that the peer has
	block      []byte // of a head that is not complete
	blockOf    uint32 // its stream, 0 for none
	blockEnds  bool   // the stream ends with it
	blockParts int
	blockSelf  bool          // the stream depends on itself
	settled    bool          // the peer's first settings have come
	met        chan struct{} // closed then, or when that is never
	asm        assembly
	woken      []*Stream
	calm       calm
	heard      atomic.Int64  // when something came last, as a time.Duration since it began
	asked      time.Duration // when the peer was last asked whether it is there, and has not said a thing since; 0 else
	since      time.Time     // something that is not complete began
	readBy     time.Time     // the deadline that is set
	writeBy    time.Time     // by who writes
}

// New makes a connection of one that is open, with what was read from it already. Run has to be called.
func New(c net.Conn, early []byte, o Options) *Conn {
	if o.MaxStreams == 0 {
		o.MaxStreams = defaultMaxStreams
	}
	if o.MaxHead == 0 {
		o.MaxHead = defaultMaxHead
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	n := &Conn{
		Conn: c, o: o, server: o.Serve != nil, began: time.Now(), streams: map[uint32]*Stream{}, work: make(chan *Stream),
		enc: newEncoder(), window: firstWindow, first: firstWindow, nextID: 1, theirs: 100,
		dec: newDecoder(), met: make(chan struct{}), received: connWindow, small: make([]byte, max(smallIn, len(early))),
	}
	n.in = n.small
	n.w = copy(n.in, early)
	n.calm.begin(n.began)
	n.greet()
	return n
}

// greet is the first that a peer hears.
func (c *Conn) greet() {
	b := c.out
	if !c.server {
		b = append(b, Preface...)
	}
	var s [5 * settingLength]byte
	all := appendSetting(s[:0], settingWindow, streamWindow)
	all = appendSetting(all, settingMaxHead, uint32(c.o.MaxHead))
	if c.server {
		all = appendSetting(all, settingMaxStreams, uint32(c.o.MaxStreams))
		all = appendSetting(all, settingConnect, 1)
	} else {
		all = appendSetting(all, settingPush, 0)
	}
	b = append(appendFrame(b, len(all), frameSettings, 0, 0), all...)
	c.out = appendWindow(b, 0, connWindow-firstWindow)
}

// Run reads from the connection until it ends, and ends it. It returns when no exchange is left.
func (c *Conn) Run() error {
	c.mu.Lock()
	c.kick()
	c.mu.Unlock()
	err := c.read()
	if !c.settled {
		close(c.met)
	}
	c.fail(err)
	c.wake()
	c.reduce()
	c.served.Wait()
	return err
}

// fail ends the connection and all that goes on over it.
func (c *Conn) fail(err error) {
	if err == io.EOF { // which is the orderly end of a body for others
		err = io.ErrUnexpectedEOF
	}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.work)
	e, told := err.(*connError)
	if told {
		c.out = appendGoAway(c.out, c.last, e.code, e.reason)
	}
	for _, s := range c.streams {
		s.end(err)
	}
	if c.ticker != nil {
		c.ticker.Stop()
	}
	c.SetWriteDeadline(time.Now().Add(time.Second))
	if c.writing {
		c.quiet = make(chan struct{})
		c.mu.Unlock()
		<-c.quiet
		c.mu.Lock()
	}
	last := c.out
	some := c.left || len(last) > 0
	c.out = nil
	c.mu.Unlock()
	orderly := told || err == errIdle && c.server
	if some && c.put(last) != nil {
		orderly = false
	}
	if orderly {
		c.linger()
	}
	c.Close()
}

// linger lets the peer read all there is for it, such as why the connection ends, or the last response: closing over bytes
// that were not read, such as an update of a window, would take that back.
func (c *Conn) linger() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.SetReadDeadline(time.Now().Add(time.Second))
	for total := 0; total < 1<<20; {
		n, err := c.Read(c.in)
		if total += n; err != nil {
			return
		}
	}
}

// Err is why the connection has ended, nil while it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Load is how many exchanges are under way, and whether another can be begun.
func (c *Conn) Load() (n int, room bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = len(c.streams) + c.opening
	return n, c.err == nil && !c.draining && n < int(c.theirs) && c.nextID <= maxStreamID
}

// Leaving reports whether the connection ends with the exchanges that are under way, or has ended.
func (c *Conn) Leaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining || c.err != nil
}

// Secure reports whether it is over TLS.
func (c *Conn) Secure() bool { return c.o.Secure }

// Connects reports whether the peer takes extended CONNECT, when it has said so within a time.
func (c *Conn) Connects(within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-c.met:
	case <-late.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connect
}

// Drain begins no more exchanges and ends the connection with the last one. A peer that begins them is told, and has a
// moment to hear of it.
func (c *Conn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.draining || c.warned {
		return
	}
	if !c.server {
		c.draining = true
		c.finishLocked()
		return
	}
	c.warned = true
	c.out = appendGoAway(c.out, maxStreamID, NoError, "")
	c.out = append(appendFrame(c.out, 8, framePing, 0, 0), drainPing...)
	c.kick()
	c.readBy = time.Time{}
	c.SetReadDeadline(time.Now().Add(drainTime))
}

// drainTime is how long it is waited for that answer.
const drainTime = time.Second

// drainPing is a ping that is answered when the peer knows of the first GOAWAY.
const drainPing = "draining"

// refuse takes no more streams from here on.
func (c *Conn) refuse() {
	if !c.draining {
		c.draining = true
		c.out = appendGoAway(c.out, c.last, NoError, "")
		c.kick()
	}
	c.finishLocked()
}

// empty reports whether no exchange is under way, or about to be.
func (c *Conn) empty() bool { return len(c.streams)+c.opening == 0 }

// done reports whether the connection ends and has nothing left to do. Who writes looks again when all is written. The lock
// is held.
func (c *Conn) done() bool { return c.draining && c.empty() && !c.writing }

// finishLocked ends a connection that has nothing left to do.
func (c *Conn) finishLocked() {
	if c.done() && c.err == nil {
		c.readBy = time.Time{}
		c.SetReadDeadline(longAgo)
	}
}

var longAgo = time.Unix(1, 0)

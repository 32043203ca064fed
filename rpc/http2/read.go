package http2

import (
	"errors"
	"io"
	"os"
	"sync"
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
	switch busy := c.busy(); {
	case c.w == len(c.in), busy && c.w == 0:
		c.enlarge()
	case !busy && c.w == 0:
		c.reduce()
	}
	for {
		c.patience()
		n, err := c.Conn.Read(c.in[c.w:])
		if c.w += n; n > 0 {
			c.heard.Store(int64(time.Since(c.began)))
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

// enlarge goes on with borrowed memory that any frame fits into.
func (c *Conn) enlarge() {
	if c.large != nil {
		return
	}
	c.large = ins.Get().(*[largeIn]byte)
	c.w, c.r = copy(c.large[:], c.in[c.r:c.w]), 0
	c.in = c.large[:]
}

// reduce gives that back, while nothing goes on.
func (c *Conn) reduce() {
	if c.large == nil {
		return
	}
	c.in = c.small
	ins.Put(c.large)
	c.large = nil
}

var ins = sync.Pool{New: func() any { return new([largeIn]byte) }}

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
	case c.done():
		by = longAgo
	case c.incomplete():
		if c.since.IsZero() {
			c.since = now
		}
		by = c.since.Add(c.o.Patience)
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

// incomplete reports whether the peer has begun with something that it has to go on with.
func (c *Conn) incomplete() bool { return c.server && !c.settled || c.r < c.w || c.blockOf != 0 }

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
	case c.done():
		return errIdle
	case c.incomplete():
		if time.Since(c.since) < c.o.Patience {
			return nil
		}
		return broken(ProtocolError, "the peer does not go on")
	case len(c.streams) > 0:
		if c.silence(probeAfter) >= probeAfter {
			return broken(NoError, "the peer is gone")
		}
		return nil
	case c.opening > 0:
		return nil
	case c.server:
		return broken(NoError, "")
	}
	c.draining = true
	return errIdle
}

// Silence is for how long the peer has said nothing at all since it was asked whether it is there, which this does when exchanges
// are under way and nothing has come for so long. It is 0 for a peer that was not asked. It is for who calls it again and again.
// Source: RFC 9113, 6.7
func (c *Conn) Silence(ask time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.silence(ask)
}

// silence is Silence with the lock held.
func (c *Conn) silence(ask time.Duration) time.Duration {
	now, heard := time.Since(c.began), time.Duration(c.heard.Load())
	switch {
	case c.err != nil || len(c.streams) == 0:
		c.asked = 0
	case c.asked > heard:
		return now - c.asked
	case now-heard >= ask:
		c.asked = now
		c.out = append(appendFrame(c.out, 8, framePing, 0, 0), probePing...)
		c.kick()
	}
	return 0
}

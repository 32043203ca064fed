package http2

import (
	"runtime"
	"time"
)

// Sizes in bytes.
const (
	maxQueued  = 256 << 10              // frames with data wait while there is more to write than this
	maxControl = 16 << 20               // who lets as much come together, where only answers to frames can, is not read from any more
	maxRoom    = 64 << 10               // how much memory is kept for heads
	maxOut     = 512 << 10              // and for what is written next
	maxData    = minFrame - frameHeader // in a frame, so that one fits into a record of TLS
	fair       = 32 << 10               // what one that waits for room gets
)

// flush writes what there is, unless somebody does. It lets others run first, so that what they have to say leaves in
// the same write. What the connection does not take at once another goroutine writes: the peer is slow, and whose turn it
// was has better things to do. The lock is held, and let go while it writes.
func (c *Conn) flush() {
	if c.writing || len(c.out) == 0 || c.err != nil {
		return
	}
	c.writing = true
	c.mu.Unlock()
	runtime.Gosched()
	c.mu.Lock()
	c.turn(false)
	if (c.left || len(c.out) > 0) && c.err == nil { // others have more: this one has its own to do
		go c.rest()
		return
	}
	c.written()
}

// written ends a turn.
func (c *Conn) written() {
	c.writing = false
	if c.quiet != nil {
		close(c.quiet)
	}
	c.finishLocked()
}

// kick has a goroutine write what there is, for who must not wait.
func (c *Conn) kick() {
	if c.writing || len(c.out) == 0 || c.err != nil {
		return
	}
	c.writing = true
	go c.rest()
}

// rest writes until there is nothing left.
func (c *Conn) rest() {
	runtime.Gosched()
	c.mu.Lock()
	defer c.mu.Unlock()
	for (c.left || len(c.out) > 0) && c.err == nil {
		c.turn(true)
	}
	c.written()
}

// turn writes what there is once, as far as that goes without waiting where wait is not set.
func (c *Conn) turn(wait bool) {
	b := c.out
	c.out, c.spare = c.spare[:0], nil
	if len(b) == 0 && !c.left {
		c.spare = b
		return
	}
	c.mu.Unlock()
	left, err := c.write(b, wait)
	c.mu.Lock()
	c.left = left
	if cap(b) <= maxOut {
		c.spare = b[:0]
	}
	if err != nil {
		go c.fail(err)
		return
	}
	c.admit()
}

// admit has those go on who wait for room, as many as there is room for, in their order.
func (c *Conn) admit() {
	room := maxQueued - len(c.out)
	n := 0
	for _, s := range c.line {
		if room <= 0 && len(c.out) > 0 {
			break
		}
		if n++; s.queued {
			s.queued = false
			s.signalSend()
			room -= fair
		}
	}
	c.line = c.line[:copy(c.line, c.line[n:])]
}

func (c *Conn) write(b []byte, wait bool) (left bool, err error) {
	if by := time.Now().Add(c.o.Patience); c.writeBy.Before(by) {
		c.writeBy = by.Add(slack)
		c.SetWriteDeadline(c.writeBy)
	}
	if !wait && c.o.Offer != nil {
		return c.o.Offer(b)
	}
	return false, c.put(b)
}

func (c *Conn) put(b []byte) error {
	if c.o.Write != nil {
		return c.o.Write(b)
	}
	_, err := c.Conn.Write(b)
	return err
}

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
// the same write. The lock is held, and let go while it writes.
func (c *Conn) flush() {
	if c.writing || len(c.out) == 0 || c.err != nil {
		return
	}
	c.writing = true
	c.mu.Unlock()
	runtime.Gosched()
	c.mu.Lock()
	c.turn()
	if len(c.out) > 0 && c.err == nil { // others have more: this one has its own to do
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
	for len(c.out) > 0 && c.err == nil {
		c.turn()
	}
	c.written()
}

// turn writes what there is once.
func (c *Conn) turn() {
	b := c.out
	c.out, c.spare = c.spare[:0], nil
	if len(b) == 0 {
		c.spare = b
		return
	}
	c.mu.Unlock()
	err := c.write(b)
	c.mu.Lock()
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

func (c *Conn) write(b []byte) error {
	if by := time.Now().Add(c.o.Patience); c.writeBy.Before(by) {
		c.writeBy = by.Add(slack)
		c.SetWriteDeadline(c.writeBy)
	}
	return c.put(b)
}

func (c *Conn) put(b []byte) error {
	if c.o.Write != nil {
		return c.o.Write(b)
	}
	_, err := c.Conn.Write(b)
	return err
}

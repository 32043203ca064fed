package http1

import (
	"context"
	"sync"
	"time"
)

// requestContext ends with its request, with the server, or when the client goes away. The last costs a look at the
// connection, which only those requests get that somebody waits for the end of, and only after a while.
type requestContext struct {
	base context.Context
	conn *Conn

	mu    sync.Mutex
	done  chan struct{} // made for whoever asks first
	err   error
	after map[*func()]struct{}

	armed   bool
	looking chan struct{} // closed when the look is over
}

// Deadline implements context.Context.
func (x *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (x *requestContext) Value(key any) any { return x.base.Value(key) }

// Done implements context.Context.
func (x *requestContext) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.err != nil {
			close(x.done)
		}
		x.watched()
	}
	return x.done
}

// Err implements context.Context.
func (x *requestContext) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.watched()
	return x.err
}

// AfterFunc is what package context asks for instead of waiting with a goroutine.
func (x *requestContext) AfterFunc(do func()) (stop func() bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		go do() // as context.AfterFunc
		return func() bool { return false }
	}
	if x.after == nil {
		x.after = map[*func()]struct{}{}
	}
	key := &do
	x.after[key] = struct{}{}
	x.watched()
	return func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		_, waits := x.after[key]
		delete(x.after, key)
		return waits
	}
}

// cancel ends the context: the client or the server is gone.
func (x *requestContext) cancel() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over()
}

// over ends the context. The lock is held.
func (x *requestContext) over() {
	if x.err != nil {
		return
	}
	x.err = context.Canceled
	if x.done != nil {
		close(x.done)
	}
	for do := range x.after {
		go (*do)() // as context.AfterFunc
	}
	x.after = nil
}

// lookAfter is how long a request is handled before its client is looked after.
const lookAfter = 50 * time.Millisecond

// watched has the client looked after from now on. The lock is held.
func (x *requestContext) watched() {
	if x.err != nil || x.armed {
		return
	}
	x.armed = true
	if c := x.conn; c.timer == nil {
		c.timer = time.AfterFunc(lookAfter, c.look)
	} else {
		c.timer.Reset(lookAfter)
	}
}

// look waits for the client to go away or to send more, until the request ends.
func (c *Conn) look() {
	x := c.present.Load()
	if x == nil {
		return
	}
	x.mu.Lock()
	w := c.work
	switch {
	case x.err != nil || !x.armed || x.looking != nil:
		x.mu.Unlock()
		return
	case w.body != nil && !w.body.finished.Load():
		c.timer.Reset(lookAfter)
		x.mu.Unlock()
		return
	case w.r < w.w || len(c.ahead) > 0: // it is there, and what is behind cannot be seen
		x.mu.Unlock()
		return
	}
	x.looking = make(chan struct{})
	c.SetReadDeadline(time.Time{})
	x.mu.Unlock()
	w.r, w.w = 0, 0
	err := c.fill()
	x.mu.Lock()
	if err != nil {
		x.over()
	}
	close(x.looking)
	x.mu.Unlock()
}

var past = time.Unix(1, 0)

// end ends the context with its request, and the look after the client.
func (x *requestContext) end() {
	x.unwatch()
	x.cancel()
}

// unwatch ends the look after the client.
func (x *requestContext) unwatch() {
	c := x.conn
	c.present.Store(nil)
	x.mu.Lock()
	looking := x.looking
	if x.armed {
		c.timer.Stop()
		x.armed = false
	}
	if looking != nil {
		c.SetReadDeadline(past)
	}
	x.mu.Unlock()
	if looking != nil {
		<-looking
		c.readBy = time.Time{}
	}
}

package http1

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// Conn is a connection that a Server serves. What is needed only while there is a request is borrowed.
type Conn struct {
	net.Conn
	server *Server
	remote string
	tls    *tls.ConnectionState
	state  atomic.Uint32
	*work

	ahead           []byte    // what was read before
	readBy, writeBy time.Time // the deadlines that are set

	present atomic.Pointer[requestContext]
	timer   *time.Timer // for a look after the client
}

// States of a connection.
const (
	idle uint32 = iota
	active
	taken
	closed
)

// work is what it takes to serve requests, one after the other.
type work struct {
	in   []byte
	r, w int // what is read of it and not used yet
	head wire.Head
	request
	response
}

// buffer is how many bytes are read at once, and held by a connection without a request.
const buffer = 4 << 10

var works = sync.Pool{New: func() any {
	w := &work{in: make([]byte, buffer)}
	w.request.fresh()
	w.response.header = make(http.Header, 8)
	return w
}}

// serve serves one request after the other. The first one has to begin within a time.
func (c *Conn) serve(first time.Duration) {
	defer c.server.served.Done()
	w := works.Get().(*work)
	defer c.recovered(w)
	c.work = w
	for wait := first; ; wait = c.server.IdleTime {
		switch c.next(wait) {
		case again:
		case over:
			w.release()
			c.Close()
			return
		case gone: // it may be served elsewhere already
			w.release()
			return
		}
	}
}

// recovered ends a connection whose handler panicked. What it worked with may still be in use and is not used again.
func (c *Conn) recovered(w *work) {
	v := recover()
	if v == nil {
		return
	}
	if v != http.ErrAbortHandler {
		c.server.Log.Error("answering a request panicked", "panic", v, "stack", string(debug.Stack()))
	}
	if x := c.present.Load(); x != nil {
		x.end()
	}
	if b := w.body; b != nil {
		b.end()
	}
	c.Close()
}

// outcome is what becomes of a connection after a request.
type outcome uint8

const (
	again outcome = iota
	over
	gone
)

// Serve goes on with a connection that was taken, and what was read of it meanwhile. It returns when the connection
// is served no more.
func (c *Conn) Serve(ahead []byte) {
	s := c.server
	s.mu.Lock()
	if s.ending.Load() {
		s.mu.Unlock()
		c.Close()
		return
	}
	s.served.Add(1)
	c.state.Store(idle)
	s.mu.Unlock()
	c.ahead, c.readBy, c.writeBy = ahead, time.Time{}, time.Time{}
	c.serve(s.IdleTime)
}

// release gives back what was borrowed.
func (w *work) release() {
	w.r, w.w = 0, 0
	w.request.clear()
	w.response.clear()
	works.Put(w)
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	s := c.server
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	return c.Conn.Close()
}

// next serves one request.
func (c *Conn) next(wait time.Duration) outcome {
	n, err := c.readHead(wait)
	if err == nil {
		err = c.head.Parse(c.in[c.r : c.r+n])
	}
	if err != nil {
		c.refuse(err)
		return over
	}
	head := string(c.in[c.r : c.r+n])
	c.r += n
	return c.exchange(head)
}

// readHead reads until a head is complete, and returns its length.
func (c *Conn) readHead(wait time.Duration) (int, error) {
	var e wire.End
	if c.r == c.w {
		c.r, c.w = 0, 0
		if len(c.in) > buffer {
			c.in = make([]byte, buffer)
		}
		c.patience(time.Now(), wait)
		if err := c.fill(); err != nil {
			return 0, errGone
		}
	}
	if !c.state.CompareAndSwap(idle, active) {
		return 0, errGone
	}
	for begun := false; ; begun = true {
		n, err := e.Find(c.in[c.r:c.w])
		if n > c.server.MaxHead || n == 0 && c.w-c.r > c.server.MaxHead {
			err = &wire.Error{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: "the head is too long"}
		}
		if n > 0 || err != nil {
			return n, err
		}
		if !begun {
			c.patience(time.Now(), c.server.HeadTime)
		}
		c.room()
		if err := c.fill(); err != nil {
			return 0, errGone
		}
	}
}

// errGone is the end of a connection about which there is nobody to tell.
var errGone = errors.New("http1: the connection is gone")

// room makes room for more of a head.
func (c *Conn) room() {
	if c.r > 0 {
		c.w, c.r = copy(c.in, c.in[c.r:c.w]), 0
	}
	if c.w == len(c.in) {
		more := make([]byte, 4*len(c.in))
		copy(more, c.in)
		c.in = more
	}
}

// fill reads what there is room for.
func (c *Conn) fill() error {
	if len(c.ahead) > 0 {
		n := copy(c.in[c.w:], c.ahead)
		c.w += n
		if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
			c.ahead = nil // and what it is part of
		}
		return nil
	}
	n, err := c.Conn.Read(c.in[c.w:])
	if c.w += n; n > 0 {
		return nil
	}
	return err
}

// patience bounds the reads that follow.
func (c *Conn) patience(now time.Time, d time.Duration) {
	if by := now.Add(d); c.readBy.Before(by) || c.readBy.After(by.Add(slack)) {
		c.readBy = by.Add(slack)
		c.SetReadDeadline(c.readBy)
	}
}

// exchange handles one request.
func (c *Conn) exchange(head string) outcome {
	w := c.work
	r, err := w.build(c, head)
	if err != nil {
		c.refuse(err)
		return over
	}
	ctx := &requestContext{base: c.server.Base, conn: c}
	c.present.Store(ctx)
	r = r.WithContext(ctx)
	w.response.begin(c, r)
	c.server.Handler.ServeHTTP(&w.response, r)
	if w.response.taken {
		ctx.cancel()
		return gone
	}
	w.response.finish()
	ctx.end()
	unread := w.body != nil && w.body.end() || w.r < w.w
	w.request.clear()
	switch {
	case w.response.err != nil:
		return over
	case w.response.close:
		if unread {
			c.linger()
		}
		return over
	}
	w.response.clear()
	c.state.Store(idle)
	if c.server.ending.Load() {
		return over
	}
	return again
}

// refuse answers what is no request that can be served.
func (c *Conn) refuse(err error) {
	var e *wire.Error
	if !errors.As(err, &e) {
		return
	}
	c.server.Log.Debug("request refused", "from", c.remote, "status", e.Status, "err", err)
	c.response.refuse(c, e)
	c.linger()
}

// Bounds of what is read from a client that is not listened to any more: closing over unread bytes would take the
// answer back, and many clients look for one only when all of their request is sent.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 16 << 20
)

func (c *Conn) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		c.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
}

// abort ends the connection and what it waits for, from another goroutine.
func (c *Conn) abort() {
	if ctx := c.present.Load(); ctx != nil {
		ctx.cancel()
	}
	c.Conn.Close()
}

// Take takes the connection of a request from the server, with what is read of the next one, before anything of an
// answer is written. The handler writes none then, returns, and has the request and what it points to for good. w may
// be around what the server gave the handler.
func Take(w http.ResponseWriter) (*Conn, []byte, error) {
	for {
		switch t := w.(type) {
		case *response:
			return t.take()
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return nil, nil, http.ErrNotSupported
		}
	}
}

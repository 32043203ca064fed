package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// errRetired is what a connection says that takes no more calls; nothing has been sent on it.
var errRetired = errors.New("the connection takes no more calls")

// clientConn is the calling end of one connection.
type clientConn struct {
	link
	addr   string
	decode DecodeError
	idle   time.Duration // without a call for so long, the connection ends

	mu      sync.Mutex
	retired bool // no new calls
	lastID  uint64
	pending map[uint64]*pending
	busyAt  time.Time // a call was under way at that time
}

// pending is a call that waits for its answer: done for calls, stream for streams.
type pending struct {
	parts  []byte // of a long answer; the reader's own
	done   chan outcome
	stream *Stream
}

type outcome struct {
	payload []byte
	err     error
}

func newClientConn(conn net.Conn, addr string, limits Limits, idle time.Duration, decode DecodeError) *clientConn {
	return &clientConn{
		link: newLink(conn, limits), addr: addr, decode: decode, idle: idle,
		pending: make(map[uint64]*pending), busyAt: time.Now(),
	}
}

// run carries calls until the connection dies, and tells every waiter.
func (c *clientConn) run() {
	var writer sync.WaitGroup
	writer.Go(func() { c.write(func(*message) {}, c.tick) })
	c.read(c.receive)
	writer.Wait()

	c.mu.Lock()
	c.retired = true
	lost := c.pending
	c.pending = nil
	c.mu.Unlock()
	for _, p := range lost {
		p.fail(newLinkError(c.decode, c.addr, c.err != errBye || p.stream != nil, clockHint(c.err))) // of TLS 1.3 the far side's alert comes after the handshake
	}
}

func (p *pending) fail(err error) {
	if p.stream != nil {
		p.stream.finish(err)
	} else {
		p.done <- outcome{err: err}
	}
}

// retire takes no more calls, and ends the connection if none is under way.
func (c *clientConn) retire() {
	c.mu.Lock()
	c.retired = true
	idle := len(c.pending) == 0
	c.mu.Unlock()
	if idle {
		c.kill(errClosed)
	}
}

// load is the number of calls under way.
func (c *clientConn) load() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// tick ends a connection that nobody uses.
func (c *clientConn) tick() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) > 0 {
		c.busyAt = time.Now()
	} else if time.Since(c.busyAt) >= c.idle {
		c.retired = true
		return errIdle
	}
	return nil
}

// register gives p its id.
func (c *clientConn) register(p *pending) (uint64, error) {
	select {
	case <-c.dead:
		return 0, errRetired
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired {
		return 0, errRetired
	}
	c.lastID++
	c.pending[c.lastID] = p
	return c.lastID, nil
}

// take removes a call and returns it, nil when it has gone already.
func (c *clientConn) take(id uint64) *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pending[id]
	delete(c.pending, id)
	if len(c.pending) == 0 {
		c.busyAt = time.Now()
	}
	return p
}

func (c *clientConn) find(id uint64) *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending[id]
}

// abandon forgets a call and tells the far side.
func (c *clientConn) abandon(id uint64) {
	if c.take(id) != nil {
		c.out.put(message{kind: kindCancel, id: id})
	}
}

// call sends a call and waits for the payload of its answer.
func (c *clientConn) call(ctx context.Context, head, body []byte) ([]byte, error) {
	p := &pending{done: make(chan outcome, 1)}
	id, err := c.register(p)
	if err != nil {
		return nil, err
	}
	c.out.put(message{kind: kindCall, id: id, head: head, body: body})
	select {
	case o := <-p.done:
		return o.payload, o.err
	case <-ctx.Done():
		c.abandon(id)
		return nil, ctx.Err()
	}
}

// open sends a call that a stream answers.
func (c *clientConn) open(ctx context.Context, head, body []byte) (*Stream, error) {
	s := newStream(ctx, &c.link, 0)
	p := &pending{stream: s}
	// The stream's id and quit are set before any frame for it can arrive: nothing has been sent.
	id, err := c.register(p)
	if err != nil {
		return nil, err
	}
	s.id = id
	stop := context.AfterFunc(ctx, func() { c.abandon(id) })
	s.quit = func() {
		stop()
		c.abandon(id)
	}
	c.out.put(message{kind: kindOpen, id: id, head: head, body: body})
	return s, nil
}

// receive takes one frame. Frames for unknown calls are late: their caller has gone.
func (c *clientConn) receive(f frame) error {
	switch f.kind {
	case kindAnswer:
		if p := c.take(f.id); p != nil {
			c.deliver(p, f.payload)
		}
		return nil
	case kindChunk, kindData, kindCredit:
		p := c.find(f.id)
		if p == nil {
			return nil
		}
		switch {
		case f.kind == kindChunk:
			return c.collect(f.id, p, f.payload)
		case p.stream == nil:
			return errKind
		case f.kind == kindData:
			return p.stream.push(f.payload)
		default:
			return p.stream.grant(f.payload)
		}
	case kindBye:
		return errBye
	}
	return errKind
}

// collect adds a piece to a long answer.
func (c *clientConn) collect(id uint64, p *pending, piece []byte) error {
	if len(p.parts)+len(piece) <= c.limits.MaxMessage {
		p.parts = append(p.parts, piece...)
		return nil
	}
	c.abandon(id)
	p.fail(c.decode.make(codeInternal, fmt.Sprintf("rpc: answer of %s exceeds %d bytes", c.addr, c.limits.MaxMessage)))
	return nil
}

func (c *clientConn) deliver(p *pending, payload []byte) {
	if p.parts != nil {
		payload = append(p.parts, payload...)
	}
	if p.stream == nil {
		p.done <- outcome{payload: payload}
		return
	}
	_, _, err := decodeAnswer(payload, c.decode.make)
	if err == nil {
		err = io.EOF
	}
	p.stream.finish(err)
}

package rpc

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// serverConn is the answering end of one connection.
type serverConn struct {
	link
	server *Server
	peer   Peer
	held   atomic.Int64        // this connection's part of server.held
	parts  map[uint64]*request // have not arrived whole; the reader's own

	handlers sync.WaitGroup

	mu      sync.Mutex
	calls   map[uint64]*serverCall // until their answer has been sent
	streams int
	unsent  int  // bytes of answers
	busy    int  // calls to be answered before a bye: all but streams and reads that are parked
	ending  bool // no more calls begin
}

type serverCall struct {
	call     *Call              // nil when refused
	cancel   context.CancelFunc // nil when refused
	stream   *Stream            // nil for calls
	size     int                // of the request, in bytes
	reply    int                // of the answer, in bytes
	answered bool               // the answer waits for the writer
	left     bool               // the caller has gone
	parked   bool               // it is cut off by the end: a stream, or a read that waits for a change
}

// request is a call's payload, or why the call is refused.
type request struct {
	data          []byte
	code, refusal string
}

func (c *serverConn) hold(n int) {
	c.held.Add(int64(n))
	c.server.held.Add(int64(n))
}

func (c *serverConn) refuse(r *request, code, format string, args ...any) {
	c.hold(-len(r.data))
	*r = request{code: code, refusal: "rpc: " + fmt.Sprintf(format, args...)}
}

// receive takes one frame. It never blocks.
func (c *serverConn) receive(ctx context.Context, f frame) error {
	switch f.kind {
	case kindCall, kindOpen:
		return c.begin(ctx, f)
	case kindChunk:
		return c.collect(f)
	case kindCancel:
		c.cancel(f.id)
		return nil
	case kindAnswer, kindData, kindCredit:
		return c.feed(f)
	}
	return errKind
}

// collect adds a piece to a long request.
func (c *serverConn) collect(f frame) error {
	r := c.parts[f.id]
	if r == nil {
		if len(c.parts) == rotation {
			return errTooMany
		}
		r = new(request)
		c.parts[f.id] = r
	}
	c.extend(r, f.payload)
	return nil
}

// extend adds to a request, or refuses it. What follows of a refused one is dropped: its sender does not
// know yet.
func (c *serverConn) extend(r *request, piece []byte) {
	switch o := &c.server.o; {
	case r.code != "":
	case len(r.data)+len(piece) > c.limits.MaxMessage:
		c.refuse(r, codeTooLarge, "request exceeds %d bytes", c.limits.MaxMessage)
	case c.server.held.Load()+c.held.Load()+int64(len(piece)) > o.MaxHeld: // one may have as much as is left for others
		c.refuse(r, codeLimited, "unanswered requests exceed %d bytes", o.MaxHeld)
	default:
		r.data = append(r.data, piece...)
		c.hold(len(piece))
	}
}

// begin starts the handler of a call that has arrived whole. The header is decoded here and not by the
// handler's goroutine: that one stays on its first 2 KiB of stack, of which there may be tens of thousands.
func (c *serverConn) begin(ctx context.Context, f frame) error {
	r := c.parts[f.id]
	if r == nil {
		r = &request{data: f.payload[:0]} // the payload is ours: what extend appends is there already
	} else {
		delete(c.parts, f.id)
	}
	c.extend(r, f.payload)
	call := new(serverCall)
	if r.code == "" {
		var err error
		if call.call, err = decodeCall(r.data); err != nil {
			c.refuse(r, codeInvalid, "%v", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch o := &c.server.o; {
	case c.ending: // the bye says that it was not acted on
		c.hold(-len(r.data))
		return nil
	case c.calls[f.id] != nil:
		return errDupID
	case len(c.calls) >= 2*o.MaxCalls:
		return errTooMany
	case r.code != "":
	case len(c.calls) >= o.MaxCalls:
		c.refuse(r, codeLimited, "more than %d calls under way on one connection", o.MaxCalls)
	case f.kind == kindOpen && o.Streams == nil:
		c.refuse(r, codeInvalid, "no streams are served here")
	case f.kind == kindOpen && c.streams >= o.MaxStreams:
		c.refuse(r, codeLimited, "more than %d streams on one connection", o.MaxStreams)
	}
	c.calls[f.id] = call
	if r.code != "" {
		call.answered = true
		c.busy++
		c.out.put(message{kind: kindAnswer, id: f.id, head: encodeError(r.code, r.refusal)})
		return nil
	}
	call.size = len(r.data)
	ctx, call.cancel = context.WithCancel(ctx)
	if f.kind == kindOpen {
		call.stream = newStream(ctx, &c.link, f.id)
		c.streams++
	}
	if call.parked = call.stream != nil || c.server.o.Parks(call.call); !call.parked {
		c.busy++
	}
	c.handlers.Add(1)
	go c.handle(ctx, f.id, call) // ends with the handler, which Serve waits for
	return nil
}

// handle answers a call. A call that is parked for minutes holds this frame and that of ask, and their
// stack: they are kept small.
func (c *serverConn) handle(ctx context.Context, id uint64, call *serverCall) {
	defer c.handlers.Done()
	answer, err := c.ask(ctx, call)
	call.cancel()
	c.reply(id, call, answer, err)
}

// ask runs the handler. One that panics fails its own call only.
func (c *serverConn) ask(ctx context.Context, call *serverCall) (answer Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = c.panicked(call, p)
		}
	}()
	if call.stream != nil {
		// Its return ends the stream, so a handler gets no more than these two methods.
		return Answer{}, c.server.o.Streams(ctx, c.peer, call.call, struct{ io.ReadWriter }{call.stream})
	}
	return c.server.o.Handler(ctx, c.peer, call.call)
}

func (c *serverConn) panicked(call *serverCall, p any) error {
	c.server.o.Log.Error("rpc handler panicked", "method", call.call.Method, "peer", c.peer.Addr, "err", p, "stack", string(debug.Stack()))
	return fmt.Errorf("rpc: %s panicked", call.call.Method)
}

// reply encodes and queues the outcome of a call.
func (c *serverConn) reply(id uint64, call *serverCall, answer Answer, err error) {
	m := message{kind: kindAnswer, id: id, paced: call.stream != nil}
	if err == nil {
		m.head, m.body, err = encodeAnswer(answer)
	}
	if err == nil && m.left() > c.limits.MaxMessage {
		err = fmt.Errorf("rpc: the answer to %s exceeds %d bytes", call.call.Method, c.limits.MaxMessage)
	}
	if err != nil {
		m.head, m.body = encodeError(c.server.o.Encode.split(err)), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	call.answered = true
	if call.left { // nobody waits, but what is sent frees the call's place
		m.head, m.body = encodeError(codeInternal, "rpc: canceled"), nil
	} else if c.unsent+m.left() > c.server.o.MaxUnsent {
		m.head, m.body = encodeError(codeLimited, fmt.Sprintf("rpc: unread answers exceed %d bytes", c.server.o.MaxUnsent)), nil
	}
	call.reply = m.left()
	c.unsent += call.reply
	c.out.put(m)
}

// sent is told of every message that has gone: an answer frees the place of its call.
func (c *serverConn) sent(m *message) {
	if m.kind != kindAnswer {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[m.id]
	delete(c.calls, m.id)
	c.hold(-call.size)
	c.unsent -= call.reply
	if call.stream != nil {
		c.streams--
	}
	if !call.parked {
		c.busy--
		c.bye()
	}
}

// end lets no more calls begin, and tells the peer so once those under way are answered.
func (c *serverConn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	c.bye()
}

// bye takes leave of the peer when nothing is owed to it any more. The lock is held.
func (c *serverConn) bye() {
	if c.ending && c.busy == 0 {
		c.out.put(message{kind: kindBye})
	}
}

// cancel ends a call whose caller has gone, and what waits of its answer.
func (c *serverConn) cancel(id uint64) {
	if r := c.parts[id]; r != nil {
		c.hold(-len(r.data))
		delete(c.parts, id)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[id]
	if call == nil || call.left {
		return
	}
	call.left = true
	if call.answered {
		c.out.put(message{kind: kindDrop, id: id})
	} else {
		call.cancel()
	}
}

// feed takes a frame for a stream. Streams that have ended ignore what comes late.
func (c *serverConn) feed(f frame) error {
	c.mu.Lock()
	call := c.calls[f.id]
	c.mu.Unlock()
	switch {
	case call == nil:
		return nil
	case call.stream == nil:
		return errKind
	case f.kind == kindData:
		return call.stream.push(f.payload)
	case f.kind == kindCredit:
		return call.stream.grant(f.payload)
	}
	call.stream.endIn(io.EOF)
	return nil
}

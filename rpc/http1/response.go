package http1

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// response is the http.ResponseWriter that a handler gets, used for one request after the other.
type response struct {
	conn   *Conn
	work   *work
	header http.Header
	fields []field // of the header, sorted

	head    bool // the request's method is HEAD
	minor   int
	status  int
	length  int64 // of the body as declared, unknown when that is not known
	written int64 // of the body, by the handler
	framed  bool  // the head is in out
	untyped bool  // the handler does not say what the body is
	chunked bool
	close   bool
	taken   bool
	err     error

	*output // nil between answers
}

// field is one of the header of an answer.
type field struct {
	name   string
	values []string
}

// output is what is not sent yet, borrowed for an answer.
type output struct {
	out  []byte // to be sent
	held []byte // of a body whose length is not known: it may turn out to be short, else it is the next chunk
}

var outputs = sync.Pool{New: func() any { return new(output) }}

// unknown is the length of a body that nobody has declared.
const unknown = -1

// Sizes in bytes.
const (
	// maxHeld is how long a body without a length may be to get one.
	maxHeld = 2 << 10
	// maxJoined is how much is worth copying so that it leaves in one write.
	maxJoined = 32 << 10
)

func (p *response) begin(c *Conn, r *http.Request) {
	p.conn, p.work = c, c.work
	p.head, p.minor, p.close = r.Method == http.MethodHead, r.ProtoMinor, r.Close
	p.length = unknown
	p.borrow()
}

func (p *response) borrow() { p.output = outputs.Get().(*output) }

// clear makes the response ready for the next request.
func (p *response) clear() {
	if p.output != nil {
		p.out, p.held = p.out[:0], p.held[:0]
		outputs.Put(p.output)
	}
	clear(p.header)
	clear(p.fields)
	*p = response{header: p.header, fields: p.fields[:0]}
}

// Header implements http.ResponseWriter.
func (p *response) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter. What is set in the header afterwards has no effect.
func (p *response) WriteHeader(status int) {
	if p.status != 0 || p.taken {
		return
	}
	if status < 200 || status > 999 {
		panic("http1: invalid status " + strconv.Itoa(status))
	}
	p.status = status
	p.heading()
}

// Write implements http.ResponseWriter.
func (p *response) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	switch {
	case p.taken:
		return 0, http.ErrHijacked
	case !p.bodied():
		return 0, http.ErrBodyNotAllowed
	case p.length != unknown && p.written+int64(len(b)) > p.length:
		return 0, http.ErrContentLength
	}
	p.written += int64(len(b))
	switch {
	case p.length != unknown:
		p.frame(b)
		if !p.head {
			p.put(b)
		}
	case !p.framed && len(p.held)+len(b) <= maxHeld:
		p.held = append(p.held, b...)
	case len(b) > 0:
		p.frame(b)
		p.stream(b)
	}
	return len(b), p.err
}

// stream adds to a body whose length is not known.
func (p *response) stream(b []byte) {
	if p.head {
		return
	}
	if len(p.held)+len(b) > maxHeld {
		p.spill()
	}
	if len(b) > maxHeld {
		p.chunk(b)
		return
	}
	p.held = append(p.held, b...)
}

// spill passes on what is held of a body.
func (p *response) spill() {
	if len(p.held) > 0 && !p.head {
		p.chunk(p.held)
	}
	p.held = p.held[:0]
}

func (p *response) chunk(b []byte) {
	if !p.chunked {
		p.put(b)
		return
	}
	p.out = strconv.AppendUint(p.out, uint64(len(b)), 16)
	p.out = append(p.out, '\r', '\n')
	p.put(b)
	p.out = append(p.out, '\r', '\n')
}

// bodied is whether the answer has a body, or would have one if the method were not HEAD.
func (p *response) bodied() bool {
	return p.status != http.StatusNoContent && p.status != http.StatusNotModified
}

// Flush implements http.Flusher.
func (p *response) Flush() { p.FlushError() }

// FlushError is Flush for http.ResponseController.
func (p *response) FlushError() error {
	if p.taken {
		return http.ErrHijacked
	}
	p.WriteHeader(http.StatusOK)
	p.frame(p.held)
	p.spill()
	p.send()
	return p.err
}

// finish sends what is left when the handler is done.
func (p *response) finish() {
	p.WriteHeader(http.StatusOK)
	if !p.framed && p.length == unknown && p.bodied() && (!p.head || p.written > 0) {
		p.length = int64(len(p.held))
		p.frame(p.held)
		if !p.head {
			p.put(p.held)
		}
	} else {
		p.frame(p.held)
		p.spill()
		if p.chunked {
			p.out = append(p.out, "0\r\n\r\n"...)
		}
	}
	if p.length > p.written && !p.head && p.bodied() {
		p.close = true // the client waits for more than there is
	}
	p.send()
}

// put adds bytes as they are, and sends when there is much.
func (p *response) put(b []byte) {
	if room := maxJoined - len(p.out); len(b) > room {
		p.out = append(p.out, b[:max(room, 0)]...)
		b = b[max(room, 0):]
		p.send()
		if len(b) >= buffer {
			p.pass(b)
			return
		}
	}
	p.out = append(p.out, b...)
}

// send writes what there is to the connection.
func (p *response) send() {
	p.pass(p.out)
	p.out = p.out[:0]
}

// pass writes to the connection in parts, each of which the client has to take in time: who does not read would else
// hold the answer, its connection and a goroutine for ever.
func (p *response) pass(b []byte) {
	c := p.conn
	for len(b) > 0 && p.err == nil {
		n := min(len(b), c.server.Part)
		c.lease(time.Now())
		if _, p.err = c.Conn.Write(b[:n]); p.err != nil {
			if ctx := c.present.Load(); ctx != nil {
				ctx.cancel()
			}
		}
		b = b[n:]
	}
}

// lease bounds the write that follows.
func (c *Conn) lease(now time.Time) {
	if by := now.Add(c.server.PartTime); c.writeBy.Before(by) {
		c.writeBy = by.Add(slack)
		c.SetWriteDeadline(c.writeBy)
	}
}

// proceed tells the client to send its body.
func (p *response) proceed() {
	if p.status == 0 {
		p.pass([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}

// take gives the connection away.
func (p *response) take() (*Conn, []byte, error) {
	c, w := p.conn, p.work
	if p.taken || p.status != 0 || w.body != nil && !w.body.drain() {
		return nil, nil, http.ErrHijacked
	}
	c.present.Load().unwatch()
	p.taken = true
	ahead := append(append([]byte(nil), w.in[w.r:w.w]...), c.ahead...)
	c.ahead, c.work = nil, nil
	w.request.fresh()
	c.state.Store(taken)
	return c, ahead, nil
}

package proxy

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// upstream is a connection to an endpoint, which carries one exchange after the other.
type upstream struct {
	host       *host
	generation uint64
	raw        net.Conn
	records    *records // nil without TLS
	probe      *probe
	reader
	writer
	head   wire.Head
	since  time.Time // it is idle
	parked bool      // it is; the host's lock guards it
	line   line
	fate
	used   bool    // by an exchange before this one
	begun  bool    // something of the response has come
	held   bool    // the request is in out, and leaves when the response is waited for
	framed int64   // how the body of the request is framed
	room   *buffer // of out
}

// take is a connection that is idle and can be used, or nil.
func (h *host) take(t *Target, now time.Time) far {
	if t.SendProxy > 0 || h.silence.Load() != nil { // it would tell of another caller, or nothing at all
		return nil
	}
	if h.shares(t) {
		if f := h.board(); f != nil {
			return f
		}
		if h.key.certs == nil {
			return nil
		}
	}
	for {
		h.mu.Lock()
		n := len(h.idle)
		if n == 0 {
			h.mu.Unlock()
			return nil
		}
		u := h.idle[n-1]
		h.idle[n-1] = nil
		h.idle = h.idle[:n-1]
		u.parked = false
		h.mu.Unlock()
		if u.generation == h.generation() && now.Sub(u.since) < h.key.keepIdle && u.quiet() {
			u.borrow()
			return u
		}
		u.shut()
	}
}

// put keeps a connection for the next exchange.
func (h *host) put(u *upstream, now time.Time) {
	u.since = now
	h.mu.Lock()
	if keep := !h.retired && len(h.idle) < h.key.maxIdle && u.generation == h.generation(); keep {
		h.idle = append(h.idle, u)
		u.parked = true
		u = nil
	}
	h.mu.Unlock()
	if u != nil {
		u.shut()
	}
}

// shut closes the connection.
func (u *upstream) shut() {
	u.host.part(&u.line)
	u.raw.Close()
}

// sweep closes the connections that were idle too long, or whose endpoint has closed them.
func (h *host) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := h.idle[:0]
	n := h.generation()
	for _, u := range h.idle {
		if now.Sub(u.since) < h.key.keepIdle && u.generation == n {
			kept = append(kept, u)
			continue
		}
		h.leave(&u.line)
		u.raw.Close()
	}
	clear(h.idle[len(kept):])
	h.idle = kept
	h.leaving(false)
}

// retire keeps no connection any more.
func (h *host) retire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retired = true
	for _, u := range h.idle {
		h.leave(&u.line)
		u.raw.Close()
	}
	h.idle = nil
	h.leaving(true)
	h.rest()
}

func (h *host) revive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retired = false
}

// connect makes a new connection for exchanges.
func (h *host) connect(t *Target, c *client) (far, error) {
	if err := h.silent(); err != nil {
		return nil, err
	}
	n := h.generation()
	var conn net.Conn
	var err error
	if h.shares(t) {
		f, plain, err := h.share(t, c)
		if f != nil || err != nil {
			return f, err
		}
		conn = plain
	} else if conn, err = h.dial(t, c, false); err != nil {
		return nil, err
	}
	u := &upstream{host: h, generation: n, raw: conn, reader: reader{conn: conn}}
	u.writer.over(conn)
	u.writer.part, u.writer.time = defaultPart, defaultPartTime
	if u.cork != nil {
		u.records = u.cork.Conn.(*records)
		u.raw = u.records.Conn
	}
	u.probe = newProbe(u.raw)
	h.join(&u.line, u, u.raw)
	u.borrow()
	return u, nil
}

// borrow takes the memory that an exchange needs.
func (u *upstream) borrow() {
	u.begun, u.held, u.torn = false, false, false
	b := buffers.Get().(*buffer)
	u.in, u.big = b.b, b
	u.room = outs.Get().(*buffer)
	u.out = u.room.b[:0]
}

// release ends an exchange. The connection is kept when it is fit for another.
func (u *upstream) release(fit bool, now time.Time) {
	fit = fit && !u.torn && !u.head.Close && u.reader.ended && u.r == u.w
	u.r, u.w = 0, 0
	u.shrink(nil)
	u.room.give(u.out)
	u.out, u.room = nil, nil
	if !fit {
		u.shut()
		return
	}
	u.used = true
	u.limit = time.Time{}
	u.host.put(u, now)
}

// quiet reports whether the connection is open and nothing has come over it that nobody asked for.
func (u *upstream) quiet() bool {
	if u.records != nil && u.records.pending() {
		return false
	}
	quiet, _ := u.probe.state()
	return quiet
}

// send implements far.
func (u *upstream) send(q *request, part []byte, whole bool) error {
	u.framed = q.length
	u.out = q.append(u.out[:0])
	head := len(u.out)
	if err := u.writer.body(q.length, part); err != nil {
		return err
	}
	if whole {
		u.writer.end(q.length, q.trailers)
		if u.held = u.plain != nil && len(u.out) >= head; u.held { // nothing has left
			return nil
		}
	}
	return u.flush()
}

// ask writes the request that send has left, and reads what there is of the response.
func (u *upstream) ask() error {
	if !u.held { // out may be the upload's
		return nil
	}
	written, n, err := u.plain.ask(u.out, u.in[u.w:])
	u.out, u.w = u.out[:copy(u.out, u.out[written:])], u.w+n
	switch u.held = len(u.out) > 0; {
	case err == nil:
		if err = u.flush(); errors.Is(err, os.ErrDeadlineExceeded) { // which of a read says that there is no answer yet
			err = errUntaken
		}
	case !u.held || errors.Is(err, os.ErrDeadlineExceeded): // no answer yet, or none at all
		return err
	default:
		u.torn = true
	}
	u.held = false
	if err != nil && !u.used { // there may be a response all the same
		return nil
	}
	return err
}

// more implements far.
func (u *upstream) more(part []byte) error {
	if err := u.writer.body(u.framed, part); err != nil {
		return err
	}
	return u.flush()
}

// finish implements far.
func (u *upstream) finish(trailers []byte) error {
	u.writer.end(u.framed, trailers)
	return u.flush()
}

// Why there is no response.
var (
	errLate      = errors.New("no response in time")
	errUntaken   = errors.New("the endpoint does not take the request")
	errAbandoned = errors.New("the caller is gone")
)

// How often it is asked whether the caller still waits for a response: at first, and at most.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = time.Second
)

// receive implements far.
func (u *upstream) receive(x *exchange, headOnly bool, by time.Time) (*wire.Head, []byte, error) {
	now := x.soonAfter()
	for look := firstLook; ; look = min(2*look, lastLook) {
		u.limit = by
		u.patience(now, look)
		err := u.ask()
		var text []byte
		if err == nil {
			text, err = u.reader.readHead(defaultHead)
		}
		u.begun = u.begun || u.r < u.w || err == nil
		switch {
		case err == nil:
			if err := u.head.ParseResponse(text, headOnly); err != nil {
				return nil, nil, err
			}
			return &u.head, text, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, nil, err
		}
		if now = time.Now(); !now.Before(by) {
			return nil, nil, errLate
		}
		if !x.waited() {
			return nil, nil, errAbandoned
		}
	}
}

// next implements far. A record that is here already may turn out to have no data: nobody waits for the next one then.
func (u *upstream) next() ([]byte, error) {
	if u.reader.buffered() || u.records == nil || !u.records.whole() {
		return u.reader.next()
	}
	u.records.dry = true
	part, err := u.reader.next()
	u.records.dry = false
	if errors.Is(err, os.ErrDeadlineExceeded) {
		u.reader.err = nil
		return nil, nil
	}
	return part, err
}

// buffered implements far.
func (u *upstream) buffered() bool {
	return u.reader.buffered() || u.records != nil && u.records.whole()
}

// trailers implements far.
func (u *upstream) trailers() []byte {
	if u.reader.length != wire.Chunked {
		return nil
	}
	return u.chunks.Trailers
}

// begin implements far.
func (u *upstream) begin(length int64, idle time.Duration, limit time.Time) {
	u.limit = limit
	u.reader.begin(length, 1, idle)
}

// last implements far.
func (u *upstream) last() bool { return u.reader.ended && u.reader.length != wire.Chunked }

// rears implements far.
func (u *upstream) rears() bool { return false }

// taken implements far.
func (u *upstream) taken() int64 { return u.reader.total }

// tunnel implements far.
func (u *upstream) tunnel() (net.Conn, []byte) {
	rest := u.in[u.r:u.w]
	u.r, u.head.Close = u.w, true
	u.raw.SetDeadline(time.Time{})
	return u.reader.conn, rest
}

// inUse implements carrier.
func (u *upstream) inUse() bool { return !u.parked }

// mute implements carrier. HTTP/1.1 has no way to ask.
func (u *upstream) mute() time.Duration { return 0 }

// lose implements carrier.
func (u *upstream) lose(why *silentError) {
	u.why.Store(why)
	abort(u.raw)
}

// stale implements far.
func (u *upstream) stale() bool { return u.used && !u.begun }

// Close implements far.
func (u *upstream) Close() error {
	abort(u.raw)
	return nil
}

var _ far = (*upstream)(nil)

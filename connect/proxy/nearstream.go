package proxy

import (
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
	"github.com/curia-mesh/curia/rpc/http2"
)

// shared is a client's connection of HTTP/2.
type shared struct {
	*http2.Conn
	client *client
	mu     sync.Mutex
	live   []*nearStream // exchanges under way
}

// serveHTTP2 serves a connection of HTTP/2, of which something was read already, to its end.
func serveHTTP2(c *client, early []byte) {
	conf := c.listening.config.Load()
	n := &shared{client: c}
	write, offer := writersOf(c.conn)
	n.Conn = http2.New(c.conn, early, http2.Options{
		Serve: n.serve, MaxStreams: maxStreams, MaxHead: or(conf.MaxHead, defaultHead), Patience: or(conf.PartTime, defaultPartTime),
		Idle: or(conf.IdleTime, defaultIdle), Secure: c.conn != c.raw,
		Write: write, Offer: offer,
	})
	if !c.share(n) {
		n.Drain()
	}
	if !c.until.IsZero() {
		defer time.AfterFunc(time.Until(c.until), n.Drain).Stop()
	}
	n.Run()
}

// maxStreams is how many exchanges a caller may have under way over a connection.
const maxStreams = 1000

// nearStream is one exchange over a connection of HTTP/2.
type nearStream struct {
	s    *http2.Stream
	of   *shared
	at   int // among those under way there; -1 before and after
	head wire.Head
	text []byte
	exchange
	part    time.Duration // that a part of the body may take
	out     *wire.Head    // of the response that is encoded
	from    []byte
	omit    uint32
	code    int
	extra   string // fields of an answer of our own
	rpcCode int    // its code; -1 for none
	reason  string
	started bool // the response
	rpc     bool // the request is one of gRPC
}

var nearStreams = sync.Pool{New: func() any { return new(nearStream) }}

// serve carries out an exchange. What goes wrong with one does not end the others.
func (n *shared) serve(s *http2.Stream) {
	d := nearStreams.Get().(*nearStream)
	defer func() {
		if v := recover(); v != nil {
			s.Reset(http2.InternalError)
			n.leave(d)
			n.client.listening.proxy.Log.Error("serving a request panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	d.s, d.of = s, n
	d.started, d.rpc, d.rpcCode, d.at = false, false, -1, -1
	if d.read() {
		n.join(d)
		conf := n.client.listening.config.Load() // the one that is replaced from here on finds the request
		d.part = or(conf.PartTime, defaultPartTime)
		d.exchange.run(d, n.client, conf, &d.head, d.text)
		n.leave(d)
	}
	d.s, d.of, d.out, d.from = nil, nil, nil, nil
	if cap(d.text) <= maxRoom {
		d.exchange.clear()
		nearStreams.Put(d)
	}
}

func (n *shared) join(d *nearStream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d.at = len(n.live)
	n.live = append(n.live, d)
}

func (n *shared) leave(d *nearStream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.at < 0 {
		return
	}
	end := len(n.live) - 1
	last := n.live[end]
	n.live[d.at], last.at = last, d.at
	n.live[end] = nil
	n.live, d.at = n.live[:end], -1
}

// read reads the head of the request.
func (d *nearStream) read() bool {
	text, err := d.s.Head(time.Time{})
	if err != nil {
		return false
	}
	if d.s.TooLarge() {
		d.answer(http.StatusRequestHeaderFieldsTooLarge, "the head is too long", "", false, true)
		return false
	}
	d.text = append(d.text[:0], text...)
	if err := d.head.Parse(d.text); err != nil {
		e, _ := err.(*wire.Error)
		if e == nil {
			d.s.Reset(http2.ProtocolError)
			return false
		}
		d.answer(e.Status, e.Reason, "", false, true)
		return false
	}
	if d.head.Upgrade {
		if d.text = keyed(&d.head, d.text); d.head.Parse(d.text) != nil {
			return false
		}
	}
	for i := range d.head.Fields {
		if f := &d.head.Fields[i]; f.Kind == wire.ContentType {
			d.rpc = isGRPC(f.Value.Of(d.text))
		}
	}
	return true
}

// next implements near.
func (d *nearStream) next() ([]byte, error) { return d.s.Within(d.part, time.Time{}) }

// buffered implements near.
func (d *nearStream) buffered() bool { return d.s.Buffered() }

// over implements near.
func (d *nearStream) over() bool { return d.head.Length == 0 || d.s.Over() }

// rear implements near.
func (d *nearStream) rear() []byte { return d.s.Trailers() }

// taken implements near.
func (d *nearStream) taken() int64 { return d.s.Total() }

// drain implements near: what is left of a body is the connection's to throw away.
func (d *nearStream) drain() bool { return true }

// interrupt implements near.
func (d *nearStream) interrupt(on bool) { d.s.Interrupt(on, false) }

// gone implements near.
func (d *nearStream) gone() bool { return d.s.Err() != nil }

// passOn implements near.
func (d *nearStream) passOn(to io.Closer) bool { return d.s.OnEnd(to) }

// Encode implements http2.Fields.
func (d *nearStream) Encode(e *http2.Encoder) {
	e.Number(":status", int64(d.code))
	if d.out == nil {
		d.encodeAnswer(e)
		return
	}
	encodeFields(e, d.out, d.from, d.omit, d.named, &d.leg.response)
	e.Lines(d.leg.response.lines)
	if d.code >= 200 && len(d.given) > 0 {
		e.Lines(d.given)
	}
	if d.out.Declared >= 0 && d.code >= 200 && d.code != http.StatusNoContent {
		e.Number("content-length", d.out.Declared)
	}
}

// interim implements near.
func (d *nearStream) interim(h *wire.Head, text []byte) error {
	if d.shape(h, text, framing) != nil {
		return nil // it can be done without
	}
	return d.s.Send(d, nil, false, true)
}

func (d *nearStream) shape(h *wire.Head, text []byte, drop uint32) (err error) {
	d.out, d.from, d.omit, d.code = h, text, drop, h.Status
	d.named, err = nominated(d.named[:0], h, text)
	return err
}

// respond implements near.
func (d *nearStream) respond(h *wire.Head, text []byte) error {
	if d.head.Upgrade && h.Status < 300 { // which would say that the protocol has changed
		return &wire.Error{Status: http.StatusBadGateway, Reason: "it does not change the protocol"}
	}
	drop := hopByHop
	if h.Length != wire.Chunked && !d.up.rears() || !promises(h, text) {
		drop |= 1 << wire.Trailer
	}
	if err := d.shape(h, text, drop); err != nil {
		return err
	}
	d.started = true
	d.s.Send(d, nil, h.Length == 0, false) // when it fails, what follows does
	return nil
}

// body implements near.
func (d *nearStream) body(part []byte, last bool) error { return d.s.Body(part, last, false) }

// finish implements near.
func (d *nearStream) finish(trailers []byte) error { return d.s.End(trailers) }

// flush implements near.
func (d *nearStream) flush() error { return d.s.Flush() }

// abort implements near.
func (d *nearStream) abort() {
	if d.rpc && d.s.End([]byte("grpc-status: 14\r\ngrpc-message: the response broke off\r\n")) == nil {
		return
	}
	d.s.Reset(http2.InternalError)
}

// switchOver implements near.
func (d *nearStream) switchOver(h *wire.Head, text, rest []byte) error {
	if err := d.shape(h, text, framing); err != nil {
		return err
	}
	d.code = http.StatusOK
	return d.s.Send(d, rest, false, true)
}

// tunnel implements near.
func (d *nearStream) tunnel() (net.Conn, []byte) {
	d.s.Patient()
	return &tunnelled{Stream: d.s}, nil
}

var _ near = (*nearStream)(nil)

package proxy

import (
	"crypto/tls"
	"math"
	"net"
	"time"

	"github.com/curia-mesh/curia/rpc/http2"
)

// hopSet are the connections of HTTP/2 to an endpoint, which many exchanges share. The host's lock guards them.
type hopSet struct {
	conns  []*hop
	making *making // one that is being made; others wait for it
	plain  uint64  // the generation in which the endpoint took HTTP/1.1, and one
}

type hop struct {
	*http2.Conn
	generation uint64
	line       line
	asks       bool // the peer can be asked whether it is there
	fate
}

// inUse implements carrier.
func (c *hop) inUse() bool {
	n, _ := c.Load()
	return n > 0
}

// mute implements carrier.
func (c *hop) mute() time.Duration {
	if !c.asks {
		return 0
	}
	return c.Silence(askAfter)
}

// lose implements carrier.
func (c *hop) lose(why *silentError) {
	c.why.Store(why)
	abort(c.Conn.Conn)
}

// making is a connection that is being made.
type making struct {
	done chan struct{}
	err  error
}

// fullHop is how many exchanges share a connection before another is made; maxHops is how many are made for that.
const (
	fullHop  = 512
	maxHops  = 8
	mostHops = 64 // however few exchanges the endpoint lets each have
)

// shares reports whether an endpoint may speak HTTP/2: where it is asked for, and between sidecars.
func (h *host) shares(t *Target) bool { return (h.key.http2 || h.key.certs != nil) && t.SendProxy == 0 }

// board begins an exchange over a connection that is there; nil when there is none with room.
func (h *host) board() far {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.generation()
	var best *hop
	least, count := 0, 0
	for _, c := range h.hops.conns {
		if c.generation != n {
			continue
		}
		if f := h.open(c, fullHop, true); f != nil { // the first ones are filled first
			return f
		}
		if load, room := c.Load(); room {
			if count++; best == nil || load < least {
				best, least = c, load
			}
		}
	}
	if best == nil || count < maxHops {
		return nil
	}
	return h.open(best, math.MaxInt, true)
}

// open begins an exchange over a connection that has fewer than so many; nil when it has not.
func (h *host) open(c *hop, most int, kept bool) far {
	s, err := c.OpenBelow(most)
	if err != nil {
		return nil
	}
	u := farStreams.Get().(*farStream)
	*u = farStream{Stream: s, hop: c, used: kept, head: u.head}
	return u
}

// share makes a connection of HTTP/2 for all who want one at a time, and begins an exchange over it. Where the endpoint
// speaks HTTP/1.1 it returns that connection. Of an endpoint that no target has any more each gets its own, which ends with
// the exchange: they come from targets of a moment ago, and are few.
func (h *host) share(t *Target, c *client) (far, net.Conn, error) {
	for range maxShared {
		if f := h.board(); f != nil {
			return f, nil, nil
		}
		h.mu.Lock()
		if h.retired || h.hops.plain == h.generation()+1 { // each needs its own
			h.mu.Unlock()
			return h.make(t, c)
		}
		if h.staying() >= mostHops {
			h.mu.Unlock()
			break
		}
		if m := h.hops.making; m != nil {
			h.mu.Unlock()
			if <-m.done; m.err != nil {
				return nil, nil, m.err
			}
			continue
		}
		m := &making{done: make(chan struct{})}
		h.hops.making = m
		h.mu.Unlock()
		f, conn, err := h.make(t, c)
		m.err = err
		h.mu.Lock()
		h.hops.making = nil
		h.mu.Unlock()
		close(m.done)
		return f, conn, err
	}
	return nil, nil, http2.ErrFull
}

// maxShared is how often it is tried to get a place in a connection that was made for several.
const maxShared = 4

// staying is how many connections there are that do not end soon. The lock is held.
func (h *host) staying() int {
	n, count := h.generation(), 0
	for _, c := range h.hops.conns {
		if c.generation == n && !c.Leaving() {
			count++
		}
	}
	return count
}

// make makes a connection, and goes on with it by what the endpoint speaks.
func (h *host) make(t *Target, c *client) (far, net.Conn, error) {
	n := h.generation() // what is shown may change meanwhile: the connection is an old one then
	conn, err := h.dial(t, c, true)
	if err != nil {
		return nil, nil, err
	}
	if t, ok := conn.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol != protoHTTP2 {
		h.mu.Lock()
		h.hops.plain = n + 1
		h.mu.Unlock()
		return nil, conn, nil
	}
	f := h.carry(c.listening.proxy, conn, n)
	if f == nil {
		return nil, nil, http2.ErrFull
	}
	return f, nil, nil
}

// carry begins an exchange over a new connection of HTTP/2, which others may use too.
func (h *host) carry(p *Proxy, conn net.Conn, n uint64) far {
	write, offer := writersOf(conn)
	to := &hop{generation: n, asks: h.key.certs != nil, Conn: http2.New(conn, nil, http2.Options{
		Patience: defaultPartTime, Idle: or(h.key.keepIdle, defaultKeepIdle) * hopIdle, Secure: h.key.certs != nil,
		Write: write, Offer: offer,
	})}
	f := h.open(to, math.MaxInt, false)
	h.mu.Lock()
	h.hops.plain = 0
	h.hops.conns = append(h.hops.conns, to)
	if h.retired {
		to.Drain() // with this exchange
	}
	h.mu.Unlock()
	h.join(&to.line, to, conn)
	p.carried.Add(1)
	go func() { // ends with the connection
		defer p.carried.Done()
		to.Run()
		h.forget(to)
		h.part(&to.line)
	}()
	return f
}

// hopIdle is how much longer connections are kept that say when they end.
const hopIdle = 15

func (h *host) forget(c *hop) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, k := range h.hops.conns {
		if k == c {
			h.hops.conns = append(h.hops.conns[:i], h.hops.conns[i+1:]...)
			return
		}
	}
}

// leaving ends the connections of other generations, or all, with their last exchange. The lock is held.
func (h *host) leaving(all bool) {
	n := h.generation()
	for _, c := range h.hops.conns {
		if all || c.generation != n {
			c.Drain()
		}
	}
}

// What sides of a handshake say that they speak.
const (
	protoHTTP2 = "h2"
	protoHTTP1 = "http/1.1"
)

// tunnelled is a stream as a connection of another protocol.
type tunnelled struct {
	*http2.Stream
	net.Conn // for what it is not asked for
	rest     []byte
	reads    time.Time
}

// Read implements net.Conn.
func (t *tunnelled) Read(p []byte) (int, error) {
	for len(t.rest) == 0 {
		b, err := t.Stream.Next(t.reads)
		if err != nil {
			return 0, err
		}
		t.rest = b
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// Write implements net.Conn.
func (t *tunnelled) Write(b []byte) (int, error) {
	if err := t.Stream.Body(b, false, true); err != nil {
		return 0, err
	}
	return len(b), nil
}

// CloseWrite ends what this side says.
func (t *tunnelled) CloseWrite() error { return t.Stream.End(nil) }

// Close implements net.Conn.
func (t *tunnelled) Close() error { return t.Stream.Close() }

// SetDeadline implements net.Conn.
func (t *tunnelled) SetDeadline(by time.Time) error { return t.SetReadDeadline(by) }

// SetReadDeadline implements net.Conn.
func (t *tunnelled) SetReadDeadline(by time.Time) error {
	t.reads = by
	return nil
}

// SetWriteDeadline implements net.Conn, and does nothing: who does not take what is written lets the window close.
func (t *tunnelled) SetWriteDeadline(time.Time) error { return nil }

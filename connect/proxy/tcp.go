package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
)

// passThrough passes bytes on in both directions until both have ended.
func (c *client) passThrough(conf *Listener) {
	begun := time.Now()
	t, end, up, err := c.connect(conf)
	if why := nameless(0); errors.As(err, &why) {
		c.listening.unrouted(c, conf, why)
		return
	}
	if err != nil {
		c.listening.barren.Store(turnedAway(err))
		if others, say := c.listening.unreached.again(c.listening.proxy.clock()); say {
			c.listening.proxy.Log.Warn("no connection to an endpoint", "listener", conf.Name, "err", err, "others", others)
		}
		abort(c.raw)
		return
	}
	defer t.cluster.disconnect()
	defer up.Close()
	if !c.passOn(up, nil) {
		t.cluster.done(end, 0, balance.Canceled)
		return
	}
	e := t.stats.of(c.shard)
	e.opened(time.Since(begun))
	r := relay{idle: or(conf.IdleTime, defaultTCPIdle)}
	pass := passage{up: up, relay: &r, joined: spliced(up, c.conn)}
	kept(end).join(&pass.line, &pass, up)
	defer kept(end).part(&pass.line)
	if c.begin(up, &r) {
		r.run(c.conn, up)
	}
	e.closed(r.there.Load(), r.back.Load())
	t.cluster.done(end, 0, balance.Success)
}

// unready reports whether the application refused the last connection and still does. A sidecar asks before the handshake, since
// whoever calls can go to another instance only as long as there is no connection: afterwards bytes may be lost.
func (c *client) unready(conf *Listener) bool {
	if !c.listening.barren.Load() || conf.Protocol != TCP {
		return false
	}
	t, end, up, err := c.connect(conf)
	if err == nil {
		up.Close() // it is not known yet who calls, and whether he may
		t.cluster.done(end, 0, balance.Canceled)
		t.cluster.disconnect()
	}
	refuses := turnedAway(err)
	c.listening.barren.Store(refuses)
	return refuses
}

// connect makes a connection to an endpoint: of the targets in their order the first that has one which can be reached.
func (c *client) connect(conf *Listener) (*Target, *balance.Endpoint, net.Conn, error) {
	route, err := conf.Routes.of(c)
	if err != nil {
		return nil, nil, nil, err
	}
	leg := route.pick()
	var none *unreached
	for t := range leg.inOrder {
		end, up, err := c.reach(t, leg.alone(), route.hashConn(c))
		if err == nil {
			return t, end, up, nil
		}
		none = none.add(leg, t, err)
	}
	return nil, nil, nil, none.err()
}

// reach makes a connection to one of the endpoints of a target.
func (c *client) reach(t *Target, alone bool, hash uint64) (*balance.Endpoint, net.Conn, error) {
	if err := t.cluster.connect(t); err != nil {
		return nil, nil, err
	}
	t.cluster.budget.Request(t.cluster.proxy.clock())
	var failed [maxAttempts]*balance.Endpoint
	var last error
	for n := range maxAttempts {
		if n > 0 && !t.cluster.retryAfter(last) {
			break
		}
		end, begun, err := t.pick(time.Now(), hash, alone, true, failed[:n]...)
		if err != nil {
			last = or(last, err)
			break
		}
		if slices.Contains(failed[:n], end) { // there is no other
			t.cluster.done(end, 0, balance.Canceled)
			break
		}
		up, err := kept(end).dial(t, c, false)
		if err == nil {
			return end, up, nil
		}
		t.cluster.done(end, time.Since(begun), missed(err))
		t.stats.of(c.shard).refused.Add(1)
		failed[n], last = end, err
	}
	t.cluster.disconnect()
	return nil, nil, last
}

// maxAttempts is how many endpoints of a target are tried when no connection can be made.
const maxAttempts = 5

// relay passes bytes on between two connections.
type relay struct {
	idle        time.Duration // 0 for ever
	there, back atomic.Int64  // bytes
}

// run passes bytes on until each side has ended its own, one has broken, or nothing came for too long. The end of what
// one side says is passed on to the other, which may go on.
func (r *relay) run(a, b net.Conn) {
	var both sync.WaitGroup
	both.Add(1)
	go func() { // ends with the other direction, at the latest
		defer both.Done()
		if !r.way(a, b, &r.back, &r.there) {
			abort(a)
			abort(b)
		}
	}()
	if !r.way(b, a, &r.there, &r.back) {
		abort(a)
		abort(b)
	}
	both.Wait()
}

// patience is the deadline of one direction of a connection, moved only when an eighth of the time has passed.
type patience struct {
	set  func(time.Time) error
	from time.Time
}

// renew gives the peer an eighth more than idle from now, or from when that was last done.
func (p *patience) renew(idle time.Duration) {
	if idle == 0 {
		return
	}
	if now := time.Now(); now.Sub(p.from) > idle/8 {
		p.from = now
		p.set(now.Add(idle + idle/8))
	}
}

// step is how many bytes go between looks at the clock.
const step = 1 << 20

// passage is a connection that is passed on, as it is watched.
type passage struct {
	up     net.Conn
	relay  *relay
	joined bool // the kernel passes bytes on, and does not tell
	line   line
	seen   int64
}

// inUse implements carrier.
func (p *passage) inUse() bool {
	before := p.seen
	p.seen = p.relay.there.Load()
	return p.joined || p.seen != before || !p.line.since.IsZero()
}

// mute implements carrier.
func (p *passage) mute() time.Duration { return 0 }

// lose implements carrier.
func (p *passage) lose(*silentError) { abort(p.up) }

// way passes on what from says until it ends, and then that. It reports whether the end was an orderly one.
func (r *relay) way(to, from net.Conn, moved, other *atomic.Int64) bool {
	plain := spliced(to, from)
	var buf *buffer
	if !plain {
		buf = buffers.Get().(*buffer)
		defer buffers.Put(buf)
	}
	under := corkOf(to)
	reads, writes := patience{set: from.SetReadDeadline}, patience{set: to.SetWriteDeadline}
	for {
		before := other.Load()
		reads.renew(r.idle)
		var n int64
		var err error
		if plain {
			n, err = to.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: bare(from), N: step})
			if n == 0 && err == nil {
				err = io.EOF
			}
		} else {
			var k int
			if k, err = from.Read(buf.b); k > 0 {
				writes.renew(r.idle)
				if failed := under.through(to, buf.b[:k]); failed != nil {
					return false
				}
			}
			n = int64(k)
		}
		moved.Add(n)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			half, ok := to.(halfCloser)
			return ok && half.CloseWrite() == nil
		case errors.Is(err, os.ErrDeadlineExceeded) && (n > 0 || other.Load() != before):
			reads.from = time.Time{}
		default:
			return false
		}
	}
}

// spliced reports whether the kernel can pass bytes on by itself: between sockets that nothing encrypts.
func spliced(to, from net.Conn) bool {
	_, a := bare(to).(*net.TCPConn)
	switch bare(from).(type) {
	case *net.TCPConn, *net.UnixConn:
		return a
	}
	return false
}

// abort ends a connection as broken, so that the peer does not take what came for all there is.
func abort(c net.Conn) {
	for under, ok := c.(interface{ NetConn() net.Conn }); ok; under, ok = c.(interface{ NetConn() net.Conn }) {
		c = under.NetConn()
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// turnedAway reports whether an error says that a connection was refused, by the machine or by a sidecar before the handshake.
func turnedAway(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) || gone(err) }

// gone reports whether an error says that the other end is not there.
func gone(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/connect"
)

// listening is an open listener and its connections.
type listening struct {
	net.Listener
	proxy    *Proxy
	config   atomic.Pointer[Listener]
	server   *serverTLS
	stopping atomic.Bool
	handed   atomic.Bool // set before stopping: another process accepts from here on
	barren   atomic.Bool // the last connection of bytes was refused by whom it was for

	refused atomic.Uint64                // connections above the limit
	unnamed [namelessKinds]atomic.Uint64 // connections that were not passed on by their names
	own     *edge                        // of requests that went to no target
	rates   atomic.Pointer[Rates]

	denied, unreached scarce // what is said of connections and requests that were, or reached no endpoint
	audits            audits

	mu     sync.Mutex
	conns  map[*client]struct{}
	from   map[string]int // connections by the address of the caller
	asleep bool           // no goroutine accepts: the rouser starts one when a connection waits
}

// client is a connection that was accepted.
type client struct {
	listening *listening
	raw       net.Conn // under TLS
	conn      net.Conn // what the peer says
	local     net.Addr
	remote    net.Addr // the peer's, or what the PROXY protocol says
	shard     uint32

	caller connect.Caller // when known
	peer   connect.ID
	until  time.Time // its requests are taken; zero for ever
	known  atomic.Bool
	state  atomic.Uint32
	cutBy  atomic.Bool
	lines  []byte // fields that say who the caller is, as it proved
	hello  *hello // of a connection that is passed on by its name

	forwarded []byte // fields that say for whom a request is, where the caller is not trusted to

	mu     sync.Mutex
	shared *shared   // when many exchanges go on over it
	text   []byte    // of the head of the request that it is passed on with
	other  io.Closer // what it is passed on to
}

// States of a connection.
const (
	busy    uint32 = iota
	waiting        // for a request
	closing
)

func newListening(p *Proxy, l net.Listener, c *Listener) *listening {
	n := &listening{Listener: l, proxy: p, own: p.edge(c.Name, "", ""), conns: map[*client]struct{}{}, from: map[string]int{}}
	n.configure(c)
	return n
}

func (l *listening) configure(c *Listener) {
	if http := c.Protocol == HTTP; c.Certs != nil && (l.server == nil || l.server.certs != c.Certs || l.server.http != http) {
		l.server = &serverTLS{certs: c.Certs, http: http}
	}
	l.rates.Store(l.rates.Load().keep(c.Rates))
	l.config.Store(c)
}

// replace goes on with another configuration, and cuts the connections that it denies.
func (l *listening) replace(c *Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.configure(c)
	for peer := range l.conns {
		peer.recheck(c)
	}
}

// ends reports whether connections are ended that have no exchange.
func (l *listening) ends() bool { return l.stopping.Load() && !l.handed.Load() }

// handOver takes no more connections, as another process does. What this one has taken is served as if it did not end: whoever
// connects or makes a request just now, and so cannot know, gets an answer, which says that it is the last one.
func (l *listening) handOver() {
	if u, ok := l.Listener.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	l.handed.Store(true)
	l.stop()
}

// stop takes no more connections, and those without an exchange are ended.
func (l *listening) stop() {
	l.stopping.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proxy.rouser.forget(l)
	l.Listener.Close()
	if l.asleep {
		l.asleep = false
		l.proxy.served.Done()
	}
	for c := range l.conns {
		if l.ends() && c.state.CompareAndSwap(waiting, closing) {
			c.raw.Close()
		}
		c.drain()
	}
}

func (l *listening) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns) == 0
}

// start has the listener accept, from when the first connection comes.
func (l *listening) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proxy.served.Add(1)
	if l.asleep = l.proxy.rouser.watch(l); !l.asleep {
		go l.accept() // ends with the listener
	}
}

// wake has the listener accept: connections wait.
func (l *listening) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asleep {
		l.asleep = false
		go l.accept() // ends with the listener, or when it comes to rest
	}
}

// rest reports whether the listener needs no goroutine until it is woken. Connections that came just now wake it at once.
func (l *listening) rest() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = !l.stopping.Load() && l.proxy.rouser.again(l)
	return l.asleep
}

// restAfter is how long no connection has come when a listener comes to rest. It rests after twice that at the latest.
const restAfter = 250 * time.Millisecond

// accept serves the connections that come, until the listener is closed or comes to rest. Running out of files or memory
// delays it.
func (l *listening) accept() {
	var pause time.Duration
	var until time.Time
	for {
		if now := time.Now(); until.Sub(now) < restAfter {
			until = now.Add(2 * restAfter)
			l.expect(until)
		}
		raw, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			l.admit(directly(raw))
		case l.stopping.Load() || errors.Is(err, net.ErrClosed):
			l.proxy.served.Done()
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			if l.rest() {
				return
			}
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.proxy.Log.Warn("accepting a connection", "listener", l.config.Load().Name, "err", err, "again", pause)
			time.Sleep(pause)
		}
	}
}

// expect bounds how long a connection is waited for, where somebody wakes the listener later.
func (l *listening) expect(until time.Time) {
	if l.proxy.rouser == nil {
		return
	}
	if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(until) // of a listener that is closed
	}
}

// admit takes a connection in, unless there are too many.
func (l *listening) admit(raw net.Conn) {
	c := &client{listening: l, raw: raw, conn: raw, local: raw.LocalAddr(), remote: raw.RemoteAddr(), shard: l.proxy.seq.next()}
	conf := l.config.Load()
	l.mu.Lock()
	from := hostOf(raw.RemoteAddr())
	full := conf.MaxConns > 0 && len(l.conns) >= conf.MaxConns || conf.PerCaller > 0 && from != "" && l.from[from] >= conf.PerCaller
	if full || l.ends() || conf.FromHere && !fromHere(raw, conf.Also) {
		l.mu.Unlock()
		if full {
			l.refused.Add(1)
		}
		raw.Close()
		return
	}
	l.conns[c] = struct{}{}
	l.from[from]++
	l.proxy.served.Add(1)
	l.mu.Unlock()
	go func() { // ends with the connection
		defer l.proxy.served.Done()
		c.serve()
		l.mu.Lock()
		delete(l.conns, c)
		if l.from[from]--; l.from[from] == 0 {
			delete(l.from, from)
		}
		l.mu.Unlock()
	}()
}

// fromHere reports whether a caller is on this machine: it has a loopback address, or that which it called. Or it is also let in.
func fromHere(c net.Conn, also netip.Addr) bool {
	from, ok := c.RemoteAddr().(*net.TCPAddr)
	return !ok || from.IP.IsLoopback() || hostOf(from) == hostOf(c.LocalAddr()) || also.IsValid() && from.AddrPort().Addr().Unmap() == also.Unmap()
}

// cut ends a connection and what it is passed on to, from another goroutine.
func (c *client) cut() {
	c.cutBy.Store(true)
	c.raw.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.other != nil {
		c.other.Close()
	}
}

// share takes note that many exchanges go on. It reports whether more may come.
func (c *client) share(n *shared) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shared = n
	return !c.listening.stopping.Load()
}

// drain has the caller begin no more exchanges, where many go on.
func (c *client) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared != nil {
		c.shared.Drain()
	}
}

// passOn takes note of the connection that this one is passed on to, and of the head of the request. It reports whether it may be.
func (c *client) passOn(to io.Closer, text []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.other, c.text = to, text
	return !c.cutBy.Load()
}

func (p *Proxy) cutAll(listening []*listening) {
	for _, l := range listening {
		l.mu.Lock()
		for c := range l.conns {
			c.cut()
		}
		l.mu.Unlock()
	}
}

// serve serves a connection to its end. What goes wrong with one does not end the others.
func (c *client) serve() {
	defer func() {
		c.cut()
		if v := recover(); v != nil {
			c.listening.proxy.Log.Error("serving a connection panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	conf := c.listening.config.Load()
	c.raw.SetDeadline(time.Now().Add(or(conf.HeadTime, defaultHeadTime)))
	if err := c.greet(conf); err != nil {
		c.listening.proxy.Log.Debug("connection refused", "listener", conf.Name, "from", c.remote.String(), "err", err)
		return
	}
	c.raw.SetDeadline(time.Time{})
	c.describe()
	c.known.Store(true)
	conf = c.listening.config.Load() // the one that is replaced from here on asks what is known
	switch {
	case conf.Protocol != HTTP:
		if c.mayConnect(conf) {
			c.passThrough(conf)
		}
	case c.speaksHTTP2():
		serveHTTP2(c, nil)
	default:
		serveHTTP(c)
	}
}

// mayConnect judges a connection whose bytes are passed on as they are; who makes requests hears why each is denied.
//
// It has a frame of its own: what stands above a connection at rest decides whether its stack can shrink.
//
//go:noinline
func (c *client) mayConnect(conf *Listener) bool {
	if !c.allowed(conf) {
		c.listening.deny("connection denied", conf, c, conf.Policy.Connection(c.caller))
		return false
	}
	if conf.Policy != nil {
		if d := conf.Policy.Connection(c.caller); d.Audited {
			c.listening.audit("connection", conf, c, d)
		}
	}
	return true
}

// speaksHTTP2 reports whether both sides have agreed on HTTP/2. It has a frame of its own, as mayConnect has.
//
//go:noinline
func (c *client) speaksHTTP2() bool {
	t, ok := c.conn.(*tls.Conn)
	return ok && t.ConnectionState().NegotiatedProtocol == protoHTTP2
}

// greet does what comes before the first byte of either side: who is it?
func (c *client) greet(conf *Listener) error {
	if conf.TakesProxy {
		if err := c.readProxy(); err != nil {
			return err
		}
	}
	if conf.Protocol == SNI {
		return c.greetByName()
	}
	if conf.Certs == nil {
		return nil
	}
	if c.unready(conf) {
		return errors.New("the application refuses connections")
	}
	return c.handshake()
}

// describe makes the fields that say who is calling.
func (c *client) describe() {
	scheme := "http"
	if c.conn != c.raw {
		scheme = "https"
	}
	if from := hostOf(c.remote); from != "" {
		c.forwarded = appendField(c.forwarded, "X-Forwarded-For", from)
	}
	c.forwarded = appendField(c.forwarded, "X-Forwarded-Proto", scheme)
}

// allowed reports whether who connected may, as far as can be said without a request.
func (c *client) allowed(conf *Listener) bool {
	if conf.Policy == nil {
		return true
	}
	switch conf.Policy.Connection(c.caller).Verdict {
	case connect.Allow:
		return true
	case connect.ByRequest: // there are none where bytes are all there is
		return conf.Protocol == HTTP
	}
	return false
}

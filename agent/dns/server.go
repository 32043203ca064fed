package dns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Bounds of work under way at a time. Questions beyond them get SERVFAIL at once; those whose answers
// are packed do not count.
const (
	maxLookups    = 512
	maxRecursions = 256
)

// sweepEvery is how often answers that are no longer fresh are dropped.
const sweepEvery = 30 * time.Second

// Server answers DNS questions.
type Server struct {
	source  Source
	log     *slog.Logger
	current atomic.Pointer[generation]
	stats   counters
	warned  atomic.Int64 // Unix second of the last warning about a failed look-up

	lookups    chan struct{}
	recursions chan struct{}
	asking     asking
	writers    sync.Pool
}

// generation is a configuration with the answers that were packed under it.
type generation struct {
	*settings
	cache *cache
}

// New returns a server that is not running. A nil logger discards. The error names the setting that
// cannot be.
func New(c Config, source Source, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		source: source, log: log,
		lookups: make(chan struct{}, maxLookups), recursions: make(chan struct{}, maxRecursions),
		writers: sync.Pool{New: func() any { return newWriter() }},
	}
	return s, s.Reload(c)
}

// Reload takes on another configuration, at once and without losing a question. On error it keeps the
// one it has.
func (s *Server) Reload(c Config) error {
	made, err := newSettings(c)
	if err != nil {
		return err
	}
	s.current.Store(&generation{made, newCache()})
	return nil
}

// Run answers what arrives at the sockets until ctx ends, then closes them and returns nil when all
// its goroutines have ended. If a socket breaks it returns that error.
func (s *Server) Run(parent context.Context, packets []net.PacketConn, listeners []net.Listener) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var running sync.WaitGroup
	guard := func(serve func() error) {
		running.Go(func() {
			if err := serve(); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	stop := context.AfterFunc(ctx, func() {
		for _, p := range packets {
			p.Close()
		}
		for _, l := range listeners {
			l.Close()
		}
	})
	defer stop()
	for _, p := range packets {
		guard(func() error { return s.servePackets(ctx, p) })
	}
	conns := newConnections()
	for _, l := range listeners {
		guard(func() error { return s.serveStreams(ctx, l, conns) })
	}
	guard(func() error { return s.sweep(ctx) })
	<-ctx.Done()
	running.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

func (s *Server) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.current.Load().cache.sweep()
		}
	}
}

// worker is what a goroutine that reads questions has for itself.
type worker struct {
	*writer
	query query
	key   [maxKeyLen]byte
}

// step is what is to be done about a packet.
type step int

const (
	ignore  step = iota
	reply        // the writer has it
	inquire      // it takes the long way
)

// short takes the short way: it ends in a reply for all that needs no look-up.
func (s *Server) short(w *worker, pkt []byte, tcp bool) step {
	q := &w.query
	recursion := func() bool { return len(s.current.Load().recursors) > 0 }
	q.tcp = tcp
	switch q.parse(pkt) {
	case drop:
		s.stats.dropped.Add(1)
		return ignore
	case malformed:
		w.fail(q, dns.RcodeFormatError, recursion())
		return reply
	case notImplemented:
		w.fail(q, dns.RcodeNotImplemented, recursion())
		return reply
	}
	switch {
	case q.badVers:
		w.fail(q, dns.RcodeBadVers, recursion())
		return reply
	case q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR:
		w.fail(q, dns.RcodeNotImplemented, recursion())
		return reply
	case q.class != dns.ClassINET:
		w.fail(q, dns.RcodeRefused, recursion())
		return reply
	case q.ecs != nil:
		return inquire
	}
	a := s.current.Load().cache.get(q.key(&w.key))
	if a == nil {
		return inquire
	}
	s.stats.hit(q.qtype)
	w.put(a, q)
	return reply
}

// long takes the long way: it asks the Source or the recursors and leaves the reply in w.
func (s *Server) long(ctx context.Context, w *writer, pkt []byte, client netip.Addr, tcp bool) {
	start := time.Now()
	g := s.current.Load()
	var q query
	q.tcp = tcp
	if q.parse(pkt) != good { // it was, on the short way
		w.fail(&q, dns.RcodeFormatError, false)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.LookupTimeout)
	defer cancel()
	var buf [maxKeyLen]byte
	key := q.key(&buf)
	ask := &question{
		target: g.locate(key[2:]), wire: key[2:], qtype: q.qtype, tcp: tcp,
		origin: Origin{Client: client, Subnet: q.subnet},
	}
	if ask.kind == foreign {
		s.recurse(ctx, w, g, &q, pkt)
		return
	}
	look := func() (*answer, bool) { return s.look(ctx, g, ask, string(key), q.ecs == nil) }
	var a *answer
	if q.ecs != nil {
		a, _ = look()
	} else {
		a = g.cache.once(ctx, string(key), look)
	}
	if a == nil {
		s.recurse(ctx, w, g, &q, pkt)
		return
	}
	w.put(a, &q)
	s.stats.looked(ask.kind == reverse, time.Since(start))
}

// look asks the Source, packs what it says and remembers that. A nil answer means that the recursors
// are to be asked.
func (s *Server) look(ctx context.Context, g *generation, ask *question, key string, shared bool) (a *answer, share bool) {
	forward := func(ctx context.Context, pkt []byte, tcp bool) ([]byte, error) { return s.forward(ctx, g, pkt, tcp) }
	r := &resolver{g.settings, s.source, forward}
	if shared { // somebody may have asked since the short way was tried
		if a := g.cache.get([]byte(key)); a != nil {
			return a, true
		}
	}
	var err error
	if ask.name, _, err = dns.UnpackDomainName(ask.wire, 0); err != nil {
		return g.failure(), false
	}
	d, err := r.resolve(ctx, ask)
	if errors.Is(err, errElsewhere) {
		return nil, false
	}
	if err != nil {
		s.warn(ask.name, err)
	}
	if a, err = d.pack(g.settings, ask.wire); err != nil {
		s.warn(ask.name, err)
		return g.failure(), shared
	}
	if shared && !d.volatile {
		g.cache.put(key, a)
	}
	return a, shared && !d.tailored && !d.perClient
}

// failure is the answer when there is none.
func (g *generation) failure() *answer {
	return &answer{rcode: dns.RcodeServerFailure, recursion: len(g.recursors) > 0}
}

// recurse lets the recursors answer.
func (s *Server) recurse(ctx context.Context, w *writer, g *generation, q *query, pkt []byte) {
	if len(g.recursors) == 0 {
		w.fail(q, dns.RcodeRefused, false)
		return
	}
	reply, err := s.forward(ctx, g, pkt, q.tcp)
	if err != nil {
		s.warn("", err)
		w.fail(q, dns.RcodeServerFailure, true)
		return
	}
	if !q.tcp && len(reply) > q.size { // more than the client said it takes, or than we send anybody
		w.fail(q, int(reply[3]&0xf), true)
		w.buf[prefixLen+2] |= 0x02
		return
	}
	w.buf = append(w.buf[:prefixLen], reply...)
}

// forward asks the recursors. Slow ones hold up a part of all look-ups only.
func (s *Server) forward(ctx context.Context, g *generation, pkt []byte, tcp bool) ([]byte, error) {
	return s.asking.once(ctx, pkt, tcp, func() ([]byte, error) {
		select {
		case s.recursions <- struct{}{}:
			defer func() { <-s.recursions }()
		default:
			return nil, errors.New("too many questions wait for recursors")
		}
		s.stats.recursed.Add(1)
		return g.forward(ctx, pkt, tcp)
	})
}

// warn logs a failed look-up, at most one a second: floods of questions must not become floods of logs.
func (s *Server) warn(name string, err error) {
	s.stats.failed.Add(1)
	now := time.Now().Unix()
	if last := s.warned.Load(); last == now || !s.warned.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("DNS question could not be answered", "name", name, "err", err)
}

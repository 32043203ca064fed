// Package limit bounds how quickly clients may ask a server.
package limit

import (
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/catalog"
)

// Rates of requests per second; below 0 is no bound.
type Rates struct{ Read, Write float64 }

// What happens to requests that come too quickly.
const (
	Disabled   = "disabled"
	Permissive = "permissive" // they are counted and logged
	Enforcing  = "enforcing"  // they are refused
)

// Limiter bounds the requests of one server: those of all together (limits.request_limits), and those of each address
// (config entries of kind control-plane-request-limit). All methods may be called from any goroutine.
// Source: https://developer.hashicorp.com/consul/docs/manage/rate-limit
type Limiter struct {
	log      *slog.Logger
	global   atomic.Pointer[global]
	sources  atomic.Pointer[sources]
	since    time.Time
	reported atomic.Int64 // when the last excess was logged, as nanoseconds after since
	quiet    atomic.Int64 // how many were not since
}

// New returns a limiter that bounds nothing yet.
func New(log *slog.Logger) *Limiter { return &Limiter{log: log, since: time.Now().Add(-time.Second)} }

type global struct {
	enforced    bool
	read, write bucket
}

// Global bounds all requests together.
func (l *Limiter) Global(mode string, r Rates) {
	if mode != Permissive && mode != Enforcing || r.Read < 0 && r.Write < 0 {
		l.global.Store(nil)
		return
	}
	g := &global{enforced: mode == Enforcing}
	g.read.set(r.Read)
	g.write.set(r.Write)
	l.global.Store(g)
}

// Entry bounds the requests of each address; nil ends that. What addresses have asked is forgotten.
func (l *Limiter) Entry(e *catalog.RequestLimit) {
	if e == nil || e.Mode == Disabled {
		l.sources.Store(nil)
		return
	}
	l.sources.Store(newSources(e))
}

// Idle reports whether nothing is bounded.
func (l *Limiter) Idle() bool { return l.global.Load() == nil && l.sources.Load() == nil }

// Admit returns an error with code limited when a request of a verb comes too quickly. from may be the zero address,
// of who is on this machine and has none.
func (l *Limiter) Admit(from netip.Addr, method string, write bool) error {
	g, s := l.global.Load(), l.sources.Load()
	if g == nil && s == nil {
		return nil
	}
	name, _, _ := strings.Cut(method, ".")
	if exempt[name] {
		return nil
	}
	now := int64(time.Since(l.since))
	if g != nil {
		b := &g.read
		if write {
			b = &g.write
		}
		if !b.take(now) {
			if err := l.excess(g.enforced, "global", from, method, write, now); err != nil {
				return err
			}
		}
	}
	if s != nil && from.IsValid() && !s.take(from, families[name], write, now) {
		return l.excess(s.enforced, "source", from, method, write, now)
	}
	return nil
}

// exempt are verbs by which servers and operators keep a cluster going; overload must not keep them out.
var exempt = map[string]bool{"Status": true, "Operator": true, "Snapshot": true}

// excess counts a request that came too quickly, and returns what it is refused with.
func (l *Limiter) excess(enforced bool, kind string, from netip.Addr, method string, write bool, now int64) error {
	op, mode := "read", Permissive
	if write {
		op = "write"
	}
	if enforced {
		mode = Enforcing
	}
	metrics.IncrCounterWithLabels([]string{"rpc", "rate_limit", "exceeded"}, 1, []metrics.Label{
		{Name: "limit_type", Value: kind + "/" + op}, {Name: "op", Value: method}, {Name: "mode", Value: mode},
	})
	if last := l.reported.Load(); now-last >= int64(time.Second) && l.reported.CompareAndSwap(last, now) {
		l.log.Warn("requests come quicker than they may", "limit", kind+"/"+op, "mode", mode, "from", from, "method", method, "more", l.quiet.Swap(0))
	} else {
		l.quiet.Add(1)
	}
	if !enforced {
		return nil
	}
	if kind == "global" {
		return catalog.Errorf(catalog.Limited, "rate limit exceeded: this server takes no more %ss at the moment (limits.request_limits): try again later, or another server", op)
	}
	return catalog.Errorf(catalog.Limited, "rate limit exceeded: too many %ss from %s (control-plane-request-limit): try again later", op, from)
}

// bucket lets a rate through, and at once as much as comes in a second. The zero value lets everything through.
// Source: the generic cell rate algorithm, ITU-T I.371
type bucket struct {
	interval, slack int64 // ns; an interval below 0 lets nothing through
	next            atomic.Int64
}

func (b *bucket) set(rate float64) {
	switch {
	case rate < 0:
		b.interval = 0
	case rate == 0:
		b.interval = -1
	default:
		b.interval = max(1, int64(float64(time.Second)/rate))
		b.slack = max(int64(time.Second)-b.interval, 0)
	}
}

func (b *bucket) take(now int64) bool {
	if b.interval <= 0 {
		return b.interval == 0
	}
	for {
		next := b.next.Load()
		if next > now+b.slack {
			return false
		}
		if b.next.CompareAndSwap(next, max(next, now)+b.interval) {
			return true
		}
	}
}

// families are the families of verbs that entries bound by themselves, by the beginnings of their names.
var families = map[string]string{
	"ACL": "ACL", "Catalog": "Catalog", "Config": "ConfigEntry", "ConfigEntry": "ConfigEntry", "ConnectCA": "ConnectCA",
	"Coordinate": "Coordinate", "DiscoveryChain": "DiscoveryChain", "Health": "Health", "Intention": "Intention", "KV": "KV",
	"PreparedQuery": "PreparedQuery", "Session": "Session", "Txn": "Txn", "AutoConfig": "AutoConfig",
	"FederationState": "FederationState", "Internal": "Internal", "Peering": "Peering",
}

// sources are the addresses that have asked under one entry.
type sources struct {
	enforced bool
	all      Rates
	families map[string]Rates

	mu   sync.Mutex
	seen map[netip.Addr]*source
}

// source is one address: its buckets by family, "" for everything together.
type source struct {
	read, write bucket
	families    map[string]*[2]bucket
}

// maxSources bounds how many addresses are remembered.
const maxSources = 1 << 16

func newSources(e *catalog.RequestLimit) *sources {
	// An entry cannot say "no requests": 0 is no bound.
	rate := func(r float64) float64 {
		if r == 0 {
			return -1
		}
		return r
	}
	s := &sources{
		enforced: e.Mode == Enforcing, all: Rates{rate(e.ReadRate), rate(e.WriteRate)},
		families: map[string]Rates{}, seen: map[netip.Addr]*source{},
	}
	for name, r := range e.Families() {
		s.families[name] = Rates{rate(r.ReadRate), rate(r.WriteRate)}
	}
	return s
}

// take counts a request of a family and reports whether it may be.
func (s *sources) take(from netip.Addr, family string, write bool, now int64) bool {
	src := s.source(from.Unmap(), now)
	b, i := &src.read, 0
	if write {
		b, i = &src.write, 1
	}
	if of := src.families[family]; of != nil && !of[i].take(now) {
		return false
	}
	return b.take(now)
}

func (s *sources) source(from netip.Addr, now int64) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.seen[from]
	if src != nil {
		return src
	}
	if len(s.seen) >= maxSources {
		s.forget(now)
	}
	src = &source{families: make(map[string]*[2]bucket, len(s.families))}
	src.read.set(s.all.Read)
	src.write.set(s.all.Write)
	for name, r := range s.families {
		pair := &[2]bucket{}
		pair[0].set(r.Read)
		pair[1].set(r.Write)
		src.families[name] = pair
	}
	s.seen[from] = src
	return src
}

// forget drops the addresses that have their whole rate again, for they lose nothing by it; all when there are none:
// who has so many addresses is not held by a bound for each.
func (s *sources) forget(now int64) {
	for addr, src := range s.seen {
		idle := src.read.next.Load() <= now && src.write.next.Load() <= now
		for _, pair := range src.families {
			idle = idle && pair[0].next.Load() <= now && pair[1].next.Load() <= now
		}
		if idle {
			delete(s.seen, addr)
		}
	}
	if len(s.seen) >= maxSources {
		clear(s.seen)
	}
}

package balance

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is the endpoints of one target. All methods may be called from any goroutine.
type Pool struct {
	name    string
	observe func(Event)
	view    atomic.Pointer[view]
	due     atomic.Int64 // the moment from which on tick has something to do

	mu        sync.Mutex
	policy    Policy
	members   []Member
	endpoints map[string]*Endpoint
	compared  time.Duration // when rates were compared last
	unready   time.Duration // since when no endpoint can be picked, while none can
	changed   chan struct{} // closed when there is another view
}

// Event is a change of what a pool does with its endpoints.
type Event struct {
	Kind   EventKind
	Key    string        // of the endpoint; "" for the pool as a whole
	Reason string        // why it was taken out
	For    time.Duration // how long it is out
}

// EventKind says what an Event is.
type EventKind uint8

// The kinds of events.
const (
	Ejected EventKind = iota
	Returned
	PanicBegins
	PanicEnds
)

// New returns a pool without endpoints; name is the target's in errors. observe, which may be nil, is told of events
// while the pool is locked: it must not block or call the pool.
func New(name string, policy Policy, now time.Duration, observe func(Event)) *Pool {
	if observe == nil {
		observe = func(Event) {}
	}
	p := &Pool{
		name: name, observe: observe, policy: policy.withDefaults(), endpoints: map[string]*Endpoint{},
		compared: now, unready: now, changed: make(chan struct{}),
	}
	p.view.Store(&view{policy: p.policy})
	p.due.Store(int64(never))
	return p
}

// Update replaces the members. Of two with one key the later counts.
func (p *Pool) Update(members []Member, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := len(p.endpoints) == 0
	known := make(map[string]*Endpoint, len(members))
	p.members = p.members[:0:0]
	for _, m := range slices.Backward(members) {
		if known[m.Key] != nil {
			continue
		}
		e := p.endpoints[m.Key]
		if e == nil || e.since != m.Registered {
			e = &Endpoint{key: m.Key, since: m.Registered, added: now}
			e.health.since = now
			e.warming.Store(!first)
		}
		e.value.Store(&m.Value)
		known[m.Key] = e
		p.members = append(p.members, m)
	}
	slices.Reverse(p.members)
	p.endpoints = known
	p.rebuild(now)
}

// SetPolicy changes how the pool shares out requests.
func (p *Pool) SetPolicy(policy Policy, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policy = policy.withDefaults()
	p.rebuild(now)
}

// Pick returns the endpoint of a request. hash places it where the method places by hash, 0 anywhere; avoid are those where it
// has failed already, which are picked only if there are no others. Begin has not been called on it. The error is an
// *Unavailable.
func (p *Pool) Pick(now time.Duration, hash uint64, avoid ...*Endpoint) (*Endpoint, error) {
	if now >= time.Duration(p.due.Load()) {
		p.tick(now)
	}
	v := p.view.Load()
	if len(v.levels) == 0 {
		return nil, p.unavailable(now)
	}
	l := v.choose()
	s := l.slots[l.picker.pick(l, &v.policy, now, hash)]
	if s.health.probe.Load() == probeNone && !slices.Contains(avoid, s.Endpoint) {
		return s.Endpoint, nil
	}
	if s.take(avoid) {
		return s.Endpoint, nil
	}
	return p.instead(v, l, now, hash, avoid)
}

// Resting returns an endpoint that is out of service because it failed, and none of those to avoid; nil when there is none. It
// is for a request that has failed everywhere else: nothing is lost by asking who may be well again. Begin has not been
// called on it.
func (p *Pool) Resting(avoid ...*Endpoint) *Endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []*Endpoint
	for _, m := range p.members {
		if e := p.endpoints[m.Key]; e.health.until != 0 && !m.Unhealthy && !m.Silent && !slices.Contains(avoid, e) {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[rand.IntN(len(found))]
}

// Ready reports whether there are endpoints in service, and so many that only they get traffic; and whether there are some
// that can be picked at all.
func (p *Pool) Ready(now time.Duration) (ready, some bool) {
	if now >= time.Duration(p.due.Load()) {
		p.tick(now)
	}
	v := p.view.Load()
	some = len(v.levels) > 0
	return some && !v.panics, some
}

// take is whether an endpoint is not one of those to avoid, nor tried by another request.
func (s slot) take(avoid []*Endpoint) bool {
	return !slices.Contains(avoid, s.Endpoint) &&
		(s.health.probe.Load() == probeNone || s.health.probe.CompareAndSwap(probeDue, probing))
}

// instead picks where the first choice cannot be had.
func (p *Pool) instead(v *view, l *level, now time.Duration, hash uint64, avoid []*Endpoint) (*Endpoint, error) {
	for range 4 {
		hash = mix(hash + 1)
		if s := l.slots[l.picker.pick(l, &v.policy, now, hash)]; s.take(avoid) {
			return s.Endpoint, nil
		}
	}
	for _, some := range [][]*Endpoint{avoid, nil} {
		for i := range v.levels {
			slots := v.levels[i].slots
			from := int(hash % uint64(len(slots)))
			for n := range slots {
				if s := slots[(from+n)%len(slots)]; s.take(some) {
					return s.Endpoint, nil
				}
			}
		}
	}
	return nil, p.unavailable(now)
}

// Done ends a request that was begun: how it ended, and how long the endpoint took.
func (p *Pool) Done(e *Endpoint, now, latency time.Duration, out Outcome) {
	e.inflight.Add(-1)
	policy := &p.view.Load().policy
	if out != Canceled {
		if out != Success {
			least := policy.Penalty
			if out == Refused {
				least *= absence
			}
			latency = max(latency, least)
		}
		if policy.Method == PeakEWMA {
			e.cost.observe(now, latency, float64(policy.Decay), policy.FirstLatency)
		}
	}
	if policy.Outliers.Disabled {
		return
	}
	if e.health.probe.Load() == probing {
		p.probed(e, now, out)
		return
	}
	if reason := e.health.judge(&policy.Outliers, out); reason != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.eject(e, now, reason) {
			p.rebuild(now)
		}
	}
}

// absence is how many penalties it costs to be gone. With one an endpoint would be asked now and then while others have much to
// do, and be gone for long before it has failed five times in a row.
const absence = 10

// probed ends the single request that an endpoint was tried with.
func (p *Pool) probed(e *Endpoint, now time.Duration, out Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case out == Canceled:
		e.health.probe.Store(probeDue)
	case out == Success || out == Limited:
		e.health.probe.Store(probeNone)
		e.health.times = 0
	default:
		e.health.probe.Store(probeNone)
		if p.eject(e, now, "it failed when it was tried again") {
			p.rebuild(now)
		}
	}
}

// eject takes an endpoint out of service and reports whether it has. p.mu is held.
func (p *Pool) eject(e *Endpoint, now time.Duration, reason string) bool {
	o := &p.policy.Outliers
	if o.Disabled || o.MaxPercent < 0 || p.endpoints[e.key] != e || e.health.until != 0 || len(p.endpoints) < 2 {
		return false
	}
	out := 1
	for _, other := range p.endpoints {
		if other.health.until != 0 {
			out++
		}
	}
	if out > max(1, len(p.endpoints)*o.MaxPercent/100) {
		return false
	}
	e.health.times++
	d := e.health.out(o)
	e.health.since, e.health.until, e.health.reason = now, now+d, reason
	p.observe(Event{Kind: Ejected, Key: e.key, Reason: reason, For: d})
	return true
}

// tick brings endpoints back whose time has come, and compares rates. Others go on meanwhile.
func (p *Pool) tick(now time.Duration) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	changed := false
	for _, m := range p.members {
		e := p.endpoints[m.Key]
		if h := &e.health; h.until != 0 && h.until <= now {
			h.until, h.since, h.reason = 0, now, ""
			for i := range h.inARow {
				h.inARow[i].Store(0)
			}
			if p.policy.Outliers.Accrual > 0 {
				h.probe.Store(probeDue)
			}
			p.observe(Event{Kind: Returned, Key: e.key})
			changed = true
		}
	}
	if p.compare(now) {
		changed = true
	}
	if changed {
		p.rebuild(now)
	}
	p.schedule()
}

// compare looks for outliers by their rates, once in an interval, and reports whether there were any.
func (p *Pool) compare(now time.Duration) (changed bool) {
	o := &p.policy.Outliers
	if o.Disabled || o.Accrual > 0 || now < p.compared+o.Interval {
		return false
	}
	var rates []rate
	for _, m := range p.members {
		e := p.endpoints[m.Key]
		requests, failures := float64(e.health.requests.Swap(0)), float64(e.health.failures.Swap(0))
		if e.health.until != 0 {
			continue
		}
		if e.health.times > 0 && e.health.since <= p.compared {
			e.health.times-- // it was in service for the whole interval
		}
		if requests > 0 {
			rates = append(rates, rate{e, requests, min(failures, requests)})
		}
	}
	p.compared = now
	found := outliers(o, rates)
	for _, r := range rates { // in the order of members
		if reason := found[r.Endpoint]; reason != "" && p.eject(r.Endpoint, now, reason) {
			changed = true
		}
	}
	return changed
}

// schedule sets when tick is due. p.mu is held.
func (p *Pool) schedule() {
	due := never
	if o := &p.policy.Outliers; !o.Disabled && o.Accrual == 0 && len(p.endpoints) > 1 {
		due = p.compared + o.Interval
	}
	for e := range maps.Values(p.endpoints) {
		if e.health.until != 0 {
			due = min(due, e.health.until)
		}
	}
	p.due.Store(int64(due))
}

package local

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// agentToken stands for the agent's own token where an object's token is wanted. No token looks like it.
const agentToken = "\x00agent"

// Bounds of one request to the catalog.
const (
	maxObjects = 256
	maxWeight  = 1 << 20 // bytes, about
	window     = 1024    // how far the queue is searched for objects of one token
)

var (
	errPaused      = catalog.Errorf(catalog.Unavailable, "the agent does not write to the catalog at the moment")
	errUnreachable = catalog.Errorf(catalog.Unavailable, "the servers cannot be reached")
	errStopped     = catalog.Errorf(catalog.Unavailable, "the agent is shutting down")
)

// outbox is what the catalog has yet to learn. State.mu guards it.
type outbox struct {
	objects  map[objectKey]*object
	node     *object
	queue    []*object
	deferred []deferral
	wake     chan struct{} // has a value when there may be something to send
	retry    retry
	paused   int
	compared bool // with the catalog, at least once since the start
}

type objectKind uint8

const (
	nodeObject objectKind = iota
	serviceObject
	checkObject
)

type objectKey struct {
	kind objectKind
	id   string
}

// object is one entry of the catalog about this node as it should be, and what is known about how it is.
// Without node, service and check the catalog should not have it.
type object struct {
	key     objectKey
	node    *catalog.Node
	service *catalog.Service
	check   *catalog.Check
	token   string
	owner   *object            // of a check: its service
	checks  map[string]*object // of a service: its checks

	dirty    bool // the catalog may have something else
	queued   bool
	sending  bool
	deferred bool   // dirty by what may wait: its output, or a change that is held
	held     bool   // its state has changed, and waits for the rate of its service
	refused  error  // why it is not tried again until it changes or the next comparison
	told     string // why it was refused when that was last logged
	tickets  []*ticket
	rate     rate // of a service's checks
}

func (o *object) gone() bool { return o.node == nil && o.service == nil && o.check == nil }

// ticket is what the maker of a change waits with until the catalog has been told.
type ticket struct {
	left int
	err  error // the first one
	done chan struct{}
}

func newTicket() *ticket { return &ticket{done: make(chan struct{})} }

// join makes t, which may be nil, wait for o, unless there is nothing to wait for.
func (b *outbox) join(t *ticket, o *object) {
	switch {
	case t == nil || !o.queued && !o.sending:
	case b.paused > 0:
		t.err = errPaused
	default:
		t.left++
		o.tickets = append(o.tickets, t)
	}
}

func release(tickets []*ticket, err error) {
	for _, t := range tickets {
		if t.err == nil {
			t.err = err
		}
		if t.left--; t.left == 0 {
			close(t.done)
		}
	}
}

// deferral is an output that waits for its time.
type deferral struct {
	at time.Time
	o  *object
}

func newOutbox() outbox {
	return outbox{objects: map[objectKey]*object{}, wake: make(chan struct{}, 1)}
}

func (b *outbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default: // it is known already
	}
}

// object returns the object of a key, made when needed.
func (b *outbox) object(key objectKey) *object {
	o := b.objects[key]
	if o == nil {
		o = &object{key: key}
		b.objects[key] = o
	}
	return o
}

// enqueue has o sent.
func (b *outbox) enqueue(o *object) {
	o.dirty, o.deferred, o.held, o.refused = true, false, false, nil
	if !o.queued {
		o.queued = true
		b.queue = append(b.queue, o)
	}
	b.ring()
}

// mark has o sent, after the first comparison with the catalog if that has not been yet: it may show that
// there is nothing to say, or that the catalog's tags go before ours.
func (b *outbox) mark(o *object) {
	if b.compared {
		b.enqueue(o)
	} else {
		o.dirty, o.deferred = true, false
	}
}

// postpone has o sent later.
func (b *outbox) postpone(o *object, at time.Time) {
	if !o.deferred && !o.queued {
		o.held = false
		b.postponeTo(o, at)
	}
}

// postponeTo has o sent at a time, which may be before that of others.
func (b *outbox) postponeTo(o *object, at time.Time) {
	o.dirty, o.deferred = true, true
	i, _ := slices.BinarySearchFunc(b.deferred, at, func(d deferral, at time.Time) int { return d.at.Compare(at) })
	b.deferred = slices.Insert(b.deferred, i, deferral{at, o})
	b.ring()
}

// mature queues what has waited long enough and returns when the next one has.
func (b *outbox) mature(now time.Time) (next time.Time) {
	for len(b.deferred) > 0 {
		d := b.deferred[0]
		if d.o.deferred && d.at.After(now) {
			return d.at
		}
		b.deferred = b.deferred[1:]
		if d.o.deferred {
			b.enqueue(d.o)
		}
	}
	return time.Time{}
}

func (b *outbox) own(service, check *object) {
	if check.owner == service {
		return
	}
	if old := check.owner; old != nil {
		delete(old.checks, check.key.id)
		if old.gone() && !old.dirty {
			b.forget(old)
		}
	}
	check.owner = service
	if service == nil {
		return
	}
	if service.checks == nil {
		service.checks = map[string]*object{}
	}
	service.checks[check.key.id] = check
}

// forget removes an object that the catalog does not have and should not.
func (b *outbox) forget(o *object) {
	b.own(nil, o)
	if len(o.checks) == 0 { // or else it goes with the last of them
		delete(b.objects, o.key)
	}
}

// failAll tells everyone who waits for the catalog not to.
func (b *outbox) failAll(err error) {
	for _, o := range b.objects {
		release(o.tickets, err)
		o.tickets = nil
	}
}

// part is an object as it is being sent.
type part struct {
	o       *object
	node    *catalog.Node
	service *catalog.Service
	check   *catalog.Check
	covered bool // it goes with its service, nothing is said about it
	tickets []*ticket
}

// unit is what is sent together or not at all: a service with its checks, a check, or the node.
type unit []part

func (b *outbox) part(o *object) part {
	p := part{o: o, node: o.node, service: o.service, check: o.check, tickets: o.tickets}
	o.queued, o.deferred, o.sending, o.tickets = false, false, true, nil
	return p
}

// take returns what is to be sent now, all with one token, or how long there is nothing to send; 0 means
// until the bell rings.
func (b *outbox) take(now time.Time) (batch []unit, token string, wait time.Duration) {
	if b.paused > 0 {
		return nil, "", 0
	}
	next := b.mature(now)
	if len(b.queue) > 0 && b.retry.pause > 0 {
		if until := b.retry.until(b.urgent()); until.After(now) {
			return nil, "", until.Sub(now)
		}
	}
	for len(b.queue) > 0 {
		if batch, token = b.pick(); len(batch) > 0 {
			return batch, token, 0
		}
	}
	if !next.IsZero() {
		wait = max(next.Sub(now), time.Millisecond)
	}
	return nil, "", wait
}

// urgent is whether someone waits for what is queued.
func (b *outbox) urgent() bool {
	n := min(len(b.queue), window)
	return slices.ContainsFunc(b.queue[len(b.queue)-n:], func(o *object) bool { return len(o.tickets) > 0 })
}

// pick takes from the queue what is sent next. Without a result the queue has become shorter.
func (b *outbox) pick() (batch []unit, token string) {
	count, weight, chosen := 0, 0, false
	n := min(len(b.queue), window)
	kept := make([]*object, 0, n)
	for i, o := range b.queue[:n] {
		switch {
		case !o.queued || !o.dirty:
			o.queued = false // sent along with another, or undone
			continue
		case o.owner != nil && o.owner.dirty && !o.owner.sending:
			b.awaitOwner(o)
			continue
		case chosen && o.token != token:
			kept = append(kept, o)
			continue
		}
		token, chosen = o.token, true
		u := b.unit(o)
		batch = append(batch, u)
		count += len(u)
		weight += u.weight()
		if count >= maxObjects || weight >= maxWeight {
			kept = append(kept, b.queue[i+1:n]...)
			break
		}
	}
	rest := b.queue[n:]
	if len(kept) == 0 {
		b.queue = rest
		if len(rest) == 0 {
			b.queue = nil
		}
		return batch, token
	}
	at := n - len(kept)
	copy(b.queue[at:], kept)
	b.queue = b.queue[at:]
	return batch, token
}

// awaitOwner takes a check from the queue whose service goes first: it goes with it or after it.
func (b *outbox) awaitOwner(o *object) {
	o.queued = false
	switch {
	case o.owner.refused != nil:
		release(o.tickets, o.owner.refused)
		o.tickets = nil
	case !o.owner.queued:
		b.enqueue(o.owner)
	}
}

func (b *outbox) unit(o *object) unit {
	u := unit{b.part(o)}
	for _, c := range o.checks {
		covered := o.gone() && c.gone()
		if c.dirty && (covered || c.token == o.token) {
			p := b.part(c)
			p.covered = covered
			u = append(u, p)
		}
	}
	return u
}

// weight is about how many bytes the unit takes in a request.
func (u unit) weight() int {
	n := 0
	for _, p := range u {
		n += 256
		switch {
		case p.service != nil:
			for _, tag := range p.service.Tags {
				n += len(tag)
			}
			for k, v := range p.service.Meta {
				n += len(k) + len(v)
			}
			n += 512 * len(p.service.Proxy.Upstreams)
			if len(p.service.Proxy.Config) > 0 {
				n += maxWeight / 32 // it can be anything; what is too large after all is halved
			}
		case p.check != nil:
			n += len(p.check.Output) + len(p.check.Notes)
		}
	}
	return n
}

// retry is when to try again after the servers could not be reached.
type retry struct {
	failed, next time.Time
	pause        time.Duration
}

// The pauses after failures: they grow from the first to the second. Someone who waits shortens them.
const (
	retryMin    = time.Second
	retryMax    = 30 * time.Second
	retryUrgent = 250 * time.Millisecond
)

func (r *retry) reset() { *r = retry{} }

func (r *retry) fail(now time.Time) {
	r.pause = min(max(2*r.pause, retryMin), retryMax)
	r.failed, r.next = now, now.Add(jitter(r.pause))
}

func (r *retry) until(urgent bool) time.Time {
	if urgent {
		return r.failed.Add(retryUrgent)
	}
	return r.next
}

// jitter spreads a duration by a quarter to both sides.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}

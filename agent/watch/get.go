package watch

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

// Bounds of waits.
// Source: https://developer.hashicorp.com/consul/api-docs/features/blocking
const (
	defaultWait = 5 * time.Minute
	maxWait     = 10 * time.Minute
	// jitterShare of the wait is added at random, so that many readers do not come back at once.
	jitterShare = 16
)

// watchedFor is how long an answer that knows by itself whether it is stale is taken for its word. Only the
// servers know whether the token still stands: this is for how long agents may remember that (acl.token_ttl).
const watchedFor = 30 * time.Second

// State says where an answer comes from.
type State struct {
	// Hit is whether the answer was in memory when it was asked for.
	Hit bool
	// Age is for how long the answer may have been out of date: 0 while it is kept up to date.
	Age time.Duration
	// Err is why the answer could not be refreshed. With it the answer is an old one that the policy takes.
	Err error
}

// Get answers a query from memory when it can, else from the servers. With h.MinIndex it first waits, as the
// servers would, until the result's index is above that: all who wait on this agent share one query at the
// servers. The method must be a query. The request must not be changed afterwards, nor the answer.
//
// Errors are those of the servers. While they cannot be reached the last answer is served, as long as the
// options allow: then State tells its age and the reason. Consistent queries always go to the servers.
func Get[Req, Rep any](ctx context.Context, c *Cache, m rpc.Method[Req, Rep], h rpc.Header, req *Req) (rpc.Answer, State, error) {
	return GetWith(ctx, c, Policy{}, m, h, req)
}

// GetWith is Get under a reader's own policy.
func GetWith[Req, Rep any](ctx context.Context, c *Cache, p Policy, m rpc.Method[Req, Rep], h rpc.Header, req *Req) (rpc.Answer, State, error) {
	if h.Consistency == rpc.Consistent {
		answer, err := m.Ask(ctx, c.o.Caller, h, req)
		return answer, State{}, err
	}
	key := c.keys.get()
	defer c.keys.put(key)
	var err error
	if *key, err = c.appendKey(*key, p.View, m.Name, &h, req); err != nil {
		return rpc.Answer{}, State{}, err
	}
	if v := c.find(*key); v != nil {
		if answer, state, ok := v.hit(&h, p); ok {
			return answer, state, nil
		}
	}
	call := &rpc.Call{Method: m.Name, Header: h, Body: req, NewReply: func() any { return new(Rep) }}
	v := c.enter(*key, call, false)
	if v == nil {
		answer, err := c.o.Caller.Call(ctx, call)
		return answer, State{}, err
	}
	defer c.leave(v)
	if h.MinIndex > 0 {
		return v.wait(ctx, h, p)
	}
	return v.read(ctx, h, p)
}

// hit answers from memory alone.
func (v *view) hit(h *rpc.Header, p Policy) (rpc.Answer, State, bool) {
	val := v.current.Load()
	if val == nil || h.MinIndex > 0 && val.index() <= h.MinIndex || !val.serves(h, p, v.cache.o.FailStatic) {
		return rpc.Answer{}, State{}, false
	}
	if now := v.cache.now(); now-time.Duration(v.asked.Load()) > soon {
		v.asked.Store(int64(now)) // not each time: the processors would quarrel over it
	}
	if !v.wanted() {
		v.asks.Add(1)
	}
	return val.answer, State{Hit: true, Age: val.age(), Err: val.err}, true
}

// serves decides whether the value may be the answer without asking the servers.
func (val *value) serves(h *rpc.Header, p Policy, failStatic time.Duration) bool {
	age := val.age()
	if p.Revalidate || !val.within(h, age) {
		return false
	}
	switch {
	case val.state == followed, val.stands() && time.Since(val.since) <= watchedFor:
		return true
	case p.MaxAge > 0:
		return age <= min(p.MaxAge, failStatic)
	}
	return val.state == failing && age <= failStatic
}

// tolerated decides whether the value may be the answer after the servers could not be asked.
func (val *value) tolerated(h *rpc.Header, p Policy, failStatic time.Duration) bool {
	age := val.age()
	if !val.within(h, age) {
		return false
	}
	if p.strict() {
		return p.StaleIfError > 0 && age <= min(p.StaleIfError, failStatic)
	}
	return age <= failStatic
}

// within reports whether the value is as young as a stale read demands.
func (val *value) within(h *rpc.Header, age time.Duration) bool {
	return h.MaxStale == 0 || age+val.answer.Meta.LastContact <= h.MaxStale
}

// read answers a reader who does not wait and who is not served by what is in memory. A view that is asked
// for again is worth a goroutine.
func (v *view) read(ctx context.Context, h rpc.Header, p Policy) (rpc.Answer, State, error) {
	again := v.asks.Add(1) > 1 && !p.Revalidate
	val, err := v.fetch(ctx, p.Revalidate)
	if ctx.Err() != nil && err != nil {
		return rpc.Answer{}, State{}, err
	}
	if again {
		v.follow(err)
	}
	if err == nil {
		if !val.within(&h, 0) {
			return v.pass(ctx, h)
		}
		return val.answer, State{}, nil
	}
	if old := v.current.Load(); old != nil && old.tolerated(&h, p, v.cache.o.FailStatic) {
		return old.answer, State{Hit: true, Age: old.age(), Err: err}, nil
	}
	return rpc.Answer{}, State{}, err
}

// wait answers a reader with an index: as soon as the view's is above it, or has gone back below it, else
// when the wait is over.
func (v *view) wait(ctx context.Context, h rpc.Header, p Policy) (rpc.Answer, State, error) {
	v.asks.Add(1)
	over := time.NewTimer(span(h.MaxWait))
	defer over.Stop()
	failStatic := v.cache.o.FailStatic
	hit := true
	for settled := false; ; { // settled: an index below the reader's is the truth
		val := v.current.Load()
		behind := val != nil && val.follows() && val.index() < h.MinIndex && !settled
		var err error
		if val == nil || behind || val.follows() && val.state == kept || val.state == failing && !val.tolerated(&h, p, failStatic) {
			hit = false
			var fetched *value
			if fetched, err = v.fetch(ctx, behind); err == nil {
				settled = settled || behind
				val = fetched
			} else if val == nil || ctx.Err() != nil || definite(err) || !val.tolerated(&h, p, failStatic) {
				return rpc.Answer{}, State{}, err
			}
		}
		if !val.follows() && !(val.stands() && val.index() > h.MinIndex) || !val.within(&h, val.age()) {
			return v.pass(ctx, h)
		}
		if val.index() > h.MinIndex || val.index() < h.MinIndex && settled && val.state != failing {
			if val.state == kept {
				v.follow(err) // whoever asks with an index comes back, and so do those behind them
			}
			return val.answer, State{Hit: hit, Age: val.age(), Err: val.err}, nil
		}
		if val.index() < h.MinIndex && !settled && err == nil {
			continue // it was asked for before this reader came
		}
		if val.state == kept && !v.follow(err) {
			return v.pass(ctx, h)
		}
		select {
		case <-val.changed:
			settled = true
		case <-over.C:
			return val.answer, State{Age: val.age(), Err: val.err}, nil
		case <-ctx.Done():
			return rpc.Answer{}, State{}, stopped(ctx)
		}
		hit = false
	}
}

// span is how long a reader waits.
func span(asked time.Duration) time.Duration {
	if asked <= 0 {
		asked = defaultWait
	}
	asked = min(asked, maxWait)
	return asked + rand.N(asked/jitterShare+1)
}

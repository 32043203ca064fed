package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
)

// try is what an exchange has of a target.
type try struct {
	to      *Target
	end     *balance.Endpoint // that is busy with it
	since   time.Time
	failed  []*balance.Endpoint // those that are not to be tried again
	inside  *cluster            // in which it has a place
	permit  balance.Pass        // of the breaker, while it is to be told
	allowed bool
}

// attempt sends the request, to another endpoint when no connection can be made to one, and passes the response on.
func (x *exchange) attempt(d near, hash uint64) {
	fresh := false
	for {
		if x.up == nil {
			if err := x.open(d, hash, fresh); err != nil {
				return
			}
		}
		if !d.passOn(x.up) {
			x.flag, x.close = flagCut, true
			return
		}
		err := x.up.send(&x.request, x.body, x.whole)
		if err == nil && x.waits {
			x.upload.start(d, x.up)
		}
		if err == nil || !x.up.stale() {
			if err = x.respond(d); err == nil {
				return
			}
		}
		if x.again(err) {
			x.up.release(false, time.Time{})
			x.up, fresh = nil, true
			x.to.stats.of(x.client.shard).retries.Add(1)
			continue
		}
		x.broken(d, err)
		return
	}
}

// again reports whether a request may be sent once more, over a new connection: when the old one was kept, nothing of a
// response has come, and doing it twice is doing it once. The endpoint may have closed it just then.
func (x *exchange) again(err error) bool {
	return x.up.stale() && !x.waits && gone(err) && idempotent(view(x.head.Method.Of(x.text)))
}

// Source: RFC 9110, 9.2.2
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// open gets a connection to an endpoint, of the targets in their order the first that has one. When there is none the
// caller has its answer.
func (x *exchange) open(d near, hash uint64, fresh bool) error {
	var err error
	if fresh { // to the same endpoint
		if x.up, err = kept(x.end).connect(x.to, x.client); err != nil {
			x.done(balance.LocalError)
		}
	} else {
		for t := range x.leg.inOrder {
			if err = x.reach(t, hash); err == nil || errors.As(err, new(overflow)) {
				break
			}
		}
	}
	if err == nil {
		return nil
	}
	flag := flagConnect
	var none *balance.Unavailable
	switch {
	case errors.As(err, new(overflow)):
		flag = flagOverflow
	case errors.As(err, &none):
		flag = flagNoTarget
	}
	x.client.listening.proxy.Log.Warn("no endpoint for a request", "target", x.to.Name, "err", err)
	x.reject(d, http.StatusServiceUnavailable, flag, err.Error(), "")
	return err
}

// reach gets a connection to one of the endpoints of a target.
func (x *exchange) reach(t *Target, hash uint64) error {
	x.leave()
	x.to = t
	c := t.cluster
	pass, err := c.allow()
	if err != nil {
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	if err := c.enter(t); err != nil {
		c.report(pass, balance.Canceled)
		return err
	}
	x.inside, x.permit, x.allowed = c, pass, true
	c.budget.Request(c.proxy.clock())
	var last error
	for n := range maxAttempts {
		if n > 0 && !c.retry() {
			break
		}
		end, err := t.pick(hash, x.failed...)
		if err != nil {
			return or(last, err)
		}
		x.end, x.since = end, time.Now()
		host := kept(end)
		if up := host.take(t, x.since); up != nil {
			x.up = up
			return nil
		}
		if x.up, err = host.connect(t, x.client); err == nil {
			return nil
		}
		t.stats.of(x.client.shard).refused.Add(1)
		x.done(balance.LocalError)
		x.failed = append(x.failed, end)
		last = fmt.Errorf("no connection to an endpoint of %s could be made: %w", t.Name, err)
	}
	return last
}

// done tells the balancer how it went with an endpoint, once.
func (x *exchange) done(out balance.Outcome) {
	if x.end == nil {
		return
	}
	c := x.to.cluster
	now := time.Now()
	took := now.Sub(x.since)
	if x.first > 0 {
		took = x.begun.Add(x.first).Sub(x.since)
	}
	c.pool.Done(x.end, c.proxy.at(now), took, out)
	x.end = nil
	if x.allowed {
		x.allowed = false
		c.report(x.permit, out)
	}
}

// leave gives back what the exchange has of a target.
func (x *exchange) leave() {
	if x.inside == nil {
		return
	}
	if x.allowed {
		x.allowed = false
		x.inside.report(x.permit, balance.Canceled)
	}
	x.inside.leave()
	x.inside = nil
}

package proxy

import (
	"net/http"
	"time"
)

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

// open gets a connection to an endpoint. When it cannot the caller has its answer.
func (x *exchange) open(d near, hash uint64, fresh bool) error {
	if fresh { // to the same endpoint
		up, err := x.to.hosts[x.place].connect(x.to, x.client)
		if err != nil {
			x.done(Refused)
			x.reject(d, http.StatusServiceUnavailable, flagConnect, "no connection to an endpoint of "+x.to.Name+" could be made", "")
		}
		x.up = up
		return err
	}
	var last error
	for _, t := range x.leg.targets {
		not := -1
		for range maxAttempts {
			place := t.Balancer.Pick(hash, not)
			if place < 0 || place >= len(t.hosts) {
				break
			}
			x.to, x.place = t, place
			if up := t.hosts[place].take(t, x.begun); up != nil {
				x.up = up
				return nil
			}
			if x.up, last = t.hosts[place].connect(t, x.client); last == nil {
				return nil
			}
			t.stats.of(x.client.shard).refused.Add(1)
			x.done(Refused)
			not = place
		}
	}
	if last == nil {
		last = errNoEndpoint
		x.reject(d, http.StatusServiceUnavailable, flagNoTarget, x.leg.targets[0].Name+" has no endpoint that can be used", "")
		return last
	}
	x.client.listening.proxy.Log.Warn("no connection to an endpoint", "target", x.to.Name, "err", last)
	x.reject(d, http.StatusServiceUnavailable, flagConnect, "no connection to an endpoint of "+x.to.Name+" could be made", "")
	return last
}

// done tells the balancer how it went, once.
func (x *exchange) done(r Result) {
	if x.place >= 0 {
		x.to.done(x.place, r, or(x.first, time.Since(x.begun)))
		x.place = -1
	}
}

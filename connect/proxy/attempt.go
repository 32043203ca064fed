package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// try is what an exchange has of a target.
type try struct {
	to      *Target
	end     *balance.Endpoint // that is busy with it
	since   time.Time
	soon    time.Time           // since, where it is hardly later when the response is waited for
	tries   int                 // that were begun
	failed  []*balance.Endpoint // those that are not to be tried again
	inside  *cluster            // in which it has a place
	permit  balance.Pass        // of the breaker, while it is to be told
	allowed bool
	refit   bool // the connection of an attempt whose response nobody gets can be used again
	answer  balance.Outcome
	last    string // endpoint that was tried
	spent   bool   // the route allows no more attempts
	sent    bool   // some endpoint may have seen the request, and it may not be sent again

	callerBy time.Time // the caller waits until then; zero where it does not say
	limit    time.Time // of the whole exchange; zero for none
	by       time.Time // of the head of the response
	tryBy    time.Time // of that in one attempt
	ownLines int       // of the fields that are added, those that are the same for each attempt
	grpc     bool      // the request is one of gRPC
	span     span
}

// attempt sends the request and passes the response on. It tries another endpoint when no connection can be made to one,
// and where the route wants it when one does not answer as it should.
func (x *exchange) attempt(d near, hash uint64) {
	if left, said := x.patience(); said {
		x.callerBy = x.begun.Add(left)
	}
	if x.route.mirror != nil {
		x.upload.copied = x.copying()
	}
	if t := x.client.listening.proxy.Tracer; t != nil {
		x.trace(t.config.Load())
	}
	x.ownLines = len(x.lines)
	if !x.callerBy.IsZero() && !time.Now().Before(x.callerBy) { // no connection is used up for who does not wait
		x.reject(d, http.StatusGatewayTimeout, flagLate, "the caller does not wait any longer", "")
		return
	}
	for next := another; ; {
		if x.up == nil {
			if err := x.open(d, hash, next == afresh); err != nil {
				return
			}
		}
		x.due()
		if !d.passOn(x.up) || x.overtaken() {
			x.flag, x.close, x.answer = flagCut, true, balance.Canceled
			return
		}
		err := error(errLate)
		if x.limit.IsZero() || time.Now().Before(x.limit) {
			x.sent = true
			err = x.up.send(&x.request, x.body, x.whole)
		}
		if x.upload.copied != nil {
			x.mirrored(err)
		}
		if err == nil && x.waits {
			x.upload.start(d, x.up)
		}
		if err == nil || !x.up.stale() && err != errLate {
			if err = x.respond(d); err == nil {
				return
			}
		}
		if !x.waited() {
			err = errAbandoned
		} else if why := x.up.lost(); why != nil && !errors.Is(err, errUntouched) {
			err = why
		}
		if next = x.again(err); next == giveUp {
			x.broken(d, err)
			return
		}
		x.to.stats.of(x.client.shard).retries.Add(1)
		x.abandon(next, err)
	}
}

// overtaken reports whether a policy that came after the request was allowed denies it. From passOn on the one who brings
// a policy looks himself.
func (x *exchange) overtaken() bool {
	conf := x.client.listening.config.Load()
	if conf == x.conf {
		return false
	}
	x.conf = conf
	return conf.Policy != nil && !x.client.mayAsk(conf, x.text)
}

// abandon ends an attempt that is followed by another.
func (x *exchange) abandon(next verdict, err error) {
	x.near.passOn(nil)
	x.sent = false // once more does no harm, or there would be no other attempt
	x.up.release(x.refit, time.Now())
	x.up, x.refit = nil, false
	if next == afresh {
		return
	}
	out := x.broke(err)
	switch {
	case errors.Is(err, errUnwanted):
		out = x.answer
	case errors.Is(err, errUntouched):
		out = balance.Canceled
	}
	x.failed = append(x.failed, x.end)
	x.done(out)
	x.first = 0
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
		x.tries++
		if x.up, err = kept(x.end).connect(x.to, x.client); err != nil {
			x.done(missed(err))
		}
	} else {
		err = x.choose(hash)
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
	x.to.cluster.warn("no endpoint for a request", err)
	fields := ""
	if !x.sent && x.client.listening.config.Load().Certs != nil {
		fields = unsent
	}
	x.reject(d, http.StatusServiceUnavailable, flag, err.Error(), fields)
	return err
}

// unsent tells the sidecar of a caller that the application has not seen the request, so that it can be sent to another
// instance, whatever it is. It goes from one sidecar to the other and no further.
const unsent = "X-Curia-Unsent: true\r\n"

// unseen reports whether a response says so. Only sidecars are believed: an application of theirs cannot say it.
func (x *exchange) unseen(h *wire.Head) bool {
	return x.to.Certs != nil && (h.Status == http.StatusServiceUnavailable || x.grpc) &&
		slices.ContainsFunc(h.Fields, func(f wire.Field) bool { return f.Kind == wire.Unsent })
}

// choose gets a connection to an endpoint of the targets in their order. Endpoints that have failed are asked again only when
// no target has another.
func (x *exchange) choose(hash uint64) error {
	var none *unreached
	for _, again := range []bool{x.leg.alone(), true} {
		failed := false
		for t := range x.leg.inOrder {
			err := x.reach(t, hash, again)
			if err == nil || errors.As(err, new(overflow)) {
				return err
			}
			none = none.add(x.leg, t, err)
			failed = failed || errors.Is(err, errFailed)
		}
		if !failed {
			break
		}
	}
	return none.err()
}

// errFailed is what a target has whose endpoints have all failed.
var errFailed = errors.New("all endpoints have failed")

// reach gets a connection to one of the endpoints of a target, if again is set also to one that has failed.
func (x *exchange) reach(t *Target, hash uint64, again bool) error {
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
	if x.tries == 0 {
		c.budget.Request(c.proxy.at(x.begun))
	}
	most := maxAttempts
	if r := x.route.retries; r != nil && r.refused {
		most = max(most, 1+r.most)
	}
	var last error
	for n := 0; n < most; n++ {
		if n > 0 && !c.retryAfter(last) {
			break
		}
		end, now, err := t.pick(x.now(), hash, x.leg.alone(), again, x.failed...)
		if err != nil {
			return or(last, err)
		}
		x.end, x.since = end, now
		if !again && slices.Contains(x.failed, end) {
			x.done(balance.Canceled)
			return fmt.Errorf("%s: %w", t.Name, errFailed)
		}
		x.last = end.Key()
		x.tries++
		if len(x.failed) > 0 {
			x.pause()
		}
		host := kept(end)
		if up := host.take(t, x.since); up != nil {
			x.up = up
			if x.whole && len(x.body) <= maxJoined && len(x.failed) == 0 {
				x.soon = now
			}
			return nil
		}
		if x.up, err = host.connect(t, x.client); err == nil {
			return nil
		}
		t.stats.of(x.client.shard).refused.Add(1)
		x.done(missed(err))
		x.failed = append(x.failed, end)
		last = fmt.Errorf("no connection to an endpoint of %s could be made: %w", t.Name, err)
		if x.conf.Certs != nil && x.leg.alone() && len(t.Endpoints) == 1 && turnedAway(err) {
			break // the caller's sidecar knows others, or asks again
		}
	}
	return last
}

// soonAfter is what time it is: when the connection was taken, if nothing can have taken long since, and only once.
func (x *exchange) soonAfter() time.Time {
	now := x.soon
	if x.soon = (time.Time{}); now.IsZero() {
		return time.Now()
	}
	return now
}

// missed is how an endpoint is judged to which no connection could be made.
func missed(err error) balance.Outcome {
	if turnedAway(err) {
		return balance.Refused
	}
	return balance.LocalError
}

// broke is how an endpoint is judged whose connection broke during an attempt. A sidecar keeps its connections for as long as it is
// there; an application may end one that it kept just as a request comes.
func (x *exchange) broke(err error) balance.Outcome {
	if x.to.Certs != nil {
		return missed(err)
	}
	return balance.LocalError
}

// done tells the balancer how it went with an endpoint, once.
func (x *exchange) done(out balance.Outcome) {
	if x.end != nil {
		x.doneAt(out, time.Now())
	}
}

// doneAt is done with the time that it is.
func (x *exchange) doneAt(out balance.Outcome, now time.Time) {
	if x.end == nil {
		return
	}
	c := x.to.cluster
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

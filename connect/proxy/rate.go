package proxy

import (
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/canon"
)

// Rates bound how many requests a listener takes in a second. What was used of them outlives snapshots.
type Rates struct {
	from   catalog.InstanceRateLimits
	all    *rate // nil for none
	routes []rateRoute
}

type rateRoute struct {
	path func(string) bool
	rate *rate
}

// NewRates compiles the limits of a service; nil where it has none. For a request the first route whose path matches
// counts, or else what is set for the whole instance.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-defaults
func NewRates(from *catalog.RateLimits) (*Rates, error) {
	if from == nil || from.InstanceLevel.RequestsPerSecond <= 0 && len(from.InstanceLevel.Routes) == 0 {
		return nil, nil
	}
	in := from.InstanceLevel
	r := &Rates{from: in, all: newRate(in.RequestsPerSecond, in.RequestsMaxBurst)}
	for _, route := range in.Routes {
		path, err := ratePath(route)
		if err != nil {
			return nil, err
		}
		r.routes = append(r.routes, rateRoute{path, newRate(route.RequestsPerSecond, route.RequestsMaxBurst)})
	}
	return r, nil
}

func ratePath(r catalog.RouteRateLimit) (func(string) bool, error) {
	switch {
	case r.PathExact != "":
		want := canon.Exact(r.PathExact)
		return func(path string) bool { return path == want }, nil
	case r.PathPrefix != "":
		want := canon.Prefix(r.PathPrefix)
		return func(path string) bool { return strings.HasPrefix(path, want) }, nil
	}
	re, err := regexp.Compile("^(?:" + r.PathRegex + ")$")
	if err != nil {
		return nil, err
	}
	return re.MatchString, nil
}

// keep returns the limits to go on with after others: the same, when they say the same.
func (r *Rates) keep(next *Rates) *Rates {
	if r != nil && next != nil && reflect.DeepEqual(r.from, next.from) {
		return r
	}
	return next
}

// of is the limit of a path, nil for none.
func (r *Rates) of(path string) *rate {
	for i := range r.routes {
		if r.routes[i].path(path) {
			return r.routes[i].rate
		}
	}
	return r.all
}

// rate lets so many requests pass in a second, and so many at once. It is one moment: the one at which it would be as good
// as new. Each request moves it on.
// Source: the generic cell rate algorithm, ITU-T I.371
type rate struct {
	perSecond int
	each      time.Duration // between two
	burst     time.Duration // what all at once are worth
	next      atomic.Int64
}

func newRate(perSecond, burst int) *rate {
	if perSecond <= 0 {
		return nil
	}
	each := max(time.Second/time.Duration(perSecond), 1)
	return &rate{perSecond: perSecond, each: each, burst: each * time.Duration(max(burst, perSecond))}
}

// take lets one request pass, or says when there is room for the next. left is how many more there is room for.
func (r *rate) take(now time.Duration) (left int, wait time.Duration) {
	for {
		old := r.next.Load()
		next := max(time.Duration(old), now) + r.each
		if over := next - now - r.burst; over > 0 {
			return 0, over
		}
		if r.next.CompareAndSwap(old, int64(next)) {
			return int((r.burst - (next - now)) / r.each), 0
		}
	}
}

// limited answers a request for which there is no room at present. It reports whether it did.
func (x *exchange) limited(d near) bool {
	rates := x.client.listening.rates.Load()
	if rates == nil {
		return false
	}
	r := rates.of(view(x.path))
	if r == nil {
		return false
	}
	_, wait := r.take(x.client.listening.proxy.at(x.begun))
	if wait == 0 {
		return false
	}
	seconds := strconv.Itoa(int((wait + time.Second - 1) / time.Second))
	x.reject(d, http.StatusTooManyRequests, flagRate, "more than "+strconv.Itoa(r.perSecond)+" requests a second",
		"Retry-After: "+seconds+"\r\nX-RateLimit-Limit: "+strconv.Itoa(r.perSecond)+"\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: "+seconds+"\r\n")
	return true
}

package proxy

import (
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// fault is what a route does to its requests, so that those who make them can be tried out.
type fault struct {
	delay   time.Duration // 0 for none
	delayed share
	status  int // in place of an endpoint's; 0 for none
	aborted share
}

// share is a part of all requests, in ten-thousandths.
type share uint32

func shareOf(percent float32) share { return share(max(float64(percent)*100+0.5, 1)) }

// draw reports whether a request is among them.
func (s share) draw() bool { return s >= 100_00 || rand.Uint32N(100_00) < uint32(s) }

func newFault(from *catalog.FaultInjection) *fault {
	if from == nil {
		return nil
	}
	f := new(fault)
	if d := from.Delay; d != nil {
		f.delay, f.delayed = time.Duration(d.Duration), shareOf(d.Percentage)
	}
	if a := from.Abort; a != nil {
		f.status, f.aborted = a.HTTPStatus, shareOf(a.Percentage)
	}
	return f
}

// fails has the request suffer what its route wants. It reports whether it has been answered by that, or nobody waits.
func (x *exchange) fails(d near, f *fault) bool {
	if f.delay > 0 && f.delayed.draw() {
		begun := time.Now()
		by := x.begun.Add(or(or(or(x.route.timeout, x.leg.timeout), x.leg.targets[0].RequestTimeout), defaultRequestTimeout))
		if left, said := x.patience(); said && x.begun.Add(left).Before(by) {
			by = x.begun.Add(left)
		}
		until := begun.Add(f.delay)
		switch late := by.Before(until); {
		case late && !x.hold(d, by), !late && !x.hold(d, until):
			x.flag, x.close = flagGone, true
			return true
		case late: // as if an endpoint took so long
			x.reject(d, http.StatusGatewayTimeout, flagFault, "no response in time: the route holds requests up", faultField)
			return true
		}
	}
	if f.status != 0 && f.aborted.draw() {
		x.reject(d, f.status, flagFault, "the route has requests fail", faultField)
		return true
	}
	return false
}

// faultField tells callers that no endpoint is to blame.
const faultField = "X-Curia-Fault: injected\r\n"

// hold waits until a time. It reports whether the caller still does.
func (x *exchange) hold(d near, until time.Time) bool {
	for look := firstLook; ; look = min(2*look, lastLook) {
		left := time.Until(until)
		if left <= 0 {
			return true
		}
		time.Sleep(min(left, look))
		if d.gone() || x.client.cutBy.Load() {
			return false
		}
	}
}

package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Outcome is how a request ended, as its endpoint is judged by it.
type Outcome uint8

// The outcomes. Canceled says nothing of the endpoint: the client went away.
const (
	Success      Outcome = iota
	ServerError          // 5xx, a gRPC status that is the server's fault
	GatewayError         // 502, 503, 504: what stands before the application
	LocalError           // no connection, a reset, a timeout
	Refused              // nobody takes connections there: LocalError, and not soon to be asked again
	Limited              // 429, RESOURCE_EXHAUSTED: it works, and wants less
	Canceled
)

// Outliers says when an endpoint is taken out of service for a while because it fails more than the others. The zero
// value is the default. Of one endpoint alone none is taken out.
// Source: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier
type Outliers struct {
	Disabled bool
	// Consecutive, ConsecutiveGateway and ConsecutiveLocal are how many failures in a row count; 0 is 5. Gateway and
	// local errors count as failures too. The percentages say how often that has consequences; 0 is 100 for
	// Enforce and never for the others, and -1 never.
	Consecutive, ConsecutiveGateway, ConsecutiveLocal uint32
	Enforce, EnforceGateway, EnforceLocal             int
	// Interval is how often rates are compared; 0 is 10 s.
	Interval time.Duration
	// Base is how long an endpoint is out the first time; it is out the nth time for n times as long, Most at most.
	// 0 is 30 s and 300 s.
	Base, Most time.Duration
	// MaxPercent of the endpoints are out at one time, but one may always be; 0 is 10, -1 none.
	MaxPercent int
	// SuccessRate takes out who succeeds less often than the mean of all less Deviations times their standard
	// deviation, if MinHosts have had MinRequests in an interval. 0 is 1.9, 5 and 100; Deviations -1 is never.
	Deviations            float64
	MinHosts, MinRequests int
	// FailurePercent takes out who fails at least as often, with MinHosts, and half of MinRequests; 0 is never.
	FailurePercent int
	// Accrual, if not 0, counts failures in a row in place of the above: who has that many is out for MinBackoff,
	// doubled each time up to MaxBackoff, and is then tried by one single request before others follow.
	// 0 is 1 s and 60 s. (Linkerd's failure accrual has 7.)
	Accrual                uint32
	MinBackoff, MaxBackoff time.Duration
}

func (o Outliers) withDefaults() Outliers {
	o.Consecutive = or(o.Consecutive, 5)
	o.ConsecutiveGateway = or(o.ConsecutiveGateway, 5)
	o.ConsecutiveLocal = or(o.ConsecutiveLocal, 5)
	o.Enforce = or(o.Enforce, 100)
	o.Interval = or(o.Interval, 10*time.Second)
	o.Base = or(o.Base, 30*time.Second)
	o.Most = max(or(o.Most, 300*time.Second), o.Base)
	o.MaxPercent = or(o.MaxPercent, 10)
	o.Deviations = or(o.Deviations, 1.9)
	o.MinHosts = or(o.MinHosts, 5)
	o.MinRequests = or(o.MinRequests, 100)
	o.MinBackoff = or(o.MinBackoff, time.Second)
	o.MaxBackoff = max(or(o.MaxBackoff, 60*time.Second), o.MinBackoff)
	return o
}

// health is how an endpoint has done.
type health struct {
	inARow   [3]atomic.Uint32 // failures, gateway errors, local errors
	requests atomic.Int64     // since rates were last compared
	failures atomic.Int64
	probe    atomic.Int32 // of Accrual

	// Guarded by Pool.mu.
	since  time.Duration // when it was taken out, or came back
	until  time.Duration // when it comes back; 0 in service
	times  int           // it was out, less the intervals that went well since
	reason string
}

// States of health.probe: no probe is due, one is, one is under way.
const (
	probeNone int32 = iota
	probeDue
	probing
)

// judge counts an outcome and returns why the endpoint is to be taken out, "" when it is not.
func (h *health) judge(o *Outliers, out Outcome) string {
	if out == Canceled {
		return ""
	}
	h.requests.Add(1)
	if out == Success || out == Limited {
		for i := range h.inARow {
			if h.inARow[i].Load() != 0 {
				h.inARow[i].Store(0)
			}
		}
		return ""
	}
	h.failures.Add(1)
	reason := ""
	count := func(i int, counts bool, limit uint32, enforce int, what string) {
		if !counts {
			h.inARow[i].Store(0)
		} else if h.inARow[i].Add(1) == limit {
			h.inARow[i].Store(0)
			if rand.IntN(100) < enforce {
				reason = fmt.Sprintf("%d %s in a row", limit, what)
			}
		}
	}
	if o.Accrual > 0 {
		count(0, true, o.Accrual, 100, "failures")
		return reason
	}
	count(0, true, o.Consecutive, o.Enforce, "failures")
	count(1, out != ServerError, o.ConsecutiveGateway, o.EnforceGateway, "gateway errors")
	count(2, out == LocalError || out == Refused, o.ConsecutiveLocal, o.EnforceLocal, "failed connections")
	return reason
}

// out is for how long an endpoint is taken out.
func (h *health) out(o *Outliers) time.Duration {
	if o.Accrual == 0 {
		return min(o.Base*time.Duration(h.times), o.Most)
	}
	d := o.MaxBackoff
	if h.times < 32 {
		d = min(o.MinBackoff<<(h.times-1), o.MaxBackoff)
	}
	return d + rand.N(d/5+1) // so that not all who found it broken try it again at once
}

// rate is what an interval showed of an endpoint.
type rate struct {
	*Endpoint
	requests, failures float64
}

func (r rate) success() float64 { return 100 * (1 - r.failures/r.requests) }

// outliers returns whose rate is out of line, and why.
func outliers(o *Outliers, rates []rate) map[*Endpoint]string {
	found := map[*Endpoint]string{}
	counted := rates[:0:0]
	for _, r := range rates {
		if r.requests >= float64(o.MinRequests) {
			counted = append(counted, r)
		}
	}
	if o.Deviations > 0 && len(counted) >= o.MinHosts {
		mean, variance := 0.0, 0.0
		for _, r := range counted {
			mean += r.success() / float64(len(counted))
		}
		for _, r := range counted {
			variance += (r.success() - mean) * (r.success() - mean) / float64(len(counted))
		}
		bound := mean - o.Deviations*math.Sqrt(variance)
		for _, r := range counted {
			if r.success() < bound {
				found[r.Endpoint] = fmt.Sprintf("%.1f %% of its requests succeeded, of all %.1f %%", r.success(), mean)
			}
		}
	}
	if o.FailurePercent <= 0 || len(rates) < o.MinHosts {
		return found
	}
	for _, r := range rates {
		if r.requests >= float64(o.MinRequests)/2 && 100-r.success() >= float64(o.FailurePercent) {
			found[r.Endpoint] = fmt.Sprintf("%.1f %% of its requests failed", 100-r.success())
		}
	}
	return found
}

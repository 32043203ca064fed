package httpapi

import (
	"math"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// shares reports whether a request goes through the agent's cache though its client did not ask for that: where
// the servers are across the network those who wait for one change share a query, and what the catalog said last
// is kept for when no server answers.
func (c *call) shares(method string, h *rpc.Header) bool {
	return c.api.Shared && h.Consistency != rpc.Consistent && (h.MinIndex > 0 || c.route.Effective) && api.Reads(method)
}

// orElseOld asks the servers, and takes an answer of any age that is still remembered when they cannot be asked.
var orElseOld = watch.Policy{Revalidate: true, StaleIfError: math.MaxInt64}

// shared asks by way of the agent's cache. Without an index it always asks the servers.
func shared[Req, Rep any](c *call, m rpc.Method[Req, Rep], h rpc.Header, req *Req) (rpc.Answer, error) {
	policy, ctx := orElseOld, c.ctx()
	if h.MinIndex > 0 {
		policy, ctx = watch.Policy{}, c.untilEnd()
	}
	var err error
	if policy.View, err = c.view(); err != nil {
		return rpc.Answer{}, err
	}
	answer, state, err := watch.GetWith(ctx, c.api.Cache, policy, m, h, req)
	if catalog.CodeOf(err) == catalog.Unavailable && ctx.Err() == nil {
		return m.Ask(ctx, c.api.Caller, h, req) // with more patience than the cache has
	}
	if err == nil && h.MinIndex > 0 {
		if now, err := c.view(); err != nil || now != policy.View { // while it waited
			if err == nil {
				h.MinIndex = 0
				return m.Ask(ctx, c.api.Caller, h, req)
			}
			return rpc.Answer{}, err
		}
	}
	if err == nil && state.Err != nil {
		c.hit(state.Age)
	}
	return aged(answer, state), err
}

// hit says that an answer was in memory, and for how long.
func (c *call) hit(age time.Duration) {
	c.w.Header()[headerCache] = valueHit
	c.w.Header().Set("Age", strconv.FormatInt(int64(age/time.Second), 10))
}

// aged is an answer of which the header does not claim more than is known: while the servers cannot be reached
// nobody knows a leader, and that was heard of him only gets older.
func aged(a rpc.Answer, s watch.State) rpc.Answer {
	if s.Err != nil {
		a.Meta.KnownLeader = false
		a.Meta.LastContact += s.Age
	}
	return a
}

package proxy

import (
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/balance"
)

// LimitsOf are the limits of an upstream as its service writes them; nil is the default, and 0 there is nothing.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-defaults
func LimitsOf(l *catalog.UpstreamLimits) Limits {
	if l == nil {
		return Limits{}
	}
	limit := func(n *int) int {
		switch {
		case n == nil:
			return 0
		case *n <= 0:
			return -1
		}
		return *n
	}
	return Limits{limit(l.MaxConnections), limit(l.MaxPendingRequests), limit(l.MaxConcurrentRequests)}
}

// OutliersOf says when endpoints of an upstream are taken out of service, as its service writes it; nil is the default.
func OutliersOf(p *catalog.PassiveHealthCheck) balance.Outliers {
	if p == nil {
		return balance.Outliers{}
	}
	percent := func(n *uint32) int {
		switch {
		case n == nil:
			return 0
		case *n == 0:
			return -1
		}
		return int(*n)
	}
	o := balance.Outliers{
		Interval: p.Interval, Consecutive: p.MaxFailures, Enforce: percent(p.EnforcingConsecutive5xx),
		EnforceGateway: percent(p.EnforcingConsecutiveGatewayFailure), MaxPercent: percent(p.MaxEjectionPercent),
	}
	if p.Consecutive5xx != nil {
		o.Consecutive = *p.Consecutive5xx
	}
	if p.ConsecutiveGatewayFailure != nil {
		o.ConsecutiveGateway = *p.ConsecutiveGatewayFailure
	}
	if p.BaseEjectionTime != nil {
		o.Base = *p.BaseEjectionTime
	}
	return o
}

// choose has a policy choose endpoints as a resolver says; nil leaves it as it is.
func choose(p *balance.Policy, b *catalog.LoadBalancer) {
	if b == nil {
		return
	}
	switch b.Policy {
	case catalog.BalanceRandom:
		p.Method = balance.Random
	case catalog.BalanceRoundRobin:
		p.Method = balance.RoundRobin
	case catalog.BalanceLeastRequest:
		p.Method = balance.LeastRequest
	case catalog.BalanceRingHash:
		p.Method = balance.RingHash
	case catalog.BalanceMaglev:
		p.Method = balance.Maglev
	}
	if r := b.RingHashConfig; r != nil {
		p.MinRing, p.MaxRing = ring(r.MinimumRingSize), ring(r.MaximumRingSize)
	}
	if l := b.LeastRequestConfig; l != nil {
		p.Choices = int(min(l.ChoiceCount, maxChoices))
	}
}

// Bounds of what a resolver may ask for.
const (
	maxRing    = 8 << 20
	maxChoices = 1 << 10
)

func ring(points uint64) int { return int(min(points, maxRing)) }

// resolve gives a target what a chain says of it, where the target leaves it open.
func (t *Target) resolve(chain *catalog.DiscoveryChain, id string, node *catalog.ChainNode) {
	if t.owner != nil {
		return // it was compiled before
	}
	choose(&t.Balance, node.LoadBalancer)
	if to := chain.Targets[id]; to != nil {
		t.ConnectTimeout = or(t.ConnectTimeout, time.Duration(to.ConnectTimeout))
		t.ServerName = or(t.ServerName, to.SNI)
	}
}

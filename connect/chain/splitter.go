package chain

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// whole is all of the traffic, in the smallest share that there is: 0.01 percent.
const whole = 100_00

// share is a split with what it gets of the whole.
type share struct {
	definition *catalog.ServiceSplit
	units      int
	next       string // a resolver
}

// split makes the node at which a service's traffic is split, or resolved when it is not, and all behind it.
func (c *compiler) split(s *service, subset string, via ref) (string, error) {
	if subset != "" || s.splitter == nil || !c.requests && c.overridden() {
		return c.resolve(place{service: s.name, subset: subset, dc: c.Datacenter}, via)
	}
	if !c.requests {
		return "", c.notForRequests(&s.splitter.EntryHead, s)
	}
	name := nodeName(catalog.ChainSplitter, s.name)
	if c.chain.Nodes[name] != nil {
		return name, nil
	}
	shares, err := c.shares(s)
	if err != nil {
		return "", err
	}
	node := &catalog.ChainNode{
		Type:   catalog.ChainSplitter,
		Name:   stageName(s.name),
		Splits: make([]catalog.ChainSplit, len(shares)),
	}
	for i, sh := range shares {
		node.Splits[i] = catalog.ChainSplit{Definition: sh.definition, Weight: percent(sh.units), NextNode: sh.next}
		if b := c.chain.Nodes[sh.next].LoadBalancer; node.LoadBalancer == nil && byHash(b) {
			node.LoadBalancer = b
		}
	}
	c.chain.Nodes[name] = node
	return name, nil
}

func percent(units int) float32 { return float32(units) / (whole / 100) }

func unitsOf(weight float32) int { return int(math.Round(float64(weight) * (whole / 100))) }

// byHash reports whether instances are picked by a hash of the request.
func byHash(b *catalog.LoadBalancer) bool {
	return b != nil && (b.Policy == catalog.BalanceRingHash || b.Policy == catalog.BalanceMaglev)
}

// shares multiplies a service's splits out, through all splitters that they lead to.
func (c *compiler) shares(s *service) ([]share, error) {
	if s.splits != nil {
		return s.splits, nil
	}
	if at := slices.Index(c.path, s); at >= 0 {
		return nil, c.circular(c.path[at:])
	}
	c.path = append(c.path, s)
	defer func() { c.path = c.path[:len(c.path)-1] }()
	total, shares := 0, make([]share, 0, len(s.splitter.Splits))
	for i := range s.splitter.Splits {
		weight := s.splitter.Splits[i].Weight
		if !(weight >= 0 && weight <= 100) {
			return nil, catalog.Errorf(catalog.Invalid, "%s: %v is not between 0 and 100 percent", ref{&s.splitter.EntryHead, "Splits", i, "Weight"}, weight)
		}
		units := unitsOf(weight)
		total += units
		var err error
		if shares, err = c.share(shares, s, i, units); err != nil {
			return nil, err
		}
	}
	if total != whole {
		return nil, catalog.Errorf(catalog.Invalid, "%s: Splits: the weights make %v percent, not 100: change one of them", s.splitter, percent(total))
	}
	s.splits = shares
	return shares, nil
}

// share adds what one split comes to.
func (c *compiler) share(to []share, s *service, i, units int) ([]share, error) {
	sp := &s.splitter.Splits[i]
	via := ref{head: &s.splitter.EntryHead, list: "Splits", at: i, field: "Service"}
	into := s
	if sp.Service != "" && !strings.EqualFold(sp.Service, s.name) {
		var err error
		if into, err = c.reach(sp.Service, via); err != nil {
			return nil, err
		}
		if sp.ServiceSubset == "" && into.splitter != nil {
			inner, err := c.shares(into)
			if err != nil {
				return nil, err
			}
			return c.multiply(to, sp, units, inner), nil
		}
	}
	if sp.ServiceSubset != "" {
		via.field = "ServiceSubset"
	}
	next, err := c.resolve(place{service: into.name, subset: sp.ServiceSubset, dc: c.Datacenter}, via)
	return append(to, share{sp, units, next}), err
}

// circular is the error of splitters that lead to one another.
func (c *compiler) circular(loop []*service) error {
	var names strings.Builder
	for _, s := range loop {
		names.WriteString(s.name + " → ")
	}
	return catalog.Errorf(catalog.Invalid, "%s: Splits lead in a circle: %s%s: let one of them name a ServiceSubset or another Service", loop[0].splitter, names.String(), loop[0].name)
}

// multiply shares units out as inner does. Together they stay as many: what rounding leaves goes to those
// that it took most from. A share of nothing is left out, which bounds how many there can be.
func (c *compiler) multiply(to []share, outer *catalog.ServiceSplit, units int, inner []share) []share {
	left := units
	parts, order := make([]int, len(inner)), make([]int, len(inner))
	for i, in := range inner {
		parts[i], order[i] = units*in.units/whole, i
		left -= parts[i]
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(units*inner[b].units%whole, units*inner[a].units%whole)
	})
	for _, i := range order[:left] {
		parts[i]++
	}
	for i, in := range inner {
		if parts[i] == 0 {
			c.lopped = true
			continue
		}
		d := *in.definition
		d.Weight = percent(parts[i])
		d.RequestHeaders = then(outer.RequestHeaders, d.RequestHeaders)
		d.ResponseHeaders = then(d.ResponseHeaders, outer.ResponseHeaders)
		to = append(to, share{&d, parts[i], in.next})
	}
	return to
}

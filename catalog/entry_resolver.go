package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ServiceResolver says which instances stand for a service, and which when those fail.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-resolver
type ServiceResolver struct {
	EntryHead
	DefaultSubset        string                      `json:",omitempty"`
	Subsets              map[string]*ServiceSubset   `json:",omitempty"`
	Redirect             *ServiceRedirect            `json:",omitempty"`
	Failover             map[string]*ServiceFailover `json:",omitempty"` // by subset, Wildcard for the others
	ConnectTimeout       Duration                    `json:",omitempty"`
	RequestTimeout       Duration                    `json:",omitempty"`
	PrioritizeByLocality *PrioritizeByLocality       `json:",omitempty"`
	LoadBalancer         *LoadBalancer               `json:",omitempty"`
}

// ServiceSubset selects instances of a service.
type ServiceSubset struct {
	Filter      string `json:",omitempty"`
	OnlyPassing bool   `json:",omitempty"`
}

// ServiceRedirect sends everything for a service somewhere else.
type ServiceRedirect struct {
	Service       string `json:",omitempty"`
	ServiceSubset string `json:",omitempty"`
	Datacenter    string `json:",omitempty"`
	Peer          string `json:",omitempty"`
	SamenessGroup string `json:",omitempty"`
}

// ServiceFailover says who stands in when no instance is healthy.
type ServiceFailover struct {
	Service       string           `json:",omitempty"`
	ServiceSubset string           `json:",omitempty"`
	Datacenters   []string         `json:",omitempty"`
	Targets       []FailoverTarget `json:",omitempty"`
	Policy        *FailoverPolicy  `json:",omitempty"`
	SamenessGroup string           `json:",omitempty"`
}

// FailoverTarget is one who stands in.
type FailoverTarget struct {
	Service       string `json:",omitempty"`
	ServiceSubset string `json:",omitempty"`
	Datacenter    string `json:",omitempty"`
	Peer          string `json:",omitempty"`
}

// FailoverPolicy is the order in which those who stand in are tried.
type FailoverPolicy struct {
	Mode    string   `json:",omitempty"` // "", "sequential" or "order-by-locality"
	Regions []string `json:",omitempty"`
}

// PrioritizeByLocality prefers near instances.
type PrioritizeByLocality struct {
	Mode string `json:",omitempty"` // "", "none" or "failover"
}

// LoadBalancer says how an instance is picked.
type LoadBalancer struct {
	Policy             string              `json:",omitempty"`
	RingHashConfig     *RingHashConfig     `json:",omitempty"`
	LeastRequestConfig *LeastRequestConfig `json:",omitempty"`
	HashPolicies       []HashPolicy        `json:",omitempty"`
}

// The policies of load balancers; "" is the proxy's default.
const (
	BalanceRandom       = "random"
	BalanceRoundRobin   = "round_robin"
	BalanceLeastRequest = "least_request"
	BalanceRingHash     = "ring_hash"
	BalanceMaglev       = "maglev"
)

// RingHashConfig bounds the ring of BalanceRingHash.
type RingHashConfig struct {
	MinimumRingSize uint64 `json:",omitempty"`
	MaximumRingSize uint64 `json:",omitempty"`
}

// LeastRequestConfig says of how many instances BalanceLeastRequest takes the least busy.
type LeastRequestConfig struct {
	ChoiceCount uint32 `json:",omitempty"`
}

// HashPolicy is a part of a request that is hashed.
type HashPolicy struct {
	Field        string        `json:",omitempty"` // "header", "cookie" or "query_parameter"
	FieldValue   string        `json:",omitempty"` // the name of that
	CookieConfig *CookieConfig `json:",omitempty"`
	SourceIP     bool          `json:",omitempty"`
	Terminal     bool          `json:",omitempty"` // those behind it do not count when this one finds something
}

// CookieConfig is the cookie that is given out when there is none.
type CookieConfig struct {
	Session bool          `json:",omitempty"`
	TTL     time.Duration `json:",omitempty"`
	Path    string        `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *ServiceResolver) Normalize() {
	for name, s := range e.Subsets {
		if s == nil {
			e.Subsets[name] = &ServiceSubset{}
		}
	}
	for name, f := range e.Failover {
		if f == nil {
			e.Failover[name] = &ServiceFailover{}
		}
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *ServiceResolver) Validate() error {
	c := e.check()
	for _, name := range slices.Sorted(maps.Keys(e.Subsets)) {
		if !IsDNSLabel(name) || name != strings.ToLower(name) {
			c.fail("Subsets", "%.64q is no name of a subset: use lower-case letters, digits and dashes, at most 63", name)
		}
	}
	if _, ok := e.Subsets[e.DefaultSubset]; e.DefaultSubset != "" && !ok {
		c.fail("DefaultSubset", "%q is none of the Subsets", e.DefaultSubset)
	}
	e.validateRedirect(c)
	for _, subset := range slices.Sorted(maps.Keys(e.Failover)) {
		e.validateFailover(c, subset, e.Failover[subset])
	}
	atLeast0(c, "ConnectTimeout", e.ConnectTimeout)
	atLeast0(c, "RequestTimeout", e.RequestTimeout)
	c.locality(e.PrioritizeByLocality)
	e.LoadBalancer.validate(c)
	return c.err()
}

// Clone implements ConfigEntry.
func (e *ServiceResolver) Clone() ConfigEntry { return clone(e) }

func (e *ServiceResolver) validateRedirect(c *checker) {
	r := e.Redirect
	if r == nil {
		return
	}
	c.target("Redirect.Service", r.Service)
	_, own := e.Subsets[r.ServiceSubset]
	switch {
	case *r == ServiceRedirect{}:
		c.fail("Redirect", "is empty")
	case len(e.Failover) > 0:
		c.fail("Redirect", "and Failover exclude each other")
	case r.SamenessGroup != "" && (r.Service != "" || r.ServiceSubset != "" || r.Datacenter != "" || r.Peer != ""):
		c.fail("Redirect.SamenessGroup", "excludes Service, ServiceSubset, Datacenter and Peer")
	case r.Peer != "" && (r.ServiceSubset != "" || r.Datacenter != ""):
		c.fail("Redirect.Peer", "excludes ServiceSubset and Datacenter")
	case r.ServiceSubset != "" && r.Service == "":
		c.fail("Redirect.ServiceSubset", "needs Service")
	case r.Service == e.Name && r.ServiceSubset != "" && !own:
		c.fail("Redirect.ServiceSubset", "%q is none of the Subsets", r.ServiceSubset)
	}
}

func (e *ServiceResolver) validateFailover(c *checker, subset string, f *ServiceFailover) {
	at := fmt.Sprintf("Failover[%s]", subset)
	if _, ok := e.Subsets[subset]; !ok && subset != Wildcard {
		c.fail(at, "is for none of the Subsets")
	}
	single := f.Service != "" || f.ServiceSubset != "" || len(f.Datacenters) > 0
	switch n := count(single, len(f.Targets) > 0, f.SamenessGroup != ""); {
	case n == 0:
		c.fail(at, "is empty: set Service, ServiceSubset, Datacenters, Targets or SamenessGroup")
	case n > 1 && len(f.Targets) > 0:
		c.fail(at+".Targets", "exclude Service, ServiceSubset, Datacenters and SamenessGroup")
	case n > 1 && (f.ServiceSubset != "" || len(f.Datacenters) > 0):
		c.fail(at+".SamenessGroup", "excludes ServiceSubset and Datacenters")
	}
	c.target(at+".Service", f.Service)
	e.ownSubset(c, at+".ServiceSubset", f.Service, f.ServiceSubset)
	if slices.Contains(f.Datacenters, "") {
		c.fail(at+".Datacenters", "holds an empty name")
	}
	for i, t := range f.Targets {
		at := fmt.Sprintf("%s.Targets[%d]", at, i)
		c.target(at+".Service", t.Service)
		switch {
		case t == FailoverTarget{}:
			c.fail(at, "is empty")
		case t.Peer != "" && (t.ServiceSubset != "" || t.Datacenter != ""):
			c.fail(at+".Peer", "excludes ServiceSubset and Datacenter")
		}
		e.ownSubset(c, at+".ServiceSubset", t.Service, t.ServiceSubset)
	}
	c.failoverPolicy(at+".Policy", f.Policy)
}

// ownSubset checks a reference to a subset if it is to one of the service itself.
func (e *ServiceResolver) ownSubset(c *checker, field, service, subset string) {
	if _, ok := e.Subsets[subset]; subset != "" && !ok && (service == "" || service == e.Name) {
		c.fail(field, "%q is none of the Subsets", subset)
	}
}

func (c *checker) failoverPolicy(field string, p *FailoverPolicy) {
	if p == nil {
		return
	}
	c.oneOf(field+".Mode", p.Mode, "", "sequential", "order-by-locality")
	if slices.Contains(p.Regions, "") {
		c.fail(field+".Regions", "holds an empty name")
	}
}

func (c *checker) locality(p *PrioritizeByLocality) {
	if p != nil {
		c.oneOf("PrioritizeByLocality.Mode", p.Mode, "", "none", "failover")
	}
}

// maxRing is the largest size of a ring.
const maxRing = 8 << 20

func (l *LoadBalancer) validate(c *checker) {
	if l == nil {
		return
	}
	c.oneOf("LoadBalancer.Policy", l.Policy, "", BalanceRandom, BalanceRoundRobin, BalanceLeastRequest, BalanceRingHash, BalanceMaglev)
	hashes := l.Policy == BalanceRingHash || l.Policy == BalanceMaglev
	switch r := l.RingHashConfig; {
	case r != nil && l.Policy != BalanceRingHash:
		c.fail("LoadBalancer.RingHashConfig", "is only for policy %s", BalanceRingHash)
	case r != nil && (r.MinimumRingSize > maxRing || r.MaximumRingSize > maxRing):
		c.fail("LoadBalancer.RingHashConfig", "has a ring of more than %d", maxRing)
	case r != nil && r.MaximumRingSize > 0 && r.MinimumRingSize > r.MaximumRingSize:
		c.fail("LoadBalancer.RingHashConfig", "has MinimumRingSize %d above MaximumRingSize %d", r.MinimumRingSize, r.MaximumRingSize)
	case l.LeastRequestConfig != nil && l.Policy != BalanceLeastRequest:
		c.fail("LoadBalancer.LeastRequestConfig", "is only for policy %s", BalanceLeastRequest)
	case len(l.HashPolicies) > 0 && !hashes:
		c.fail("LoadBalancer.HashPolicies", "are only for policies %s and %s", BalanceRingHash, BalanceMaglev)
	}
	for i, h := range l.HashPolicies {
		h.validate(c, fmt.Sprintf("LoadBalancer.HashPolicies[%d]", i))
	}
}

func (h *HashPolicy) validate(c *checker, at string) {
	if h.Field != "" {
		c.oneOf(at+".Field", h.Field, "header", "cookie", "query_parameter")
	}
	k := h.CookieConfig
	switch {
	case h.SourceIP && (h.Field != "" || h.FieldValue != ""):
		c.fail(at+".SourceIP", "excludes Field and FieldValue")
	case !h.SourceIP && (h.Field == "" || h.FieldValue == ""):
		c.fail(at, "needs Field and FieldValue, or SourceIP")
	case k != nil && h.Field != "cookie":
		c.fail(at+".CookieConfig", "is only for Field cookie")
	case k != nil && k.Session && k.TTL != 0:
		c.fail(at+".CookieConfig", "has both Session and TTL: set one")
	case k != nil && k.TTL < 0:
		c.fail(at+".CookieConfig.TTL", "%v is negative", k.TTL)
	}
}

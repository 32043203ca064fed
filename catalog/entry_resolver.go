package catalog

import "time"

// ServiceResolver says which instances stand for a service, and which when those fail.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-resolver
type ServiceResolver struct {
	EntryHead
	DefaultSubset        string                     `json:",omitempty"`
	Subsets              map[string]ServiceSubset   `json:",omitempty"`
	Redirect             *ServiceRedirect           `json:",omitempty"`
	Failover             map[string]ServiceFailover `json:",omitempty"` // by subset, Wildcard for the others
	ConnectTimeout       Duration                   `json:",omitempty"`
	RequestTimeout       Duration                   `json:",omitempty"`
	PrioritizeByLocality *PrioritizeByLocality      `json:",omitempty"`
	LoadBalancer         *LoadBalancer              `json:",omitempty"`
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
func (e *ServiceResolver) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *ServiceResolver) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *ServiceResolver) Clone() ConfigEntry { return clone(e) }

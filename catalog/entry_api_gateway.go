package catalog

import "time"

// APIGateway says where a gateway listens; routes say what it lets in there.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/api-gateway
type APIGateway struct {
	EntryHead
	TLS       *GatewayTLS `json:",omitempty"`
	Listeners []APIGatewayListener
	Defaults  *UpstreamLimits `json:",omitempty"`
	Status    EntryStatus     // computed
}

// APIGatewayListener is one port of an API gateway.
type APIGatewayListener struct {
	Name                string
	Hostname            string
	Port                int
	Protocol            string // "http" or "tcp"
	TLS                 APIGatewayTLS
	MaxRequestHeadersKB *uint32        `json:",omitempty"`
	Override            *GatewayPolicy `json:",omitempty"` // before what routes say
	Default             *GatewayPolicy `json:",omitempty"` // where routes say nothing
}

// APIGatewayTLS is the TLS of a listener.
type APIGatewayTLS struct {
	Certificates []EntryReference
	SDS          *GatewaySDS `json:",omitempty"`
	MaxVersion   string
	MinVersion   string
	CipherSuites []string
}

// GatewayPolicy is what a gateway asks of requests.
type GatewayPolicy struct {
	JWT *JWTRequirement `json:",omitempty"`
}

// EntryReference points to a config entry, or to a section of it.
type EntryReference struct {
	Kind        EntryKind
	Name        string
	SectionName string
}

// EntryStatus is what the servers made of an entry.
type EntryStatus struct {
	Conditions []EntryCondition
}

// EntryCondition is one such statement.
type EntryCondition struct {
	Type               string
	Status             string // "True", "False" or "Unknown"
	Reason             string
	Message            string
	Resource           *EntryReference `json:",omitempty"`
	LastTransitionTime *time.Time      `json:",omitempty"`
}

// BoundAPIGateway is what an API gateway serves, worked out by the servers from the gateway and its
// routes. Clients cannot write it.
type BoundAPIGateway struct {
	EntryHead
	Listeners []BoundAPIGatewayListener
	Services  map[string][]EntryReference // the routes that lead to each service
}

// BoundAPIGatewayListener is a listener with what it serves.
type BoundAPIGatewayListener struct {
	Name         string
	Routes       []EntryReference
	Certificates []EntryReference
}

// Normalize implements ConfigEntry.
func (e *APIGateway) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *APIGateway) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *APIGateway) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *BoundAPIGateway) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *BoundAPIGateway) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *BoundAPIGateway) Clone() ConfigEntry { return clone(e) }

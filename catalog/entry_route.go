package catalog

import "time"

// HTTPRoute sends requests that reach an API gateway to services.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/http-route
type HTTPRoute struct {
	EntryHead
	Parents   []EntryReference // the gateways, or their listeners
	Rules     []HTTPRouteRule
	Hostnames []string
	Status    EntryStatus // computed
}

// HTTPRouteRule is what matches, and where it goes.
type HTTPRouteRule struct {
	Filters         HTTPFilters
	ResponseFilters HTTPResponseFilters
	Matches         []HTTPMatch // any of them
	Services        []HTTPService
}

// HTTPMatch is what a request has to be: all that is set.
type HTTPMatch struct {
	Headers []HTTPHeaderMatch
	Method  string
	Path    HTTPPathMatch
	Query   []HTTPQueryMatch
}

// HTTPHeaderMatch is what a header has to be.
type HTTPHeaderMatch struct {
	Match  string // "exact", "prefix", "suffix", "present" or "regex"
	Name   string
	Value  string
	Invert bool `json:",omitempty"`
}

// HTTPPathMatch is what the path has to be.
type HTTPPathMatch struct {
	Match string // "exact", "prefix" or "regex"
	Value string
}

// HTTPQueryMatch is what a query parameter has to be.
type HTTPQueryMatch struct {
	Match string // "exact", "present" or "regex"
	Name  string
	Value string
}

// HTTPFilters change requests, or what is done with them.
type HTTPFilters struct {
	Headers       []HTTPHeaderFilter
	URLRewrite    *URLRewrite
	RetryFilter   *RetryFilter
	TimeoutFilter *TimeoutFilter
	JWT           *JWTFilter
}

// HTTPResponseFilters change responses.
type HTTPResponseFilters struct {
	Headers []HTTPHeaderFilter
}

// HTTPHeaderFilter changes headers.
type HTTPHeaderFilter struct {
	Add    map[string]string
	Remove []string
	Set    map[string]string
}

// URLRewrite replaces what matched of the path.
type URLRewrite struct {
	Path string
}

// RetryFilter says when a request is sent again.
type RetryFilter struct {
	NumRetries            uint32
	RetryOn               []string
	RetryOnStatusCodes    []uint32
	RetryOnConnectFailure bool
}

// TimeoutFilter says how long a request may take.
type TimeoutFilter struct {
	RequestTimeout time.Duration
	IdleTimeout    time.Duration
}

// JWTFilter asks for a token of one of the providers.
type JWTFilter struct {
	Providers []*JWTRequirementProvider `json:",omitempty"`
}

// HTTPService is a service that gets a share of what matches.
type HTTPService struct {
	Name            string
	Weight          int
	Filters         HTTPFilters
	ResponseFilters HTTPResponseFilters
	TLS             *GatewayServiceTLS `json:",omitempty"`
	Limits          *UpstreamLimits    `json:",omitempty"`
}

// TCPRoute sends connections that reach an API gateway to a service.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/tcp-route
type TCPRoute struct {
	EntryHead
	Parents  []EntryReference
	Services []TCPService // one at most
	Status   EntryStatus  // computed
}

// TCPService is the service that gets the connections.
type TCPService struct {
	Name   string
	TLS    *GatewayServiceTLS `json:",omitempty"`
	Limits *UpstreamLimits    `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *HTTPRoute) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *HTTPRoute) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *HTTPRoute) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *TCPRoute) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *TCPRoute) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *TCPRoute) Clone() ConfigEntry { return clone(e) }

package catalog

import (
	"fmt"
	"strings"
	"time"
)

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
func (e *HTTPRoute) Normalize() {
	defaultParents(e.Parents)
	for i := range e.Rules {
		e.Rules[i].normalize()
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *HTTPRoute) Validate() error {
	c := e.check()
	c.parents(e.Parents)
	for _, h := range e.Hostnames {
		c.host("Hostnames", h)
	}
	for i, r := range e.Rules {
		r.validate(c, fmt.Sprintf("Rules[%d]", i))
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *HTTPRoute) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *TCPRoute) Normalize() {
	defaultParents(e.Parents)
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *TCPRoute) Validate() error {
	c := e.check()
	c.parents(e.Parents)
	if len(e.Services) > 1 {
		c.fail("Services", "has %d services: only one is allowed", len(e.Services))
	}
	for i, s := range e.Services {
		at := fmt.Sprintf("Services[%d]", i)
		c.required(at+".Name", s.Name)
		c.limits(at+".Limits", s.Limits)
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *TCPRoute) Clone() ConfigEntry { return clone(e) }

func defaultParents(parents []EntryReference) {
	for i := range parents {
		if parents[i].Kind == "" {
			parents[i].Kind = EntryAPIGateway
		}
	}
}

func (c *checker) parents(parents []EntryReference) {
	seen := map[EntryReference]bool{}
	for i, p := range parents {
		at := fmt.Sprintf("Parents[%d]", i)
		c.oneOf(at+".Kind", string(p.Kind), string(EntryAPIGateway))
		c.required(at+".Name", p.Name)
		if seen[p] {
			c.fail(at, "is there twice")
		}
		seen[p] = true
	}
}

func (r *HTTPRouteRule) normalize() {
	for i := range r.Matches {
		m := &r.Matches[i]
		if m.Method = strings.ToUpper(m.Method); m.Path == (HTTPPathMatch{}) {
			m.Path = HTTPPathMatch{Match: "prefix", Value: "/"}
		}
	}
	for i := range r.Services {
		if r.Services[i].Weight == 0 {
			r.Services[i].Weight = 1
		}
	}
}

func (r *HTTPRouteRule) validate(c *checker, at string) {
	r.Filters.validate(c, at+".Filters")
	c.headerFilters(at+".ResponseFilters.Headers", r.ResponseFilters.Headers)
	for i, m := range r.Matches {
		m.validate(c, fmt.Sprintf("%s.Matches[%d]", at, i))
	}
	for i, s := range r.Services {
		at := fmt.Sprintf("%s.Services[%d]", at, i)
		c.required(at+".Name", s.Name)
		atLeast0(c, at+".Weight", s.Weight)
		s.Filters.validate(c, at+".Filters")
		c.headerFilters(at+".ResponseFilters.Headers", s.ResponseFilters.Headers)
		c.limits(at+".Limits", s.Limits)
	}
}

func (m *HTTPMatch) validate(c *checker, at string) {
	c.oneOf(at+".Method", m.Method, "", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
	c.oneOf(at+".Path.Match", m.Path.Match, "exact", "prefix", "regex")
	if m.Path.Match == "regex" {
		c.regex(at+".Path.Value", m.Path.Value)
	} else if m.Path.Value == "" || m.Path.Value[0] != '/' {
		c.fail(at+".Path.Value", "%.64q must begin with a slash", m.Path.Value)
	}
	for i, h := range m.Headers {
		at := fmt.Sprintf("%s.Headers[%d]", at, i)
		c.header(at+".Name", h.Name)
		c.oneOf(at+".Match", h.Match, "exact", "prefix", "suffix", "present", "regex")
		if h.Match == "regex" {
			c.regex(at+".Value", h.Value)
		}
	}
	for i, q := range m.Query {
		at := fmt.Sprintf("%s.Query[%d]", at, i)
		if q.Name == "" {
			c.fail(at+".Name", "is missing")
		}
		c.oneOf(at+".Match", q.Match, "exact", "present", "regex")
		if q.Match == "regex" {
			c.regex(at+".Value", q.Value)
		}
	}
}

func (f *HTTPFilters) validate(c *checker, at string) {
	c.headerFilters(at+".Headers", f.Headers)
	if r := f.RetryFilter; r != nil {
		c.retryOn(at+".RetryFilter.RetryOn", r.RetryOn)
		c.statusCodes(at+".RetryFilter.RetryOnStatusCodes", r.RetryOnStatusCodes)
	}
	if t := f.TimeoutFilter; t != nil {
		atLeast0(c, at+".TimeoutFilter.RequestTimeout", t.RequestTimeout)
		atLeast0(c, at+".TimeoutFilter.IdleTimeout", t.IdleTimeout)
	}
	if f.JWT != nil {
		c.jwt(at+".JWT", f.JWT.Providers)
	}
}

func (c *checker) headerFilters(field string, filters []HTTPHeaderFilter) {
	for i, h := range filters {
		c.modifiers(fmt.Sprintf("%s[%d]", field, i), &HeaderModifiers{Add: h.Add, Set: h.Set, Remove: h.Remove})
	}
}

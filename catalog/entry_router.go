package catalog

import (
	"fmt"
	"strings"
	"time"
)

// ServiceRouter sends requests for a service to others, by what is in them. The first route that matches
// counts; behind the last stands one to the service itself.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-router
type ServiceRouter struct {
	EntryHead
	Routes []ServiceRoute `json:",omitempty"`
}

// ServiceRoute is what matches, and where it goes.
type ServiceRoute struct {
	Match       *ServiceRouteMatch       `json:",omitempty"` // nil is everything
	Destination *ServiceRouteDestination `json:",omitempty"` // nil is the service itself
}

// ServiceRouteMatch is what a request has to be.
type ServiceRouteMatch struct {
	HTTP *HTTPRequestMatch `json:",omitempty"`
}

// HTTPRequestMatch is what an HTTP request has to be: all that is set.
type HTTPRequestMatch struct {
	PathExact       string            `json:",omitempty"`
	PathPrefix      string            `json:",omitempty"`
	PathRegex       string            `json:",omitempty"` // of the whole path, RE2
	CaseInsensitive bool              `json:",omitempty"`
	Header          []HeaderMatch     `json:",omitempty"`
	QueryParam      []QueryParamMatch `json:",omitempty"`
	Methods         []string          `json:",omitempty"`
}

// HeaderMatch is what a header has to be: exactly one of the ways to match is set.
type HeaderMatch struct {
	Name    string
	Present bool   `json:",omitempty"`
	Exact   string `json:",omitempty"`
	Prefix  string `json:",omitempty"`
	Suffix  string `json:",omitempty"`
	Regex   string `json:",omitempty"`
	Invert  bool   `json:",omitempty"`
}

// QueryParamMatch is what a query parameter has to be; with no way to match set it has to be there.
type QueryParamMatch struct {
	Name    string
	Present bool   `json:",omitempty"`
	Exact   string `json:",omitempty"`
	Regex   string `json:",omitempty"`
}

// ServiceRouteDestination is where requests go, and how.
type ServiceRouteDestination struct {
	Service               string           `json:",omitempty"` // "" is the router's own
	ServiceSubset         string           `json:",omitempty"`
	PrefixRewrite         string           `json:",omitempty"`
	RequestTimeout        Duration         `json:",omitempty"` // 0 is the proxy's default
	IdleTimeout           Duration         `json:",omitempty"`
	NumRetries            uint32           `json:",omitempty"`
	RetryOnConnectFailure bool             `json:",omitempty"`
	RetryOn               []string         `json:",omitempty"`
	RetryOnStatusCodes    []uint32         `json:",omitempty"`
	RequestHeaders        *HeaderModifiers `json:",omitempty"`
	ResponseHeaders       *HeaderModifiers `json:",omitempty"`
	Mirror                *RouteMirror     `json:",omitempty"`
	FaultInjection        *FaultInjection  `json:",omitempty"`
}

// RouteMirror sends copies of requests to another service, whose answers nobody gets.
type RouteMirror struct {
	Service       string  `json:",omitempty"` // "" is the router's own
	ServiceSubset string  `json:",omitempty"`
	Percentage    float32 // of the requests
}

// FaultInjection has requests fail or take long, to see what becomes of those who make them.
type FaultInjection struct {
	Delay *FaultDelay `json:",omitempty"`
	Abort *FaultAbort `json:",omitempty"`
}

// FaultDelay holds requests up.
type FaultDelay struct {
	Duration   Duration
	Percentage float32 // of the requests
}

// FaultAbort answers requests in place of the service.
type FaultAbort struct {
	HTTPStatus int
	Percentage float32 // of the requests
}

// HeaderModifiers change the headers of what passes.
type HeaderModifiers struct {
	Add    map[string]string `json:",omitempty"`
	Set    map[string]string `json:",omitempty"`
	Remove []string          `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *ServiceRouter) Normalize() {
	for _, r := range e.Routes {
		if r.Match != nil && r.Match.HTTP != nil {
			upper(r.Match.HTTP.Methods)
		}
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *ServiceRouter) Validate() error {
	c := e.check()
	for i, r := range e.Routes {
		at := fmt.Sprintf("Routes[%d]", i)
		if r.Match != nil && r.Match.HTTP != nil {
			r.Match.HTTP.validate(c, at+".Match.HTTP")
		}
		if d := r.Destination; d != nil {
			d.validate(c, at+".Destination")
			if d.PrefixRewrite != "" && !r.Match.rewritable() {
				c.fail(at+".Destination.PrefixRewrite", "needs PathPrefix or PathExact in the route's match")
			}
		}
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *ServiceRouter) Clone() ConfigEntry { return clone(e) }

// upper writes HTTP methods as HTTP does.
func upper(methods []string) {
	for i, m := range methods {
		methods[i] = strings.ToUpper(m)
	}
}

func (m *ServiceRouteMatch) rewritable() bool {
	return m != nil && m.HTTP != nil && (m.HTTP.PathPrefix != "" || m.HTTP.PathExact != "")
}

func (m *HTTPRequestMatch) validate(c *checker, at string) {
	c.onePath(at, m.PathExact, m.PathPrefix, m.PathRegex)
	for i, h := range m.Header {
		at := fmt.Sprintf("%s.Header[%d]", at, i)
		c.header(at+".Name", h.Name)
		if count(h.Present, h.Exact != "", h.Prefix != "", h.Suffix != "", h.Regex != "") != 1 {
			c.fail(at, "must have exactly one of Present, Exact, Prefix, Suffix and Regex")
		}
		c.regex(at+".Regex", h.Regex)
	}
	for i, q := range m.QueryParam {
		at := fmt.Sprintf("%s.QueryParam[%d]", at, i)
		if q.Name == "" {
			c.fail(at+".Name", "is missing")
		}
		if count(q.Present, q.Exact != "", q.Regex != "") > 1 {
			c.fail(at, "has more than one of Present, Exact and Regex: set one")
		}
		c.regex(at+".Regex", q.Regex)
	}
	c.methods(at+".Methods", m.Methods)
}

func (d *ServiceRouteDestination) validate(c *checker, at string) {
	c.target(at+".Service", d.Service)
	c.path(at+".PrefixRewrite", d.PrefixRewrite)
	atLeast0(c, at+".RequestTimeout", d.RequestTimeout)
	atLeast0(c, at+".IdleTimeout", d.IdleTimeout)
	c.retryOn(at+".RetryOn", d.RetryOn)
	c.statusCodes(at+".RetryOnStatusCodes", d.RetryOnStatusCodes)
	c.modifiers(at+".RequestHeaders", d.RequestHeaders)
	c.modifiers(at+".ResponseHeaders", d.ResponseHeaders)
	if m := d.Mirror; m != nil {
		c.target(at+".Mirror.Service", m.Service)
		c.share(at+".Mirror.Percentage", m.Percentage)
		if m.Service == "" && m.ServiceSubset == "" {
			c.fail(at+".Mirror", "is empty: set Service or ServiceSubset")
		}
	}
	if f := d.FaultInjection; f != nil {
		f.validate(c, at+".FaultInjection")
	}
}

// maxFaultDelay is how long a request may be held up.
const maxFaultDelay = 5 * time.Minute

func (f *FaultInjection) validate(c *checker, at string) {
	if f.Delay == nil && f.Abort == nil {
		c.fail(at, "is empty: set Delay or Abort")
	}
	if d := f.Delay; d != nil {
		c.share(at+".Delay.Percentage", d.Percentage)
		if d.Duration <= 0 || time.Duration(d.Duration) > maxFaultDelay {
			c.fail(at+".Delay.Duration", "%v is not above 0 and at most %v", time.Duration(d.Duration), maxFaultDelay)
		}
	}
	if a := f.Abort; a != nil {
		c.share(at+".Abort.Percentage", a.Percentage)
		if a.HTTPStatus < 400 || a.HTTPStatus > 599 {
			c.fail(at+".Abort.HTTPStatus", "%d is no status of a failure: want 400 to 599", a.HTTPStatus)
		}
	}
}

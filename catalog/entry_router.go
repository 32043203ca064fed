package catalog

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
}

// HeaderModifiers change the headers of what passes.
type HeaderModifiers struct {
	Add    map[string]string `json:",omitempty"`
	Set    map[string]string `json:",omitempty"`
	Remove []string          `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *ServiceRouter) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *ServiceRouter) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *ServiceRouter) Clone() ConfigEntry { return clone(e) }

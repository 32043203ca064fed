package catalog

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ServiceDefaults are the settings of one service for all who run or reach it.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-defaults
type ServiceDefaults struct {
	EntryHead
	Protocol                  string `json:",omitempty"` // "" is that of proxy-defaults, and tcp without one
	Mode                      string `json:",omitempty"` // "", "direct" or "transparent"
	TransparentProxy          TransparentProxy
	MutualTLSMode             string `json:",omitempty"` // "", "strict" or "permissive"
	MeshGateway               MeshGateway
	Expose                    Expose
	ExternalSNI               string                 `json:",omitempty"`
	UpstreamConfig            *UpstreamConfiguration `json:",omitempty"`
	Destination               *Destination           `json:",omitempty"`
	MaxInboundConnections     int                    `json:",omitempty"`
	LocalConnectTimeoutMs     int                    `json:",omitempty"`
	LocalRequestTimeoutMs     int                    `json:",omitempty"`
	MaxRequestHeadersKB       *uint32                `json:",omitempty"`
	BalanceInboundConnections string                 `json:",omitempty"` // "" or "exact_balance"
	RateLimits                *RateLimits            `json:",omitempty"`
	EnvoyExtensions           []EnvoyExtension       `json:",omitempty"`
}

// UpstreamConfiguration says how a service reaches its upstreams.
type UpstreamConfiguration struct {
	Overrides []*UpstreamConfig `json:",omitempty"` // each for one upstream, by name
	Defaults  *UpstreamConfig   `json:",omitempty"` // for the others
}

// UpstreamConfig says how one upstream is reached.
type UpstreamConfig struct {
	Name                       string `json:",omitempty"`
	Peer                       string
	EnvoyListenerJSON          string              `json:",omitempty"`
	EnvoyClusterJSON           string              `json:",omitempty"`
	Protocol                   string              `json:",omitempty"`
	ConnectTimeoutMs           int                 `json:",omitempty"`
	Limits                     *UpstreamLimits     `json:",omitempty"`
	PassiveHealthCheck         *PassiveHealthCheck `json:",omitempty"`
	MeshGateway                MeshGateway
	BalanceOutboundConnections string `json:",omitempty"` // "" or "exact_balance"
}

// UpstreamLimits bound what a proxy does to one upstream at a time; nil is no limit.
type UpstreamLimits struct {
	MaxConnections        *int                `json:",omitempty"`
	MaxPendingRequests    *int                `json:",omitempty"`
	MaxConcurrentRequests *int                `json:",omitempty"`
	PassiveHealthCheck    *PassiveHealthCheck `json:",omitempty"` // gateways only
}

// PassiveHealthCheck says when an instance that answers badly is left out for a while.
type PassiveHealthCheck struct {
	Interval                           time.Duration  `json:",omitempty"`
	MaxFailures                        uint32         `json:",omitempty"`
	EnforcingConsecutive5xx            *uint32        `json:",omitempty"` // percent
	EnforcingConsecutiveGatewayFailure *uint32        `json:",omitempty"` // percent
	Consecutive5xx                     *uint32        `json:",omitempty"`
	ConsecutiveGatewayFailure          *uint32        `json:",omitempty"`
	MaxEjectionPercent                 *uint32        `json:",omitempty"`
	BaseEjectionTime                   *time.Duration `json:",omitempty"`
}

// Destination is where a service is that lives outside of the catalog.
type Destination struct {
	Addresses []string `json:",omitempty"`
	Port      int      `json:",omitempty"`
}

// RateLimits bound what comes in.
type RateLimits struct {
	InstanceLevel InstanceRateLimits
}

// InstanceRateLimits bound what comes in to each instance.
type InstanceRateLimits struct {
	RequestsPerSecond int              `json:",omitempty"`
	RequestsMaxBurst  int              `json:",omitempty"`
	Routes            []RouteRateLimit `json:",omitempty"` // the first that matches counts
}

// RouteRateLimit bounds requests to some paths.
type RouteRateLimit struct {
	PathExact         string `json:",omitempty"`
	PathPrefix        string `json:",omitempty"`
	PathRegex         string `json:",omitempty"`
	RequestsPerSecond int    `json:",omitempty"`
	RequestsMaxBurst  int    `json:",omitempty"`
}

// ProxyDefaults are the settings of all proxies.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/proxy-defaults
type ProxyDefaults struct {
	EntryHead
	Mode                 string `json:",omitempty"`
	TransparentProxy     TransparentProxy
	MutualTLSMode        string         `json:",omitempty"`
	Config               map[string]any `json:",omitempty"`
	MeshGateway          MeshGateway
	Expose               Expose
	AccessLogs           *AccessLogs           `json:",omitempty"`
	EnvoyExtensions      []EnvoyExtension      `json:",omitempty"`
	FailoverPolicy       *FailoverPolicy       `json:",omitempty"`
	PrioritizeByLocality *PrioritizeByLocality `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *ServiceDefaults) Normalize() {
	e.Protocol = strings.ToLower(e.Protocol)
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *ServiceDefaults) Validate() error {
	c := e.check()
	c.protocol("Protocol", e.Protocol)
	c.proxy(e.Mode, e.MutualTLSMode, e.MeshGateway, e.Expose, e.TransparentProxy)
	for i, x := range e.EnvoyExtensions {
		c.extension(i, x)
	}
	atLeast0(c, "MaxInboundConnections", e.MaxInboundConnections)
	atLeast0(c, "LocalConnectTimeoutMs", e.LocalConnectTimeoutMs)
	atLeast0(c, "LocalRequestTimeoutMs", e.LocalRequestTimeoutMs)
	c.oneOf("BalanceInboundConnections", e.BalanceInboundConnections, "", exactBalance)
	if e.ExternalSNI != "" && !isHostname(e.ExternalSNI) {
		c.fail("ExternalSNI", "%.64q is no host name", e.ExternalSNI)
	}
	e.validateUpstreams(c)
	e.validateDestination(c)
	e.validateRates(c)
	return c.err()
}

// Clone implements ConfigEntry.
func (e *ServiceDefaults) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *ProxyDefaults) Normalize() {
	if e.Name == "" {
		e.Name = GlobalName
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *ProxyDefaults) Validate() error {
	c := e.check()
	if e.Name != GlobalName {
		c.fail("Name", "%.64q: there is only %q", e.Name, GlobalName)
	}
	c.proxy(e.Mode, e.MutualTLSMode, e.MeshGateway, e.Expose, e.TransparentProxy)
	for i, x := range e.EnvoyExtensions {
		c.extension(i, x)
	}
	if protocol, ok := e.Config["protocol"]; ok {
		text, ok := protocol.(string)
		if !ok {
			c.fail("Config.protocol", "is no text")
		}
		c.protocol("Config.protocol", text)
	}
	c.accessLogs(e.AccessLogs)
	c.failoverPolicy("FailoverPolicy", e.FailoverPolicy)
	c.locality(e.PrioritizeByLocality)
	return c.err()
}

// Clone implements ConfigEntry.
func (e *ProxyDefaults) Clone() ConfigEntry { return clone(e) }

const exactBalance = "exact_balance"

// protocol checks the name of a protocol; those that are not known count as tcp.
func (c *checker) protocol(field, name string) {
	if name != "" && !isToken(name) {
		c.fail(field, "%.64q is no name of a protocol: want tcp, http, http2 or grpc", name)
	}
}

// proxy checks what entries say about proxies.
func (c *checker) proxy(mode, mutualTLS string, gateway MeshGateway, expose Expose, transparent TransparentProxy) {
	c.oneOf("Mode", mode, "", "direct", "transparent")
	c.oneOf("MutualTLSMode", mutualTLS, "", "strict", "permissive")
	c.oneOf("MeshGateway.Mode", gateway.Mode, "", "none", "local", "remote")
	c.port("TransparentProxy.OutboundListenerPort", transparent.OutboundListenerPort, 0)
	for i, p := range expose.Paths {
		at := fmt.Sprintf("Expose.Paths[%d]", i)
		if p.Path == "" {
			c.fail(at+".Path", "is missing")
		}
		c.path(at+".Path", p.Path)
		c.port(at+".ListenerPort", p.ListenerPort, 0)
		c.port(at+".LocalPathPort", p.LocalPathPort, 0)
		c.oneOf(at+".Protocol", p.Protocol, "", "http", "http2")
	}
}

// extension checks that an extension is one of those that there are.
// Source: https://developer.hashicorp.com/consul/docs/reference/proxy/extensions
func (c *checker) extension(i int, x EnvoyExtension) {
	c.oneOf(fmt.Sprintf("EnvoyExtensions[%d].Name", i), x.Name, "builtin/aws/lambda", "builtin/ext-authz", "builtin/ext-proc", "builtin/lua",
		"builtin/otel-access-logging", "builtin/property-override", "builtin/wasm")
}

func (c *checker) accessLogs(l *AccessLogs) {
	if l == nil {
		return
	}
	c.oneOf("AccessLogs.Type", l.Type, "", "stdout", "stderr", "file")
	switch {
	case l.Type == "file" && l.Path == "":
		c.fail("AccessLogs.Path", "is missing: a log of type file needs it")
	case l.Type != "file" && l.Path != "":
		c.fail("AccessLogs.Path", "is only for logs of type file")
	case l.JSONFormat != "" && l.TextFormat != "":
		c.fail("AccessLogs", "has both JSONFormat and TextFormat: set one")
	case l.JSONFormat != "" && !json.Valid([]byte(l.JSONFormat)):
		c.fail("AccessLogs.JSONFormat", "is no JSON")
	}
}

func (e *ServiceDefaults) validateUpstreams(c *checker) {
	if e.UpstreamConfig == nil {
		return
	}
	if d := e.UpstreamConfig.Defaults; d != nil {
		if d.Name != "" || d.Peer != "" {
			c.fail("UpstreamConfig.Defaults.Name", "must be empty: defaults are for all upstreams")
		}
		d.validate(c, "UpstreamConfig.Defaults")
	}
	seen := map[[2]string]bool{}
	for i, o := range e.UpstreamConfig.Overrides {
		at := fmt.Sprintf("UpstreamConfig.Overrides[%d]", i)
		if o == nil {
			c.fail(at, "is empty")
			continue
		}
		c.required(at+".Name", o.Name)
		if key := [2]string{o.Name, o.Peer}; seen[key] {
			c.fail(at+".Name", "%q is there twice", o.Name)
		} else {
			seen[key] = true
		}
		o.validate(c, at)
	}
}

func (u *UpstreamConfig) validate(c *checker, at string) {
	c.protocol(at+".Protocol", u.Protocol)
	atLeast0(c, at+".ConnectTimeoutMs", u.ConnectTimeoutMs)
	c.limits(at+".Limits", u.Limits)
	c.passive(at+".PassiveHealthCheck", u.PassiveHealthCheck)
	c.oneOf(at+".MeshGateway.Mode", u.MeshGateway.Mode, "", "none", "local", "remote")
	c.oneOf(at+".BalanceOutboundConnections", u.BalanceOutboundConnections, "", exactBalance)
}

func (e *ServiceDefaults) validateDestination(c *checker) {
	d := e.Destination
	if d == nil {
		return
	}
	if len(d.Addresses) == 0 {
		c.fail("Destination.Addresses", "is empty")
	}
	seen := map[string]bool{}
	for _, a := range d.Addresses {
		c.address("Destination.Addresses", a)
		if seen[a] {
			c.fail("Destination.Addresses", "has %s twice", a)
		}
		seen[a] = true
	}
	c.port("Destination.Port", d.Port, 1)
}

func (e *ServiceDefaults) validateRates(c *checker) {
	if e.RateLimits == nil {
		return
	}
	l := e.RateLimits.InstanceLevel
	c.rate("RateLimits.InstanceLevel", l.RequestsPerSecond, l.RequestsMaxBurst)
	for i, r := range l.Routes {
		at := fmt.Sprintf("RateLimits.InstanceLevel.Routes[%d]", i)
		c.onePath(at, r.PathExact, r.PathPrefix, r.PathRegex)
		if r.PathExact == "" && r.PathPrefix == "" && r.PathRegex == "" {
			c.fail(at, "has none of PathExact, PathPrefix and PathRegex: set one")
		}
		if r.RequestsPerSecond == 0 {
			c.fail(at+".RequestsPerSecond", "is missing")
		}
		c.rate(at, r.RequestsPerSecond, r.RequestsMaxBurst)
	}
}

func (c *checker) rate(at string, perSecond, burst int) {
	atLeast0(c, at+".RequestsPerSecond", perSecond)
	atLeast0(c, at+".RequestsMaxBurst", burst)
	if burst > 0 && burst < perSecond {
		c.fail(at+".RequestsMaxBurst", "%d is below RequestsPerSecond %d", burst, perSecond)
	}
	if burst > 0 && perSecond == 0 {
		c.fail(at+".RequestsMaxBurst", "needs RequestsPerSecond")
	}
}

package catalog

import "time"

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
func (e *ServiceDefaults) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *ServiceDefaults) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *ServiceDefaults) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *ProxyDefaults) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *ProxyDefaults) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *ProxyDefaults) Clone() ConfigEntry { return clone(e) }

package catalog

// TerminatingGateway says which services outside of the mesh a gateway stands for.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/terminating-gateway
type TerminatingGateway struct {
	EntryHead
	Services []LinkedService `json:",omitempty"`
}

// LinkedService is a service, or Wildcard for all, and how it is reached.
type LinkedService struct {
	Name                   string `json:",omitempty"`
	CAFile                 string `json:",omitempty"`
	CertFile               string `json:",omitempty"`
	KeyFile                string `json:",omitempty"`
	SNI                    string `json:",omitempty"`
	DisableAutoHostRewrite bool   `json:",omitempty"`
}

// IngressGateway says what a gateway lets in from outside of the mesh.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/ingress-gateway
type IngressGateway struct {
	EntryHead
	TLS       GatewayTLS
	Listeners []IngressListener
	Defaults  *IngressServiceLimits `json:",omitempty"`
}

// GatewayTLS is the TLS of a gateway's listeners.
type GatewayTLS struct {
	Enabled       bool
	SDS           *GatewaySDS `json:",omitempty"`
	TLSMinVersion string      `json:",omitempty"`
	TLSMaxVersion string      `json:",omitempty"`
	CipherSuites  []string    `json:",omitempty"`
}

// GatewaySDS names a certificate of a secret discovery service.
type GatewaySDS struct {
	ClusterName  string `json:",omitempty"`
	CertResource string `json:",omitempty"`
}

// IngressListener is one port of an ingress gateway.
type IngressListener struct {
	Port     int
	Protocol string
	Services []IngressService
	TLS      *GatewayTLS `json:",omitempty"`
}

// IngressService is a service, or Wildcard for all, behind a listener.
type IngressService struct {
	Name                  string
	Hosts                 []string            `json:",omitempty"`
	TLS                   *GatewayServiceTLS  `json:",omitempty"`
	RequestHeaders        *HeaderModifiers    `json:",omitempty"`
	ResponseHeaders       *HeaderModifiers    `json:",omitempty"`
	MaxConnections        uint32              `json:",omitempty"`
	MaxPendingRequests    uint32              `json:",omitempty"`
	MaxConcurrentRequests uint32              `json:",omitempty"`
	PassiveHealthCheck    *PassiveHealthCheck `json:",omitempty"`
}

// GatewayServiceTLS is the TLS of one service behind a listener.
type GatewayServiceTLS struct {
	SDS *GatewaySDS `json:",omitempty"`
}

// IngressServiceLimits hold for the services that say nothing themselves; 0 is no limit.
type IngressServiceLimits struct {
	MaxConnections        uint32              `json:",omitempty"`
	MaxPendingRequests    uint32              `json:",omitempty"`
	MaxConcurrentRequests uint32              `json:",omitempty"`
	PassiveHealthCheck    *PassiveHealthCheck `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *TerminatingGateway) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *TerminatingGateway) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *TerminatingGateway) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *IngressGateway) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *IngressGateway) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *IngressGateway) Clone() ConfigEntry { return clone(e) }

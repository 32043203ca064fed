package catalog

import (
	"fmt"
	"strings"
)

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
	MaxConnections        uint32
	MaxPendingRequests    uint32
	MaxConcurrentRequests uint32
	PassiveHealthCheck    *PassiveHealthCheck `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *TerminatingGateway) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *TerminatingGateway) Validate() error {
	c := e.check()
	seen := map[string]bool{}
	for i, s := range e.Services {
		at := fmt.Sprintf("Services[%d]", i)
		c.wild(at+".Name", s.Name)
		if seen[s.Name] {
			c.fail(at+".Name", "%q is there twice", s.Name)
		}
		seen[s.Name] = true
		if (s.CertFile != "" || s.KeyFile != "") && (s.CAFile == "" || s.CertFile == "" || s.KeyFile == "") {
			c.fail(at, "needs CAFile, CertFile and KeyFile together, or CAFile alone")
		}
		c.shown(at+".SNI", s.SNI)
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *TerminatingGateway) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *IngressGateway) Normalize() {
	for i := range e.Listeners {
		l := &e.Listeners[i]
		if l.Protocol = strings.ToLower(l.Protocol); l.Protocol == "" {
			l.Protocol = "tcp"
		}
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *IngressGateway) Validate() error {
	c := e.check()
	c.gatewayTLS("TLS", &e.TLS)
	ports := map[int]bool{}
	for i, l := range e.Listeners {
		at := fmt.Sprintf("Listeners[%d]", i)
		c.port(at+".Port", l.Port, 1)
		if ports[l.Port] {
			c.fail(at+".Port", "%d is there twice", l.Port)
		}
		ports[l.Port] = true
		c.oneOf(at+".Protocol", l.Protocol, "tcp", "http", "http2", "grpc")
		c.gatewayTLS(at+".TLS", l.TLS)
		l.validate(c, at, e.TLS.Enabled || l.TLS != nil && l.TLS.Enabled)
	}
	if e.Defaults != nil {
		c.passive("Defaults.PassiveHealthCheck", e.Defaults.PassiveHealthCheck)
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *IngressGateway) Clone() ConfigEntry { return clone(e) }

func (l *IngressListener) validate(c *checker, at string, encrypted bool) {
	switch {
	case len(l.Services) == 0:
		c.fail(at+".Services", "is empty")
	case l.Protocol == "tcp" && len(l.Services) > 1:
		c.fail(at+".Services", "has %d services: a listener of protocol tcp can have only one", len(l.Services))
	}
	names, hosts := map[string]bool{}, map[string]bool{}
	for i, s := range l.Services {
		at := fmt.Sprintf("%s.Services[%d]", at, i)
		c.wild(at+".Name", s.Name)
		if names[s.Name] {
			c.fail(at+".Name", "%q is there twice", s.Name)
		}
		names[s.Name] = true
		switch {
		case l.Protocol == "tcp" && s.Name == Wildcard:
			c.fail(at+".Name", "%s needs a listener of protocol http", Wildcard)
		case l.Protocol == "tcp" && len(s.Hosts) > 0:
			c.fail(at+".Hosts", "need a listener of protocol http")
		case l.Protocol == "tcp" && (s.RequestHeaders != nil || s.ResponseHeaders != nil):
			c.fail(at+".RequestHeaders", "and ResponseHeaders need a listener of protocol http")
		case s.Name == Wildcard && len(s.Hosts) > 0:
			c.fail(at+".Hosts", "are not allowed for %s", Wildcard)
		}
		for _, h := range s.Hosts {
			c.host(at+".Hosts", h)
			switch {
			case hosts[h]:
				c.fail(at+".Hosts", "%q is there twice", h)
			case h == Wildcard && encrypted:
				c.fail(at+".Hosts", "%s is not allowed with TLS: no certificate is for it", Wildcard)
			}
			hosts[h] = true
		}
		c.modifiers(at+".RequestHeaders", s.RequestHeaders)
		c.modifiers(at+".ResponseHeaders", s.ResponseHeaders)
		c.passive(at+".PassiveHealthCheck", s.PassiveHealthCheck)
		if s.TLS != nil {
			c.sds(at+".TLS", s.TLS.SDS)
		}
	}
}

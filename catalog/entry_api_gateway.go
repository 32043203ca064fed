package catalog

import (
	"fmt"
	"strings"
	"time"
)

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

// StatusOf is the status of an entry, nil when its kind has none.
func StatusOf(e ConfigEntry) *EntryStatus {
	switch e := e.(type) {
	case *APIGateway:
		return &e.Status
	case *HTTPRoute:
		return &e.Status
	case *TCPRoute:
		return &e.Status
	}
	return nil
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
func (e *APIGateway) Normalize() {
	for i := range e.Listeners {
		l := &e.Listeners[i]
		l.Protocol = strings.ToLower(l.Protocol)
		for k := range l.TLS.Certificates {
			if ref := &l.TLS.Certificates[k]; ref.Kind == "" {
				ref.Kind = EntryInlineCertificate
			}
		}
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *APIGateway) Validate() error {
	c := e.check()
	c.gatewayTLS("TLS", e.TLS)
	c.limits("Defaults", e.Defaults)
	names := map[string]bool{}
	for i, l := range e.Listeners {
		at := fmt.Sprintf("Listeners[%d]", i)
		if names[l.Name] {
			c.fail(at+".Name", "%q is there twice", l.Name)
		}
		names[l.Name] = true
		l.validate(c, at)
		for k, other := range e.Listeners[:i] {
			switch {
			case other.Port != l.Port:
			case other.Protocol != l.Protocol:
				c.fail(at+".Port", "%d is that of Listeners[%d] too, of another protocol", l.Port, k)
			case l.Protocol == "tcp" || other.Hostname == l.Hostname:
				c.fail(at+".Port", "%d is that of Listeners[%d] too, for the same host", l.Port, k)
			}
		}
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *APIGateway) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *BoundAPIGateway) Normalize() {}

// Validate implements ConfigEntry.
func (e *BoundAPIGateway) Validate() error {
	return e.check().err()
}

// Clone implements ConfigEntry.
func (e *BoundAPIGateway) Clone() ConfigEntry { return clone(e) }

func (l *APIGatewayListener) validate(c *checker, at string) {
	c.shown(at+".Name", l.Name)
	c.port(at+".Port", l.Port, 1)
	c.oneOf(at+".Protocol", l.Protocol, "http", "tcp")
	if l.Hostname != "" {
		c.host(at+".Hostname", l.Hostname)
	}
	c.tls(at+".TLS", l.TLS.MinVersion, l.TLS.MaxVersion, l.TLS.CipherSuites)
	c.sds(at+".TLS", l.TLS.SDS)
	for i, ref := range l.TLS.Certificates {
		at := fmt.Sprintf("%s.TLS.Certificates[%d]", at, i)
		c.oneOf(at+".Kind", string(ref.Kind), string(EntryInlineCertificate), string(EntryFileSystemCertificate))
		c.required(at+".Name", ref.Name)
	}
	l.Override.validate(c, at+".Override", l.Protocol)
	l.Default.validate(c, at+".Default", l.Protocol)
}

func (p *GatewayPolicy) validate(c *checker, at, protocol string) {
	if p == nil || p.JWT == nil {
		return
	}
	c.jwt(at+".JWT", p.JWT.Providers)
	if protocol == "tcp" {
		c.fail(at+".JWT", "needs a listener of protocol http")
	}
}

package catalog

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// ServersService is the name under which the servers themselves are in the catalog, and the role of
// servers among the members of a pool.
const ServersService = "consul"

// Kind says what a service is for; plain services have none.
type Kind string

// The kinds of services that belong to the mesh.
const (
	KindTypical            Kind = ""
	KindConnectProxy       Kind = "connect-proxy"
	KindMeshGateway        Kind = "mesh-gateway"
	KindTerminatingGateway Kind = "terminating-gateway"
	KindIngressGateway     Kind = "ingress-gateway"
	KindAPIGateway         Kind = "api-gateway"
)

// Valid reports whether k is a known kind.
func (k Kind) Valid() bool {
	switch k {
	case KindTypical, KindConnectProxy, KindMeshGateway, KindTerminatingGateway, KindIngressGateway, KindAPIGateway:
		return true
	}
	return false
}

// Gateway reports whether k is one of the gateways.
func (k Kind) Gateway() bool { return k != KindTypical && k != KindConnectProxy && k.Valid() }

// ServiceAddress is an address of a service as one kind of client sees it.
type ServiceAddress struct {
	Address string
	Port    int
}

// Weights are an instance's shares of DNS SRV answers and balancing, by its health.
type Weights struct {
	Passing int
	Warning int
}

// Validate checks the bounds that DNS sets (RFC 2782).
func (w *Weights) Validate() error {
	if w.Passing < 1 || w.Warning < 0 || w.Passing > 65535 || w.Warning > 65535 {
		return Errorf(Invalid, "weights %d/%d: passing must be 1 to 65535 and warning 0 to 65535", w.Passing, w.Warning)
	}
	return nil
}

// ServicePort is one named port of a service with several. DNS names it in front of the service.
// Source: https://developer.hashicorp.com/consul/docs/connect/proxy/multiport
type ServicePort struct {
	Name    string
	Port    int
	Default bool `json:",omitempty"`
}

// Service is one instance of a service, as its node knows it. In the store Weights, Proxy and Connect
// are never nil; those that say nothing share one value each.
type Service struct {
	Kind              Kind `json:",omitempty"`
	ID                string
	Service           string // its name
	Tags              []string
	Address           string
	TaggedAddresses   map[string]ServiceAddress `json:",omitempty"`
	Meta              map[string]string
	Port              int
	Ports             []ServicePort `json:",omitempty"`
	SocketPath        string        `json:",omitempty"`
	Weights           *Weights
	EnableTagOverride bool
	Locality          *Locality `json:",omitempty"`
	Proxy             *Proxy
	Connect           *Connect
	PeerName          string
	CreateIndex       uint64
	ModifyIndex       uint64
}

var (
	plainWeights = &Weights{Passing: 1, Warning: 1}
	plainProxy   = &Proxy{}
	plainConnect = &Connect{}
)

// Normalize fills what a registration may leave out. It does not change what s points to.
func (s *Service) Normalize() {
	if s.ID == "" {
		s.ID = s.Service
	}
	if s.Weights == nil || *s.Weights == (Weights{}) || *s.Weights == *plainWeights {
		s.Weights = plainWeights
	}
	if s.Proxy == nil || s.Proxy.empty() {
		s.Proxy = plainProxy
	}
	if s.Connect == nil || *s.Connect == (Connect{}) {
		s.Connect = plainConnect
	}
	if s.Tags == nil {
		s.Tags = []string{}
	}
	if s.Port == 0 && len(s.Ports) > 0 {
		s.Port = s.defaultPort()
	}
}

// defaultPort is the port of several that stands for the service where no name is given: the one that is
// marked, else the first.
func (s *Service) defaultPort() int {
	if i := slices.IndexFunc(s.Ports, func(p ServicePort) bool { return p.Default }); i >= 0 {
		return s.Ports[i].Port
	}
	return s.Ports[0].Port
}

// PortNamed returns the port with a name, regardless of case, and whether there is one.
func (s *Service) PortNamed(name string) (int, bool) {
	for _, p := range s.Ports {
		if strings.EqualFold(p.Name, name) {
			return p.Port, true
		}
	}
	return 0, false
}

// Validate checks a normalized service.
func (s *Service) Validate() error {
	switch {
	case s.Service == "":
		return Errorf(Invalid, "service has no name: set Service (or Name)")
	case !s.Kind.Valid():
		return Errorf(Invalid, "service %q: unknown kind %q", s.ID, s.Kind)
	case s.Port < 0 || s.Port > 65535:
		return Errorf(Invalid, "service %q: port %d is not between 0 and 65535", s.ID, s.Port)
	case isWildcardIP(s.Address):
		return Errorf(Invalid, "service %q: address %s is no address that others can dial", s.ID, s.Address)
	}
	for tag, a := range s.TaggedAddresses {
		if a.Port < 0 || a.Port > 65535 {
			return Errorf(Invalid, "service %q: port %d of its tagged address %q is not between 0 and 65535", s.ID, a.Port, tag)
		}
	}
	if err := s.validatePorts(); err != nil {
		return err
	}
	if err := s.Weights.Validate(); err != nil {
		return Errorf(Invalid, "service %q: %w", s.ID, err)
	}
	if err := ValidateMeta(s.Meta, true); err != nil {
		return Errorf(Invalid, "service %q: %w", s.ID, err)
	}
	return s.validateMesh()
}

func (s *Service) validatePorts() error {
	defaults := 0
	for i, p := range s.Ports {
		switch {
		case !IsDNSLabel(p.Name):
			return Errorf(Invalid, "service %q: port name %q must be fit for DNS: letters, digits and dashes, at most 63", s.ID, p.Name)
		case p.Port < 1 || p.Port > 65535:
			return Errorf(Invalid, "service %q: port %q is %d: want 1 to 65535", s.ID, p.Name, p.Port)
		case slices.ContainsFunc(s.Ports[:i], func(o ServicePort) bool { return strings.EqualFold(o.Name, p.Name) }):
			return Errorf(Invalid, "service %q: two of its ports are named %q", s.ID, p.Name)
		case p.Default:
			defaults++
		}
	}
	switch {
	case defaults > 1:
		return Errorf(Invalid, "service %q: %d of its ports are the default: mark one", s.ID, defaults)
	case len(s.Ports) > 0 && s.Port != s.defaultPort():
		return Errorf(Invalid, "service %q: port %d is not the default one of its ports, which is %d: leave one of both out", s.ID, s.Port, s.defaultPort())
	case len(s.Ports) > 0 && s.SocketPath != "":
		return Errorf(Invalid, "service %q: it has both a socket and ports", s.ID)
	}
	return nil
}

func isWildcardIP(address string) bool {
	return address == "0.0.0.0" || address == "::" || address == "[::]"
}

// HasTag reports whether s carries the tag, regardless of case.
func (s *Service) HasTag(tag string) bool {
	return slices.ContainsFunc(s.Tags, func(t string) bool { return strings.EqualFold(t, tag) })
}

// HasTags reports whether s carries every one of the tags.
func (s *Service) HasTags(tags []string) bool {
	for _, tag := range tags {
		if !s.HasTag(tag) {
			return false
		}
	}
	return true
}

// ConnectName is the name of the service that mesh connections to s reach, "" if there are none.
func (s *Service) ConnectName() string {
	switch {
	case s.Kind == KindConnectProxy:
		return s.Proxy.DestinationServiceName
	case s.Connect.Native:
		return s.Service
	}
	return ""
}

// Same reports whether two normalized services say the same, their indexes left aside.
func (s *Service) Same(o *Service) bool {
	return s.Kind == o.Kind && s.ID == o.ID && s.Service == o.Service && slices.Equal(s.Tags, o.Tags) &&
		s.Address == o.Address && maps.Equal(s.TaggedAddresses, o.TaggedAddresses) && maps.Equal(s.Meta, o.Meta) &&
		s.Port == o.Port && slices.Equal(s.Ports, o.Ports) && s.SocketPath == o.SocketPath && *s.Weights == *o.Weights &&
		s.EnableTagOverride == o.EnableTagOverride && sameLocality(s.Locality, o.Locality) && s.PeerName == o.PeerName &&
		*s.Connect == *o.Connect && (s.Proxy == o.Proxy || reflect.DeepEqual(s.Proxy, o.Proxy))
}

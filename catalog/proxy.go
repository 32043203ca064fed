package catalog

import "reflect"

// Connect says how a service takes part in the mesh.
type Connect struct {
	// Native services speak mesh TLS themselves.
	Native bool `json:",omitempty"`
}

// Proxy is the configuration of a service that is a mesh proxy.
// Source: https://developer.hashicorp.com/consul/docs/reference/proxy/connect-proxy
type Proxy struct {
	DestinationServiceName string            `json:",omitempty"`
	DestinationServiceID   string            `json:",omitempty"`
	LocalServiceAddress    string            `json:",omitempty"`
	LocalServicePort       int               `json:",omitempty"`
	LocalServiceSocketPath string            `json:",omitempty"`
	Mode                   string            // "", "direct" or "transparent"
	Config                 map[string]any    `json:",omitempty"`
	Upstreams              []Upstream        `json:",omitempty"`
	MeshGateway            MeshGateway       // how other datacenters are reached
	Expose                 Expose            // plain paths for those outside the mesh
	AccessLogs             *AccessLogs       `json:",omitempty"`
	TransparentProxy       *TransparentProxy `json:",omitempty"`
	MutualTLSMode          string            `json:",omitempty"`
	EnvoyExtensions        []EnvoyExtension  `json:",omitempty"`
}

func (p *Proxy) empty() bool { return p == plainProxy || reflect.ValueOf(p).Elem().IsZero() }

// MeshGateway chooses the gateways that traffic to other datacenters takes.
type MeshGateway struct {
	Mode string `json:",omitempty"`
}

// Expose lists plain HTTP paths that a proxy serves without mesh TLS.
type Expose struct {
	Checks bool         `json:",omitempty"`
	Paths  []ExposePath `json:",omitempty"`
}

// ExposePath is one such path.
type ExposePath struct {
	ListenerPort    int    `json:",omitempty"`
	Path            string `json:",omitempty"`
	LocalPathPort   int    `json:",omitempty"`
	Protocol        string `json:",omitempty"`
	ParsedFromCheck bool   `json:",omitempty"`
}

// AccessLogs configures a proxy's access log.
type AccessLogs struct {
	Enabled             bool   `json:",omitempty"`
	DisableListenerLogs bool   `json:",omitempty"`
	Type                string `json:",omitempty"`
	Path                string `json:",omitempty"`
	JSONFormat          string `json:",omitempty"`
	TextFormat          string `json:",omitempty"`
}

// TransparentProxy configures captured traffic.
type TransparentProxy struct {
	OutboundListenerPort int  `json:",omitempty"`
	DialedDirectly       bool `json:",omitempty"`
}

// EnvoyExtension is kept as it was written, for users who keep Envoy.
type EnvoyExtension struct {
	Name          string
	Required      bool
	Arguments     map[string]any `json:",omitempty"`
	ConsulVersion string         `json:",omitempty"`
	EnvoyVersion  string         `json:",omitempty"`
}

// Upstream is a service that a proxy makes reachable to its local application.
type Upstream struct {
	DestinationType      string
	DestinationNamespace string `json:",omitempty"`
	DestinationPartition string `json:",omitempty"`
	DestinationPeer      string `json:",omitempty"`
	DestinationName      string `json:",omitempty"`
	Datacenter           string
	LocalBindAddress     string         `json:",omitempty"`
	LocalBindPort        int            `json:",omitempty"`
	LocalBindSocketPath  string         `json:",omitempty"`
	LocalBindSocketMode  string         `json:",omitempty"`
	Config               map[string]any `json:",omitempty"`
	MeshGateway          MeshGateway
	CentrallyConfigured  bool `json:",omitempty"`
}

func (s *Service) validateMesh() error {
	p := s.Proxy
	switch {
	case s.Kind == KindConnectProxy:
		switch {
		case p.DestinationServiceName == "":
			return Errorf(Invalid, "proxy %q: set Proxy.DestinationServiceName", s.ID)
		case p.DestinationServiceName == "*":
			return Errorf(Invalid, "proxy %q: Proxy.DestinationServiceName cannot be the wildcard *", s.ID)
		case s.Port == 0 && s.SocketPath == "":
			return Errorf(Invalid, "proxy %q: set Port or SocketPath", s.ID)
		case s.Connect.Native:
			return Errorf(Invalid, "proxy %q: a proxy cannot be Connect.Native", s.ID)
		}
		return s.validateUpstreams()
	case s.Kind.Gateway():
		if s.Port == 0 && s.Kind != KindAPIGateway {
			return Errorf(Invalid, "gateway %q: set Port", s.ID)
		}
		if p.DestinationServiceName != "" || p.DestinationServiceID != "" || p.LocalServiceAddress != "" || p.LocalServicePort != 0 || len(p.Upstreams) > 0 {
			return Errorf(Invalid, "gateway %q: a gateway has no destination, local service or upstreams", s.ID)
		}
	}
	return nil
}

func (s *Service) validateUpstreams() error {
	type listener struct {
		address string
		port    int
		socket  string
	}
	taken := map[listener]string{}
	for i, u := range s.Proxy.Upstreams {
		if u.DestinationName == "" {
			return Errorf(Invalid, "proxy %q: upstream %d has no destination name", s.ID, i)
		}
		if u.LocalBindPort < 0 || u.LocalBindPort > 65535 {
			return Errorf(Invalid, "proxy %q: upstream %q: local bind port %d is not between 0 and 65535", s.ID, u.DestinationName, u.LocalBindPort)
		}
		if u.LocalBindPort == 0 && u.LocalBindSocketPath == "" {
			if s.Proxy.Mode == "transparent" || u.CentrallyConfigured {
				continue
			}
			return Errorf(Invalid, "proxy %q: upstream %q: set LocalBindPort or LocalBindSocketPath", s.ID, u.DestinationName)
		}
		at := listener{u.LocalBindAddress, u.LocalBindPort, u.LocalBindSocketPath}
		if at.address == "" {
			at.address = "127.0.0.1"
		}
		if other, ok := taken[at]; ok {
			return Errorf(Invalid, "proxy %q: upstreams %q and %q listen at the same place", s.ID, other, u.DestinationName)
		}
		taken[at] = u.DestinationName
	}
	return nil
}

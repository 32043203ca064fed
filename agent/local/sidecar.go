package local

import (
	"net"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// SidecarSuffix makes the id and name of a sidecar from those of its service.
const SidecarSuffix = "-sidecar-proxy"

const loopback = "127.0.0.1"

// sidecarDefinition returns the sidecar of a service as a definition of its own, with what it leaves out.
// Source: https://developer.hashicorp.com/consul/docs/connect/proxies/deploy-sidecar-services
func sidecarDefinition(def *catalog.ServiceDefinition, parent *catalog.Service, free ports) (*catalog.ServiceDefinition, error) {
	side := *def.Connect.SidecarService
	id := parent.ID + SidecarSuffix
	switch {
	case side.ID != "" && side.ID != id:
		return nil, catalog.Errorf(catalog.Invalid, "its id is always %q: leave ID out", id)
	case side.Kind != "" && side.Kind != catalog.KindConnectProxy:
		return nil, catalog.Errorf(catalog.Invalid, "its kind is always %q: leave Kind out", catalog.KindConnectProxy)
	case side.Connect != nil && side.Connect.SidecarService != nil:
		return nil, catalog.Errorf(catalog.Invalid, "a sidecar cannot have a sidecar: leave Connect.SidecarService out")
	case side.Connect != nil && side.Connect.Native:
		return nil, catalog.Errorf(catalog.Invalid, "a sidecar cannot be Connect.Native: leave it out")
	}
	side.ID, side.Kind = id, catalog.KindConnectProxy
	if side.Name == "" {
		side.Name = parent.Service + SidecarSuffix
	}
	if side.Tags == nil {
		side.Tags = parent.Tags
	}
	if side.Meta == nil {
		side.Meta = parent.Meta
	}
	if side.Locality == nil {
		side.Locality = parent.Locality
	}
	if side.Token == "" {
		side.Token = def.Token
	}
	side.Proxy = sidecarProxy(side.Proxy, parent)
	if side.Port == 0 && side.SocketPath == "" {
		port, err := free.sidecar(id)
		if err != nil {
			return nil, err
		}
		side.Port = port
	}
	if side.Check == nil && len(side.Checks) == 0 {
		side.Checks = sidecarChecks(&side, parent)
	}
	return &side, nil
}

func sidecarProxy(given *catalog.Proxy, parent *catalog.Service) *catalog.Proxy {
	var proxy catalog.Proxy
	if given != nil {
		proxy = *given
	}
	if proxy.DestinationServiceName == "" {
		proxy.DestinationServiceName = parent.Service
	}
	if proxy.DestinationServiceID == "" {
		proxy.DestinationServiceID = parent.ID
	}
	if proxy.LocalServiceSocketPath == "" && proxy.LocalServicePort == 0 && parent.Port == 0 {
		proxy.LocalServiceSocketPath = parent.SocketPath
	}
	if proxy.LocalServiceSocketPath != "" {
		return &proxy
	}
	if proxy.LocalServiceAddress == "" {
		proxy.LocalServiceAddress = loopback
	}
	if proxy.LocalServicePort == 0 {
		proxy.LocalServicePort = parent.Port
	}
	return &proxy
}

func sidecarChecks(side *catalog.ServiceDefinition, parent *catalog.Service) []*catalog.AgentCheck {
	alias := &catalog.AgentCheck{Name: "Connect Sidecar Aliasing " + parent.ID}
	alias.AliasService = parent.ID
	if side.Port == 0 {
		return []*catalog.AgentCheck{alias}
	}
	host := loopback
	for _, address := range []string{side.Address, parent.Address} {
		if address != "" {
			host = address
			break
		}
	}
	listening := &catalog.AgentCheck{Name: "Connect Sidecar Listening"}
	listening.TCP = net.JoinHostPort(host, strconv.Itoa(side.Port))
	listening.Interval = catalog.Duration(10 * time.Second)
	return []*catalog.AgentCheck{listening, alias}
}

// portsOf gives sidecars the port they have, or a free one.
type portsOf struct {
	*State
	taken map[int]bool // given out, and not used yet
}

func (p portsOf) sidecar(id string) (int, error) {
	s := p.State
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last := s.cfg.SidecarMinPort, s.cfg.SidecarMaxPort
	if old := s.services[id]; old != nil && old.parent != "" && old.row.Port >= first && old.row.Port <= last && s.ports[old.row.Port] == 1 && !p.taken[old.row.Port] {
		p.taken[old.row.Port] = true
		return old.row.Port, nil
	}
	port, err := s.sidecarPort(first, last, p.taken)
	if err == nil {
		p.taken[port] = true
	}
	return port, err
}

package catalog

// Names of what says that a mesh gateway leads to servers too.
const (
	federationMeta = "consul-wan-federation"
	federationOn   = "1"
)

// ExposesServers reports whether the service is a mesh gateway that leads to the servers of its datacenter, and to those of
// others.
// Source: https://developer.hashicorp.com/consul/docs/east-west/mesh-gateway/enable (mesh gateways)
func (s *Service) ExposesServers() bool {
	return s.Kind == KindMeshGateway && s.Meta[federationMeta] == federationOn
}

// ExposeServers makes it one.
func (s *Service) ExposeServers() {
	meta := map[string]string{federationMeta: federationOn}
	for key, value := range s.Meta {
		if key != federationMeta {
			meta[key] = value
		}
	}
	s.Meta = meta
}

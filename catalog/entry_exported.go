package catalog

// ExportedServices says which services other clusters may reach.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/exported-services
type ExportedServices struct {
	EntryHead
	Services []ExportedService `json:",omitempty"`
}

// ExportedService is a service, or Wildcard for all, and who may reach it.
type ExportedService struct {
	Name      string
	Consumers []ServiceConsumer `json:",omitempty"`
}

// ServiceConsumer is one who may reach a service.
type ServiceConsumer struct {
	Peer          string `json:",omitempty" alias:"PeerName"`
	SamenessGroup string `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *ExportedServices) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *ExportedServices) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *ExportedServices) Clone() ConfigEntry { return clone(e) }

package catalog

import (
	"fmt"
)

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
func (e *ExportedServices) Normalize() {
	if e.Name == "" {
		e.Name = DefaultTenancy
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *ExportedServices) Validate() error {
	c := e.check()
	if e.Name != DefaultTenancy {
		c.fail("Name", "%.64q: there is only %q", e.Name, DefaultTenancy)
	}
	for i, s := range e.Services {
		at := fmt.Sprintf("Services[%d]", i)
		c.wild(at+".Name", s.Name)
		if len(s.Consumers) == 0 {
			c.fail(at+".Consumers", "is empty")
		}
		for k, to := range s.Consumers {
			at := fmt.Sprintf("%s.Consumers[%d]", at, k)
			if count(to.Peer != "", to.SamenessGroup != "") != 1 {
				c.fail(at, "must have exactly one of Peer and SamenessGroup")
			}
			c.target(at+".Peer", to.Peer)
			c.target(at+".SamenessGroup", to.SamenessGroup)
		}
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *ExportedServices) Clone() ConfigEntry { return clone(e) }

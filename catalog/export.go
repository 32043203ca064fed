package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ExportSet is a set of services that the same others may reach. There may be many sets, beside the one entry of kind
// exported-services; what is exported is all of it together.
// Source: TestAPI_RawV2ExportedServices of github.com/hashicorp/consul/api, the only public account of it
type ExportSet struct {
	Name      string
	Services  []string
	Consumers []ServiceConsumer
	Metadata  map[string]string
	// Generation is the index at which Services or Consumers changed last.
	Generation  uint64
	CreateIndex uint64
	ModifyIndex uint64
}

// exportSetKind is how errors name export sets.
const exportSetKind EntryKind = "exportedservices"

// Each service is exported to each consumer, so the product of these is what one set may cost its readers.
const (
	maxExportServices  = 1000
	maxExportConsumers = 100
)

// Validate checks a set by itself. Faults name the fields as the HTTP API writes them.
func (s *ExportSet) Validate() error {
	c := (&EntryHead{Kind: exportSetKind, Name: s.Name}).check()
	if !IsDNSLabel(s.Name) || s.Name != strings.ToLower(s.Name) {
		c.fail("name", "must be fit for DNS: lower-case letters, digits and dashes, at most 63")
	}
	if err := ValidateMeta(s.Metadata, true); err != nil {
		c.fail("metadata:", "%v", err)
	}
	for _, of := range []struct {
		field     string
		size, max int
	}{{"data.services", len(s.Services), maxExportServices}, {"data.consumers", len(s.Consumers), maxExportConsumers}} {
		if of.size == 0 || of.size > of.max {
			c.fail(of.field, "has %d entries: want 1 to %d", of.size, of.max)
			return c.err()
		}
	}
	seen := make(map[string]bool, len(s.Services))
	for i, name := range s.Services {
		at := fmt.Sprintf("data.services[%d]", i)
		if name == Wildcard {
			c.fail(at, "is a wildcard: name the services, or export all with the config entry %s", EntryExportedServices)
		}
		c.required(at, name)
		if seen[strings.ToLower(name)] {
			c.fail(at, "names %.64q a second time: name it once", name)
		}
		seen[strings.ToLower(name)] = true
	}
	for i, to := range s.Consumers {
		at := fmt.Sprintf("data.consumers[%d]", i)
		if count(to.Peer != "", to.SamenessGroup != "") != 1 {
			c.fail(at, "must have exactly one of peer and sameness_group")
		}
		c.target(at+".peer", to.Peer)
		c.target(at+".sameness_group", to.SamenessGroup)
		if slices.Contains(s.Consumers[:i], to) {
			c.fail(at, "is there a second time: write it once")
		}
	}
	return c.err()
}

// Entry is the set as a config entry would say it.
func (s *ExportSet) Entry() *ExportedServices {
	e := &ExportedServices{EntryHead: EntryHead{Kind: exportSetKind, Name: s.Name}}
	for _, name := range s.Services {
		e.Services = append(e.Services, ExportedService{Name: name, Consumers: s.Consumers})
	}
	return e
}

// SameData reports whether two sets export the same.
func (s *ExportSet) SameData(o *ExportSet) bool {
	return slices.Equal(s.Services, o.Services) && slices.Equal(s.Consumers, o.Consumers)
}

// Same reports whether two sets say the same, their indexes left aside.
func (s *ExportSet) Same(o *ExportSet) bool {
	return s.Name == o.Name && s.SameData(o) && maps.Equal(s.Metadata, o.Metadata)
}

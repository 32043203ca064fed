package catalog

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ImportedService is a service of another cluster as that cluster exports it, under the name that this one gives the
// peering.
type ImportedService struct {
	Peer      string
	Service   string
	Instances []*Instance
	// Sidecars are what mesh connections to the service reach.
	Sidecars []*Instance
	// Virtual is the virtual address that the service has in this cluster, empty while it was never one of the mesh.
	Virtual     string
	CreateIndex uint64
	ModifyIndex uint64
}

// Bounds of what one peer may bring.
const (
	MaxImportedServices  = 10_000
	MaxImportedInstances = 5_000 // of one service, sidecars among them
)

// Adopt checks what another cluster says of a service and makes it this cluster's view of it: what could be taken for
// something of this cluster is not there any more. It changes s and what it holds.
func (s *ImportedService) Adopt(peer string) error {
	s.Peer = peer
	if s.Service == "" || s.Service == Wildcard || len(s.Service) > maxServiceName || !printable(s.Service) {
		return Errorf(Invalid, "peer %q: it exports a service by the name %.80q", peer, s.Service)
	}
	if n := len(s.Instances) + len(s.Sidecars); n > MaxImportedInstances {
		return Errorf(Limited, "peer %q: service %q has %d instances: at most %d are taken", peer, s.Service, n, MaxImportedInstances)
	}
	for _, list := range [][]*Instance{s.Instances, s.Sidecars} {
		for _, i := range list {
			if err := i.adopt(peer); err != nil {
				return Errorf(Invalid, "peer %q: service %q: %w", peer, s.Service, err)
			}
		}
		slices.SortFunc(list, func(a, b *Instance) int {
			return cmp.Or(cmp.Compare(a.Node.Node, b.Node.Node), cmp.Compare(a.Service.ID, b.Service.ID))
		})
	}
	for _, i := range s.Instances {
		if i.Service.Service != s.Service || i.Service.Kind != KindTypical {
			return Errorf(Invalid, "peer %q: service %q: instance %.80q is of service %.80q", peer, s.Service, i.Service.ID, i.Service.Service)
		}
	}
	for _, i := range s.Sidecars {
		if i.Service.ConnectName() != s.Service {
			return Errorf(Invalid, "peer %q: service %q: sidecar %.80q is of another service", peer, s.Service, i.Service.ID)
		}
	}
	return nil
}

// maxServiceName bounds the names of imported services, in bytes.
const maxServiceName = 255

func (i *Instance) adopt(peer string) error {
	if i == nil || i.Node == nil || i.Service == nil || slices.Contains(i.Checks, nil) {
		return Errorf(Invalid, "an instance lacks its node, its service or a check")
	}
	n, s := i.Node, i.Service
	if n.Node == "" || !printable(n.Node) || !printable(s.ID) || !printable(s.Service) || !printable(n.Address) || !printable(s.Address) {
		return Errorf(Invalid, "node %.80q, instance %.80q: a name or address is empty or no printable text", n.Node, s.ID)
	}
	s.Normalize()
	if err := s.Validate(); err != nil {
		return err
	}
	s.TaggedAddresses = withoutVirtual(s.TaggedAddresses)
	n.PeerName, s.PeerName = peer, peer
	n.CreateIndex, n.ModifyIndex, s.CreateIndex, s.ModifyIndex = 0, 0, 0, 0
	for _, c := range i.Checks {
		if !c.Status.Valid() {
			return Errorf(Invalid, "check %.80q: unknown status %.20q", c.CheckID, c.Status)
		}
		if c.Node = n.Node; c.ServiceID != "" {
			c.ServiceID, c.ServiceName = s.ID, s.Service
		}
		c.PeerName, c.Output, c.Notes, c.Definition = peer, "", "", nil
		c.CreateIndex, c.ModifyIndex = 0, 0
		c.Normalize()
	}
	return nil
}

// printable reports whether a name of another cluster's can be shown and logged as it is. It may be empty.
func printable(name string) bool {
	return len(name) <= maxServiceName && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// withoutVirtual leaves out the virtual address, which means something in its own cluster only.
func withoutVirtual(tagged map[string]ServiceAddress) map[string]ServiceAddress {
	if _, some := tagged[VirtualTag]; !some {
		return tagged
	}
	tagged = maps.Clone(tagged)
	delete(tagged, VirtualTag)
	return tagged
}

// Exported is the instance as another cluster may see it: who and where it is and how it does, and nothing of how it was
// set up, checked, or of what else it reaches.
func (i *Instance) Exported() *Instance {
	n, s := *i.Node, *i.Service
	n.Meta, n.CreateIndex, n.ModifyIndex = nil, 0, 0
	s.CreateIndex, s.ModifyIndex, s.SocketPath, s.EnableTagOverride = 0, 0, "", false
	s.TaggedAddresses = withoutVirtual(s.TaggedAddresses)
	proxy, native := s.Proxy, s.Connect != nil && s.Connect.Native
	s.Proxy, s.Connect = nil, nil
	if proxy != nil && s.Kind == KindConnectProxy {
		s.Proxy = &Proxy{DestinationServiceName: proxy.DestinationServiceName, DestinationServiceID: proxy.DestinationServiceID}
	}
	if native {
		s.Connect = &Connect{Native: true}
	}
	out := &Instance{Node: &n, Service: &s}
	for _, c := range i.Checks {
		out.Checks = append(out.Checks, &Check{Node: c.Node, CheckID: c.CheckID, Name: c.Name, Status: c.Status, ServiceID: c.ServiceID, ServiceName: c.ServiceName, Type: c.Type})
	}
	return out
}

// Same reports whether two views of a service say the same, their indexes left aside.
func (s *ImportedService) Same(o *ImportedService) bool {
	same := func(a, b *Instance) bool {
		return a.Node.Same(b.Node) && a.Service.Same(b.Service) && slices.EqualFunc(a.Checks, b.Checks, (*Check).Same)
	}
	return s.Peer == o.Peer && s.Service == o.Service && slices.EqualFunc(s.Instances, o.Instances, same) && slices.EqualFunc(s.Sidecars, o.Sidecars, same)
}

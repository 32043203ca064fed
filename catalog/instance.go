package catalog

import (
	"cmp"
	"slices"
)

// Instance is one running copy of a service with all that decides whether it is used: its node, itself
// and the checks of both. It is what health queries answer with.
type Instance struct {
	Node    *Node
	Service *Service
	Checks  []*Check
}

// Status is the worst of the instance's checks.
func (i *Instance) Status() Status { return Aggregate(i.Checks) }

// StatusWithout is the worst of the instance's checks but those with the ids.
func (i *Instance) StatusWithout(ids []string) Status {
	if len(ids) == 0 {
		return i.Status()
	}
	return Aggregate(slices.DeleteFunc(slices.Clone(i.Checks), func(c *Check) bool { return slices.Contains(ids, c.CheckID) }))
}

// Address is where the instance is reached: its own address, else its node's.
func (i *Instance) Address() string {
	if i.Service.Address != "" {
		return i.Service.Address
	}
	return i.Node.Address
}

// Abroad is where other datacenters reach the instance: the service's WAN address, its own address, its node's WAN
// address, or its node's, the first that there is.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general (translate_wan_addrs)
func (i *Instance) Abroad() (address string, port int) {
	if at, some := AtWAN(i.Service.TaggedAddresses, i.Service.Port); some {
		return at.Address, at.Port
	}
	return cmp.Or(i.Service.Address, i.Node.TaggedAddresses[WANTag], i.Node.Address), i.Service.Port
}

// WANTag is the tag of the address that other datacenters use, of nodes and of services.
const WANTag = "wan"

// AtWAN is a service's address for other datacenters, among those that have tags. It has the given port where it says none.
// It reports whether there is one.
func AtWAN(tagged map[string]ServiceAddress, port int) (at ServiceAddress, some bool) {
	at = tagged[WANTag]
	at.Port = cmp.Or(at.Port, port)
	return at, at.Address != ""
}

// Weight is the instance's share by its health; one that is critical has none.
func (i *Instance) Weight() int {
	switch i.Status() {
	case Passing:
		return i.Service.Weights.Passing
	case Warning:
		return i.Service.Weights.Warning
	}
	return 0
}

// CatalogService is an instance without its checks, flattened as catalog queries answer with it.
type CatalogService struct {
	ID                       string
	Node                     string
	Address                  string
	Datacenter               string
	TaggedAddresses          map[string]string
	NodeMeta                 map[string]string
	ServiceKind              Kind
	ServiceID                string
	ServiceName              string
	ServiceTags              []string
	ServiceAddress           string
	ServiceTaggedAddresses   map[string]ServiceAddress `json:",omitempty"`
	ServiceWeights           *Weights
	ServiceMeta              map[string]string
	ServicePort              int
	ServicePorts             []ServicePort `json:",omitempty"`
	ServiceSocketPath        string
	ServiceEnableTagOverride bool
	ServiceProxy             *Proxy
	ServiceConnect           *Connect
	ServiceLocality          *Locality
	PeerName                 string `json:",omitempty"`
	CreateIndex              uint64
	ModifyIndex              uint64
}

// Flatten returns the instance as catalog queries answer with it.
func (i *Instance) Flatten() *CatalogService {
	n, s := i.Node, i.Service
	meta := s.Meta
	if meta == nil {
		meta = map[string]string{}
	}
	return &CatalogService{
		ID: n.ID, Node: n.Node, Address: n.Address, Datacenter: n.Datacenter,
		TaggedAddresses: n.TaggedAddresses, NodeMeta: n.Meta,
		ServiceKind: s.Kind, ServiceID: s.ID, ServiceName: s.Service, ServiceTags: s.Tags,
		ServiceAddress: s.Address, ServiceTaggedAddresses: s.TaggedAddresses, ServiceWeights: s.Weights,
		ServiceMeta: meta, ServicePort: s.Port, ServicePorts: s.Ports, ServiceSocketPath: s.SocketPath,
		ServiceEnableTagOverride: s.EnableTagOverride, ServiceProxy: s.Proxy, ServiceConnect: s.Connect,
		ServiceLocality: s.Locality, PeerName: s.PeerName,
		CreateIndex: s.CreateIndex, ModifyIndex: s.ModifyIndex,
	}
}

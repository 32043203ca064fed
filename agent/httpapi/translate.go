package httpapi

import (
	"cmp"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

// translator has answers name nodes and services of other datacenters by their WAN addresses, in copies: what an answer
// holds is others' too.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general#translate_wan_addrs
type translator struct{ own string }

// answer is what a verb answered, translated where it is a list of nodes or instances; else as it is.
func (t translator) answer(v any) any {
	switch v := v.(type) {
	case *[]*catalog.Node:
		return each(*v, t.node)
	case *[]*catalog.CatalogService:
		return each(*v, t.flat)
	case *[]*catalog.Instance:
		return each(*v, t.instance)
	case **api.NodeServices:
		if *v == nil || !t.abroad((*v).Node) {
			return v
		}
		out := &api.NodeServices{Node: t.node((*v).Node), Services: make(map[string]*catalog.Service, len((*v).Services))}
		for id, s := range (*v).Services {
			out.Services[id] = atWAN(s)
		}
		return out
	case **api.NodeServiceList:
		if *v == nil || !t.abroad((*v).Node) {
			return v
		}
		return &api.NodeServiceList{Node: t.node((*v).Node), Services: each((*v).Services, atWAN)}
	}
	return v
}

func each[T any](list []T, do func(T) T) []T {
	out := make([]T, len(list))
	for i, v := range list {
		out[i] = do(v)
	}
	return out
}

func (t translator) abroad(n *catalog.Node) bool {
	return n != nil && n.Datacenter != "" && n.Datacenter != t.own
}

func (t translator) node(n *catalog.Node) *catalog.Node {
	if !t.abroad(n) || n.TaggedAddresses[catalog.WANTag] == "" {
		return n
	}
	out := *n
	out.Address = n.TaggedAddresses[catalog.WANTag]
	return &out
}

func (t translator) instance(i *catalog.Instance) *catalog.Instance {
	if !t.abroad(i.Node) {
		return i
	}
	out := *i
	out.Node, out.Service = t.node(i.Node), atWAN(i.Service)
	return &out
}

func (t translator) flat(s *catalog.CatalogService) *catalog.CatalogService {
	if s.Datacenter == "" || s.Datacenter == t.own {
		return s
	}
	out := *s
	out.Address = cmp.Or(s.TaggedAddresses[catalog.WANTag], s.Address)
	if at, some := catalog.AtWAN(s.ServiceTaggedAddresses, s.ServicePort); some {
		out.ServiceAddress, out.ServicePort = at.Address, at.Port
	}
	return &out
}

// atWAN is a service at its WAN address, where it has one.
func atWAN(s *catalog.Service) *catalog.Service {
	at, some := catalog.AtWAN(s.TaggedAddresses, s.Port)
	if !some {
		return s
	}
	out := *s
	out.Address, out.Port = at.Address, at.Port
	return &out
}

// translated is what a call answers, at the addresses by which this datacenter reaches others where it is to be so. It
// reports whether that may be something else.
func (c *call) translated(v any) (any, bool) {
	cfg := c.api.config.Load()
	if !cfg.TranslateAddresses {
		return v, false
	}
	return translator{cfg.Datacenter}.answer(v), true
}

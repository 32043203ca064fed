package handler

import (
	"context"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerCatalog(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.RegisterRequest, api.Nothing]{
		Method: api.Register,
		Needs:  func(req *api.RegisterRequest) []acl.Need { return registerNeeds(d, req) },
		Prepare: func(_ context.Context, req *api.RegisterRequest) (*api.RegisterRequest, error) {
			return prepareRegister(d, req)
		},
		Apply: func(tx *state.Txn, req *api.RegisterRequest) (*api.Nothing, error) {
			return nothing, state.Register(tx, registration(req))
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.DeregisterRequest, api.Nothing]{
		Method: api.Deregister,
		Needs:  func(req *api.DeregisterRequest) []acl.Need { return deregisterNeeds(d, req) },
		Prepare: func(_ context.Context, req *api.DeregisterRequest) (*api.DeregisterRequest, error) {
			return req, checkDeregister(req)
		},
		Apply: func(tx *state.Txn, req *api.DeregisterRequest) (*api.Nothing, error) {
			deregister(tx, req)
			return nothing, nil
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.SyncRequest, api.Nothing]{
		Method: api.Sync,
		Needs: func(req *api.SyncRequest) []acl.Need {
			needs := registerNeeds(d, &req.Register)
			for i := range req.Deregister {
				needs = append(needs, deregisterNeeds(d, &req.Deregister[i])...)
			}
			return needs
		},
		Prepare: func(_ context.Context, req *api.SyncRequest) (*api.SyncRequest, error) {
			checked, err := prepareRegister(d, &req.Register)
			if err != nil {
				return nil, err
			}
			for i := range req.Deregister {
				if err := checkDeregister(&req.Deregister[i]); err != nil {
					return nil, err
				}
			}
			return &api.SyncRequest{Register: *checked, Deregister: req.Deregister}, nil
		},
		Apply: func(tx *state.Txn, req *api.SyncRequest) (*api.Nothing, error) {
			said := registration(&req.Register)
			if err := state.Claim(tx, said.Node); err != nil {
				return nil, err
			}
			for i := range req.Deregister {
				deregister(tx, &req.Deregister[i])
			}
			return nothing, state.Register(tx, said)
		},
	})
	registerCatalogReads(r)
}

func registerCatalogReads(r *endpoint.Registry) {
	endpoint.AddQuery(r, endpoint.Query[api.NodeQuery, []*catalog.Node]{
		Method:   api.Nodes,
		Unshared: func(q *api.NodeQuery) bool { return q.Near != "" },
		Read: func(tx *state.Txn, w *state.Watch, q *api.NodeQuery) (*[]*catalog.Node, uint64, error) {
			if q.Peer != "" {
				return importedNodes(tx, w, q)
			}
			if q.Node != "" {
				return readNode(tx, w, q.Node)
			}
			found, index := state.Nodes(tx, w, nodeWith(q.Meta))
			sortNear(tx, q.Near, found, func(n *catalog.Node) string { return n.Node })
			return &found, index, nil
		},
		Visible: visible(func(az acl.Authorizer, n *catalog.Node) bool { return seesNode(az, n.Node) }),
		Filter:  filter.List[*catalog.Node],
	})
	endpoint.AddQuery(r, endpoint.Query[api.ServiceQuery, map[string][]string]{
		Method:   api.Services,
		Read:     readServices,
		ReadKept: readKeptServices,
		Visible:  visibleServices,
	})
	endpoint.AddQuery(r, endpoint.Query[api.ServiceQuery, []*catalog.CatalogService]{
		Method:   api.ServiceInstances,
		Check:    checkService,
		Unshared: nearby,
		Hides:    hidesMesh,
		Read: func(tx *state.Txn, w *state.Watch, q *api.ServiceQuery) (*[]*catalog.CatalogService, uint64, error) {
			found, index, _ := matching(tx, w, q)
			flat := make([]*catalog.CatalogService, len(found))
			for i, instance := range found {
				flat[i] = instance.Flatten()
			}
			return &flat, index, nil
		},
		Visible: visible(func(az acl.Authorizer, s *catalog.CatalogService) bool {
			return seesNode(az, s.Node) && seesService(az, s.ServiceName)
		}),
		Filter: filter.List[*catalog.CatalogService],
	})
	endpoint.AddQuery(r, endpoint.Query[api.AddressQuery, api.Owners]{
		Method:  api.AddressOwners,
		Plain:   true, // what leaves an address behind is not counted
		Read:    readOwners,
		Visible: visibleOwners,
	})
	registerNodeServices(r)
}

// readNode answers with the one node of a name, and depends on nothing else.
func readNode(tx *state.Txn, w *state.Watch, name string) (*[]*catalog.Node, uint64, error) {
	found := []*catalog.Node{}
	n := state.Node(tx, w, name)
	if n != nil {
		found = append(found, n)
	}
	return &found, state.NodeIndex(tx, n, name), nil
}

func checkService(q *api.ServiceQuery) error {
	if q.Service == "" {
		return catalog.Errorf(catalog.Invalid, "missing service name")
	}
	return nil
}

// hidesMesh reports whether the token may not know what leads to a service: to see its proxies and gateways takes
// the right to the service too.
func hidesMesh(az acl.Authorizer, q *api.ServiceQuery) bool {
	return (q.Connect || q.Ingress) && !seesService(az, q.Service)
}

// nearby reports whether the answer is in order of round-trip times, which change all the time.
func nearby(q *api.ServiceQuery) bool { return q.Near != "" }

func readServices(tx *state.Txn, w *state.Watch, q *api.ServiceQuery) (*map[string][]string, uint64, error) {
	if len(q.NodeMeta) == 0 && q.Peer == "" {
		found, index := state.ServiceNames(tx, w)
		return &found, index, nil
	}
	return servicesOf(tx, w, q.Peer, func(i *catalog.Instance) (bool, error) { return catalog.HasPairs(i.Node.Meta, q.NodeMeta), nil })
}

// readKeptServices answers with the services of which an instance is accepted. Filters speak of instances as
// the list of a service's shows them.
// Source: https://developer.hashicorp.com/consul/api-docs/catalog#list-services (filtering)
func readKeptServices(tx *state.Txn, w *state.Watch, q *api.ServiceQuery, az acl.Authorizer, keep filter.Keep) (*map[string][]string, uint64, error) {
	return servicesOf(tx, w, q.Peer, func(i *catalog.Instance) (bool, error) {
		if !catalog.HasPairs(i.Node.Meta, q.NodeMeta) || az.View() != "" && !(seesNode(az, i.Node.Node) && seesService(az, i.Service.Service)) {
			return false, nil
		}
		return keep.Accepts(i.Flatten())
	})
}

// servicesOf returns the services of all instances to keep, this cluster's or those of a peer, with the tags of those.
func servicesOf(tx *state.Txn, w *state.Watch, peer string, keep func(*catalog.Instance) (bool, error)) (*map[string][]string, uint64, error) {
	found := map[string][]string{}
	var failed error
	all := state.AllInstances
	if peer != "" {
		all = func(tx *state.Txn, w *state.Watch, each func(*catalog.Instance)) uint64 {
			return imported(tx, w, peer, each)
		}
	}
	index := all(tx, w, func(i *catalog.Instance) {
		if failed != nil {
			return
		}
		ok, err := keep(i)
		if err != nil {
			failed = err
		}
		if !ok {
			return
		}
		tags, ok := found[i.Service.Service]
		if !ok {
			tags = []string{}
		}
		for _, tag := range i.Service.Tags {
			if !slices.Contains(tags, tag) {
				tags = append(tags, tag)
			}
		}
		found[i.Service.Service] = tags
	})
	return &found, index, failed
}

func visibleServices(az acl.Authorizer, rep *map[string][]string) (*map[string][]string, bool) {
	if az.View() == "" {
		return rep, false
	}
	kept := map[string][]string{}
	for name, tags := range *rep {
		if seesService(az, name) {
			kept[name] = tags
		}
	}
	return &kept, len(kept) < len(*rep)
}

// matching returns the instances that a query selects, nearest first where it says from where.
func matching(tx *state.Txn, w *state.Watch, q *api.ServiceQuery) (found []*catalog.Instance, index, health uint64) {
	switch {
	case q.Peer != "":
		found, index = importedInstances(tx, w, q)
		health = index
	case q.Ingress:
		found, index, health = gatewaysOf(tx, w, catalog.KindIngressGateway, q.Service)
	case q.Connect:
		found, index, health = connectInstances(tx, w, q.Service)
	default:
		found, index, health = state.ServiceInstances(tx, w, q.Service)
	}
	kept := make([]*catalog.Instance, 0, len(found))
	for _, i := range found {
		if i.Service.HasTags(q.Tags) && catalog.HasPairs(i.Node.Meta, q.NodeMeta) && (q.Address == "" || q.Address == i.Address()) && (!q.Passing || i.Status() == catalog.Passing) {
			kept = append(kept, i)
		}
	}
	if q.Peer == "" { // nothing is known of how far the nodes of others are
		sortNear(tx, q.Near, kept, func(i *catalog.Instance) string { return i.Node.Node })
	}
	return kept, index, health
}

func registerNodeServices(r *endpoint.Registry) {
	type services = map[string]*catalog.Service
	endpoint.AddQuery(r, endpoint.Query[api.NodeQuery, *api.NodeServices]{
		Method: api.NodeServiceMap,
		Read: func(tx *state.Txn, w *state.Watch, q *api.NodeQuery) (**api.NodeServices, uint64, error) {
			node, found, index := nodeServices(tx, w, q)
			if node == nil {
				return new(*api.NodeServices), index, nil
			}
			rep := &api.NodeServices{Node: node, Services: services{}}
			for _, i := range found {
				rep.Services[i.Service.ID] = i.Service
			}
			return &rep, index, nil
		},
		Filter: func(rep **api.NodeServices, keep filter.Keep) (**api.NodeServices, error) {
			if *rep == nil {
				return rep, nil
			}
			kept := &api.NodeServices{Node: (*rep).Node, Services: services{}}
			for id, s := range (*rep).Services {
				ok, err := keep(s)
				if err != nil {
					return nil, catalog.Errorf(catalog.Invalid, "filter: %w", err)
				}
				if ok {
					kept.Services[id] = s
				}
			}
			return &kept, nil
		},
		Visible: func(az acl.Authorizer, rep **api.NodeServices) (**api.NodeServices, bool) {
			if *rep == nil || az.View() == "" {
				return rep, false
			}
			if !seesNode(az, (*rep).Node.Node) {
				return new(*api.NodeServices), true
			}
			kept := &api.NodeServices{Node: (*rep).Node, Services: services{}}
			for id, s := range (*rep).Services {
				if seesService(az, s.Service) {
					kept.Services[id] = s
				}
			}
			return &kept, len(kept.Services) < len((*rep).Services)
		},
	})
	registerNodeServiceList(r)
}

func registerNodeServiceList(r *endpoint.Registry) {
	endpoint.AddQuery(r, endpoint.Query[api.NodeQuery, *api.NodeServiceList]{
		Method: api.NodeServicesList,
		Read: func(tx *state.Txn, w *state.Watch, q *api.NodeQuery) (**api.NodeServiceList, uint64, error) {
			node, found, index := nodeServices(tx, w, q)
			rep := &api.NodeServiceList{Node: node}
			if node != nil {
				rep.Services = []*catalog.Service{}
			}
			for _, i := range found {
				rep.Services = append(rep.Services, i.Service)
			}
			return &rep, index, nil
		},
		Filter: func(rep **api.NodeServiceList, keep filter.Keep) (**api.NodeServiceList, error) {
			kept, err := filter.List(&(*rep).Services, keep)
			if err != nil {
				return nil, err
			}
			out := &api.NodeServiceList{Node: (*rep).Node, Services: *kept}
			return &out, nil
		},
		Visible: func(az acl.Authorizer, rep **api.NodeServiceList) (**api.NodeServiceList, bool) {
			if (*rep).Node == nil || az.View() == "" {
				return rep, false
			}
			out := &api.NodeServiceList{Services: []*catalog.Service{}}
			if !seesNode(az, (*rep).Node.Node) {
				return &out, true
			}
			out.Node = (*rep).Node
			for _, s := range (*rep).Services {
				if seesService(az, s.Service) {
					out.Services = append(out.Services, s)
				}
			}
			return &out, len(out.Services) < len((*rep).Services)
		},
	})
}

// readOwners answers reverse look-ups.
func readOwners(tx *state.Txn, w *state.Watch, q *api.AddressQuery) (*api.Owners, uint64, error) {
	return &api.Owners{Nodes: state.NodesAt(tx, w, q.Address), Instances: state.InstancesAt(tx, w, q.Address)}, 1, nil
}

func visibleOwners(az acl.Authorizer, rep *api.Owners) (*api.Owners, bool) {
	if az.View() == "" {
		return rep, false
	}
	kept := &api.Owners{}
	for _, n := range rep.Nodes {
		if seesNode(az, n.Node) {
			kept.Nodes = append(kept.Nodes, n)
		}
	}
	for _, i := range rep.Instances {
		if seesNode(az, i.Node.Node) && seesService(az, i.Service.Service) {
			kept.Instances = append(kept.Instances, i)
		}
	}
	return kept, len(kept.Nodes)+len(kept.Instances) < len(rep.Nodes)+len(rep.Instances)
}

func nodeServices(tx *state.Txn, w *state.Watch, q *api.NodeQuery) (*catalog.Node, []*catalog.Instance, uint64) {
	if q.Peer != "" {
		return importedNode(tx, w, q)
	}
	name := q.Node
	node := state.Node(tx, w, name)
	index := state.NodeIndex(tx, node, name)
	if node != nil {
		name = node.Node
	}
	found, services := state.NodeInstances(tx, w, name)
	return node, found, max(index, services)
}

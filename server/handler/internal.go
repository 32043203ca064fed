package handler

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// registerInternal adds the verbs behind the web interface.
func registerInternal(r *endpoint.Registry) {
	endpoint.AddQuery(r, endpoint.Query[api.NodeQuery, []*api.NodeInfo]{
		Method:  api.NodeDump,
		Read:    readNodeDump,
		Visible: visibleNodeDump,
		Filter:  filter.List[*api.NodeInfo],
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, api.ServiceInfo]{
		Method:  api.ServiceDump,
		Read:    readServiceDump,
		Visible: visibleServiceDump,
		Filter: func(rep *api.ServiceInfo, keep filter.Keep) (*api.ServiceInfo, error) {
			kept, err := filter.List(&rep.Instances, keep)
			if err != nil {
				return nil, err
			}
			return &api.ServiceInfo{Instances: *kept, Gateways: rep.Gateways}, nil
		},
	})
}

// registerMeshGateways adds the verbs that mesh gateways, and those who go through them, learn by.
func registerMeshGateways(r *endpoint.Registry) {
	endpoint.AddQuery(r, endpoint.Query[api.KindQuery, []*catalog.Instance]{
		Method: api.Gateways,
		Check: func(q *api.KindQuery) error {
			if !q.Kind.Gateway() {
				return catalog.Errorf(catalog.Invalid, "kind %q is none of a gateway", q.Kind)
			}
			return nil
		},
		Read: func(tx *state.Txn, w *state.Watch, q *api.KindQuery) (*[]*catalog.Instance, uint64, error) {
			found, index := state.Gateways(tx, w, q.Kind)
			return &found, index, nil
		},
		Visible: visible(func(az acl.Authorizer, i *catalog.Instance) bool {
			return seesNode(az, i.Node.Node) && seesService(az, i.Service.Service)
		}),
		Filter: filter.List[*catalog.Instance],
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, []string]{
		Method: api.MeshServices,
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*[]string, uint64, error) {
			found, index := state.MeshServices(tx, w)
			return &found, index, nil
		},
		Visible: visible(seesService),
	})
}

func readServiceDump(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*api.ServiceInfo, uint64, error) {
	info := &api.ServiceInfo{Instances: []*catalog.Instance{}}
	index := state.AllInstances(tx, w, func(i *catalog.Instance) { info.Instances = append(info.Instances, i) })
	_, checked := state.StateChecks(tx, w, catalog.Any, nil)
	r := &gatewayRead{entriesRead: entriesRead{tx: tx, w: w}}
	for _, kind := range gatewayKinds {
		for _, e := range r.List(kind) {
			info.Gateways = append(info.Gateways, r.services(e)...)
		}
	}
	return info, max(index, checked, r.index), nil
}

func visibleServiceDump(az acl.Authorizer, rep *api.ServiceInfo) (*api.ServiceInfo, bool) {
	instances, fewer := visible(func(az acl.Authorizer, i *catalog.Instance) bool {
		return seesNode(az, i.Node.Node) && seesService(az, i.Service.Service)
	})(az, &rep.Instances)
	gateways, less := visible(seesGatewayService)(az, &rep.Gateways)
	return &api.ServiceInfo{Instances: *instances, Gateways: *gateways}, fewer || less
}

// readNodeDump answers with one node, or with all of them.
func readNodeDump(tx *state.Txn, w *state.Watch, q *api.NodeQuery) (*[]*api.NodeInfo, uint64, error) {
	found := []*api.NodeInfo{}
	if q.Node != "" {
		node, services, index := nodeServices(tx, w, &api.NodeQuery{Node: q.Node})
		checks, checked := state.NodeChecks(tx, w, q.Node)
		if node == nil {
			return &found, index, nil
		}
		info := newNodeInfo(node)
		for _, i := range services {
			info.Services = append(info.Services, bare(i.Service))
		}
		for _, c := range checks {
			info.Checks = append(info.Checks, bareCheck(c))
		}
		return &[]*api.NodeInfo{info}, max(index, checked), nil
	}
	nodes, index := state.Nodes(tx, w, nil)
	named := make(map[string]*api.NodeInfo, len(nodes))
	for _, n := range nodes {
		info := newNodeInfo(n)
		named[n.Node] = info
		found = append(found, info)
	}
	serviced := state.AllInstances(tx, w, func(i *catalog.Instance) {
		info := named[i.Node.Node]
		info.Services = append(info.Services, bare(i.Service))
	})
	checks, checked := state.StateChecks(tx, w, catalog.Any, nil)
	for _, c := range checks {
		if info := named[c.Node]; info != nil {
			info.Checks = append(info.Checks, bareCheck(c))
		}
	}
	return &found, max(index, serviced, checked), nil
}

func newNodeInfo(n *catalog.Node) *api.NodeInfo {
	return &api.NodeInfo{
		ID: n.ID, Node: n.Node, Address: n.Address, PeerName: n.PeerName, TaggedAddresses: n.TaggedAddresses, Meta: n.Meta,
		Services: []*catalog.Service{}, Checks: []*catalog.Check{},
	}
}

// bare is a service as the web interface reads it: without tags it has null rather than an empty list.
func bare(s *catalog.Service) *catalog.Service {
	if len(s.Tags) > 0 {
		return s
	}
	out := *s
	out.Tags = nil
	return &out
}

func bareCheck(c *catalog.Check) *catalog.Check {
	if len(c.ServiceTags) > 0 {
		return c
	}
	out := *c
	out.ServiceTags = nil
	return &out
}

func visibleNodeDump(az acl.Authorizer, rep *[]*api.NodeInfo) (*[]*api.NodeInfo, bool) {
	if az.View() == "" {
		return rep, false
	}
	kept, filtered := []*api.NodeInfo{}, false
	for _, n := range *rep {
		if !seesNode(az, n.Node) {
			filtered = true
			continue
		}
		seen := *n
		seen.Services, seen.Checks = []*catalog.Service{}, []*catalog.Check{}
		for _, s := range n.Services {
			if seesService(az, s.Service) {
				seen.Services = append(seen.Services, s)
			}
		}
		for _, c := range n.Checks {
			if c.ServiceName == "" || seesService(az, c.ServiceName) {
				seen.Checks = append(seen.Checks, c)
			}
		}
		filtered = filtered || len(seen.Services) < len(n.Services) || len(seen.Checks) < len(n.Checks)
		kept = append(kept, &seen)
	}
	return &kept, filtered
}

package handler

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerExternal(r *endpoint.Registry) {
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, api.External]{
		Method: api.ExternalNodes,
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*api.External, uint64, error) {
			nodes, index := state.Nodes(tx, w, nodeWith(map[string]string{api.ExternalNode: "true"}))
			rep := &api.External{Nodes: nodes, Checks: []*catalog.Check{}, Probers: []string{}}
			for _, n := range nodes {
				checks, checked := state.NodeChecks(tx, w, n.Node)
				rep.Checks = append(rep.Checks, checks...)
				index = max(index, checked)
			}
			servers, _, health := state.ServiceInstances(tx, w, catalog.ServersService)
			for _, i := range servers {
				if i.Status() == catalog.Passing {
					rep.Probers = append(rep.Probers, i.Node.Node)
				}
			}
			return rep, max(index, health), nil
		},
		Visible: func(az acl.Authorizer, rep *api.External) (*api.External, bool) {
			if az.View() == "" {
				return rep, false
			}
			out := &api.External{Nodes: []*catalog.Node{}, Checks: []*catalog.Check{}, Probers: rep.Probers}
			for _, n := range rep.Nodes {
				if seesNode(az, n.Node) {
					out.Nodes = append(out.Nodes, n)
				}
			}
			for _, c := range rep.Checks {
				if seesNode(az, c.Node) && (c.ServiceName == "" || seesService(az, c.ServiceName)) {
					out.Checks = append(out.Checks, c)
				}
			}
			return out, len(out.Nodes) < len(rep.Nodes) || len(out.Checks) < len(rep.Checks)
		},
	})
}

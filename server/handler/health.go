package handler

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerHealth(r *endpoint.Registry, _ Deps) {
	nodeOf := func(c *catalog.Check) string { return c.Node }
	seen := visible(func(az acl.Authorizer, c *catalog.Check) bool {
		return seesNode(az, c.Node) && (c.ServiceName == "" || seesService(az, c.ServiceName))
	})
	endpoint.AddQuery(r, endpoint.Query[api.NodeQuery, []*catalog.Check]{
		Method: api.HealthNode,
		Read: func(tx *state.Txn, w *state.Watch, q *api.NodeQuery) (*[]*catalog.Check, uint64, error) {
			if q.Peer != "" {
				found, index := importedChecks(tx, w, q.Peer, func(i *catalog.Instance) bool { return strings.EqualFold(i.Node.Node, q.Node) }, func(*catalog.Check) bool { return true })
				return &found, index, nil
			}
			found, index := state.NodeChecks(tx, w, q.Node)
			return &found, index, nil
		},
		Visible: seen,
		Filter:  filter.List[*catalog.Check],
	})
	endpoint.AddQuery(r, endpoint.Query[api.ServiceQuery, []*catalog.Check]{
		Method:   api.HealthChecks,
		Check:    checkService,
		Unshared: nearby,
		Read: func(tx *state.Txn, w *state.Watch, q *api.ServiceQuery) (*[]*catalog.Check, uint64, error) {
			if q.Peer != "" {
				found, index := importedChecks(tx, w, q.Peer, func(i *catalog.Instance) bool {
					return strings.EqualFold(i.Service.Service, q.Service) && catalog.HasPairs(i.Node.Meta, q.NodeMeta)
				},
					func(c *catalog.Check) bool { return c.ServiceID != "" })
				return &found, index, nil
			}
			found, index := state.ServiceChecks(tx, w, q.Service, nodeWith(q.NodeMeta))
			sortNear(tx, q.Near, found, nodeOf)
			return &found, index, nil
		},
		Visible: seen,
		Filter:  filter.List[*catalog.Check],
	})
	endpoint.AddQuery(r, endpoint.Query[api.StateQuery, []*catalog.Check]{
		Method:   api.HealthState,
		Unshared: func(q *api.StateQuery) bool { return q.Near != "" },
		Read: func(tx *state.Txn, w *state.Watch, q *api.StateQuery) (*[]*catalog.Check, uint64, error) {
			if q.Peer != "" {
				found, index := importedChecks(tx, w, q.Peer, func(i *catalog.Instance) bool { return catalog.HasPairs(i.Node.Meta, q.NodeMeta) },
					func(c *catalog.Check) bool { return q.Status == catalog.Any || c.Status == q.Status })
				return &found, index, nil
			}
			found, index := state.StateChecks(tx, w, q.Status, nodeWith(q.NodeMeta))
			sortNear(tx, q.Near, found, nodeOf)
			return &found, index, nil
		},
		Visible: seen,
		Filter:  filter.List[*catalog.Check],
	})
	endpoint.AddQuery(r, endpoint.Query[api.ServiceQuery, []*catalog.Instance]{
		Method:   api.HealthService,
		Check:    checkService,
		Unshared: nearby,
		Hides:    hidesMesh,
		Read: func(tx *state.Txn, w *state.Watch, q *api.ServiceQuery) (*[]*catalog.Instance, uint64, error) {
			found, _, health := matching(tx, w, q)
			return &found, health, nil
		},
		Visible: visible(func(az acl.Authorizer, i *catalog.Instance) bool {
			return seesNode(az, i.Node.Node) && seesService(az, i.Service.Service)
		}),
		Filter: filter.List[*catalog.Instance],
	})
}

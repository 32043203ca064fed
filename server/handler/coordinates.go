package handler

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerCoordinates(r *endpoint.Registry) {
	type list = []*catalog.NodeCoordinate
	endpoint.AddCommand(r, endpoint.Command[api.CoordinateUpdate, api.Nothing]{
		Method: api.CoordinateSet,
		Needs: func(req *api.CoordinateUpdate) []acl.Need {
			var needs []acl.Need
			for _, u := range req.Updates {
				if u != nil {
					needs = append(needs, need(acl.Node, u.Node, acl.Write)...)
				}
			}
			return needs
		},
		Prepare: func(_ context.Context, req *api.CoordinateUpdate) (*api.CoordinateUpdate, error) {
			for _, u := range req.Updates {
				if u == nil || u.Coord == nil {
					return nil, catalog.Errorf(catalog.Invalid, "update without a coordinate: set Node and Coord")
				}
				if err := u.Coord.Validate(); err != nil {
					return nil, catalog.Errorf(catalog.Invalid, "node %q: %w", u.Node, err)
				}
			}
			return req, nil
		},
		Apply: func(tx *state.Txn, req *api.CoordinateUpdate) (*api.Nothing, error) {
			state.CoordinateSet(tx, req.Updates)
			return nothing, nil
		},
	})
	seen := visible(func(az acl.Authorizer, c *catalog.NodeCoordinate) bool { return seesNode(az, c.Node) })
	endpoint.AddQuery(r, endpoint.Query[api.NodeQuery, list]{
		Method:  api.CoordinateNodes,
		Visible: seen,
		Filter:  filter.List[*catalog.NodeCoordinate],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.NodeQuery) (*list, uint64, error) {
			found, index := state.Coordinates(tx, w)
			return &found, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.NodeQuery, list]{
		Method:  api.CoordinateNode,
		Visible: seen,
		Read: func(tx *state.Txn, w *state.Watch, q *api.NodeQuery) (*list, uint64, error) {
			found, index := state.NodeCoordinates(tx, w, q.Node)
			return &found, index, nil
		},
	})
}

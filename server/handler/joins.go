package handler

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerJoins(r *endpoint.Registry, d Deps) {
	write := need(acl.Operator, "", acl.Write)
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, []*catalog.JoinToken]{
		Method: api.JoinList,
		Needs:  func(*api.Nothing) []acl.Need { return need(acl.Operator, "", acl.Read) },
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*[]*catalog.JoinToken, uint64, error) {
			found, index := state.JoinTokens(tx, w)
			return &found, index, nil
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.Named, bool]{
		Method: api.JoinRevoke,
		Needs:  func(*api.Named) []acl.Need { return write },
		Apply: func(tx *state.Txn, req *api.Named) (*bool, error) {
			there := state.JoinToken(tx, req.Name) != nil
			state.DeleteJoinToken(tx, req.Name)
			return &there, nil
		},
	})
	endpoint.AddCommand(r, endpoint.Command[catalog.JoinToken, api.Nothing]{
		Method: api.JoinStore,
		Needs:  func(*catalog.JoinToken) []acl.Need { return write },
		Prepare: func(_ context.Context, req *catalog.JoinToken) (*catalog.JoinToken, error) {
			return req, req.Validate()
		},
		Apply: func(tx *state.Txn, req *catalog.JoinToken) (*api.Nothing, error) {
			return nothing, state.PutJoinToken(tx, req)
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.JoinSpend, catalog.JoinToken]{
		Method: api.JoinTake,
		Needs:  func(*api.JoinSpend) []acl.Need { return write },
		Apply: func(tx *state.Txn, req *api.JoinSpend) (*catalog.JoinToken, error) {
			found := state.JoinToken(tx, req.ID)
			if err := found.Refuse(req.Hash, req.Now); err != nil {
				return nil, err
			}
			left := *found
			if left.Uses--; left.Uses > 0 {
				return &left, state.PutJoinToken(tx, &left)
			}
			state.DeleteJoinToken(tx, req.ID)
			return &left, nil
		},
	})
}

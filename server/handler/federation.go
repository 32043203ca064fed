package handler

import (
	"context"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerFederation(r *endpoint.Registry) {
	endpoint.AddCommand(r, endpoint.Command[catalog.FederationState, api.Nothing]{
		Method: api.FederationApply, Primary: ruled[catalog.FederationState],
		Needs: func(*catalog.FederationState) []acl.Need { return need(acl.Operator, "", acl.Write) },
		Prepare: func(_ context.Context, given *catalog.FederationState) (*catalog.FederationState, error) {
			req := *given
			if req.Datacenter == "" {
				return nil, catalog.Errorf(catalog.Invalid, "federation state has no datacenter")
			}
			req.UpdatedAt = time.Now().UTC()
			return &req, nil
		},
		Apply: func(tx *state.Txn, req *catalog.FederationState) (*api.Nothing, error) {
			return nothing, state.PutFederation(tx, req)
		},
	})
	read := func() []acl.Need { return need(acl.Operator, "", acl.Read) }
	endpoint.AddQuery(r, endpoint.Query[api.Named, api.Federated]{
		Method: api.FederationRead,
		Needs:  func(*api.Named) []acl.Need { return read() },
		Read: func(tx *state.Txn, w *state.Watch, q *api.Named) (*api.Federated, uint64, error) {
			found, index := state.Federation(tx, w, q.Name)
			return &api.Federated{State: found}, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, []*catalog.FederationState]{
		Method: api.FederationList,
		Needs:  func(*api.Nothing) []acl.Need { return read() },
		Filter: filter.List[*catalog.FederationState],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*[]*catalog.FederationState, uint64, error) {
			found, index := state.Federations(tx, w)
			return &found, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, []*catalog.FederationState]{
		Method: api.FederationGateways,
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*[]*catalog.FederationState, uint64, error) {
			found, index := state.Federations(tx, w)
			return &found, index, nil
		},
		Visible: visibleFederations,
	})
}

// visibleFederations leaves of federation states the gateways that a token may see.
func visibleFederations(az acl.Authorizer, rep *[]*catalog.FederationState) (*[]*catalog.FederationState, bool) {
	if az.View() == "" {
		return rep, false
	}
	kept, filtered := []*catalog.FederationState{}, false
	for _, f := range *rep {
		gateways, fewer := visible(func(az acl.Authorizer, i *catalog.Instance) bool {
			return seesNode(az, i.Node.Node) && seesService(az, i.Service.Service)
		})(az, &f.MeshGateways)
		seen := *f
		seen.MeshGateways = *gateways
		kept, filtered = append(kept, &seen), filtered || fewer
	}
	return &kept, filtered
}

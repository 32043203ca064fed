package handler

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// ErrNoMesh is the answer where connect.enabled is off.
func ErrNoMesh() error {
	return catalog.Errorf(catalog.Internal, "Connect must be enabled in order to use this endpoint: set connect.enabled on all servers")
}

func registerConnect(r *endpoint.Registry, d Deps) {
	enabled := func(*api.Nothing) error {
		if !d.Mesh {
			return ErrNoMesh()
		}
		return nil
	}
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, catalog.Roots]{
		Method: api.CARoots,
		Open:   "whoever is to believe the mesh's certificates may know the roots",
		Check:  enabled,
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*catalog.Roots, uint64, error) {
			rep, index := caRoots(tx, w)
			return rep, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, catalog.CAConfig]{
		Method: api.CAConfig,
		Needs:  func(*api.Nothing) []acl.Need { return need(acl.Operator, "", acl.Read) },
		Check:  enabled,
		Plain:  true,
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*catalog.CAConfig, uint64, error) {
			if c := state.CA(tx, w); c != nil {
				return c, c.ModifyIndex, nil
			}
			return nil, 0, catalog.Errorf(catalog.Unavailable, "the CA has no configuration yet: no leader has been elected since this cluster was made")
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.CAWrite, bool]{
		Method: api.CAStore,
		Needs:  func(*api.CAWrite) []acl.Need { return need(acl.Operator, "", acl.Write) },
		Prepare: func(_ context.Context, req *api.CAWrite) (*api.CAWrite, error) {
			if req.Config == nil {
				return nil, catalog.Errorf(catalog.Invalid, "the CA's configuration is missing")
			}
			return req, nil
		},
		Apply: func(tx *state.Txn, req *api.CAWrite) (*bool, error) {
			var present uint64
			if old := state.CA(tx, nil); old != nil {
				present = old.ModifyIndex
			}
			done := present == req.CAS && req.Config != nil
			if done {
				state.SetCA(tx, req.Config, req.Keys, req.Roots)
			}
			return &done, nil
		},
	})
}

func caRoots(tx *state.Txn, w *state.Watch) (*catalog.Roots, uint64) {
	rep := &catalog.Roots{}
	var index uint64
	rep.Roots, index = state.Roots(tx, w)
	rep.TrustDomain, _ = trustDomain(tx, w)
	if active := rep.Active(); active != nil {
		rep.ActiveRootID = active.ID
	}
	return rep, index
}

// trustDomain is the cluster's, empty before it has one, with the index at which it was made. It never
// changes, but by a restore.
func trustDomain(tx *state.Txn, w *state.Watch) (string, uint64) {
	if c := state.CA(tx, w); c != nil {
		return connect.TrustDomain(c.ClusterID), c.CreateIndex
	}
	return "", 0
}

package handler

import (
	"cmp"
	"context"

	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// removal is how one of the ACL system's nouns is removed. What is not there is removed already, and takes no entry of
// the log.
type removal[Req, Row any] struct {
	method rpc.Method[Req, api.Nothing]
	// primary is as in endpoint.Command.
	primary func(*Req) bool
	check   func(*Req) error
	stored  func(*state.Txn, *Req) (*Row, uint64)
	remove  func(*state.Txn, *Req)
}

func addRemoval[Req, Row any](r *endpoint.Registry, d Deps, of removal[Req, Row]) {
	endpoint.AddCommand(r, endpoint.Command[Req, api.Nothing]{
		Method: of.method, Needs: aclWrite[Req], Primary: of.primary,
		Prepare: func(_ context.Context, req *Req) (*Req, error) { return req, cmp.Or(d.ACL.on(), of.check(req)) },
		Answer: func(req *Req) *api.Nothing {
			if row, _ := of.stored(d.Store.Read(), req); row != nil {
				return nil
			}
			return nothing
		},
		Apply: func(tx *state.Txn, req *Req) (*api.Nothing, error) {
			of.remove(tx, req)
			return nothing, nil
		},
	})
}

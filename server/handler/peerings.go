package handler

import (
	"context"
	"net"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerPeerings(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.PeeringWrite, string]{
		Method: api.PeeringGenerate,
		Needs:  func(*api.PeeringWrite) []acl.Need { return need(acl.Peering, "", acl.Write) },
		Prepare: func(_ context.Context, given *api.PeeringWrite) (*api.PeeringWrite, error) {
			req := *given
			if err := req.Peering.Validate(); err != nil {
				return nil, err
			}
			req.Peering.ID, req.Peering.State, req.Peering.Secret = newUUID(), catalog.PeeringPending, newUUID()
			req.Token.ServerAddresses = peeringAddresses(d.Store.Read())
			req.Token.EstablishmentSecret, req.Token.Remote.Datacenter = req.Peering.Secret, d.Datacenter
			return &req, nil
		},
		Apply: func(tx *state.Txn, req *api.PeeringWrite) (*string, error) {
			p, err := state.PutPeering(tx, &req.Peering)
			if err != nil {
				return nil, err
			}
			token := req.Token
			token.PeerID = p.ID
			text := token.String()
			return &text, nil
		},
	})
	endpoint.AddAction(r, endpoint.Action[api.PeeringWrite, api.Nothing]{
		Method: api.PeeringEstablish,
		Needs:  func(*api.PeeringWrite) []acl.Need { return need(acl.Peering, "", acl.Write) },
		Do: func(_ context.Context, _ rpc.Header, req *api.PeeringWrite) (*api.Nothing, rpc.Meta, error) {
			if err := req.Peering.Validate(); err != nil {
				return nil, rpc.Meta{}, err
			}
			return nil, rpc.Meta{}, catalog.Errorf(catalog.Unavailable, "peering %q with datacenter %q cannot be established: this version does not connect to other clusters yet", req.Peering.Name, req.Token.Remote.Datacenter)
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.Named, api.Nothing]{
		Method: api.PeeringDelete,
		Needs:  func(*api.Named) []acl.Need { return need(acl.Peering, "", acl.Write) },
		Answer: func(req *api.Named) *api.Nothing {
			if p, _ := state.Peering(d.Store.Read(), nil, req.Name); p != nil {
				return nil
			}
			return nothing
		},
		Apply: func(tx *state.Txn, req *api.Named) (*api.Nothing, error) {
			state.DeletePeering(tx, req.Name)
			return nothing, nil
		},
	})
	type list = []*catalog.Peering
	endpoint.AddQuery(r, endpoint.Query[api.Named, list]{
		Method: api.PeeringRead,
		Needs:  func(*api.Named) []acl.Need { return need(acl.Peering, "", acl.Read) },
		Read: func(tx *state.Txn, w *state.Watch, q *api.Named) (*list, uint64, error) {
			found, index := state.Peering(tx, w, q.Name)
			if found == nil {
				return &list{}, index, nil
			}
			return &list{found}, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, list]{
		Method: api.PeeringList,
		Needs:  func(*api.Nothing) []acl.Need { return need(acl.Peering, "", acl.Read) },
		Filter: filter.List[*catalog.Peering],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*list, uint64, error) {
			found, index := state.Peerings(tx, w)
			return &found, index, nil
		},
	})
}

// peeringAddresses lists where other clusters reach the servers.
func peeringAddresses(tx *state.Txn) []string {
	servers, _, _ := state.ServiceInstances(tx, nil, catalog.ServersService)
	list := []string{}
	for _, i := range servers {
		if port := i.Service.Meta["grpc_tls_port"]; port != "" {
			list = append(list, net.JoinHostPort(i.Address(), port))
		}
	}
	return list
}

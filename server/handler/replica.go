package handler

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerReplica(r *endpoint.Registry, d Deps) {
	endpoint.AddQuery(r, endpoint.Query[api.ReplicaQuery, api.ReplicaList]{
		Method: api.ReplicaKeys, Needs: replicaNeeds,
		Read: func(tx *state.Txn, w *state.Watch, q *api.ReplicaQuery) (*api.ReplicaList, uint64, error) {
			state.Primacy(tx, w) // whoever waits hears at once that this is the primary no longer
			if err := checkReplica(d, q); err != nil {
				return nil, 0, err
			}
			keys, index := state.ReplicaKeys(tx, w, q.Kind)
			out := &api.ReplicaList{Keys: keys}
			if c := state.CA(tx, nil); c != nil {
				out.ClusterID = c.ClusterID
			}
			return out, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.ReplicaQuery, catalog.ReplicaRows]{
		Method: api.ReplicaRows, Needs: replicaNeeds, Plain: true,
		Check: func(q *api.ReplicaQuery) error { return checkReplica(d, q) },
		Read: func(tx *state.Txn, _ *state.Watch, q *api.ReplicaQuery) (*catalog.ReplicaRows, uint64, error) {
			return state.ReplicaRows(tx, q.Kind, q.Keys), 1, nil
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.ReplicaWrite, api.ReplicaWritten]{
		Method: api.ReplicaApply, Needs: func(*api.ReplicaWrite) []acl.Need { return need(acl.Operator, "", acl.Write) },
		Prepare: func(_ context.Context, given *api.ReplicaWrite) (*api.ReplicaWrite, error) {
			req := *given
			req.Rows, req.Unfit = fitRows(given.Kind, &given.Rows)
			req.At = writtenAt()
			return &req, nil
		},
		Apply: applyReplica,
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, api.Primacies]{
		Method: api.PrimacyRead, Plain: true, Open: "which datacenter is the primary is no secret",
		Read: func(tx *state.Txn, _ *state.Watch, _ *api.Nothing) (*api.Primacies, uint64, error) {
			return &api.Primacies{Primacy: state.Primacy(tx, nil)}, 1, nil
		},
	})
	endpoint.AddCommand(r, endpoint.Command[catalog.Primacy, bool]{
		Method: api.PrimacyApply, Needs: func(*catalog.Primacy) []acl.Need { return need(acl.Operator, "", acl.Write) },
		Apply: func(tx *state.Txn, req *catalog.Primacy) (*bool, error) { return new(state.SetPrimacy(tx, req)), nil },
	})
}

// replicaNeeds is what the replication token must be allowed: with tokens come their secrets, and with config entries
// those of gateways.
func replicaNeeds(q *api.ReplicaQuery) []acl.Need {
	switch q.Kind {
	case catalog.ReplicaPolicies, catalog.ReplicaRoles:
		return need(acl.ACL, "", acl.Read)
	case catalog.ReplicaTokens:
		return need(acl.ACL, "", acl.Write)
	case catalog.ReplicaFederations:
		return need(acl.Operator, "", acl.Read)
	}
	return need(acl.Operator, "", acl.Write)
}

// checkReplica refuses those who take this datacenter for a primary when it is none, or are called as it is.
func checkReplica(d Deps, q *api.ReplicaQuery) error {
	promoted := state.Primacy(d.Store.Read(), nil)
	switch primary := d.primary(); {
	case primary == q.From && promoted == nil && primary != d.Datacenter:
		return api.EachOther(d.Datacenter, q.From)
	case primary != d.Datacenter && (promoted == nil || promoted.Datacenter != q.From): // that one is about to take over, or has
		return catalog.Errorf(catalog.Conflict, "datacenter %s is no primary: it copies from %s: set primary_datacenter to that on the servers of %s", d.Datacenter, primary, q.From)
	case q.From == d.Datacenter:
		return catalog.Errorf(catalog.Conflict, "another datacenter calls itself %s as this one: give one of them another name", q.From)
	}
	switch q.Kind {
	case catalog.ReplicaPolicies, catalog.ReplicaRoles, catalog.ReplicaTokens:
		if !d.ACL.Enabled {
			return catalog.Errorf(catalog.Unavailable, "datacenter %s checks no tokens, and %s wants to copy its ACLs: set acl.enabled on the servers of both, or of none", d.Datacenter, q.From)
		}
		return nil
	case catalog.ReplicaEntries, catalog.ReplicaFederations:
		return nil
	}
	return catalog.Errorf(catalog.Invalid, "nothing of the kind %q is copied by this version", q.Kind)
}

// primary is the datacenter that rules over ACLs and config entries at the moment.
func (d *Deps) primary() string {
	if d.Primary == nil {
		return d.Datacenter
	}
	return d.Primary()
}

func applyReplica(tx *state.Txn, req *api.ReplicaWrite) (*api.ReplicaWritten, error) {
	if p := state.Primacy(tx, nil); p != nil && p.Epoch > req.Epoch {
		return nil, catalog.Errorf(catalog.Conflict, "datacenter %s has become the primary in the meantime: nothing is copied from the one before", p.Datacenter)
	}
	if req.From != nil {
		state.SetRuler(tx, req.From)
	}
	state.DropRows(tx, req.Kind, req.Drop)
	out := &api.ReplicaWritten{Refused: append(req.Unfit, state.CopyRows(tx, &req.Rows)...)}
	if req.Kind == catalog.ReplicaEntries {
		bindGateways(tx, catalog.EntryAPIGateway, req.At)
	}
	return out, nil
}

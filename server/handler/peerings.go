package handler

import (
	"context"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// registerPeerings adds what the store answers of peerings. What needs the other cluster is the leader's: see package
// server/peer.
func registerPeerings(r *endpoint.Registry, d Deps) {
	registerPeeringWrites(r)
	registerPeerTrust(r)
	registerPeerServers(r, d.Datacenter)
	show := func(tx *state.Txn, w *state.Watch, p *catalog.Peering) (*catalog.Peering, uint64) {
		row, index := p.Shown(), uint64(0)
		if d.PeerStream != nil {
			row.StreamStatus = d.PeerStream(p.ID)
		}
		row.StreamStatus.ExportedServices, row.StreamStatus.ImportedServices, index = exchanged(tx, w, p)
		return row, index
	}
	type list = []*catalog.Peering
	endpoint.AddQuery(r, endpoint.Query[api.Named, list]{
		Method:   api.PeeringRead,
		Needs:    func(*api.Named) []acl.Need { return need(acl.Peering, "", acl.Read) },
		Unshared: func(*api.Named) bool { return true }, // the leader knows the times of messages, not the store
		Read: func(tx *state.Txn, w *state.Watch, q *api.Named) (*list, uint64, error) {
			found, index := state.Peering(tx, w, q.Name)
			if found == nil {
				return &list{}, index, nil
			}
			row, at := show(tx, w, found)
			return &list{row}, max(index, at), nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, list]{
		Method:   api.PeeringList,
		Needs:    func(*api.Nothing) []acl.Need { return need(acl.Peering, "", acl.Read) },
		Unshared: func(*api.Nothing) bool { return true },
		Filter:   filter.List[*catalog.Peering],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*list, uint64, error) {
			found, index := state.Peerings(tx, w)
			shown := list{}
			for _, p := range found {
				row, at := show(tx, w, p)
				shown, index = append(shown, row), max(index, at)
			}
			return &shown, index, nil
		},
	})
}

// registerPeerTrust adds what sidecars have to know of peers.
func registerPeerTrust(r *endpoint.Registry) {
	endpoint.AddQuery(r, endpoint.Query[api.PeerTrustQuery, []*catalog.PeerTrust]{
		Method: api.PeerTrust,
		Needs: func(q *api.PeerTrustQuery) []acl.Need {
			if q.All { // a gateway registers itself
				return need(acl.Service, q.Service, acl.Write)
			}
			return need(acl.Service, q.Service, acl.Read)
		},
		Read: func(tx *state.Txn, w *state.Watch, q *api.PeerTrustQuery) (*[]*catalog.PeerTrust, uint64, error) {
			found, index := []*catalog.PeerTrust{}, uint64(1)
			rows, at := state.Peerings(tx, w)
			index = max(index, at)
			if q.Peer == "" && !q.All {
				_, at, _ := readExports(tx, w, &api.Named{}) // it never fails
				index = max(index, at)
			}
			wanted := func(peer string) bool {
				switch {
				case q.Peer != "":
					return q.Peer == peer
				case q.All:
					return true
				}
				return slices.Contains(ExportedTo(tx, w, peer), q.Service)
			}
			for _, p := range rows {
				if !wanted(p.Name) {
					continue
				}
				if t := trustOf(tx, w, p, rows); t != nil {
					found = append(found, t)
				}
			}
			return &found, index, nil
		},
	})
}

// trustOf is by what a peer's services prove themselves, nil for none: before both clusters have agreed, after the end, and
// where the peer says to be of a trust domain that is this cluster's, or another peer's who was there first.
func trustOf(tx *state.Txn, w *state.Watch, p *catalog.Peering, all []*catalog.Peering) *catalog.PeerTrust {
	domain := p.TrustDomain()
	own := state.CA(tx, w)
	if domain == "" || p.Ended() || len(p.PeerCAPems) == 0 || own == nil || domain == connect.TrustDomain(own.ClusterID) {
		return nil
	}
	for _, o := range all {
		if o.ID != p.ID && !o.Ended() && o.TrustDomain() == domain && o.CreateIndex < p.CreateIndex {
			return nil
		}
	}
	return &catalog.PeerTrust{Peer: p.Name, Datacenter: p.Remote.Datacenter, TrustDomain: domain, Roots: p.PeerCAPems, KnownAs: p.KnownAs, Gateways: p.Gateways}
}

// exchanged lists what goes over a peering in each direction: nothing before both clusters have agreed, or after the end.
// The index is that of the last change.
func exchanged(tx *state.Txn, w *state.Watch, p *catalog.Peering) (exported, imported []string, index uint64) {
	if p.State == catalog.PeeringPending || p.Ended() {
		return nil, nil, 0
	}
	found, index := state.Imports(tx, w, p.Name)
	for _, s := range found {
		imported = append(imported, s.Service)
	}
	exported, at := exportedTo(tx, w, p.Name)
	return exported, imported, max(index, at)
}

// ExportedTo lists the services that a peer may see, by name.
func ExportedTo(tx *state.Txn, w *state.Watch, peer string) []string {
	names, _ := exportedTo(tx, w, peer)
	return names
}

func exportedTo(tx *state.Txn, w *state.Watch, peer string) (names []string, index uint64) {
	list, index, _ := readExports(tx, w, &api.Named{Name: peer}) // it never fails
	for _, s := range *list {
		names = append(names, s.Service)
	}
	return names, index
}

// registerPeeringWrites adds what the leader writes of peerings.
func registerPeeringWrites(r *endpoint.Registry) {
	write := need(acl.Operator, "", acl.Write)
	endpoint.AddCommand(r, endpoint.Command[api.PeeringPut, bool]{
		Method: api.PeeringStore,
		Needs:  func(*api.PeeringPut) []acl.Need { return write },
		Prepare: func(_ context.Context, req *api.PeeringPut) (*api.PeeringPut, error) {
			return req, req.Peering.Validate()
		},
		Apply: func(tx *state.Txn, req *api.PeeringPut) (*bool, error) {
			done, err := state.PutPeering(tx, &req.Peering, req.Was)
			return &done, err
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.PeeringImport, api.Nothing]{
		Method: api.PeeringTake,
		Needs:  func(*api.PeeringImport) []acl.Need { return write },
		Apply:  func(tx *state.Txn, req *api.PeeringImport) (*api.Nothing, error) { return nothing, takeImport(tx, req) },
	})
	endpoint.AddCommand(r, endpoint.Command[api.Named, api.Nothing]{
		Method: api.PeeringRemove,
		Needs:  func(*api.Named) []acl.Need { return write },
		Apply: func(tx *state.Txn, req *api.Named) (*api.Nothing, error) {
			state.DeletePeering(tx, req.Name)
			return nothing, nil
		},
	})
}

// takeImport stores news of a peer. What comes after the end of the peering is late, and dropped, but for removals.
func takeImport(tx *state.Txn, req *api.PeeringImport) error {
	p := state.PeeringByID(tx, nil, req.ID)
	if p == nil {
		return nil
	}
	if !p.Ended() {
		for _, s := range req.Services {
			row := *s
			row.Peer = p.Name
			if err := state.PutImport(tx, &row); err != nil {
				return err
			}
		}
	}
	if !req.Whole {
		return nil
	}
	kept := map[string]bool{}
	for _, name := range req.Keep {
		kept[name] = true
	}
	found, _ := state.Imports(tx, nil, p.Name)
	for _, s := range found {
		if !kept[s.Service] {
			state.DeleteImport(tx, p.Name, s.Service)
		}
	}
	return nil
}

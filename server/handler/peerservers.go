package handler

import (
	"cmp"
	"net"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// registerPeerServers adds the servers that mesh gateways lead to on behalf of peerings: none unless the config entry mesh says
// that peers go through gateways.
// Source: https://developer.hashicorp.com/consul/docs/east-west/mesh-gateway/cluster-peer
func registerPeerServers(r *endpoint.Registry, datacenter string) {
	endpoint.AddQuery(r, endpoint.Query[api.Named, []*catalog.PeerServers]{
		Method: api.PeerServers,
		Needs:  func(q *api.Named) []acl.Need { return need(acl.Service, q.Name, acl.Write) }, // a gateway registers itself
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Named) (*[]*catalog.PeerServers, uint64, error) {
			through, index := state.PeersThroughGateways(tx, w)
			if !through {
				return &[]*catalog.PeerServers{}, max(1, index), nil
			}
			addresses, at := peerPorts(tx, w, true)
			index = max(index, at)
			rows, at := state.Peerings(tx, w)
			index = max(index, at)
			_, at = state.Roots(tx, w) // the CA comes with them
			found := peerServers(datacenter, state.CA(tx, w), addresses, rows)
			return &found, max(index, at), nil
		},
	})
}

// peerServers are this cluster's servers, once the mesh has a CA, and those that it connects to, or is about to: a token that is
// being used may lead elsewhere than what is known. A name is that of the cluster which had it first.
func peerServers(datacenter string, ca *catalog.CAConfig, addresses []string, rows []*catalog.Peering) []*catalog.PeerServers {
	found, of := []*catalog.PeerServers{}, map[string]string{}
	take := func(id string, s *catalog.PeerServers) {
		switch owner, some := of[s.ServerName]; {
		case !some:
			found, of[s.ServerName] = append(found, s), id
		case owner == id:
			at := slices.IndexFunc(found, func(o *catalog.PeerServers) bool { return o.ServerName == s.ServerName })
			both := slices.Concat(found[at].Addresses, s.Addresses)
			slices.Sort(both)
			found[at] = &catalog.PeerServers{ServerName: s.ServerName, Addresses: slices.Compact(both)}
		}
	}
	if ca != nil {
		take("", &catalog.PeerServers{ServerName: catalog.PeerServerName(datacenter, connect.TrustDomain(ca.ClusterID)), Addresses: addresses})
	}
	for _, p := range slices.SortedFunc(slices.Values(rows), func(a, b *catalog.Peering) int { return cmp.Compare(a.CreateIndex, b.CreateIndex) }) {
		if p.Dials() && p.State != catalog.PeeringTerminated { // one that is being deleted has a farewell to say
			take(p.ID, &catalog.PeerServers{ServerName: p.PeerServerName, Addresses: p.PeerServerAddresses})
		}
		if p.Exchange != nil {
			take(p.ID, p.Exchange)
		}
	}
	return found
}

// PeerPorts lists where the servers of this cluster meet peers.
func PeerPorts(tx *state.Txn, w *state.Watch) []string {
	list, _ := peerPorts(tx, w, false)
	return list
}

// peerPorts lists them, with those only that are not critical if that is wanted and leaves some. The index is of the servers
// and their health.
func peerPorts(tx *state.Txn, w *state.Watch, healthy bool) ([]string, uint64) {
	servers, _, index := state.ServiceInstances(tx, w, catalog.ServersService)
	all, well := []string{}, []string{}
	for _, i := range servers {
		port := i.Service.Meta["grpc_tls_port"]
		if port == "" {
			continue
		}
		at := net.JoinHostPort(i.Address(), port)
		if all = append(all, at); i.Status() != catalog.Critical {
			well = append(well, at)
		}
	}
	if healthy && len(well) > 0 {
		return well, index
	}
	return all, index
}

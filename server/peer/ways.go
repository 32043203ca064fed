package peer

import (
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
)

// maxGateways bounds the mesh gateways that a cluster tells of.
const maxGateways = 64

// gateways lists where the mesh gateways are, those that are critical left out.
func gateways(tx *state.Txn, w *state.Watch, at func(*catalog.Instance) (string, int)) []string {
	list, _ := state.Gateways(tx, w, catalog.KindMeshGateway)
	var found []string
	for _, i := range list {
		if host, port := at(i); i.Status() != catalog.Critical && host != "" && port > 0 && len(found) < maxGateways {
			found = append(found, net.JoinHostPort(host, strconv.Itoa(port)))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// atHome is where the servers of this cluster reach one of its gateways.
func atHome(i *catalog.Instance) (string, int) { return i.Address(), i.Service.Port }

// meetingPoints lists where peers reach this cluster's servers: at its mesh gateways, where the config entry mesh says so.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/mesh (PeerThroughMeshGateways)
func (p *Peers) meetingPoints(tx *state.Txn, w *state.Watch) []string {
	if through, _ := state.PeersThroughGateways(tx, w); through {
		return gateways(tx, w, (*catalog.Instance).Abroad)
	}
	return p.cfg.Addresses(tx, w)
}

// checkReached refuses a token that leads nowhere.
func (p *Peers) checkReached(token *catalog.PeeringToken) error {
	if len(reachable(token)) > 0 {
		return nil
	}
	if through, _ := state.PeersThroughGateways(p.cfg.Store.Read(), nil); through {
		return catalog.Errorf(catalog.Unavailable, "no mesh gateway is registered in datacenter %s that is well, through which peers are to come: the config entry mesh has Peering.PeerThroughMeshGateways; register one, take that out, or give addresses with -server-external-addresses", p.cfg.Datacenter)
	}
	return catalog.Errorf(catalog.Unavailable, "no server of datacenter %s is in the catalog with a port for peers yet: try again in a moment, or give addresses with -server-external-addresses", p.cfg.Datacenter)
}

// ways are the mesh gateways of this cluster, through which its servers go to those of peers. It implements rpc.Gateways.
type ways struct {
	store *state.Store
	rpc.Led
}

// To implements rpc.Gateways: each gateway leads to every peer.
func (w *ways) To(string) ([]string, error) {
	list := gateways(w.store.Read(), nil, atHome)
	if len(list) == 0 {
		return nil, errors.New("no mesh gateway of this cluster is registered that is well")
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	w.Sort(list)
	return list, nil
}

// outward reports whether this cluster's servers go through its own mesh gateways at present: those are wanted, and there are
// some.
func (p *Peers) outward() bool {
	tx := p.cfg.Store.Read()
	through, _ := state.PeersThroughGateways(tx, nil)
	return through && len(gateways(tx, nil, atHome)) > 0
}

// reach are the ways to the servers of one other cluster, in the order in which to try them.
type reach struct {
	pool *rpc.Pool
	ways []*rpc.Target
}

// Close ends the connections.
func (r *reach) Close() { r.pool.Close() }

// reach makes the ways to the servers at some addresses: the own gateways, which know these addresses, or the addresses
// themselves.
func (p *Peers) reach(now *shown, to connect.ID, roots, addresses []string) (*reach, error) {
	if len(addresses) == 0 {
		return nil, catalog.Errorf(catalog.Unavailable, "no address of the other cluster's servers is known")
	}
	var through rpc.Gateways
	if p.outward() {
		through, addresses = &p.ways, []string{serverName(to)}
	}
	pool, err := p.pool(now, to, roots, through)
	if err != nil {
		return nil, err
	}
	r := &reach{pool: pool}
	for _, address := range addresses {
		r.ways = append(r.ways, pool.To(address))
	}
	return r, nil
}

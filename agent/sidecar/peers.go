package sidecar

import (
	"context"
	"strings"
	"sync"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/connect/proxy"
)

// toPeer is what is known of a service of a peer.
type toPeer struct {
	service, peer string
	mode          string // of mesh gateways
	trust         *catalog.PeerTrust
	list          []*catalog.Instance
	gateways      *Gateways // of the own datacenter, in mode local
	asked, told   bool      // list and trust are known
}

// followPeer learns of the instances of a service of a peer, by what they prove to be of it, and what they are reached through,
// until ctx ends.
func (c *collector) followPeer(ctx context.Context, t *catalog.ChainTarget, ask ask, put func(*Target)) {
	var mu sync.Mutex
	p := toPeer{service: t.Service, peer: t.Peer, mode: t.MeshGateway.Mode}
	show := func(take func()) {
		mu.Lock()
		defer mu.Unlock()
		if take(); p.asked && p.told && (p.mode != modeLocal || p.gateways != nil) {
			put(p.target())
		}
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { // ends with ctx
		follow(ctx, c.log, "trust of peer "+t.Peer, func(ctx context.Context, index uint64) ([]*catalog.PeerTrust, uint64, error) {
			return c.source.PeerTrust(ctx, t.Service, t.Peer, index)
		}, func(found []*catalog.PeerTrust) {
			show(func() {
				if p.trust, p.told = nil, true; len(found) == 1 {
					p.trust = found[0]
				}
			})
		}, nil)
	})
	if p.mode == modeLocal {
		beside.Go(func() { // ends with ctx
			c.followGateways(ctx, c.source.Datacenter(), func(g *Gateways) { show(func() { p.gateways = g }) })
		})
	}
	follow(ctx, c.log, "instances of "+t.Service+" of peer "+t.Peer, func(ctx context.Context, index uint64) ([]*catalog.Instance, uint64, error) {
		return ask(ctx, t, index)
	}, func(found []*catalog.Instance) { show(func() { p.list, p.asked = found, true }) }, nil)
}

// target is where a sidecar is led: where nothing is said of a mode through the gateways of the peer if it has some.
// Source: https://developer.hashicorp.com/consul/docs/east-west/mesh-gateway/service-to-service-traffic-peers
func (p *toPeer) target() *Target {
	if p.trust == nil {
		return &Target{Error: "there is no peering " + p.peer + ", or it cannot be told from this cluster or another peer: they have one trust domain"}
	}
	found := &Target{
		Peer: p.trust, Endpoints: endpointsOf(p.list, true),
		Identities: []connect.ID{{Kind: connect.KindService, TrustDomain: p.trust.TrustDomain, Datacenter: p.trust.Datacenter, Name: spelled(p.service, p.list)}},
	}
	if p.mode == modeNone || p.mode == "" && len(p.trust.Gateways) == 0 {
		return found
	}
	switch found.Gateways = p.gateways; {
	case p.trust.KnownAs == "":
		found.Gateways = &Gateways{Error: "peer " + p.peer + " has not said yet how its mesh gateways are spoken to: its servers are of an older version, or have never been connected"}
	case len(p.trust.Gateways) == 0:
		found.Gateways = &Gateways{Error: "peer " + p.peer + " has no mesh gateway that is well"}
	case p.mode != modeLocal:
		found.Gateways = gatewaysOf(p.trust)
	}
	found.ServerName = chain.PeeredName(p.service, p.trust.KnownAs, p.trust.TrustDomain)
	return found
}

// gatewaysOf are the mesh gateways of a peer, as it says itself.
func gatewaysOf(p *catalog.PeerTrust) *Gateways {
	return &Gateways{Datacenter: p.Datacenter, Endpoints: endpointsAt(p.Gateways)}
}

// endpointsAt are endpoints of which no more is known than their addresses.
func endpointsAt(addresses []string) (all []Endpoint) {
	for _, address := range addresses {
		all = append(all, Endpoint{Network: "tcp", Address: address, Status: catalog.Passing, Weight: 1})
	}
	return all
}

// Parts of what gateways know that are about peers. A gateway does not wait for them before it leads to services.
const (
	partExports = "services that are exported"
	partPeers   = "gateways of peers"
	partMeeting = "servers of peers"
)

// followExports learns until ctx ends which services peers may reach.
func (g *gatherer) followExports(ctx context.Context) {
	follow(ctx, g.log, partExports, g.source.Exports, func(list map[string][]string) {
		g.set(func() { g.known.Exports = list })
	}, g.failed(partExports))
}

// followPeers learns of the gateways of all peers until ctx ends.
func (g *gatherer) followPeers(ctx context.Context) {
	follow(ctx, g.log, partPeers, func(ctx context.Context, index uint64) ([]*catalog.PeerTrust, uint64, error) {
		return g.source.Peers(ctx, g.service.Service, index)
	}, func(list []*catalog.PeerTrust) {
		peers := map[string]*Gateways{}
		for _, p := range list {
			if p.KnownAs != "" {
				peers[chain.PeeredEverywhere(p.KnownAs, p.TrustDomain)] = gatewaysOf(p)
			}
		}
		g.set(func() { g.known.Peers = peers })
	}, g.failed(partPeers))
}

// followPeerServers learns until ctx ends of the servers that it leads to for peers.
func (g *gatherer) followPeerServers(ctx context.Context) {
	follow(ctx, g.log, partMeeting, func(ctx context.Context, index uint64) ([]*catalog.PeerServers, uint64, error) {
		return g.source.PeerServers(ctx, g.service.Service, index)
	}, func(list []*catalog.PeerServers) {
		g.set(func() { g.known.PeerServers = list })
	}, g.failed(partMeeting))
}

// peeredNames are the targets of a gateway by the names that lead to them where peers have a part: services that are exported,
// for callers of the peer that they are exported to, the gateways of peers for callers of its own cluster, and servers of both.
func (g *Gateway) peeredNames(domain string, target func(name string, endpoints []Endpoint) *proxy.Target) map[string]*proxy.Target {
	all, peersOf := map[string]*proxy.Target{}, make(map[string][]string, len(g.Exports))
	for service, peers := range g.Exports {
		peersOf[strings.ToLower(service)] = peers
	}
	for _, part := range g.Services {
		if part.Subset != "" {
			continue
		}
		for _, peer := range peersOf[strings.ToLower(part.Service)] {
			all[chain.PeeredName(part.Service, peer, domain)] = target(part.Service+"."+peer, part.Endpoints)
		}
	}
	for name, gateways := range g.Peers {
		all[name] = target(name, g.others(gateways.Endpoints))
	}
	for _, s := range g.PeerServers {
		all[s.ServerName] = target(s.ServerName, g.others(endpointsAt(s.Addresses)))
	}
	return all
}

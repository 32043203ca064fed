package sidecar

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/tend"
)

// Gateway is a mesh gateway: it passes on connections of the mesh by the names in them, to services of its datacenter and
// to the gateways of others.
type Gateway struct {
	Service *catalog.Service // its registration
	Node    string           // that it is registered on
	// Bind is the address to listen at when the registration names none; empty is every address.
	Bind       string
	Datacenter string
	// Services are the subsets of the services of the datacenter, by Part.Key; Abroad the gateways of others, by their datacenter.
	Services map[string]*Part
	Abroad   map[string]*Gateways
	// Domain is that of the names of servers. Servers are those of the datacenter, and Beyond the gateways that lead to
	// those of others, by their datacenter; only where the registration says that the gateway is for servers too.
	Domain  string                `json:",omitempty"`
	Servers []Endpoint            `json:",omitempty"`
	Beyond  map[string][]Endpoint `json:",omitempty"`
	// Exports are the peers that services are exported to, and Peers the gateways of peers, by the names that lead to them.
	Exports map[string][]string  `json:",omitempty"`
	Peers   map[string]*Gateways `json:",omitempty"`
	// PeerServers are the servers that it leads to for peers: of its own cluster, and of those that this one connects to.
	PeerServers []*catalog.PeerServers `json:",omitempty"`
}

// Part is a service of the mesh, or a subset of it, as a gateway leads to it.
type Part struct {
	Service, Subset string
	Endpoints       []Endpoint
	Error           string `json:",omitempty"` // why nothing is known of the endpoints
}

// partKey names a part.
func partKey(service, subset string) string {
	if subset == "" {
		return service
	}
	return subset + "." + service
}

// gatherer learns what one gateway has to know.
type gatherer struct {
	*collector // for what it shares with those of sidecars
	resolvers  map[string]*catalog.ServiceResolver
	names      []string
	known      Gateway
	dcs        []string
	told       map[string]bool // parts that the servers have told
	settled    bool            // there was an answer about everything once
	another    chan struct{}   // has a value when others may be wanted
}

// Parts of what gateways know.
const (
	partServices    = "services of the mesh"
	partResolvers   = "service-resolvers"
	partDatacenters = "datacenters"
)

var gatewayParts = []string{partServices, partResolvers, partDatacenters}

// newGatherer returns one that knows what an earlier snapshot says, if there is one.
func newGatherer(service *catalog.Service, source Source, before *Gateway, log *slog.Logger, changed func()) *gatherer {
	g := &gatherer{collector: newCollector(service, source, nil, log, changed), told: map[string]bool{}, another: make(chan struct{}, 1)}
	g.collector.parts = gatewayParts
	g.known = Gateway{Datacenter: source.Datacenter(), Domain: source.Domain(), Services: map[string]*Part{}, Abroad: map[string]*Gateways{}}
	if before != nil && before.Datacenter == g.known.Datacenter {
		maps.Copy(g.known.Services, before.Services)
		maps.Copy(g.known.Abroad, before.Abroad)
		g.known.Exports, g.known.Peers, g.known.PeerServers = before.Exports, before.Peers, before.PeerServers
		if service.ExposesServers() {
			g.known.Servers, g.known.Beyond = before.Servers, before.Beyond
		}
		for _, p := range gatewayParts {
			g.has[p] = true
		}
		g.settled = true
	}
	return g
}

// addTo implements learner.
func (g *gatherer) addTo(s *Snapshot, node, bind string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.settled = g.settled || g.complete(); !g.settled {
		return
	}
	known := g.known
	known.Service, known.Node, known.Bind = g.service, node, bind
	known.Services, known.Abroad = maps.Clone(g.known.Services), maps.Clone(g.known.Abroad)
	s.Gateways = append(s.Gateways, &known)
}

// complete reports whether there was an answer about everything that is wanted. The lock is held.
func (g *gatherer) complete() bool {
	if len(g.told) < len(gatewayParts) {
		return false
	}
	for key := range g.targets() {
		if g.known.Services[key] == nil {
			return false
		}
	}
	return !slices.ContainsFunc(g.dcs, func(dc string) bool { return dc != g.known.Datacenter && g.known.Abroad[dc] == nil })
}

// run learns until ctx ends, and returns when nobody is at work.
func (g *gatherer) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		follow(ctx, g.log, partServices, g.source.Services, func(names []string) {
			g.take(partServices, func() { g.names = names })
		}, g.failed(partServices))
	})
	all.Go(func() {
		follow(ctx, g.log, partResolvers, g.source.Resolvers, func(list []*catalog.ServiceResolver) {
			g.take(partResolvers, func() {
				g.resolvers = map[string]*catalog.ServiceResolver{}
				for _, r := range list {
					g.resolvers[strings.ToLower(r.Name)] = r
				}
			})
		}, g.failed(partResolvers))
	})
	all.Go(func() {
		follow(ctx, g.log, partDatacenters, func(ctx context.Context, index uint64) ([]string, uint64, error) {
			return g.source.Datacenters(ctx, "", index)
		}, func(dcs []string) {
			g.take(partDatacenters, func() { g.dcs = dcs })
		}, g.failed(partDatacenters))
	})
	all.Go(func() { g.followExports(ctx) })
	all.Go(func() { g.followPeers(ctx) })
	all.Go(func() { g.followPeerServers(ctx) })
	if g.service.ExposesServers() {
		all.Go(func() { g.followServers(ctx) })
		all.Go(func() { g.followBeyond(ctx) })
	}
	g.followAll(ctx)
}

// take takes up a part, and has what depends on it looked at.
func (g *gatherer) take(part string, change func()) {
	g.mu.Lock()
	change()
	delete(g.errs, part)
	g.has[part], g.told[part] = true, true
	g.mu.Unlock()
	ring(g.another)
}

// targets are the parts that are wanted, as they are asked for. The lock is held.
func (g *gatherer) targets() map[string]*catalog.ChainTarget {
	wanted := map[string]*catalog.ChainTarget{}
	for _, name := range g.names {
		add := func(subset string, s catalog.ServiceSubset) {
			key := partKey(name, subset)
			wanted[key] = &catalog.ChainTarget{ID: key, Service: name, ServiceSubset: subset, Datacenter: g.known.Datacenter, Subset: s}
		}
		add("", catalog.ServiceSubset{})
		if r := g.resolvers[strings.ToLower(name)]; r != nil {
			for subset, s := range r.Subsets {
				if s == nil {
					s = &catalog.ServiceSubset{}
				}
				add(subset, *s)
			}
		}
	}
	return wanted
}

// followAll learns of the endpoints of all services and of the gateways of all datacenters until ctx ends.
func (g *gatherer) followAll(ctx context.Context) {
	var f tend.Set[string]
	defer f.End()
	for {
		begin := map[string]func(ctx context.Context){}
		g.mu.Lock()
		if len(g.told) == len(gatewayParts) {
			wanted := g.targets()
			for key, t := range wanted {
				begin["service "+key+"\n"+askedAs(t)] = func(ctx context.Context) { g.followPart(ctx, key, t) }
			}
			for _, dc := range g.dcs {
				if dc != g.known.Datacenter {
					begin["datacenter "+dc] = func(ctx context.Context) { g.followAbroad(ctx, dc) }
				}
			}
			maps.DeleteFunc(g.known.Services, func(key string, _ *Part) bool { return wanted[key] == nil })
			maps.DeleteFunc(g.known.Abroad, func(dc string, _ *Gateways) bool { return !slices.Contains(g.dcs, dc) })
			f.Keep(func(what string) bool { return begin[what] != nil })
		}
		g.mu.Unlock()
		g.changed()
		for what, do := range begin {
			f.Begin(ctx, what, do)
		}
		select {
		case <-g.another:
		case <-ctx.Done():
			return
		}
	}
}

// followPart learns of the endpoints of a service, or of a subset, until ctx ends.
func (g *gatherer) followPart(ctx context.Context, key string, t *catalog.ChainTarget) {
	set := func(p *Part) {
		g.mu.Lock()
		if ctx.Err() == nil && (p.Error == "" || g.known.Services[key] == nil) { // else what is known stands
			g.known.Services[key] = p
		}
		g.mu.Unlock()
		g.changed()
	}
	follow(ctx, g.log, "instances of "+key, func(ctx context.Context, index uint64) ([]*catalog.Instance, uint64, error) {
		return g.source.Instances(ctx, t, index)
	}, func(list []*catalog.Instance) {
		set(&Part{Service: t.Service, Subset: t.ServiceSubset, Endpoints: endpointsOf(list, false)})
	}, func(err error) { set(&Part{Service: t.Service, Subset: t.ServiceSubset, Error: err.Error()}) })
}

// followAbroad learns of the gateways of another datacenter until ctx ends.
func (g *gatherer) followAbroad(ctx context.Context, dc string) {
	g.followGateways(ctx, dc, func(found *Gateways) {
		g.mu.Lock()
		if ctx.Err() == nil && (found.Error == "" || g.known.Abroad[dc] == nil) {
			g.known.Abroad[dc] = found
		}
		g.mu.Unlock()
		g.changed()
	})
}

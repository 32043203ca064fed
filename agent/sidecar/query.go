package sidecar

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/rpc/tend"
	"github.com/curia-mesh/curia/server/api"
)

// query is a prepared query as an upstream: a chain whose targets are the places where the query looks, so that the proxy fails
// over as it does by a service-resolver, at once and without asking anybody.
type query struct {
	*path
	mu     sync.Mutex
	plan   *api.QueryPlan
	abroad []string      // datacenters without that of the plan, the nearest first; nil while they are not known
	near   chan struct{} // has a value when others may be wanted
}

// followQuery learns where a prepared query looks, and what it selects there, until ctx ends.
func (c *collector) followQuery(ctx context.Context, w Want) {
	q := &query{path: c.path(w), near: make(chan struct{}, 1)}
	defer q.following.End()
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { tend.Each(ctx, q.near, q.counted, q.followDatacenters) }) // ends with ctx
	follow(ctx, c.log, "prepared query "+w.Name, func(ctx context.Context, index uint64) (*api.QueryPlan, uint64, error) {
		return c.source.QueryPlan(ctx, w, index)
	}, func(plan *api.QueryPlan) {
		if !plan.Found {
			q.unknown("there is no prepared query " + strconv.Quote(w.Name) + ", or the token may not read its service")
			return
		}
		q.show(ctx, func() {
			if q.plan != nil && q.plan.Datacenter != plan.Datacenter {
				q.abroad = nil
			}
			q.plan = plan
		})
		ring(q.near)
	}, func(err error) { q.unknown(err.Error()) })
}

// unknown says why nothing is known of a query, if that is so; else what is known stands.
func (q *query) unknown(why string) {
	q.path.mu.Lock()
	key := q.want.Key()
	u := q.known.Upstreams[key]
	if u == nil || u.Chain == nil {
		q.known.Upstreams[key] = &Upstream{Targets: map[string]*Target{"": {Error: why}}}
	}
	q.path.mu.Unlock()
	q.changed()
}

// show takes up something that is new, and follows the targets that there are with it.
func (q *query) show(ctx context.Context, take func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	take()
	if q.plan == nil || q.plan.Failover.NearestN > 0 && q.abroad == nil {
		return
	}
	made, legs := q.chain()
	q.setChain(ctx, made, strconv.FormatUint(q.plan.Version, 10), func(ctx context.Context, t *catalog.ChainTarget, index uint64) ([]*catalog.Instance, uint64, error) {
		return q.source.QueryInstances(ctx, q.want, legs[t.ID], index)
	})
}

// counted are the datacenters whose neighbours are counted.
func (q *query) counted() map[string]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.plan == nil || q.plan.Failover.NearestN == 0 {
		return nil
	}
	return map[string]bool{q.plan.Datacenter: true}
}

// followDatacenters learns which datacenters are near to one until ctx ends.
func (q *query) followDatacenters(ctx context.Context, dc string) {
	follow(ctx, q.log, "datacenters near "+dc, func(ctx context.Context, index uint64) ([]string, uint64, error) {
		return q.source.Datacenters(ctx, dc, index)
	}, func(all []string) {
		abroad := slices.DeleteFunc(slices.Clone(all), func(other string) bool { return other == dc })
		q.mu.Lock()
		same := q.abroad != nil && slices.Equal(q.abroad, abroad)
		q.mu.Unlock()
		if !same {
			q.show(ctx, func() { q.abroad = abroad })
		}
	}, nil)
}

// chain is the chain that a query is, and what is asked for each of its targets. The lock is held.
func (q *query) chain() (*catalog.DiscoveryChain, map[string]*api.QueryLeg) {
	const start = "resolver:query"
	end := &catalog.ChainTerminal{Failover: &catalog.ChainFailover{}}
	made := &catalog.DiscoveryChain{
		ServiceName: q.plan.Service, Datacenter: q.plan.Datacenter, Protocol: cmp.Or(q.want.Protocol, chain.DefaultProtocol), StartNode: start,
		Nodes:   map[string]*catalog.ChainNode{start: {Type: catalog.ChainResolver, Name: q.want.Name, Resolver: end}},
		Targets: map[string]*catalog.ChainTarget{},
	}
	legs := map[string]*api.QueryLeg{}
	places := append([]catalog.QueryTarget{{}}, q.plan.Failover.Elsewhere(q.plan.Datacenter, q.abroad)...)
	for _, place := range places {
		t := q.target(place)
		if made.Targets[t.ID] != nil {
			continue // it is the one where the query runs, by its name
		}
		made.Targets[t.ID] = t
		legs[t.ID] = &api.QueryLeg{Name: q.want.Name, Target: place, Version: q.plan.Version}
		if end.Target == "" {
			end.Target = t.ID
		} else {
			end.Failover.Targets = append(end.Failover.Targets, t.ID)
		}
	}
	return made, legs
}

// target is one of the places of a query. What a peer is called holds in the datacenter that has the peering, so that counts as
// the peer's here only when it is the own one.
func (q *query) target(place catalog.QueryTarget) *catalog.ChainTarget {
	t := &catalog.ChainTarget{
		Service: q.plan.Service, Datacenter: cmp.Or(place.Datacenter, q.plan.Datacenter), Peer: cmp.Or(place.Peer, q.plan.Peer),
		Namespace: catalog.DefaultTenancy, Partition: catalog.DefaultTenancy,
		MeshGateway: catalog.MeshGateway{Mode: q.want.MeshGateway}, ConnectTimeout: catalog.Duration(chain.DefaultConnectTimeout),
	}
	t.ID = chain.TargetID(t.Service, t.Datacenter, t.Peer)
	switch {
	case t.Peer == "":
	case t.Datacenter == q.source.Datacenter():
		t.Datacenter = ""
	default:
		t.ID += "." + t.Datacenter
	}
	return t
}

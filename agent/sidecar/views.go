package sidecar

import (
	"context"
	"time"

	"github.com/curia-mesh/curia/agent/leaf"
	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// Views is the Source of an agent's own sidecars: what they ask is shared with all others on the agent who ask the same.
type Views struct {
	Cache  *watch.Cache
	Leaves *leaf.Cache
	// Token is what is asked with, at the moment.
	Token func() string
	// Node, DC and Names, its domain, are the agent's.
	Node, DC, Names string
}

var _ Source = (*Views)(nil)

// leafWait is how long one question for another certificate lasts.
const leafWait = 10 * time.Minute

// read asks one question.
func read[Req, Rep any](ctx context.Context, v *Views, m rpc.Method[Req, Rep], h rpc.Header, index uint64, req *Req) (*Rep, uint64, error) {
	h.Token, h.MinIndex = v.Token(), index
	answer, _, err := watch.Get(ctx, v.Cache, m, h, req)
	if err != nil {
		return nil, 0, err
	}
	rep, ok := answer.Value().(*Rep)
	if !ok {
		return nil, 0, catalog.Errorf(catalog.Internal, "%s answered with %T", m.Name, answer.Value())
	}
	return rep, answer.Meta.Index, nil
}

// Datacenter implements Source.
func (v *Views) Datacenter() string { return v.DC }

// Domain implements Source.
func (v *Views) Domain() string { return v.Names }

// Servers implements Source.
func (v *Views) Servers(ctx context.Context, index uint64) ([]*catalog.Instance, uint64, error) {
	rep, next, err := read(ctx, v, api.HealthService, rpc.Header{}, index, &api.ServiceQuery{Service: catalog.ServersService})
	if err != nil {
		return nil, 0, err
	}
	return *rep, next, nil
}

// Federated implements Source.
func (v *Views) Federated(ctx context.Context, index uint64) (map[string][]*catalog.Instance, uint64, error) {
	rep, next, err := read(ctx, v, api.FederationGateways, rpc.Header{}, index, &api.Nothing{})
	if err != nil {
		return nil, 0, err
	}
	all := map[string][]*catalog.Instance{}
	for _, f := range *rep {
		all[f.Datacenter] = f.MeshGateways
	}
	return all, next, nil
}

// Roots implements Source.
func (v *Views) Roots(ctx context.Context, index uint64) (*catalog.Roots, uint64, error) {
	return read(ctx, v, api.CARoots, rpc.Header{}, index, &api.Nothing{})
}

// Leaf implements Source.
func (v *Views) Leaf(ctx context.Context, service string, index uint64) (*catalog.IssuedCert, uint64, error) {
	cert, err := v.Leaves.Get(ctx, service, v.Token(), index, leafWait)
	if err != nil {
		return nil, 0, err
	}
	return cert, cert.ModifyIndex, nil
}

// Intentions implements Source.
func (v *Views) Intentions(ctx context.Context, service string, index uint64) ([]*catalog.Intention, uint64, error) {
	rep, next, err := read(ctx, v, api.IntentionMatch, rpc.Header{}, index, &api.IntentionQuery{By: api.MatchDestination, Names: []string{service}})
	if err != nil {
		return nil, 0, err
	}
	return (*rep)[service], next, nil
}

// DefaultAllow implements Source.
func (v *Views) DefaultAllow(ctx context.Context, index uint64) (bool, uint64, error) {
	rep, next, err := read(ctx, v, api.IntentionDefault, rpc.Header{}, index, &api.Nothing{})
	if err != nil {
		return false, 0, err
	}
	return *rep, next, nil
}

// ServiceDefaults implements Source.
func (v *Views) ServiceDefaults(ctx context.Context, service string, index uint64) (*catalog.ServiceDefaults, uint64, error) {
	rep, next, err := read(ctx, v, api.ConfigGet, rpc.Header{}, index, &api.ConfigQuery{Kind: catalog.EntryServiceDefaults, Name: service})
	if err != nil {
		return nil, 0, err
	}
	return rep.ServiceDefaults, next, nil
}

// ProxyDefaults implements Source.
func (v *Views) ProxyDefaults(ctx context.Context, index uint64) (*catalog.ProxyDefaults, uint64, error) {
	rep, next, err := read(ctx, v, api.ConfigGet, rpc.Header{}, index, &api.ConfigQuery{Kind: catalog.EntryProxyDefaults, Name: catalog.GlobalName})
	if err != nil {
		return nil, 0, err
	}
	return rep.ProxyDefaults, next, nil
}

// JWTProvider implements Source.
func (v *Views) JWTProvider(ctx context.Context, name string, index uint64) (*catalog.JWTProvider, uint64, error) {
	rep, next, err := read(ctx, v, api.ConfigGet, rpc.Header{}, index, &api.ConfigQuery{Kind: catalog.EntryJWTProvider, Name: name})
	if err != nil {
		return nil, 0, err
	}
	return rep.JWTProvider, next, nil
}

// SamenessGroup implements Source.
func (v *Views) SamenessGroup(ctx context.Context, name string, index uint64) (*catalog.SamenessGroup, uint64, error) {
	rep, next, err := read(ctx, v, api.ConfigGet, rpc.Header{}, index, &api.ConfigQuery{Kind: catalog.EntrySamenessGroup, Name: name})
	if err != nil {
		return nil, 0, err
	}
	return rep.SamenessGroup, next, nil
}

// PeerTrust implements Source.
func (v *Views) PeerTrust(ctx context.Context, service, peer string, index uint64) ([]*catalog.PeerTrust, uint64, error) {
	rep, next, err := read(ctx, v, api.PeerTrust, rpc.Header{}, index, &api.PeerTrustQuery{Service: service, Peer: peer})
	if err != nil {
		return nil, 0, err
	}
	return *rep, next, nil
}

// Peers implements Source.
func (v *Views) Peers(ctx context.Context, gateway string, index uint64) ([]*catalog.PeerTrust, uint64, error) {
	rep, next, err := read(ctx, v, api.PeerTrust, rpc.Header{}, index, &api.PeerTrustQuery{Service: gateway, All: true})
	if err != nil {
		return nil, 0, err
	}
	return *rep, next, nil
}

// PeerServers implements Source.
func (v *Views) PeerServers(ctx context.Context, gateway string, index uint64) ([]*catalog.PeerServers, uint64, error) {
	rep, next, err := read(ctx, v, api.PeerServers, rpc.Header{}, index, &api.Named{Name: gateway})
	if err != nil {
		return nil, 0, err
	}
	return *rep, next, nil
}

// Exports implements Source.
func (v *Views) Exports(ctx context.Context, index uint64) (map[string][]string, uint64, error) {
	rep, next, err := read(ctx, v, api.ExportedServices, rpc.Header{}, index, &api.Named{})
	if err != nil {
		return nil, 0, err
	}
	return peersBy(*rep), next, nil
}

// peersBy are the peers that services are exported to, by the services' names.
func peersBy(list []api.ExportedService) map[string][]string {
	by := make(map[string][]string, len(list))
	for _, s := range list {
		by[s.Service] = s.Consumers.Peers
	}
	return by
}

// Chain implements Source.
func (v *Views) Chain(ctx context.Context, w Want, index uint64) (*catalog.DiscoveryChain, uint64, error) {
	rep, next, err := read(ctx, v, api.ChainGet, rpc.Header{}, index, &api.ChainQuery{
		Service: w.Name, EvaluateIn: w.Datacenter, OverrideProtocol: w.Protocol, OverrideConnectTimeout: w.ConnectTimeout,
		OverrideMeshGateway: catalog.MeshGateway{Mode: w.MeshGateway},
	})
	if err != nil {
		return nil, 0, err
	}
	return rep.Chain, next, nil
}

// Instances implements Source.
func (v *Views) Instances(ctx context.Context, t *catalog.ChainTarget, index uint64) ([]*catalog.Instance, uint64, error) {
	rep, next, err := read(ctx, v, api.HealthService, rpc.Header{Datacenter: t.Datacenter, Filter: t.Subset.Filter}, index, &api.ServiceQuery{
		Service: t.Service, Connect: true, Passing: t.Subset.OnlyPassing, Peer: t.Peer,
	})
	if err != nil {
		return nil, 0, err
	}
	return *rep, next, nil
}

// Gateways implements Source.
func (v *Views) Gateways(ctx context.Context, datacenter string, index uint64) ([]*catalog.Instance, uint64, error) {
	rep, next, err := read(ctx, v, api.Gateways, rpc.Header{Datacenter: datacenter}, index, &api.KindQuery{Kind: catalog.KindMeshGateway})
	if err != nil {
		return nil, 0, err
	}
	return *rep, next, nil
}

// Services implements Source.
func (v *Views) Services(ctx context.Context, index uint64) ([]string, uint64, error) {
	rep, next, err := read(ctx, v, api.MeshServices, rpc.Header{}, index, &api.Nothing{})
	if err != nil {
		return nil, 0, err
	}
	return *rep, next, nil
}

// Resolvers implements Source.
func (v *Views) Resolvers(ctx context.Context, index uint64) ([]*catalog.ServiceResolver, uint64, error) {
	rep, next, err := read(ctx, v, api.ConfigList, rpc.Header{}, index, &api.ConfigQuery{Kind: catalog.EntryServiceResolver})
	if err != nil {
		return nil, 0, err
	}
	var found []*catalog.ServiceResolver
	for _, e := range *rep {
		if e.ServiceResolver != nil {
			found = append(found, e.ServiceResolver)
		}
	}
	return found, next, nil
}

// datacentersEvery is how often it is asked which datacenters there are, and which are near: nobody can wait for that.
const datacentersEvery = 5 * time.Second

// Datacenters implements Source.
func (v *Views) Datacenters(ctx context.Context, datacenter string, index uint64) ([]string, uint64, error) {
	if index > 0 {
		pause.For(ctx, datacentersEvery)
	}
	rep, _, err := read(ctx, v, api.Datacenters, rpc.Header{Datacenter: datacenter}, 0, &api.Nothing{})
	if err != nil {
		return nil, 0, err
	}
	return *rep, index + 1, nil
}

// QueryPlan implements Source.
func (v *Views) QueryPlan(ctx context.Context, w Want, index uint64) (*api.QueryPlan, uint64, error) {
	return read(ctx, v, api.QueryPlanned, rpc.Header{Datacenter: w.Datacenter}, index, &api.QueryRun{Name: w.Name, Connect: true})
}

// QueryInstances implements Source.
func (v *Views) QueryInstances(ctx context.Context, w Want, leg *api.QueryLeg, index uint64) ([]*catalog.Instance, uint64, error) {
	rep, next, err := read(ctx, v, api.QueryAt, rpc.Header{Datacenter: w.Datacenter}, index, leg)
	if err != nil {
		return nil, 0, err
	}
	return *rep, next, nil
}

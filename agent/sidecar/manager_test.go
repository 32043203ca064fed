package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// servers are a Source that notes what it is asked. Nothing ever changes but by change.
type servers struct {
	roots      *catalog.Roots
	leaf       *catalog.IssuedCert
	chain      map[string]*catalog.DiscoveryChain
	intentions []*catalog.Intention
	providers  map[string]*catalog.JWTProvider
	groups     map[string]*catalog.SamenessGroup
	down       map[string]bool // targets that cannot be asked about

	mu    sync.Mutex
	asked map[string]int
}

// tell answers the first question, and has later ones wait as servers do.
func tell[T any](ctx context.Context, s *servers, what string, index uint64, value T) (T, uint64, error) {
	s.mu.Lock()
	s.asked[what]++
	s.mu.Unlock()
	if index > 0 {
		pause.For(ctx, 5*time.Minute)
	}
	return value, 1, ctx.Err()
}

func (s *servers) Datacenter() string { return "dc1" }
func (s *servers) Roots(ctx context.Context, i uint64) (*catalog.Roots, uint64, error) {
	return tell(ctx, s, "roots", i, s.roots)
}
func (s *servers) Leaf(ctx context.Context, service string, i uint64) (*catalog.IssuedCert, uint64, error) {
	if s.leaf == nil {
		return nil, 0, errors.New("permission denied")
	}
	return tell(ctx, s, "leaf "+service, i, s.leaf)
}
func (s *servers) Intentions(ctx context.Context, service string, i uint64) ([]*catalog.Intention, uint64, error) {
	return tell(ctx, s, "intentions "+service, i, s.intentions)
}
func (s *servers) DefaultAllow(ctx context.Context, i uint64) (bool, uint64, error) {
	return tell(ctx, s, "default", i, true)
}
func (s *servers) ServiceDefaults(ctx context.Context, service string, i uint64) (*catalog.ServiceDefaults, uint64, error) {
	return tell(ctx, s, "defaults "+service, i, (*catalog.ServiceDefaults)(nil))
}
func (s *servers) ProxyDefaults(ctx context.Context, i uint64) (*catalog.ProxyDefaults, uint64, error) {
	return tell(ctx, s, "proxy-defaults", i, (*catalog.ProxyDefaults)(nil))
}
func (s *servers) JWTProvider(ctx context.Context, name string, i uint64) (*catalog.JWTProvider, uint64, error) {
	return tell(ctx, s, "provider "+name, i, s.providers[name])
}
func (s *servers) SamenessGroup(ctx context.Context, name string, i uint64) (*catalog.SamenessGroup, uint64, error) {
	return tell(ctx, s, "group "+name, i, s.groups[name])
}
func (s *servers) PeerTrust(ctx context.Context, service, peer string, i uint64) ([]*catalog.PeerTrust, uint64, error) {
	return tell(ctx, s, "peers "+service+peer, i, []*catalog.PeerTrust(nil))
}
func (s *servers) Peers(ctx context.Context, gateway string, i uint64) ([]*catalog.PeerTrust, uint64, error) {
	return tell(ctx, s, "all peers", i, []*catalog.PeerTrust(nil))
}
func (s *servers) PeerServers(ctx context.Context, gateway string, i uint64) ([]*catalog.PeerServers, uint64, error) {
	return tell(ctx, s, "servers of peers", i, []*catalog.PeerServers(nil))
}
func (s *servers) Exports(ctx context.Context, i uint64) (map[string][]string, uint64, error) {
	return tell(ctx, s, "exports", i, map[string][]string(nil))
}
func (s *servers) Chain(ctx context.Context, w Want, i uint64) (*catalog.DiscoveryChain, uint64, error) {
	return tell(ctx, s, "chain "+w.Name, i, s.chain[w.Name])
}
func (s *servers) Instances(ctx context.Context, t *catalog.ChainTarget, i uint64) ([]*catalog.Instance, uint64, error) {
	if s.down[t.ID] {
		return nil, 0, errors.New("no path to datacenter dc2")
	}
	return tell(ctx, s, "instances "+t.ID, i, []*catalog.Instance{})
}
func (s *servers) QueryPlan(ctx context.Context, w Want, i uint64) (*api.QueryPlan, uint64, error) {
	return tell(ctx, s, "query "+w.Name, i, &api.QueryPlan{Found: true, Service: w.Name, Datacenter: "dc1"})
}
func (s *servers) QueryInstances(ctx context.Context, w Want, leg *api.QueryLeg, i uint64) ([]*catalog.Instance, uint64, error) {
	return tell(ctx, s, "instances of query "+w.Name+leg.Target.Datacenter, i, []*catalog.Instance{})
}

func (s *servers) Gateways(ctx context.Context, datacenter string, i uint64) ([]*catalog.Instance, uint64, error) {
	return tell(ctx, s, "gateways "+datacenter, i, []*catalog.Instance{})
}
func (s *servers) Services(ctx context.Context, i uint64) ([]string, uint64, error) {
	return tell(ctx, s, "services", i, []string{"api"})
}
func (s *servers) Resolvers(ctx context.Context, i uint64) ([]*catalog.ServiceResolver, uint64, error) {
	return tell(ctx, s, "resolvers", i, []*catalog.ServiceResolver(nil))
}
func (s *servers) Servers(ctx context.Context, i uint64) ([]*catalog.Instance, uint64, error) {
	return tell(ctx, s, "servers", i, []*catalog.Instance(nil))
}
func (s *servers) Federated(ctx context.Context, i uint64) (map[string][]*catalog.Instance, uint64, error) {
	return tell(ctx, s, "federated", i, map[string][]*catalog.Instance(nil))
}
func (s *servers) Domain() string { return "consul" }
func (s *servers) Datacenters(ctx context.Context, _ string, i uint64) ([]string, uint64, error) {
	return tell(ctx, s, "datacenters", i, []string{"dc1", "dc2"})
}

func newServers(t *testing.T) *servers {
	roots, leaf := issued(t)
	chain := func(ids ...string) *catalog.DiscoveryChain {
		c := &catalog.DiscoveryChain{ServiceName: ids[0], Protocol: "tcp", StartNode: "r", Targets: map[string]*catalog.ChainTarget{}, Nodes: map[string]*catalog.ChainNode{
			"r": {Type: catalog.ChainResolver, Resolver: &catalog.ChainTerminal{Target: ids[0], Failover: &catalog.ChainFailover{Targets: ids[1:]}}},
		}}
		for _, id := range ids {
			c.Targets[id] = &catalog.ChainTarget{ID: id, Service: id}
		}
		return c
	}
	return &servers{roots: roots, leaf: leaf, asked: map[string]int{}, down: map[string]bool{}, chain: map[string]*catalog.DiscoveryChain{
		"api": chain("api", "spare"), "db": chain("db"), "other": chain("other"),
	}}
}

// manage runs a manager for a sidecar of web until the test ends.
func manage(t *testing.T, s Source, before *Snapshot, upstreams ...string) (*Manager, *Registered) {
	service := &catalog.Service{
		Kind: catalog.KindConnectProxy, ID: "web-sidecar-proxy", Service: "web-sidecar-proxy", Port: 21000,
		Proxy: &catalog.Proxy{DestinationServiceName: "web", LocalServicePort: 8080},
	}
	for i, name := range upstreams {
		service.Proxy.Upstreams = append(service.Proxy.Upstreams, catalog.Upstream{DestinationName: name, LocalBindPort: 9000 + i})
	}
	r := NewRegistered(service)
	m := NewManager(Deps{Local: r, Node: "n1", Source: func(string) Source { return s }, Log: slog.New(slog.DiscardHandler)}, before)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }() // ends with the test
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return m, r
}

// A sidecar asks about what it declares and nothing else, once, and a registration that changes asks for what is new.
func TestOnlyWhatIsDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		m, r := manage(t, s, nil, "api")
		synctest.Wait()
		want := []string{"chain api", "default", "defaults web", "instances api", "instances spare", "intentions web", "leaf web", "peers web", "proxy-defaults", "roots"}
		if got := slices.Sorted(maps.Keys(s.asked)); !slices.Equal(got, want) {
			t.Errorf("asked for %q, want %q", got, want)
		}
		first := m.Latest()
		if first == nil || len(first.Sidecars) != 1 || len(first.Sidecars[0].Upstreams) != 1 {
			t.Fatalf("snapshot %+v", first)
		}
		next := *first.Sidecars[0].Service
		proxy := *next.Proxy
		proxy.Upstreams = []catalog.Upstream{{DestinationName: "db", LocalBindPort: 9001}}
		next.Proxy = &proxy
		r.set(&next)
		synctest.Wait()
		if got := m.Latest(); got.Version <= first.Version || len(got.Sidecars[0].Upstreams) != 1 || s.asked["chain db"] == 0 || s.asked["chain other"] != 0 {
			t.Errorf("snapshot %+v after questions %v", got.Sidecars[0].Upstreams, s.asked)
		}
	})
}

// A sidecar learns about what its intentions name, providers of tokens and sameness groups, and no others.
func TestWhatIntentionsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		need := func(name string) *catalog.JWTRequirement {
			return &catalog.JWTRequirement{Providers: []*catalog.JWTRequirementProvider{{Name: name}}}
		}
		s.intentions = []*catalog.Intention{{SourceName: "a", DestinationName: "web", JWT: need("okta"), Permissions: []*catalog.IntentionPermission{{Action: "allow", JWT: need("gone")}}}}
		s.providers = map[string]*catalog.JWTProvider{"okta": {Issuer: "okta"}, "other": {}}
		s.intentions = append(s.intentions, &catalog.Intention{SourceName: "b", DestinationName: "web", SourceSamenessGroup: "both", Action: "allow"},
			&catalog.Intention{SourceName: "c", DestinationName: "web", SourceSamenessGroup: "none", Action: "allow"})
		s.groups = map[string]*catalog.SamenessGroup{"both": {IncludeLocal: true, Members: []catalog.SamenessMember{{Peer: "east"}}}}
		m, _ := manage(t, s, nil)
		synctest.Wait()
		if got := m.Latest().Sidecars[0].Groups; !slices.Equal(got["both"], []string{"", "east"}) || got["none"] == nil || len(got["none"]) != 0 || len(got) != 2 {
			t.Errorf("groups %v", got)
		}
		if got := m.Latest().Sidecars[0].Providers; len(got) != 1 || got["okta"].Issuer != "okta" || s.asked["provider gone"] == 0 || s.asked["provider other"] != 0 {
			t.Errorf("providers %v after questions %v", got, s.asked)
		}
	})
}

// What cannot be had keeps nothing else: a target of a datacenter that is away leaves the others of its chain, and a
// sidecar without certificate says what it waits for.
func TestWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		s.down["spare"] = true
		m, _ := manage(t, s, nil, "api")
		synctest.Wait()
		for _, u := range m.Latest().Sidecars[0].Upstreams {
			if u.Targets["spare"].Error == "" || u.Targets["api"].Error != "" {
				t.Errorf("targets %+v", u.Targets)
			}
		}
		if w := m.Waiting(); len(w) > 0 {
			t.Errorf("waits for %q", w)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		s.leaf = nil
		m, _ := manage(t, s, nil, "api")
		synctest.Wait()
		if got := m.Waiting()["web-sidecar-proxy"]; !slices.Equal(got, []string{"certificate: permission denied"}) {
			t.Errorf("waits for %q", got)
		}
		if l := m.Latest(); l != nil && len(l.Sidecars) > 0 {
			t.Errorf("a sidecar without certificate: %+v", l.Sidecars[0])
		}
	})
}

// A manager that begins with a snapshot from before has it while no server answers.
func TestBeginsWithBefore(t *testing.T) {
	var before *Snapshot
	synctest.Test(t, func(t *testing.T) {
		m, _ := manage(t, newServers(t), nil, "api")
		synctest.Wait()
		before = m.Latest()
	})
	synctest.Test(t, func(t *testing.T) {
		m, _ := manage(t, away{}, before, "api", "db")
		synctest.Wait()
		got := m.Latest()
		if len(got.Sidecars) != 1 || got.Sidecars[0].Leaf == nil || len(got.Sidecars[0].Upstreams) != 1 || got.Version <= before.Version {
			t.Errorf("snapshot %+v", got)
		}
	})
}

// away are servers that do not answer.
type away struct{ Source }

var errAway = errors.New("no server answers")

func (away) Datacenter() string { return "dc1" }
func (away) Roots(context.Context, uint64) (*catalog.Roots, uint64, error) {
	return nil, 0, errAway
}
func (away) Leaf(context.Context, string, uint64) (*catalog.IssuedCert, uint64, error) {
	return nil, 0, errAway
}
func (away) Intentions(context.Context, string, uint64) ([]*catalog.Intention, uint64, error) {
	return nil, 0, errAway
}
func (away) DefaultAllow(context.Context, uint64) (bool, uint64, error) { return false, 0, errAway }
func (away) ServiceDefaults(context.Context, string, uint64) (*catalog.ServiceDefaults, uint64, error) {
	return nil, 0, errAway
}
func (away) ProxyDefaults(context.Context, uint64) (*catalog.ProxyDefaults, uint64, error) {
	return nil, 0, errAway
}
func (away) JWTProvider(context.Context, string, uint64) (*catalog.JWTProvider, uint64, error) {
	return nil, 0, errAway
}
func (away) SamenessGroup(context.Context, string, uint64) (*catalog.SamenessGroup, uint64, error) {
	return nil, 0, errAway
}
func (away) PeerTrust(context.Context, string, string, uint64) ([]*catalog.PeerTrust, uint64, error) {
	return nil, 0, errAway
}
func (away) Peers(context.Context, string, uint64) ([]*catalog.PeerTrust, uint64, error) {
	return nil, 0, errAway
}
func (away) PeerServers(context.Context, string, uint64) ([]*catalog.PeerServers, uint64, error) {
	return nil, 0, errAway
}
func (away) Exports(context.Context, uint64) (map[string][]string, uint64, error) {
	return nil, 0, errAway
}
func (away) Chain(context.Context, Want, uint64) (*catalog.DiscoveryChain, uint64, error) {
	return nil, 0, errAway
}
func (away) Instances(context.Context, *catalog.ChainTarget, uint64) ([]*catalog.Instance, uint64, error) {
	return nil, 0, errAway
}

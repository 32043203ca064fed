package sidecar

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// API is the Source of a sidecar by itself, which asks an agent over its HTTP API: this product's, or another's with the
// same interface.
type API struct {
	Client *client.Client
	DC     string // the agent's
	Names  string // its domain
}

var _ Source = (*API)(nil)

// ask reads one question.
func (a *API) ask(ctx context.Context, method, path string, q client.Query, in, out any) (uint64, error) {
	m, err := a.Client.Do(ctx, method, path, q, in, out)
	return m.Index, err
}

// Datacenter implements Source.
func (a *API) Datacenter() string { return a.DC }

// Domain implements Source.
func (a *API) Domain() string { return a.Names }

// Servers implements Source.
func (a *API) Servers(ctx context.Context, index uint64) ([]*catalog.Instance, uint64, error) {
	var list []*catalog.Instance
	next, err := a.ask(ctx, http.MethodGet, client.Path("health", "service", catalog.ServersService), client.Query{Index: index}, nil, &list)
	for _, i := range list {
		i.Service.Normalize()
	}
	return list, next, err
}

// Federated implements Source.
func (a *API) Federated(ctx context.Context, index uint64) (map[string][]*catalog.Instance, uint64, error) {
	all := map[string][]*catalog.Instance{}
	next, err := a.ask(ctx, http.MethodGet, "/v1/internal/federation-states/mesh-gateways", client.Query{Index: index}, nil, &all)
	for _, list := range all {
		for _, i := range list {
			i.Service.Normalize()
		}
	}
	return all, next, err
}

// Roots implements Source.
func (a *API) Roots(ctx context.Context, index uint64) (*catalog.Roots, uint64, error) {
	r := &catalog.Roots{}
	next, err := a.ask(ctx, http.MethodGet, "/v1/agent/connect/ca/roots", client.Query{Index: index}, nil, r)
	return r, next, err
}

// Leaf implements Source.
func (a *API) Leaf(ctx context.Context, service string, index uint64) (*catalog.IssuedCert, uint64, error) {
	cert := &catalog.IssuedCert{}
	next, err := a.ask(ctx, http.MethodGet, client.Path("agent", "connect", "ca", "leaf", service), client.Query{Index: index}, nil, cert)
	return cert, next, err
}

// Intentions implements Source.
func (a *API) Intentions(ctx context.Context, service string, index uint64) ([]*catalog.Intention, uint64, error) {
	found := map[string][]*catalog.Intention{}
	q := client.Query{Index: index}.With("by", "destination").With("name", service)
	next, err := a.ask(ctx, http.MethodGet, "/v1/connect/intentions/match", q, nil, &found)
	return found[service], next, err
}

// defaultEvery is how often it is asked what happens by default: nobody can wait for that over HTTP.
const defaultEvery = 30 * time.Second

// nobody is the name of no service.
const nobody = "7d1c0c52-9c56-4a0e-8d3b-2f0f4f7d0a11"

// DefaultAllow implements Source. No endpoint says it, but one decides about any two services: about two that nobody speaks
// of by the default. An intention for all services speaks of them too, and then the default counts for little: it is
// denied.
func (a *API) DefaultAllow(ctx context.Context, index uint64) (bool, uint64, error) {
	if index > 0 {
		pause.For(ctx, defaultEvery)
	}
	all, _, err := a.Intentions(ctx, nobody, 0)
	if err != nil {
		return false, 0, err
	}
	if slices.ContainsFunc(all, func(i *catalog.Intention) bool { return i.SourceName == catalog.Wildcard }) {
		return false, index + 1, nil
	}
	var rep struct{ Allowed bool }
	q := client.Query{}.With("source", nobody).With("destination", nobody)
	_, err = a.ask(ctx, http.MethodGet, "/v1/connect/intentions/check", q, nil, &rep)
	return rep.Allowed, index + 1, err
}

// entry reads a config entry, and reports whether there is one.
func (a *API) entry(ctx context.Context, kind catalog.EntryKind, name string, index uint64, out any) (bool, uint64, error) {
	next, err := a.ask(ctx, http.MethodGet, client.Path("config", string(kind), name), client.Query{Index: index}, nil, out)
	var answer *client.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return false, answer.Meta.Index, nil
	}
	return err == nil, next, err
}

// ServiceDefaults implements Source.
func (a *API) ServiceDefaults(ctx context.Context, service string, index uint64) (*catalog.ServiceDefaults, uint64, error) {
	e := &catalog.ServiceDefaults{}
	some, next, err := a.entry(ctx, catalog.EntryServiceDefaults, service, index, e)
	if !some {
		e = nil
	}
	return e, next, err
}

// ProxyDefaults implements Source.
func (a *API) ProxyDefaults(ctx context.Context, index uint64) (*catalog.ProxyDefaults, uint64, error) {
	e := &catalog.ProxyDefaults{}
	some, next, err := a.entry(ctx, catalog.EntryProxyDefaults, catalog.GlobalName, index, e)
	if !some {
		e = nil
	}
	return e, next, err
}

// JWTProvider implements Source.
func (a *API) JWTProvider(ctx context.Context, name string, index uint64) (*catalog.JWTProvider, uint64, error) {
	e := &catalog.JWTProvider{}
	some, next, err := a.entry(ctx, catalog.EntryJWTProvider, name, index, e)
	if !some {
		e = nil
	}
	return e, next, err
}

// SamenessGroup implements Source.
func (a *API) SamenessGroup(ctx context.Context, name string, index uint64) (*catalog.SamenessGroup, uint64, error) {
	e := &catalog.SamenessGroup{}
	some, next, err := a.entry(ctx, catalog.EntrySamenessGroup, name, index, e)
	if !some {
		e = nil
	}
	return e, next, err
}

// Chain implements Source.
func (a *API) Chain(ctx context.Context, w Want, index uint64) (*catalog.DiscoveryChain, uint64, error) {
	var rep struct{ Chain *catalog.DiscoveryChain }
	q := client.Query{Index: index}
	if w.Datacenter != "" {
		q = q.With("compile-dc", w.Datacenter)
	}
	method, body := http.MethodGet, any(nil)
	if w.Protocol != "" || w.ConnectTimeout != 0 || w.MeshGateway != "" {
		method, body = http.MethodPost, struct {
			OverrideConnectTimeout catalog.Duration
			OverrideProtocol       string
			OverrideMeshGateway    catalog.MeshGateway
		}{catalog.Duration(w.ConnectTimeout), w.Protocol, catalog.MeshGateway{Mode: w.MeshGateway}}
	}
	next, err := a.ask(ctx, method, client.Path("discovery-chain", w.Name), q, body, &rep)
	if err == nil && rep.Chain == nil {
		err = catalog.Errorf(catalog.Internal, "the answer has no chain")
	}
	return rep.Chain, next, err
}

// PeerTrust implements Source.
func (a *API) PeerTrust(ctx context.Context, service, peer string, index uint64) ([]*catalog.PeerTrust, uint64, error) {
	q := client.Query{Index: index}
	if peer != "" {
		q = q.With("peer", peer)
	}
	var list []*catalog.PeerTrust
	next, err := a.ask(ctx, http.MethodGet, client.Path("internal", "peer-trust", service), q, nil, &list)
	return list, next, err
}

// Peers implements Source.
func (a *API) Peers(ctx context.Context, gateway string, index uint64) ([]*catalog.PeerTrust, uint64, error) {
	var list []*catalog.PeerTrust
	next, err := a.ask(ctx, http.MethodGet, client.Path("internal", "peer-trust", gateway), client.Query{Index: index}.With("all", "1"), nil, &list)
	return list, next, err
}

// PeerServers implements Source.
func (a *API) PeerServers(ctx context.Context, gateway string, index uint64) ([]*catalog.PeerServers, uint64, error) {
	var list []*catalog.PeerServers
	next, err := a.ask(ctx, http.MethodGet, client.Path("internal", "peer-servers", gateway), client.Query{Index: index}, nil, &list)
	return list, next, err
}

// Exports implements Source.
func (a *API) Exports(ctx context.Context, index uint64) (map[string][]string, uint64, error) {
	var list []api.ExportedService
	next, err := a.ask(ctx, http.MethodGet, "/v1/exported-services", client.Query{Index: index}, nil, &list)
	return peersBy(list), next, err
}

// Instances implements Source.
func (a *API) Instances(ctx context.Context, t *catalog.ChainTarget, index uint64) ([]*catalog.Instance, uint64, error) {
	q := client.Query{Index: index, Datacenter: t.Datacenter, Filter: t.Subset.Filter}
	if t.Peer != "" {
		q = q.With("peer", t.Peer)
	}
	if t.Subset.OnlyPassing {
		q = q.With("passing", "1")
	}
	var list []*catalog.Instance
	next, err := a.ask(ctx, http.MethodGet, client.Path("health", "connect", t.Service), q, nil, &list)
	for _, i := range list {
		i.Service.Normalize()
	}
	return list, next, err
}

// Gateways implements Source.
func (a *API) Gateways(ctx context.Context, datacenter string, index uint64) ([]*catalog.Instance, uint64, error) {
	var list []*catalog.Instance
	path := client.Path("internal", "gateways", string(catalog.KindMeshGateway))
	next, err := a.ask(ctx, http.MethodGet, path, client.Query{Index: index, Datacenter: datacenter}, nil, &list)
	for _, i := range list {
		i.Service.Normalize()
	}
	return list, next, err
}

// Services implements Source.
func (a *API) Services(ctx context.Context, index uint64) ([]string, uint64, error) {
	var names []string
	next, err := a.ask(ctx, http.MethodGet, "/v1/internal/mesh-services", client.Query{Index: index}, nil, &names)
	return names, next, err
}

// Resolvers implements Source.
func (a *API) Resolvers(ctx context.Context, index uint64) ([]*catalog.ServiceResolver, uint64, error) {
	var list []*catalog.ServiceResolver
	next, err := a.ask(ctx, http.MethodGet, client.Path("config", string(catalog.EntryServiceResolver)), client.Query{Index: index}, nil, &list)
	return list, next, err
}

// Datacenters implements Source. The HTTP API tells the order as it is for the agent's own datacenter, wherever it is asked about.
func (a *API) Datacenters(ctx context.Context, _ string, index uint64) ([]string, uint64, error) {
	if index > 0 {
		pause.For(ctx, datacentersEvery)
	}
	var names []string
	_, err := a.ask(ctx, http.MethodGet, "/v1/catalog/datacenters", client.Query{}, nil, &names)
	return names, index + 1, err
}

// QueryPlan implements Source.
func (a *API) QueryPlan(ctx context.Context, w Want, index uint64) (*api.QueryPlan, uint64, error) {
	plan := &api.QueryPlan{}
	next, err := a.ask(ctx, http.MethodGet, client.Path("internal", "query-plan", w.Name), client.Query{Index: index, Datacenter: w.Datacenter}, nil, plan)
	return plan, next, err
}

// QueryInstances implements Source.
func (a *API) QueryInstances(ctx context.Context, w Want, leg *api.QueryLeg, index uint64) ([]*catalog.Instance, uint64, error) {
	q := client.Query{Index: index, Datacenter: w.Datacenter}.With("version", strconv.FormatUint(leg.Version, 10))
	if leg.Target.Datacenter != "" {
		q = q.With("target", leg.Target.Datacenter)
	}
	if leg.Target.Peer != "" {
		q = q.With("peer", leg.Target.Peer)
	}
	var list []*catalog.Instance
	next, err := a.ask(ctx, http.MethodGet, client.Path("internal", "query-instances", w.Name), q, nil, &list)
	for _, i := range list {
		i.Service.Normalize()
	}
	return list, next, err
}

// Registered is one sidecar, for a Manager of its own.
type Registered struct {
	mu      sync.Mutex
	service *catalog.Service
	changed chan struct{}
}

// NewRegistered returns the registration of one sidecar.
func NewRegistered(s *catalog.Service) *Registered {
	s.Normalize()
	return &Registered{service: s, changed: make(chan struct{})}
}

// Sidecars implements Registrations.
func (r *Registered) Sidecars() map[string]*catalog.Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	return map[string]*catalog.Service{r.service.ID: r.service}
}

// Changed implements Registrations.
func (r *Registered) Changed(string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// ExposeChecks implements Registrations. What the agent's registration says of checks has been made of what counts.
func (r *Registered) ExposeChecks(map[string]bool) {}

// set replaces the registration.
func (r *Registered) set(s *catalog.Service) {
	s.Normalize()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.service = s
	close(r.changed)
	r.changed = make(chan struct{})
}

// Follow takes up what the agent says of the registration until ctx ends. One that is gone stays as it was: its agent may
// come back with it.
func (r *Registered) Follow(ctx context.Context, c *client.Client, id string) error {
	failures, hash := 0, ""
	for ctx.Err() == nil {
		s := &catalog.Service{}
		begun := time.Now()
		m, err := c.Do(ctx, http.MethodGet, client.Path("agent", "service", id), client.Query{Hash: hash}, nil, s)
		if err != nil || m.Hash == hash && time.Since(begun) < calm {
			failures++
			pause.For(ctx, backoff(failures))
			continue
		}
		failures = 0
		if m.Hash != hash {
			hash = m.Hash
			r.set(ownRun(s))
		}
	}
	return nil
}

// ownRun is a registration that is run here, whoever else was to.
func ownRun(s *catalog.Service) *catalog.Service {
	if s.Proxy != nil && s.Proxy.Config["managed"] != nil {
		p := *s.Proxy
		p.Config = map[string]any{}
		for key, value := range s.Proxy.Config {
			if key != "managed" {
				p.Config[key] = value
			}
		}
		s.Proxy = &p
	}
	return s
}

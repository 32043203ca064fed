package agent

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/dns"
	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// source is what DNS names mean: the answers of the servers, shared with all others who ask the same.
type source struct {
	cache  *watch.Cache
	caller rpc.Caller
	node   string // the agent's own
	// header gives the consistency and the token of DNS questions.
	header func(datacenter string) rpc.Header
	// authorize tells what a token may do, and ttl for how long that may be remembered; nil where nobody asks.
	authorize authorize
	ttl       time.Duration
}

// freshness tells whether an answer for a token still holds: not when the agent has another token by now, and no
// longer than what the token may see is remembered.
func (s *source) freshness(a rpc.Answer, token string) dns.Freshness {
	if !a.Watched() {
		return dns.Freshness{}
	}
	if s.authorize == nil {
		return dns.Freshness{Stale: a.Stale}
	}
	until := time.Now().Add(s.ttl)
	return dns.Freshness{Stale: func() bool { return a.Stale() || s.header("").Token != token || time.Now().After(until) }}
}

// lookUp asks by way of the agent's cache, for what the token sees now.
func lookUp[Req, Rep any](ctx context.Context, s *source, m rpc.Method[Req, Rep], h rpc.Header, req *Req) (rpc.Answer, error) {
	policy := watch.Policy{}
	if s.authorize != nil {
		az, err := s.authorize(ctx, h.Token)
		if err != nil {
			return rpc.Answer{}, err
		}
		policy.View = az.View()
	}
	answer, _, err := watch.GetWith(ctx, s.cache, policy, m, h, req)
	return answer, err
}

// Service implements dns.Source.
func (s *source) Service(ctx context.Context, q dns.ServiceQuery) (dns.Instances, error) {
	req := &api.ServiceQuery{Service: q.Name, Peer: q.Peer, Connect: q.Mesh == dns.Connect, Ingress: q.Mesh == dns.Ingress}
	h := s.header(q.Datacenter)
	answer, err := lookUp(ctx, s, api.HealthService, h, req)
	if err != nil {
		return dns.Instances{}, err
	}
	return dns.Instances{Freshness: s.freshness(answer, h.Token), Instances: *answer.Value().(*[]*catalog.Instance)}, nil
}

// Group implements dns.Source. All groups are one question, whatever name somebody asks for: there are few.
func (s *source) Group(ctx context.Context, name string) (dns.Group, error) {
	h := s.header("")
	answer, err := lookUp(ctx, s, api.ConfigList, h, &api.ConfigQuery{Kind: catalog.EntrySamenessGroup})
	if err != nil {
		return dns.Group{}, err
	}
	out := dns.Group{Freshness: s.freshness(answer, h.Token)}
	for _, e := range *answer.Value().(*[]*catalog.AnyEntry) {
		if g := e.SamenessGroup; g != nil && (name == "" && g.DefaultForFailover || name != "" && strings.EqualFold(g.Name, name)) {
			out.Clusters = g.Clusters()
		}
	}
	return out, nil
}

// PreparedQuery implements dns.Source. What the order of the answer or another datacenter decides nobody
// watches, so it is asked anew.
func (s *source) PreparedQuery(ctx context.Context, q dns.PreparedQuery) (dns.Instances, error) {
	run := api.QueryRun{Name: q.Name, Agent: s.node}
	h := s.header(q.Datacenter)
	answer, err := lookUp(ctx, s, api.QueryExecute, h, &run)
	if err != nil {
		return dns.Instances{}, err
	}
	found, fresh := answer.Value().(*api.QueryResult), s.freshness(answer, h.Token)
	if found.Ordered || found.More {
		run.Client = q.Origin.Client.Unmap().String()
		if q.Origin.Subnet.IsValid() {
			run.Client = q.Origin.Subnet.Addr().Unmap().String()
		}
		fresh = dns.Freshness{}
		ask := api.QueryExecute
		if found.More {
			ask = api.QueryFailover
		}
		if found, _, err = ask.Call(ctx, s.caller, s.header(q.Datacenter), &run); err != nil {
			return dns.Instances{}, err
		}
	}
	out := dns.Instances{Freshness: fresh, Instances: found.Nodes, Ordered: found.Ordered, PerClient: found.PerClient}
	out.TTL, out.HasTTL = found.DNS.Lifetime()
	return out, nil
}

// Node implements dns.Source.
func (s *source) Node(ctx context.Context, q dns.NodeQuery) (dns.Node, error) {
	h := s.header(q.Datacenter)
	answer, err := lookUp(ctx, s, api.Nodes, h, &api.NodeQuery{Node: q.Name, Peer: q.Peer})
	if err != nil {
		return dns.Node{}, err
	}
	out := dns.Node{Freshness: s.freshness(answer, h.Token)}
	if found := *answer.Value().(*[]*catalog.Node); len(found) == 1 {
		out.Node = found[0]
	}
	return out, nil
}

// Address implements dns.Source.
func (s *source) Address(ctx context.Context, addr netip.Addr) (dns.Owners, error) {
	h := s.header("")
	answer, err := lookUp(ctx, s, api.AddressOwners, h, &api.AddressQuery{Address: addr.String()})
	if err != nil {
		return dns.Owners{}, err
	}
	found := answer.Value().(*api.Owners)
	return dns.Owners{Freshness: s.freshness(answer, h.Token), Nodes: found.Nodes, Instances: found.Instances}, nil
}

// VirtualIP implements dns.Source.
func (s *source) VirtualIP(ctx context.Context, q dns.VirtualQuery) (dns.Virtual, error) {
	h := s.header(q.Datacenter)
	answer, err := lookUp(ctx, s, api.VirtualRead, h, &api.VirtualQuery{Service: q.Service, Port: q.Port, Peer: q.Peer})
	if err != nil {
		return dns.Virtual{}, err
	}
	out := dns.Virtual{Freshness: s.freshness(answer, h.Token)}
	if found := answer.Value().(*api.Virtual).Addresses; found != nil {
		if out.Address, err = netip.ParseAddr(found.Address); err != nil {
			return dns.Virtual{}, catalog.Errorf(catalog.Internal, "virtual address of service %q: %w", q.Service, err)
		}
	}
	return out, nil
}

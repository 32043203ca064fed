package sidecar

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// Snapshot is all that a proxy has to know. It is never changed. It holds private keys: Public is what may be shown.
type Snapshot struct {
	// Version grows with each snapshot of a node, over restarts too.
	Version  uint64
	Roots    *catalog.Roots
	Sidecars []*Sidecar // by id
	Gateways []*Gateway `json:",omitempty"` // by id
}

// Sidecar is one proxy beside one service.
type Sidecar struct {
	Service *catalog.Service // the registration of the sidecar itself
	Node    string           // that it is registered on
	// Bind is the address to listen at when the registration names none; empty is every address.
	Bind string
	// Agent is the address that the agent calls from, empty where it is on this machine.
	Agent string `json:",omitempty"`
	Known
}

// Known is what the servers say about a sidecar.
type Known struct {
	Datacenter   string
	Leaf         *catalog.IssuedCert
	Intentions   []*catalog.Intention
	DefaultAllow bool // what happens to connections that no intention speaks of
	Defaults     Defaults
	// Providers are those of the tokens that intentions ask for, as far as they are there, by their name.
	Providers map[string]*catalog.JWTProvider `json:",omitempty"`
	// Groups are the clusters of the sameness groups that intentions name as sources, by the group's name, as far as they
	// were asked for: none for one that is not there.
	Groups map[string][]string `json:",omitempty"`
	// Peers are those that the service is exported to.
	Peers []*catalog.PeerTrust `json:",omitempty"`
	// Upstreams are what is known of those that the registration declares, by Want.Key.
	Upstreams map[string]*Upstream
}

// Defaults are the config entries about a service's proxy; nil where there is none.
type Defaults struct {
	Service *catalog.ServiceDefaults `json:",omitempty"`
	Proxy   *catalog.ProxyDefaults   `json:",omitempty"`
}

// Upstream is where a sidecar's upstream leads: by a chain, or to a service of a peer, under the target "".
type Upstream struct {
	Chain   *catalog.DiscoveryChain `json:",omitempty"`
	Targets map[string]*Target      // by their id in the chain
}

// Target is a set of endpoints, and who they have to prove to be.
type Target struct {
	Identities []connect.ID
	Endpoints  []Endpoint
	// Peer is the cluster that the endpoints are of; nil for the own one.
	Peer *catalog.PeerTrust `json:",omitempty"`
	// ServerName is what the endpoints are called in TLS, where it is not what the chain says or their identity.
	ServerName string `json:",omitempty"`
	// Gateways are what the endpoints are reached through; nil where they are reached directly.
	Gateways *Gateways `json:",omitempty"`
	// Error is why nothing is known of the endpoints, as far as something is wrong.
	Error string `json:",omitempty"`
}

// Gateways are the mesh gateways of a datacenter, its own for those who are in it, or of a peer.
type Gateways struct {
	Datacenter string
	Endpoints  []Endpoint
	Error      string `json:",omitempty"` // why nothing is known of them
}

// exposeChecks says, by the ids of the sidecars, whether config entries want the checks of their services to be made through
// them.
func (s *Snapshot) exposeChecks() map[string]bool {
	by := make(map[string]bool, len(s.Sidecars))
	for _, side := range s.Sidecars {
		d := side.Defaults
		by[side.Service.ID] = d.Service != nil && d.Service.Expose.Checks || d.Proxy != nil && d.Proxy.Expose.Checks
	}
	return by
}

// peers are the clusters whose services are believed.
func (s *Sidecar) peers() peers {
	all := map[string]*catalog.PeerTrust{}
	for _, u := range s.Upstreams {
		for _, t := range u.Targets {
			if t.Peer != nil {
				all[t.Peer.Peer] = t.Peer
			}
		}
	}
	return peers{in: s.Peers, out: slices.SortedFunc(maps.Values(all), func(a, b *catalog.PeerTrust) int { return cmp.Compare(a.Peer, b.Peer) })}
}

// Reached are the endpoints that connections are made to: none while the target has none, whoever stands before it.
func (t *Target) Reached() []Endpoint {
	if t.Gateways == nil || len(t.Endpoints) == 0 {
		return t.Endpoints
	}
	return t.Gateways.Endpoints
}

// empty is why nothing can be reached, as far as it is known.
func (t *Target) empty() string {
	switch g := t.Gateways; {
	case t.Error != "":
		return t.Error
	case g == nil || len(t.Endpoints) == 0 || len(g.Endpoints) > 0:
		return ""
	case g.Error != "":
		return g.Error
	default:
		return "its instances are reached through the mesh gateways of " + g.Datacenter + ", none of which is well"
	}
}

// Endpoint is one instance, as it is reached.
type Endpoint struct {
	Network, Address string
	Node, ID         string
	Status           catalog.Status
	Weight           int
	Registered       uint64 `json:",omitempty"` // index at which it was
	Zone             string `json:",omitempty"`
	Region           string `json:",omitempty"`
}

// Want is one upstream as it is asked for. Two that are equal share what is known.
type Want struct {
	Query          bool // Name is that of a prepared query
	Name           string
	Datacenter     string
	Peer           string
	Protocol       string // in place of what config entries say
	ConnectTimeout time.Duration
	MeshGateway    string
}

// Key is the upstream in one line.
func (w Want) Key() string {
	key, _ := json.Marshal(w) // of strings, a number and a bool
	return string(key)
}

// wantOf is what an upstream of a proxy asks for, with what the defaults of the service say about its upstreams.
func wantOf(p *catalog.Proxy, u *catalog.Upstream, d Defaults) Want {
	w := Want{
		Query: u.DestinationType == preparedQuery, Name: u.DestinationName, Datacenter: u.Datacenter, Peer: u.DestinationPeer,
		MeshGateway: u.MeshGateway.Mode,
	}
	if text, ok := u.Config["protocol"].(string); ok {
		w.Protocol = text
	}
	w.ConnectTimeout = millis(u.Config["connect_timeout_ms"])
	for _, c := range upstreamDefaults(u, d) {
		w.Protocol = cmp.Or(w.Protocol, c.Protocol)
		w.ConnectTimeout = cmp.Or(w.ConnectTimeout, time.Duration(c.ConnectTimeoutMs)*time.Millisecond)
		w.MeshGateway = cmp.Or(w.MeshGateway, c.MeshGateway.Mode)
	}
	w.MeshGateway = cmp.Or(w.MeshGateway, p.MeshGateway.Mode)
	if d.Service != nil {
		w.MeshGateway = cmp.Or(w.MeshGateway, d.Service.MeshGateway.Mode)
	}
	if (w.Peer != "" || w.Query) && d.Proxy != nil { // elsewhere the servers' chain says it
		w.MeshGateway = cmp.Or(w.MeshGateway, d.Proxy.MeshGateway.Mode)
	}
	return w
}

// preparedQuery is the type of upstreams that name a query.
const preparedQuery = "prepared_query"

// upstreamDefaults is what the service's defaults say about an upstream, what counts first.
func upstreamDefaults(u *catalog.Upstream, d Defaults) (found []*catalog.UpstreamConfig) {
	if d.Service == nil || d.Service.UpstreamConfig == nil {
		return nil
	}
	for _, o := range d.Service.UpstreamConfig.Overrides {
		if o.Name == u.DestinationName && o.Peer == u.DestinationPeer {
			found = append(found, o)
		}
	}
	if all := d.Service.UpstreamConfig.Defaults; all != nil {
		found = append(found, all)
	}
	return found
}

// millis is a number of milliseconds in a proxy's free configuration, which may have come from JSON or HCL.
func millis(v any) time.Duration {
	return time.Duration(min(number(v), 1<<31) * float64(time.Millisecond))
}

// number is a number as whatever wrote it has it, 0 for what is none.
func number(v any) float64 {
	switch n := v.(type) {
	case int:
		return float64(n)
	case int64:
		return float64(n)
	case uint64:
		return float64(n)
	case float64:
		return n
	}
	return 0
}

// Public is the snapshot without private keys.
func (s *Snapshot) Public() *Snapshot {
	public := *s
	public.Sidecars = make([]*Sidecar, len(s.Sidecars))
	for i, old := range s.Sidecars {
		side := *old
		if side.Leaf != nil {
			leaf := *side.Leaf
			leaf.PrivateKeyPEM = ""
			side.Leaf = &leaf
		}
		public.Sidecars[i] = &side
	}
	return &public
}

// find is the sidecar with an id, nil when there is none.
func (s *Snapshot) find(id string) *Sidecar {
	if s == nil {
		return nil
	}
	for _, side := range s.Sidecars {
		if side.Service.ID == id {
			return side
		}
	}
	return nil
}

// gateway is the gateway with an id, nil when there is none.
func (s *Snapshot) gateway(id string) *Gateway {
	if s == nil {
		return nil
	}
	for _, g := range s.Gateways {
		if g.Service.ID == id {
			return g
		}
	}
	return nil
}

package handler

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect/chain"
)

// graph is the config entries of a transaction, for those who check how they fit together.
type graph struct{ *entriesRead }

// get returns an entry as what it is, nil when there is none.
func get[T any, P interface {
	*T
	catalog.ConfigEntry
}](g graph, kind catalog.EntryKind, name string) P {
	e, _ := g.Get(kind, name).(P)
	return e
}

// checkGraph checks that the entries still fit together after one of them was written or removed. before
// is that one as it was, nil when it is new. The error says which entry would break, and why.
func checkGraph(tx *state.Txn, kind catalog.EntryKind, name string, before catalog.ConfigEntry) error {
	g := graph{&entriesRead{tx: tx}}
	after := g.Get(kind, name)
	switch e := after.(type) {
	case *catalog.ServiceDefaults:
		if err := g.permissive(e.Head(), e.MutualTLSMode); err != nil {
			return err
		}
	case *catalog.ProxyDefaults:
		if err := g.permissive(e.Head(), e.MutualTLSMode); err != nil {
			return err
		}
	case *catalog.ServiceIntentions:
		if err := g.requestsSeen(e); err != nil {
			return err
		}
		return g.knownProviders(e)
	case *catalog.SamenessGroup:
		if err := g.oneDefault(e); err != nil {
			return err
		}
	case *catalog.ExportedServices:
		return g.exported(e, "")
	case *catalog.KVReplication:
		return g.oneSource(e)
	}
	switch kind {
	case catalog.EntryJWTProvider:
		if after == nil {
			return g.unusedProvider(name)
		}
	case catalog.EntryServiceDefaults, catalog.EntryProxyDefaults:
		if err := g.requestsStillSeen(kind, name); err != nil {
			return err
		}
	case catalog.EntryServiceResolver:
		all, _ := exportEntries(tx, nil)
		for _, e := range all {
			if err := g.exported(e, name); err != nil {
				return err
			}
		}
	}
	if err := g.ingress(kind, name); err != nil {
		return err
	}
	return chain.Judge(g, kind, name, before)
}

// oneSource checks that no other entry copies the same keys.
func (g graph) oneSource(e *catalog.KVReplication) error {
	for _, other := range g.List(catalog.EntryKVReplication) {
		if o := other.(*catalog.KVReplication); o.Name != e.Name {
			if err := e.Clash(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// permissive checks that the mesh allows proxies to take what does not come from the mesh.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/mesh
func (g graph) permissive(h *catalog.EntryHead, mode string) error {
	mesh := get[catalog.Mesh](g, catalog.EntryMesh, catalog.MeshName)
	if mode == "permissive" && (mesh == nil || !mesh.AllowEnablingPermissiveMutualTLS) {
		return catalog.Errorf(catalog.Invalid, "%s: MutualTLSMode permissive is not allowed here: set AllowEnablingPermissiveMutualTLS in the entry of kind mesh first", h)
	}
	return nil
}

// requestsSeen checks that the proxies of a service whose intentions are about requests see requests.
func (g graph) requestsSeen(e *catalog.ServiceIntentions) error {
	if !e.ByRequest() {
		return nil
	}
	if protocol := chain.Protocol(e.Name, g); !chain.ForRequests(protocol) {
		return catalog.Errorf(catalog.Invalid, "config entry %s: permissions and tokens are about requests, and the protocol of %q is %s: write %s/%s with Protocol http, http2 or grpc first",
			e.Head(), e.Name, protocol, catalog.EntryServiceDefaults, e.Name)
	}
	return nil
}

// requestsStillSeen is requestsSeen for a change of the defaults that say the protocol.
func (g graph) requestsStillSeen(kind catalog.EntryKind, name string) error {
	if kind == catalog.EntryServiceDefaults {
		if e := get[catalog.ServiceIntentions](g, catalog.EntryServiceIntentions, name); e != nil {
			return g.requestsSeen(e)
		}
		return nil
	}
	for _, e := range g.List(catalog.EntryServiceIntentions) {
		if err := g.requestsSeen(e.(*catalog.ServiceIntentions)); err != nil {
			return err
		}
	}
	return nil
}

// knownProviders checks that there are the providers whose tokens intentions ask for.
func (g graph) knownProviders(e *catalog.ServiceIntentions) error {
	for _, p := range providersOf(e) {
		if g.Get(catalog.EntryJWTProvider, p) == nil {
			return catalog.Errorf(catalog.Invalid, "%s: there is no %s/%s: write it first", e.Head(), catalog.EntryJWTProvider, p)
		}
	}
	return nil
}

// unusedProvider checks that no intentions ask for tokens of a provider that is gone.
func (g graph) unusedProvider(name string) error {
	for _, e := range g.List(catalog.EntryServiceIntentions) {
		for _, p := range providersOf(e.(*catalog.ServiceIntentions)) {
			if strings.EqualFold(p, name) {
				return catalog.Errorf(catalog.Invalid, "%s/%s cannot be removed: %s asks for its tokens", catalog.EntryJWTProvider, name, e.Head())
			}
		}
	}
	return nil
}

// providersOf lists the providers that intentions name.
func providersOf(e *catalog.ServiceIntentions) (names []string) {
	add := func(j *catalog.JWTRequirement) {
		if j == nil {
			return
		}
		for _, p := range j.Providers {
			names = append(names, p.Name)
		}
	}
	add(e.JWT)
	for _, s := range e.Sources {
		for _, p := range s.Permissions {
			add(p.JWT)
		}
	}
	return names
}

// oneDefault checks that no second group is the default for failover.
func (g graph) oneDefault(e *catalog.SamenessGroup) error {
	if !e.DefaultForFailover {
		return nil
	}
	for _, other := range g.List(catalog.EntrySamenessGroup) {
		if o := other.(*catalog.SamenessGroup); o.DefaultForFailover && !strings.EqualFold(o.Name, e.Name) {
			return catalog.Errorf(catalog.Invalid, "%s: DefaultForFailover is set in %s already: there can be one default", e.Head(), o.Head())
		}
	}
	return nil
}

// exported checks that services which are exported to peers, or the one of them with the name, do not
// lead to other datacenters: peers cannot follow there.
// Source: https://developer.hashicorp.com/consul/docs/connect/cluster-peering
func (g graph) exported(e *catalog.ExportedServices, only string) error {
	for _, s := range e.Services {
		if only != "" && !strings.EqualFold(s.Name, only) || !toPeer(s.Consumers) {
			continue
		}
		r := get[catalog.ServiceResolver](g, catalog.EntryServiceResolver, s.Name)
		if r != nil && crossesDatacenters(r) {
			return catalog.Errorf(catalog.Invalid, "service %s cannot be exported to a peer (by %s) and lead to another datacenter (by %s) at once", s.Name, e.Head(), r.Head())
		}
	}
	return nil
}

func toPeer(consumers []catalog.ServiceConsumer) bool {
	for _, c := range consumers {
		if c.Peer != "" {
			return true
		}
	}
	return false
}

func crossesDatacenters(r *catalog.ServiceResolver) bool {
	if r.Redirect != nil && r.Redirect.Datacenter != "" {
		return true
	}
	for _, f := range r.Failover { // the order does not matter
		if len(f.Datacenters) > 0 {
			return true
		}
		for _, t := range f.Targets {
			if t.Datacenter != "" {
				return true
			}
		}
	}
	return false
}

// ingress checks that services speak what the listeners of ingress gateways do, as far as the changed
// entry has a part in it.
func (g graph) ingress(kind catalog.EntryKind, name string) error {
	switch kind {
	case catalog.EntryServiceDefaults, catalog.EntryProxyDefaults, catalog.EntryIngressGateway:
	default:
		return nil
	}
	for _, e := range g.List(catalog.EntryIngressGateway) {
		if kind == catalog.EntryIngressGateway && !strings.EqualFold(e.Head().Name, name) {
			continue
		}
		for _, l := range e.(*catalog.IngressGateway).Listeners {
			if l.Protocol == "tcp" {
				continue // takes anything
			}
			for _, s := range l.Services {
				if s.Name == catalog.Wildcard || kind == catalog.EntryServiceDefaults && !strings.EqualFold(s.Name, name) {
					continue
				}
				if speaks := chain.Protocol(s.Name, g); speaks != l.Protocol {
					return catalog.Errorf(catalog.Invalid, "%s: service %s speaks %s and the listener at port %d %s: set Protocol of %s/%s",
						e.Head(), s.Name, speaks, l.Port, l.Protocol, catalog.EntryServiceDefaults, s.Name)
				}
			}
		}
	}
	return nil
}

package handler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect/chain"
)

// bindGateways works out again what API gateways serve, after an entry of that kind was written or removed:
// the status of gateways and routes, and the entry bound-api-gateway of each gateway. What comes out depends
// on the entries alone, but for the time of conditions that are new, which is at.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/api-gateway
func bindGateways(tx *state.Txn, kind catalog.EntryKind, at time.Time) {
	switch kind {
	case catalog.EntryAPIGateway, catalog.EntryHTTPRoute, catalog.EntryTCPRoute, catalog.EntryInlineCertificate, catalog.EntryFileSystemCertificate,
		catalog.EntryJWTProvider, catalog.EntryServiceDefaults, catalog.EntryProxyDefaults,
		catalog.EntryServiceRouter, catalog.EntryServiceSplitter, catalog.EntryServiceResolver:
	default:
		return // gateways and routes do not look at it
	}
	g := graph{&entriesRead{tx: tx}}
	b := &binder{graph: g}
	for _, e := range g.List(catalog.EntryAPIGateway) {
		b.gateways = append(b.gateways, b.gateway(e.(*catalog.APIGateway)))
	}
	for _, kind := range []catalog.EntryKind{catalog.EntryHTTPRoute, catalog.EntryTCPRoute} {
		for _, e := range g.List(kind) {
			setStatus(tx, e, b.bind(routeOf(e)), at)
		}
	}
	for _, gw := range b.gateways {
		setStatus(tx, gw.entry, gw.status(), at)
		state.EntrySet(tx, gw.bound)
	}
	for _, e := range g.List(catalog.EntryBoundAPIGateway) {
		if g.Get(catalog.EntryAPIGateway, e.Head().Name) == nil {
			state.EntryDelete(tx, catalog.EntryBoundAPIGateway, e.Head().Name)
		}
	}
}

// setStatus stores a status where it differs from the stored one. Conditions that were there keep their time.
func setStatus(tx *state.Txn, e catalog.ConfigEntry, now []catalog.EntryCondition, at time.Time) {
	slices.SortStableFunc(now, func(a, b catalog.EntryCondition) int { return cmp.Compare(a.Reason, b.Reason) })
	before := catalog.StatusOf(e).Conditions
	changed := len(before) != len(now)
	for i := range now {
		c := &now[i]
		old := slices.IndexFunc(before, func(b catalog.EntryCondition) bool { return sameCondition(&b, c) })
		switch {
		case old >= 0:
			c.LastTransitionTime = before[old].LastTransitionTime
		case !at.IsZero(): // it is in the log of an earlier version
			c.LastTransitionTime = &at
		}
		changed = changed || old != i
	}
	if changed {
		next := e.Clone()
		catalog.StatusOf(next).Conditions = now
		state.EntrySetStatus(tx, next)
	}
}

func sameCondition(a, b *catalog.EntryCondition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message && *a.Resource == *b.Resource
}

func condition(typ, reason string, of catalog.EntryReference, is bool, message string) catalog.EntryCondition {
	status := "False"
	if is {
		status = "True"
	}
	return catalog.EntryCondition{Type: typ, Status: status, Reason: reason, Message: message, Resource: &of}
}

// binder binds routes to gateways.
type binder struct {
	graph
	gateways []*boundGateway
}

// boundGateway is a gateway with what it serves.
type boundGateway struct {
	entry    *catalog.APIGateway
	bound    *catalog.BoundAPIGateway
	problems []catalog.EntryCondition // of its references
	reason   string                   // why it is not accepted, "" when it is
}

// gateway looks up what a gateway refers to. No route is bound yet.
func (b *binder) gateway(e *catalog.APIGateway) *boundGateway {
	gw := &boundGateway{entry: e, bound: &catalog.BoundAPIGateway{
		EntryHead: catalog.EntryHead{Kind: catalog.EntryBoundAPIGateway, Name: e.Name}, Services: map[string][]catalog.EntryReference{},
	}}
	for i := range e.Listeners {
		l := &e.Listeners[i]
		for _, ref := range l.TLS.Certificates {
			if b.Get(ref.Kind, ref.Name) == nil {
				gw.unresolved(l, "InvalidCertificateRef", "InvalidCertificates", fmt.Sprintf("there is no %s/%s", ref.Kind, ref.Name))
			}
		}
		for _, p := range []*catalog.GatewayPolicy{l.Override, l.Default} {
			if p == nil || p.JWT == nil {
				continue
			}
			if missing := b.missingProvider(p.JWT.Providers); missing != "" {
				gw.unresolved(l, "InvalidJWTProviderRef", "InvalidJWTProviders", fmt.Sprintf("there is no %s/%s", catalog.EntryJWTProvider, missing))
			}
		}
		gw.bound.Listeners = append(gw.bound.Listeners, catalog.BoundAPIGatewayListener{Name: l.Name, Certificates: l.TLS.Certificates})
	}
	return gw
}

func (gw *boundGateway) unresolved(l *catalog.APIGatewayListener, reason, ofGateway, message string) {
	gw.problems = append(gw.problems, condition("ResolvedRefs", reason, gw.section(l.Name), false, message))
	gw.reason = cmp.Or(gw.reason, ofGateway)
}

func (gw *boundGateway) section(name string) catalog.EntryReference {
	return catalog.EntryReference{Kind: catalog.EntryAPIGateway, Name: gw.entry.Name, SectionName: name}
}

// missingProvider names the first provider that there is not.
func (b *binder) missingProvider(providers []*catalog.JWTRequirementProvider) string {
	for _, p := range providers {
		if b.Get(catalog.EntryJWTProvider, p.Name) == nil {
			return p.Name
		}
	}
	return ""
}

// status tells how a gateway does, once all routes are bound.
func (gw *boundGateway) status() []catalog.EntryCondition {
	list := slices.Clone(gw.problems)
	if gw.reason == "" {
		list = append(list, condition("Accepted", "Accepted", catalog.EntryReference{}, true, "gateway is valid"))
	} else {
		list = append(list, condition("Accepted", gw.reason, catalog.EntryReference{}, false, "gateway refers to what does not exist"))
	}
	for i, l := range gw.entry.Listeners {
		at := gw.section(l.Name)
		// Connections say nothing that would tell one route from another.
		if routes := gw.bound.Listeners[i].Routes; l.Protocol == "tcp" && len(routes) > 1 {
			list = append(list, condition("Conflicted", "RouteConflict", at, true, fmt.Sprintf("listener of protocol tcp has %d routes: it can have one", len(routes))))
		} else {
			list = append(list, condition("Conflicted", "NoConflict", at, false, "listener has no route conflicts"))
		}
		if !slices.ContainsFunc(gw.problems, func(c catalog.EntryCondition) bool { return *c.Resource == at }) {
			list = append(list, condition("ResolvedRefs", "ResolvedRefs", at, true, "resolved refs"))
		}
	}
	return list
}

// route is what routes of both kinds have in common.
type route struct {
	ref       catalog.EntryReference
	parents   []catalog.EntryReference
	protocol  string // of the listeners that it binds to
	hosts     []string
	services  []string
	providers []*catalog.JWTRequirementProvider
}

func routeOf(e catalog.ConfigEntry) *route {
	r := &route{ref: catalog.EntryReference{Kind: e.Head().Kind, Name: e.Head().Name}}
	switch e := e.(type) {
	case *catalog.TCPRoute:
		r.protocol, r.parents = "tcp", e.Parents
		for _, s := range e.Services {
			r.services = append(r.services, s.Name)
		}
	case *catalog.HTTPRoute:
		r.protocol, r.parents, r.hosts = "http", e.Parents, e.Hostnames
		for _, rule := range e.Rules {
			filters := []*catalog.HTTPFilters{&rule.Filters}
			for i, s := range rule.Services {
				r.services = append(r.services, s.Name)
				filters = append(filters, &rule.Services[i].Filters)
			}
			for _, f := range filters {
				if f.JWT != nil {
					r.providers = append(r.providers, f.JWT.Providers...)
				}
			}
		}
	}
	slices.Sort(r.services)
	r.services = slices.Compact(r.services)
	return r
}

// bind binds a route to its parents and tells how that went.
func (b *binder) bind(r *route) []catalog.EntryCondition {
	reason, message := b.refuse(r)
	list := []catalog.EntryCondition{condition("Accepted", cmp.Or(reason, "Accepted"), catalog.EntryReference{}, reason == "", cmp.Or(message, "route is valid"))}
	for _, parent := range r.parents {
		i := slices.IndexFunc(b.gateways, func(gw *boundGateway) bool { return strings.EqualFold(gw.entry.Name, parent.Name) })
		if i < 0 {
			list = append(list, condition("Bound", "GatewayNotFound", parent, false, "gateway was not found"))
			continue
		}
		why, cause := "FailedToBind", ""
		switch missing := b.missingProvider(r.providers); {
		case reason != "":
			cause = "route has not been accepted"
		case missing != "":
			why, cause = "JWTProvidersNotFound", fmt.Sprintf("there is no %s/%s", catalog.EntryJWTProvider, missing)
		case b.gateways[i].reason != "":
			cause = "gateway has not been accepted"
		case !b.gateways[i].bind(r, parent.SectionName):
			cause = fmt.Sprintf("no listener of protocol %s takes its hosts", r.protocol)
		}
		if cause == "" {
			list = append(list, condition("Bound", "Bound", parent, true, "successfully bound route"))
		} else {
			list = append(list, condition("Bound", why, parent, false, fmt.Sprintf("failed to bind route to gateway %s: %s", parent.Name, cause)))
		}
	}
	return list
}

// refuse tells why a route leads nowhere; the reason is "" when it does not.
func (b *binder) refuse(r *route) (reason, message string) {
	if len(r.services) == 0 {
		return "NoUpstreamServicesTargeted", "route must target at least one upstream service"
	}
	for _, s := range r.services {
		if chain.ForRequests(chain.Protocol(s, b)) != (r.protocol == "http") {
			return "InvalidDiscoveryChain", "route protocol does not match targeted service protocol"
		}
		if _, err := chain.Compile(chain.Request{Service: s}, b); err != nil {
			return "InvalidDiscoveryChain", err.Error()
		}
	}
	return "", ""
}

// bind binds a route to the listener of a name, all for the empty one, as far as they take it.
func (gw *boundGateway) bind(r *route, section string) (bound bool) {
	for i, l := range gw.entry.Listeners {
		if section != "" && section != l.Name || l.Protocol != r.protocol || !takesHost(l.Hostname, r.hosts) {
			continue
		}
		bound = true
		if routes := &gw.bound.Listeners[i].Routes; !slices.Contains(*routes, r.ref) {
			*routes = append(*routes, r.ref)
		}
	}
	if !bound {
		return false
	}
	for _, s := range r.services {
		if !slices.Contains(gw.bound.Services[s], r.ref) {
			gw.bound.Services[s] = append(gw.bound.Services[s], r.ref)
		}
	}
	return true
}

// takesHost reports whether a listener's host and those of a route have one in common. None are all.
func takesHost(listener string, hosts []string) bool {
	return listener == "" || len(hosts) == 0 || slices.ContainsFunc(hosts, func(h string) bool { return covers(listener, h) || covers(h, listener) })
}

// covers reports whether a host, or what a wildcard at its beginning stands for, is another.
func covers(host, other string) bool {
	host, other = strings.ToLower(host), strings.ToLower(other)
	suffix, wild := strings.CutPrefix(host, "*")
	return host == other || wild && strings.HasSuffix(other, suffix)
}

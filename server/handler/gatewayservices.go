package handler

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

type gatewayServices = []*catalog.GatewayService

func registerGateways(r *endpoint.Registry) {
	endpoint.AddQuery(r, endpoint.Query[api.ServiceQuery, gatewayServices]{
		Method: api.GatewayServices,
		Needs:  needsService,
		Check:  checkService,
		Read: func(tx *state.Txn, w *state.Watch, q *api.ServiceQuery) (*gatewayServices, uint64, error) {
			found, index := servicesOfGateway(tx, w, q.Service)
			return &found, index, nil
		},
		Visible: visible(seesGatewayService),
		Filter:  filter.List[*catalog.GatewayService],
	})
}

func seesGatewayService(az acl.Authorizer, s *catalog.GatewayService) bool {
	return seesService(az, s.Service.Name)
}

// gatewayKinds are the kinds of entries that lead gateways to services.
var gatewayKinds = []catalog.EntryKind{catalog.EntryTerminatingGateway, catalog.EntryIngressGateway, catalog.EntryBoundAPIGateway}

// servicesOfGateway lists the services that a gateway leads to, by name and port. What the entries say of
// all services depends on the services there are, but not on their health.
// Source: https://developer.hashicorp.com/consul/api-docs/catalog#list-services-for-gateway
func servicesOfGateway(tx *state.Txn, w *state.Watch, gateway string) (gatewayServices, uint64) {
	r := &gatewayRead{entriesRead: entriesRead{tx: tx, w: w}}
	found := gatewayServices{}
	for _, kind := range gatewayKinds {
		if e := r.Get(kind, gateway); e != nil {
			found = append(found, r.services(e)...)
		}
	}
	slices.SortStableFunc(found, func(a, b *catalog.GatewayService) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Service.Name), strings.ToLower(b.Service.Name)), a.Port-b.Port)
	})
	return found, r.index
}

// gatewaysOf returns the instances of the gateways of a kind that lead to a service. A change of any entry
// of that kind counts as a change of the answer, since it may take a service away. The first index counts
// changes of nodes and services, the second those of checks too.
func gatewaysOf(tx *state.Txn, w *state.Watch, kind catalog.Kind, service string) (found []*catalog.Instance, index, health uint64) {
	r := &gatewayRead{entriesRead: entriesRead{tx: tx, w: w}}
	for _, gateway := range r.leading(kind, service) {
		all, at, checked := state.ServiceInstances(tx, w, gateway)
		r.index, health = max(r.index, at), max(health, checked)
		for _, i := range all {
			if i.Service.Kind == kind {
				found = append(found, i)
			}
		}
	}
	return found, r.index, max(r.index, health)
}

// connectInstances returns the instances that mesh connections to a service reach: its proxies, the native
// ones, and the terminating gateways that stand for it. The indexes are those of gatewaysOf.
func connectInstances(tx *state.Txn, w *state.Watch, service string) (found []*catalog.Instance, index, health uint64) {
	found, index, health = state.ConnectInstances(tx, w, service)
	gateways, at, checked := gatewaysOf(tx, w, catalog.KindTerminatingGateway, service)
	return append(found, gateways...), max(index, at), max(health, checked)
}

// gatewayRead reads config entries, and the services there are where entries speak of all services.
type gatewayRead struct{ entriesRead }

// services are those that an entry of gatewayKinds leads to.
func (r *gatewayRead) services(e catalog.ConfigEntry) gatewayServices {
	switch e := e.(type) {
	case *catalog.TerminatingGateway:
		return linked(e, r.outsiders)
	case *catalog.IngressGateway:
		return r.exposed(e, r.meshed)
	case *catalog.BoundAPIGateway:
		return routed(e)
	}
	return nil
}

// leading names the gateways of a kind that lead to a service.
func (r *gatewayRead) leading(kind catalog.Kind, service string) (names []string) {
	is := func(s *catalog.GatewayService) bool { return strings.EqualFold(s.Service.Name, service) }
	only := func(there func(string) bool) func() []string {
		return func() []string {
			if there(service) {
				return []string{service}
			}
			return nil
		}
	}
	switch kind {
	case catalog.KindTerminatingGateway:
		for _, e := range r.List(catalog.EntryTerminatingGateway) {
			if slices.ContainsFunc(linked(e.(*catalog.TerminatingGateway), only(r.outside)), is) {
				names = append(names, e.Head().Name)
			}
		}
	case catalog.KindIngressGateway:
		for _, e := range r.List(catalog.EntryIngressGateway) {
			if slices.ContainsFunc(r.exposed(e.(*catalog.IngressGateway), only(r.inMesh)), is) {
				names = append(names, e.Head().Name)
			}
		}
	}
	return names
}

// linked are the services of a terminating gateway. all lists those that the wildcard stands for.
func linked(e *catalog.TerminatingGateway, all func() []string) (found gatewayServices) {
	named := map[string]bool{}
	for _, s := range e.Services {
		named[strings.ToLower(s.Name)] = true
	}
	for _, s := range e.Services {
		row := catalog.GatewayService{
			Gateway: catalog.ServiceName{Name: e.Name}, GatewayKind: catalog.KindTerminatingGateway,
			CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile, SNI: s.SNI,
			CreateIndex: e.CreateIndex, ModifyIndex: e.ModifyIndex,
		}
		found = append(found, spread(row, s.Name, named, all)...)
	}
	return found
}

// spread is the row for a service, or one for each that the wildcard stands for and that is not named.
func spread(row catalog.GatewayService, service string, named map[string]bool, all func() []string) (rows gatewayServices) {
	if service != catalog.Wildcard {
		row.Service.Name = service
		return gatewayServices{&row}
	}
	for _, name := range all() {
		if !named[strings.ToLower(name)] {
			one := row
			one.Service.Name, one.FromWildcard = name, true
			rows = append(rows, &one)
		}
	}
	return rows
}

// exposed are the services of an ingress gateway: a row for each listener. Of all services it lets in
// those that speak what the listener does.
func (r *gatewayRead) exposed(e *catalog.IngressGateway, all func() []string) (found gatewayServices) {
	for _, l := range e.Listeners {
		named := map[string]bool{}
		for _, s := range l.Services {
			named[strings.ToLower(s.Name)] = true
		}
		speaking := func() []string {
			return slices.DeleteFunc(all(), func(name string) bool { return chain.Protocol(name, r) != l.Protocol })
		}
		for _, s := range l.Services {
			row := catalog.GatewayService{
				Gateway: catalog.ServiceName{Name: e.Name}, GatewayKind: catalog.KindIngressGateway,
				Port: l.Port, Protocol: l.Protocol, Hosts: s.Hosts,
				CreateIndex: e.CreateIndex, ModifyIndex: e.ModifyIndex,
			}
			found = append(found, spread(row, s.Name, named, speaking)...)
		}
	}
	return found
}

// routed are the services that the routes of an API gateway lead to.
func routed(e *catalog.BoundAPIGateway) (found gatewayServices) {
	for _, name := range slices.Sorted(maps.Keys(e.Services)) {
		found = append(found, &catalog.GatewayService{
			Gateway: catalog.ServiceName{Name: e.Name}, Service: catalog.ServiceName{Name: name}, GatewayKind: catalog.KindAPIGateway,
			CreateIndex: e.CreateIndex, ModifyIndex: e.ModifyIndex,
		})
	}
	return found
}

// outsider reports whether an instance is a service itself: no proxy, no gateway, and not the servers.
func outsider(i *catalog.Instance) bool {
	return i.Service.Kind == "" && i.Service.Service != catalog.ServersService
}

// outsiders names the services that terminating gateways can stand for.
func (r *gatewayRead) outsiders() []string {
	return r.names(func(i *catalog.Instance) string {
		if outsider(i) {
			return i.Service.Service
		}
		return ""
	})
}

// meshed names the services that mesh connections reach.
func (r *gatewayRead) meshed() []string {
	return r.names(func(i *catalog.Instance) string { return i.Service.ConnectName() })
}

// names lists what instances are counted under, each once.
func (r *gatewayRead) names(of func(*catalog.Instance) string) (names []string) {
	seen := map[string]bool{"": true}
	r.index = max(r.index, state.AllInstances(r.tx, r.w, func(i *catalog.Instance) {
		name := of(i)
		if key := strings.ToLower(name); !seen[key] {
			seen[key] = true
			names = append(names, name)
		}
	}))
	return names
}

// outside is outsiders for one service.
func (r *gatewayRead) outside(service string) bool {
	found, index, _ := state.ServiceInstances(r.tx, r.w, service)
	r.index = max(r.index, index)
	return slices.ContainsFunc(found, outsider)
}

// inMesh is meshed for one service.
func (r *gatewayRead) inMesh(service string) bool {
	found, index, _ := state.ConnectInstances(r.tx, r.w, service)
	r.index = max(r.index, index)
	return len(found) > 0
}

package handler

import (
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerTopology(r *endpoint.Registry, d Deps) {
	endpoint.AddQuery(r, endpoint.Query[api.TopologyQuery, api.Topology]{
		Method: api.ServiceTopology,
		Needs:  func(q *api.TopologyQuery) []acl.Need { return need(acl.Service, q.Service, acl.Read) },
		Check: func(q *api.TopologyQuery) error {
			if q.Service == "" {
				return catalog.Errorf(catalog.Invalid, "missing service name")
			}
			return nil
		},
		Read: func(tx *state.Txn, w *state.Watch, q *api.TopologyQuery) (*api.Topology, uint64, error) {
			return readTopology(d, tx, w, q)
		},
		Visible: visibleTopology,
	})
	endpoint.AddQuery(r, endpoint.Query[api.ServiceQuery, []*api.GatewayLink]{
		Method:  api.GatewayLinks,
		Needs:   needsService,
		Check:   checkService,
		Read:    readGatewayLinks,
		Visible: visibleLinks,
	})
	endpoint.AddQuery(r, endpoint.Query[api.ServiceQuery, intentionList]{
		Method:  api.GatewayIntentions,
		Needs:   needsService,
		Check:   checkService,
		Read:    readGatewayIntentions,
		Visible: visible(seesIntention),
		Filter:  filter.List[*catalog.Intention],
	})
}

// needsService is what it takes to ask what a gateway leads to.
func needsService(q *api.ServiceQuery) []acl.Need { return need(acl.Service, q.Service, acl.Read) }

// visibleLinks keeps the services that the token may see, with those of their instances whose nodes it may see.
func visibleLinks(az acl.Authorizer, rep *[]*api.GatewayLink) (*[]*api.GatewayLink, bool) {
	if az.View() == "" {
		return rep, false
	}
	kept, filtered := []*api.GatewayLink{}, false
	for _, l := range *rep {
		if !seesService(az, l.Service.Name) {
			filtered = true
			continue
		}
		instances, fewer := visible(func(az acl.Authorizer, i *catalog.Instance) bool { return seesNode(az, i.Node.Node) })(az, &l.Instances)
		filtered = filtered || fewer
		kept = append(kept, &api.GatewayLink{GatewayService: l.GatewayService, Instances: *instances})
	}
	return &kept, filtered
}

func readGatewayLinks(tx *state.Txn, w *state.Watch, q *api.ServiceQuery) (*[]*api.GatewayLink, uint64, error) {
	found, index := servicesOfGateway(tx, w, q.Service)
	links := make([]*api.GatewayLink, len(found))
	for i, s := range found {
		instances, _, health := state.ServiceInstances(tx, w, s.Service.Name)
		index, links[i] = max(index, health), &api.GatewayLink{GatewayService: s, Instances: instances}
	}
	return &links, index, nil
}

// readGatewayIntentions lists the intentions about the services of a gateway, those for every service once.
func readGatewayIntentions(tx *state.Txn, w *state.Watch, q *api.ServiceQuery) (*intentionList, uint64, error) {
	found, index := servicesOfGateway(tx, w, q.Service)
	list, seen := intentionList{}, map[*catalog.ServiceIntentions]bool{nil: true}
	for _, s := range found {
		named, all, at := state.ServiceIntentions(tx, w, s.Service.Name)
		index = max(index, at)
		for _, e := range []*catalog.ServiceIntentions{named, all} {
			if !seen[e] {
				seen[e] = true
				list = append(list, e.Intentions()...)
			}
		}
	}
	catalog.SortIntentions(list)
	return &list, index, nil
}

// topology collects what a service is connected with.
type topology struct {
	gatewayRead
	d       Deps
	proxies []*catalog.Proxy
	// meshed are the names of the services in the mesh; clear those of which a proxy is transparent.
	meshed map[string]string
	clear  map[string]bool
	leads  map[string][]string // what the chain of a service leads to, beside itself
}

// readTopology reads all proxies there are: any of them may have the service as an upstream.
func readTopology(d Deps, tx *state.Txn, w *state.Watch, q *api.TopologyQuery) (*api.Topology, uint64, error) {
	t := &topology{
		gatewayRead: gatewayRead{entriesRead{tx: tx, w: w}}, d: d,
		meshed: map[string]string{}, clear: map[string]bool{}, leads: map[string][]string{},
	}
	t.index = state.AllInstances(tx, w, t.see)
	up, down := links{}, links{}
	self := strings.ToLower(q.Service)
	if q.Kind == catalog.KindIngressGateway {
		found, at := servicesOfGateway(tx, w, q.Service)
		t.index = max(t.index, at)
		for _, s := range found {
			up.add(s.Service.Name, api.LinkRegistered)
		}
	} else {
		t.registered(self, up, down)
		for _, gateway := range t.leading(catalog.KindIngressGateway, q.Service) {
			down.add(gateway, api.LinkRegistered)
		}
		if err := t.allowed(q.Service, up, down); err != nil {
			return nil, 0, err
		}
	}
	rep := &api.Topology{Protocol: chain.Protocol(q.Service, t), TransparentProxy: t.clear[self]}
	var err error
	if rep.Upstreams, err = t.complete(up, func(name string) (string, string) { return q.Service, name }); err != nil {
		return nil, 0, err
	}
	if rep.Downstreams, err = t.complete(down, func(name string) (string, string) { return name, q.Service }); err != nil {
		return nil, 0, err
	}
	return rep, t.index, nil
}

// see takes note of an instance.
func (t *topology) see(i *catalog.Instance) {
	name := i.Service.ConnectName()
	if name == "" {
		return
	}
	key := strings.ToLower(name)
	if t.meshed[key] == "" {
		t.meshed[key] = name
	}
	if i.Service.Kind == catalog.KindConnectProxy {
		t.proxies = append(t.proxies, i.Service.Proxy)
		t.clear[key] = t.clear[key] || i.Service.Proxy.Mode == "transparent"
	}
}

// links are names with why they are there, by the folded name.
type links map[string]*api.TopologyLink

// add adds a link unless there is one; what is registered counts before what follows from it.
func (l links) add(name string, source api.LinkSource) {
	key := strings.ToLower(name)
	if old := l[key]; old == nil || source == api.LinkRegistered {
		l[key] = &api.TopologyLink{Name: name, Source: source}
	}
}

// registered adds the links that the upstreams of proxies make, and what their chains make of these.
func (t *topology) registered(self string, up, down links) {
	for _, p := range t.proxies {
		mine := strings.EqualFold(p.DestinationServiceName, self)
		for _, u := range p.Upstreams {
			if u.DestinationType != "" && u.DestinationType != "service" || u.DestinationPeer != "" || u.Datacenter != "" && u.Datacenter != t.d.Datacenter {
				continue
			}
			if mine {
				up.add(u.DestinationName, api.LinkRegistered)
			}
			if strings.EqualFold(u.DestinationName, self) {
				down.add(p.DestinationServiceName, api.LinkRegistered)
			}
			for _, target := range t.chained(u.DestinationName) {
				if mine {
					up.add(target, api.LinkRouted)
				}
				if strings.EqualFold(target, self) {
					down.add(p.DestinationServiceName, api.LinkRouted)
				}
			}
		}
	}
}

// chained names the services here that the chain of a service leads to, beside itself.
func (t *topology) chained(service string) []string {
	key := strings.ToLower(service)
	if found, ok := t.leads[key]; ok {
		return found
	}
	found := map[string]bool{}
	// A chain that cannot be compiled leads nowhere.
	if made, err := chain.Compile(chain.Request{Service: service, Datacenter: t.d.Datacenter}, t); err == nil {
		for _, target := range made.Targets {
			if target.Datacenter == t.d.Datacenter && target.Peer == "" && !strings.EqualFold(target.Service, service) {
				found[target.Service] = true
			}
		}
	}
	t.leads[key] = slices.Sorted(maps.Keys(found))
	return t.leads[key]
}

// allowed adds the links of transparent proxies: to all that intentions let them reach.
func (t *topology) allowed(service string, up, down links) error {
	self := strings.ToLower(service)
	for key, name := range t.meshed {
		if key == self {
			continue
		}
		if t.clear[self] {
			if err := t.allow(up, name, service, name); err != nil {
				return err
			}
		}
		if t.clear[key] && t.meshed[self] != "" {
			if err := t.allow(down, name, name, service); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *topology) allow(into links, name, source, destination string) error {
	decision, err := t.decide(source, destination)
	switch {
	case err != nil:
		return err
	case decision.Verdict == connect.Deny || into[strings.ToLower(name)] != nil:
	case decision.Source == nil:
		into.add(name, api.LinkDefault)
	case exact(decision):
		into.add(name, api.LinkExact)
	default:
		into.add(name, api.LinkWildcard)
	}
	return nil
}

func (t *topology) decide(source, destination string) (connect.Decision, error) {
	decision, index, err := decide(t.d, t.tx, t.w, connect.Caller{Service: source}, destination)
	t.index = max(t.index, index)
	return decision, err
}

// exact reports whether the intention that decided names both ends.
func exact(d connect.Decision) bool {
	return d.Source != nil && d.Source.Name != catalog.Wildcard && d.Destination.Name != catalog.Wildcard
}

// complete adds intentions and instances to links, and sorts them by name. ends names the source and the
// destination of the link to a service.
func (t *topology) complete(all links, ends func(name string) (source, destination string)) ([]*api.TopologyLink, error) {
	list := []*api.TopologyLink{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		l := all[key]
		decision, err := t.decide(ends(l.Name))
		if err != nil {
			return nil, err
		}
		l.Intention = api.IntentionDecision{
			DefaultAllow: !t.d.DenyIntentions, Allowed: decision.Verdict == connect.Allow,
			HasPermissions: decision.Source != nil && len(decision.Source.Permissions) > 0, HasExact: exact(decision),
		}
		if decision.Destination != nil {
			l.Intention.ExternalSource = decision.Destination.Meta["external-source"]
		}
		instances, _, health := state.ServiceInstances(t.tx, t.w, l.Name)
		l.Instances, l.TransparentProxy, t.index = instances, t.clear[key], max(t.index, health)
		list = append(list, l)
	}
	return list, nil
}

func visibleTopology(az acl.Authorizer, rep *api.Topology) (*api.Topology, bool) {
	if az.View() == "" {
		return rep, false
	}
	seen := visible(func(az acl.Authorizer, l *api.TopologyLink) bool {
		return seesService(az, l.Name) && !slices.ContainsFunc(l.Instances, func(i *catalog.Instance) bool { return !seesNode(az, i.Node.Node) })
	})
	up, lessUp := seen(az, &rep.Upstreams)
	down, lessDown := seen(az, &rep.Downstreams)
	kept := *rep
	kept.Upstreams, kept.Downstreams, kept.Filtered = *up, *down, lessUp || lessDown
	return &kept, kept.Filtered
}

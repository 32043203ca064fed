package chain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// end is where a path ends, with what is known of the service there.
type end struct {
	place
	id       string
	defaults *catalog.ServiceDefaults
	resolver *catalog.ServiceResolver
	// group is the sameness group that a redirect led to.
	group *catalog.SamenessGroup
	// elsewhere means that entries named a datacenter or a peer on the way.
	elsewhere bool
}

// resolve makes the resolver of a place.
func (c *compiler) resolve(p place, via ref) (string, error) {
	e, err := c.follow(p, via)
	if err != nil {
		return "", err
	}
	name := string(catalog.ChainResolver) + ":" + e.id
	if c.chain.Nodes[name] != nil {
		return name, nil
	}
	t := c.target(e)
	node := &catalog.ChainNode{
		Type:     catalog.ChainResolver,
		Name:     e.id,
		Resolver: &catalog.ChainTerminal{Default: e.resolver == nil, ConnectTimeout: t.ConnectTimeout, Target: e.id},
	}
	c.chain.Nodes[name] = node
	if e.resolver != nil {
		node.LoadBalancer = e.resolver.LoadBalancer
		node.Resolver.RequestTimeout = e.resolver.RequestTimeout
	}
	node.Resolver.Failover, err = c.failover(e)
	return name, err
}

// follow goes where the redirects of a place lead, and on to the default subset there.
func (c *compiler) follow(p place, via ref) (end, error) {
	e := end{place: p, id: p.id()}
	var been []end
	for {
		e.defaults, e.resolver = nil, nil
		if e.peer != "" {
			return e, nil // what is said here of services is about those of this cluster
		}
		s, err := c.reach(e.service, via)
		if err != nil {
			return e, err
		}
		e.defaults, e.resolver = s.defaults, s.resolver
		if s.resolver == nil {
			break
		}
		next := e
		if r := s.resolver.Redirect; r != nil {
			via = ref{head: &s.resolver.EntryHead, field: "Redirect"}
			if next, err = c.redirected(e, r, via); err != nil {
				return e, err
			}
		}
		if next.place == e.place && e.subset == "" && s.resolver.DefaultSubset != "" {
			via = ref{head: &s.resolver.EntryHead, field: "DefaultSubset"}
			next.subset = s.resolver.DefaultSubset
		}
		if next.place == e.place {
			e.group = next.group
			break
		}
		been = append(been, e)
		if next.id = next.place.id(); slices.ContainsFunc(been, func(b end) bool { return b.place == next.place }) {
			return e, circle(been, next, via)
		}
		e = next
	}
	return e, known(e, via)
}

// redirected is where a redirect leads.
func (c *compiler) redirected(e end, r *catalog.ServiceRedirect, via ref) (end, error) {
	e.place = e.moved(r.Service, r.ServiceSubset, r.Datacenter, r.Peer)
	e.elsewhere = e.elsewhere || r.Datacenter != "" || r.Peer != ""
	if r.SamenessGroup == "" {
		return e, nil
	}
	group, err := c.group(r.SamenessGroup, via)
	if err != nil {
		return e, err
	}
	e.group = group
	if m := group.Clusters(); len(m) > 0 && m[0] != "" {
		e.place = e.moved("", "", "", m[0])
		e.elsewhere = true
	}
	return e, nil
}

// circle is the error of redirects that lead in a circle.
func circle(been []end, again end, via ref) error {
	at := slices.IndexFunc(been, func(b end) bool { return b.place == again.place })
	var loop strings.Builder
	for _, b := range been[at:] {
		loop.WriteString(b.label() + " → ")
	}
	return catalog.Errorf(catalog.Invalid, "%s leads in a circle: %s%s: take one of these redirects away", via, loop.String(), again.label())
}

// label names a place for people.
func (p place) label() string {
	name := p.service
	if p.subset != "" {
		name = p.subset + "." + name
	}
	return name
}

// known checks that the subset that a path ends at exists.
func known(e end, via ref) error {
	if e.subset == "" {
		return nil
	}
	if e.resolver == nil || len(e.resolver.Subsets) == 0 {
		return catalog.Errorf(catalog.Invalid, "%s: service %q has no subset %q: write service-resolver/%s with it in Subsets", via, e.service, e.subset, e.service)
	}
	if _, ok := e.resolver.Subsets[e.subset]; ok {
		return nil
	}
	return catalog.Errorf(catalog.Invalid, "%s: service %q has no subset %q, only %q: add it to the Subsets of %s", via, e.service, e.subset,
		slices.Sorted(maps.Keys(e.resolver.Subsets)), e.resolver)
}

// standIn is who stands in for a failed place, as an entry says.
type standIn struct {
	place
	via       ref
	elsewhere bool // the entry names a datacenter or a peer
}

// failover lists who stands in for a target, nil when nobody does.
func (c *compiler) failover(e end) (*catalog.ChainFailover, error) {
	candidates, policy, err := c.standIns(e)
	if err != nil || candidates == nil {
		return nil, err
	}
	out := &catalog.ChainFailover{Policy: policy}
	if policy == nil && c.proxy != nil {
		out.Policy = c.proxy.FailoverPolicy
	}
	for _, s := range candidates {
		to, err := c.follow(s.place, s.via)
		if err != nil {
			return nil, err
		}
		if to.id == e.id {
			if !s.elsewhere && !to.elsewhere {
				return nil, catalog.Errorf(catalog.Invalid, "%s leads to %s, the very instances that failed: name another Service, ServiceSubset or Datacenter", s.via, e.label())
			}
			continue // in one of the datacenters it is not the same
		}
		if !slices.Contains(out.Targets, to.id) {
			c.target(to)
			out.Targets = append(out.Targets, to.id)
		}
	}
	if out.Targets == nil {
		return nil, nil
	}
	return out, nil
}

// standIns lists who stands in for a target in the words of its resolver, or of a sameness group.
func (c *compiler) standIns(e end) ([]standIn, *catalog.FailoverPolicy, error) {
	if e.resolver != nil {
		for _, subset := range []string{e.subset, catalog.Wildcard} {
			if f, ok := e.resolver.Failover[subset]; ok {
				via := ref{head: &e.resolver.EntryHead, field: fmt.Sprintf("Failover[%s]", subset)}
				found, err := c.failoverOf(e, f, via, subset == catalog.Wildcard)
				return found, f.Policy, err
			}
		}
	}
	group := e.group
	if group == nil && e.peer == "" && !e.elsewhere {
		group = c.defaultGroup()
	}
	if group == nil {
		return nil, nil, nil
	}
	home := place{service: e.service, subset: e.subset, dc: e.dc}
	if e.peer != "" {
		home.dc = c.Datacenter
	}
	return ofGroup(home, group), nil, nil
}

// failoverOf lists who stands in by one failover of a resolver. The one for any subset may name the subset
// that failed itself, which is then passed over.
func (c *compiler) failoverOf(e end, f *catalog.ServiceFailover, via ref, rest bool) ([]standIn, error) {
	var found []standIn
	base := e.moved(f.Service, f.ServiceSubset, "", "")
	skips := rest && f.ServiceSubset != ""
	switch {
	case f.SamenessGroup != "":
		group, err := c.group(f.SamenessGroup, via)
		if err != nil {
			return nil, err
		}
		return ofGroup(base, group), nil
	case len(f.Targets) > 0:
		for i, t := range f.Targets {
			at := via
			at.field = fmt.Sprintf("%s.Targets[%d]", via.field, i)
			elsewhere := t.Datacenter != "" || t.Peer != "" || rest && t.ServiceSubset != ""
			found = append(found, standIn{e.moved(t.Service, t.ServiceSubset, t.Datacenter, t.Peer), at, elsewhere})
		}
	case len(f.Datacenters) > 0:
		for _, dc := range f.Datacenters {
			found = append(found, standIn{base.moved("", "", dc, ""), via, true})
		}
	default:
		found = append(found, standIn{base, via, skips})
	}
	return found, nil
}

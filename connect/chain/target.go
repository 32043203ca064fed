package chain

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// place is where a path may end: some instances of a service in a datacenter, or with a peer.
type place struct {
	service, subset, dc, peer string
}

// id names a place; equal places have equal ids.
func (p place) id() string {
	var b strings.Builder
	b.Grow(len(p.subset) + len(p.service) + len(p.dc) + len(p.peer) + 32)
	p.begin(&b)
	b.WriteString("." + catalog.DefaultTenancy + "." + catalog.DefaultTenancy)
	if p.peer != "" {
		b.WriteString(".external." + p.peer)
	} else {
		b.WriteString("." + p.dc)
	}
	return b.String()
}

// TargetID is the id of a chain's target: all instances of a service in a datacenter, or with a peer.
func TargetID(service, datacenter, peer string) string {
	return place{service: service, dc: datacenter, peer: peer}.id()
}

func (p place) begin(b *strings.Builder) {
	if p.subset != "" {
		b.WriteString(p.subset + ".")
	}
	b.WriteString(p.service)
}

// name is what TLS servers at the place are called.
func (p place) name(trustDomain string) string {
	var b strings.Builder
	p.begin(&b)
	b.WriteString("." + catalog.DefaultTenancy)
	if p.peer != "" {
		b.WriteString("." + p.peer + ".external.")
	} else {
		b.WriteString("." + p.dc + ".internal.")
	}
	b.WriteString(trustDomain)
	return b.String()
}

// ServerName is what TLS servers of a service in a datacenter are called; subset may be empty.
func ServerName(subset, service, datacenter, trustDomain string) string {
	return place{service: service, subset: subset, dc: datacenter}.name(trustDomain)
}

// PeeredName is what TLS servers of a service that is exported to a peer are called at the gateways of the cluster that exports
// it: knownAs is the name that it gives the peer, and the trust domain its own.
func PeeredName(service, knownAs, trustDomain string) string {
	return service + "." + catalog.DefaultTenancy + "." + peeredEnd(knownAs, trustDomain)
}

// PeeredEverywhere is the name of all services that a cluster exports to a peer, beginning with a star.
func PeeredEverywhere(knownAs, trustDomain string) string {
	return "*." + peeredEnd(knownAs, trustDomain)
}

// peeredEnd is what follows the service and its namespace.
func peeredEnd(knownAs, trustDomain string) string {
	return catalog.DefaultTenancy + "." + knownAs + ".external." + trustDomain
}

// Everywhere is the name of all TLS servers in a datacenter, beginning with a star.
func Everywhere(datacenter, trustDomain string) string {
	return "*." + datacenter + ".internal." + trustDomain
}

// moved is the place that an entry leads to from p: what it does not name stays, except for the subset when
// the service is another.
func (p place) moved(service, subset, dc, peer string) place {
	if service != "" && !strings.EqualFold(service, p.service) {
		p.service, p.subset = service, ""
	}
	if subset != "" {
		p.subset = subset
	}
	if dc != "" {
		p.dc, p.peer = dc, ""
	}
	if peer != "" {
		p.dc, p.peer, p.subset = "", peer, "" // what subsets there are is the peer's affair
	}
	return p
}

// target adds the target at a place to the chain.
func (c *compiler) target(e end) *catalog.ChainTarget {
	if t := c.chain.Targets[e.id]; t != nil {
		return t
	}
	name := e.name(c.TrustDomain)
	t := &catalog.ChainTarget{
		ID:             e.id,
		Service:        e.service,
		ServiceSubset:  e.subset,
		Namespace:      catalog.DefaultTenancy,
		Partition:      catalog.DefaultTenancy,
		Datacenter:     e.dc,
		Peer:           e.peer,
		ConnectTimeout: c.connectTimeout(e.resolver),
		SNI:            name,
		Name:           name,
	}
	if c.proxy != nil {
		t.MeshGateway, t.TransparentProxy, t.PrioritizeByLocality = c.proxy.MeshGateway, c.proxy.TransparentProxy, c.proxy.PrioritizeByLocality
	}
	if d := e.defaults; d != nil {
		if d.MeshGateway.Mode != "" {
			t.MeshGateway = d.MeshGateway
		}
		if d.TransparentProxy != (catalog.TransparentProxy{}) {
			t.TransparentProxy = d.TransparentProxy
		}
		if d.ExternalSNI != "" {
			t.External, t.SNI = true, d.ExternalSNI
		}
	}
	if r := e.resolver; r != nil {
		if s := r.Subsets[e.subset]; s != nil {
			t.Subset = *s
		}
		if r.PrioritizeByLocality != nil {
			t.PrioritizeByLocality = r.PrioritizeByLocality
		}
	}
	if mode := c.MeshGateway; mode.Mode != "" && mode != t.MeshGateway {
		t.MeshGateway, c.took.MeshGateway = mode, mode
	}
	c.chain.Targets[e.id] = t
	return t
}

// connectTimeout is how long connecting may take; without a resolver there is a default.
func (c *compiler) connectTimeout(r *catalog.ServiceResolver) catalog.Duration {
	timeout := catalog.Duration(DefaultConnectTimeout)
	if r != nil && r.ConnectTimeout != 0 {
		timeout = r.ConnectTimeout
	}
	if own := catalog.Duration(c.ConnectTimeout); own != 0 && own != timeout {
		c.took.ConnectTimeout = c.ConnectTimeout
		return own
	}
	return timeout
}

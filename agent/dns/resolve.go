package dns

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/catalog"
)

// resolver answers questions by asking the Source.
type resolver struct {
	*settings
	source  Source
	forward func(ctx context.Context, pkt []byte, tcp bool) ([]byte, error) // to the recursors
}

// question is what a resolver answers.
type question struct {
	target
	wire   []byte // its name in lower case
	name   string // the same as text
	qtype  uint16
	origin Origin
	tcp    bool
	depth  int // how many aliases led here
}

// maxAliases is how many aliases in a row are followed.
const maxAliases = 3

// errElsewhere tells that the recursors are to be asked.
var errElsewhere = errors.New("not a name of the catalog")

// resolve drafts the answer to a question in the catalog's part of the world.
func (r *resolver) resolve(ctx context.Context, q *question) (*draft, error) {
	d := &draft{}
	if q.kind == foreign {
		return nil, errElsewhere
	}
	if q.kind != reverse && (q.qtype == dns.TypeSOA || q.qtype == dns.TypeNS) {
		return d, r.zone(ctx, q, d)
	}
	err := r.branch(ctx, q, d)
	if err != nil {
		if errors.Is(err, errElsewhere) {
			return nil, err
		}
		d = &draft{rcode: rcode(err), volatile: true}
		if d.rcode != dns.RcodeNameError {
			return d, err
		}
	}
	if d.rcode == dns.RcodeNameError {
		d.authority = []dns.RR{r.soa(q.zone.name)}
	}
	return d, nil
}

// branch drafts the answer by what the name is about.
func (r *resolver) branch(ctx context.Context, q *question, d *draft) error {
	switch q.kind {
	case node:
		return r.node(ctx, q, d)
	case service:
		return r.service(ctx, q, d)
	case prepared:
		return r.prepared(ctx, q, d)
	case virtual:
		return r.virtual(ctx, q, d)
	case address:
		r.address(q, d)
	case reverse:
		return r.reverse(ctx, q, d)
	default: // costs nothing to find out again
		d.rcode, d.volatile = dns.RcodeNameError, true
	}
	return nil
}

// rcode maps errors to what DNS clients are told. What is forbidden looks like what is absent.
func rcode(err error) int {
	switch catalog.CodeOf(err) {
	case catalog.NotFound, catalog.NoPath, catalog.Denied, catalog.Invalid:
		return dns.RcodeNameError
	}
	return dns.RcodeServerFailure
}

func (r *resolver) datacenter(dc string) string {
	if dc == "" {
		return r.Datacenter
	}
	return dc
}

func (r *resolver) node(ctx context.Context, q *question, d *draft) error {
	nq := NodeQuery{Name: q.target.name, Datacenter: r.datacenter(q.dc), Peer: q.peer}
	if q.peer != "" {
		nq.Datacenter = q.dc
	}
	result, err := r.source.Node(ctx, nq)
	if err != nil {
		return err
	}
	d.uses(result.Freshness)
	if result.Node == nil {
		d.rcode = dns.RcodeNameError
		return nil
	}
	d.ordered = true
	texts := metaTexts(result.Node.Meta, q.name, r.nodeTTL)
	switch q.qtype {
	case dns.TypeTXT:
		d.records = texts
		return nil
	case dns.TypeA, dns.TypeAAAA, dns.TypeANY:
	default:
		return nil
	}
	addr, host := r.nodeAddress(result.Node, q.qtype)
	if host != "" {
		err = r.alias(ctx, q, d, host, r.nodeTTL)
	} else if wanted(addr, q.qtype) {
		d.records = []dns.RR{addressRR(q.name, r.nodeTTL, addr)}
	}
	if q.qtype == dns.TypeANY {
		d.records = append(d.records, texts...)
	} else if r.NodeMetaTXT {
		d.tail = append(d.tail, texts...)
	}
	return err
}

// service answers for the first cluster that has healthy instances: the one that the name says, those of the sameness group
// that it names, or, where it says nothing of the kind, this one and then those of the group that is the default for failover.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/sameness-group (DefaultForFailover)
func (r *resolver) service(ctx context.Context, q *question, d *draft) error {
	first, others := []string{q.peer}, q.peer == "" && q.dc == "" && q.mesh != Ingress
	if q.group != "" {
		group, err := r.source.Group(ctx, q.group)
		if err == nil && len(group.Clusters) == 0 {
			err = catalog.Errorf(catalog.NotFound, "no sameness group %q", q.group)
		}
		if err != nil {
			return err
		}
		d.uses(group.Freshness)
		first, others = group.Clusters, false
	}
	result, err := r.healthy(ctx, q, d, first)
	if err != nil {
		return err
	}
	if others && len(result.Instances) == 0 {
		r.failOver(ctx, q, d, &result)
	}
	return r.instances(ctx, q, d, &result, r.serviceTTL(q.target.name))
}

// failOver puts in place of a result what the peers of the default sameness group know, as far as they can be asked for. While
// they cannot the answer is that of this cluster, and it is not kept.
func (r *resolver) failOver(ctx context.Context, q *question, d *draft, result *Instances) {
	group, err := r.source.Group(ctx, "")
	peers := slices.DeleteFunc(slices.Clone(group.Clusters), func(peer string) bool { return peer == "" })
	var found Instances
	if err == nil {
		d.uses(group.Freshness)
		found, err = r.healthy(ctx, q, d, peers)
	}
	if d.volatile = d.volatile || err != nil; len(found.Instances) > 0 {
		*result = found
	}
}

// healthy returns the instances of the first of some clusters that has some which are healthy, and as the question wants them.
func (r *resolver) healthy(ctx context.Context, q *question, d *draft, clusters []string) (result Instances, err error) {
	for _, peer := range clusters {
		sq := ServiceQuery{Name: q.target.name, Mesh: q.mesh, Datacenter: r.datacenter(q.dc), Peer: peer, Origin: q.origin}
		if peer != "" {
			sq.Datacenter = q.dc
		}
		if result, err = r.source.Service(ctx, sq); err != nil {
			return Instances{}, err
		}
		d.uses(result.Freshness)
		healthy := make([]*catalog.Instance, 0, len(result.Instances))
		for _, i := range result.Instances {
			status := i.Status()
			if status == catalog.Passing || status == catalog.Warning && !r.OnlyPassing {
				if _, port := i.Service.PortNamed(q.tag); q.tag == "" || port || i.Service.HasTag(q.tag) {
					healthy = append(healthy, i)
				}
			}
		}
		if result.Instances = healthy; len(healthy) > 0 {
			break
		}
	}
	return result, nil
}

func (r *resolver) prepared(ctx context.Context, q *question, d *draft) error {
	result, err := r.source.PreparedQuery(ctx, PreparedQuery{Name: q.target.name, Datacenter: r.datacenter(q.dc), Origin: q.origin})
	if err != nil {
		return err
	}
	d.uses(result.Freshness)
	ttl := uint32(0)
	if result.HasTTL {
		ttl = seconds(result.TTL)
	} else if len(result.Instances) > 0 {
		ttl = r.serviceTTL(lower(result.Instances[0].Service.Service))
	}
	return r.instances(ctx, q, d, &result, ttl)
}

func (r *resolver) virtual(ctx context.Context, q *question, d *draft) error {
	vq := VirtualQuery{Service: q.target.name, Port: q.target.tag, Datacenter: r.datacenter(q.dc), Peer: q.peer}
	result, err := r.source.VirtualIP(ctx, vq)
	if err != nil {
		return err
	}
	d.uses(result.Freshness)
	switch {
	case !result.Address.IsValid():
		d.rcode = dns.RcodeNameError
	case wanted(result.Address, q.qtype):
		d.records = []dns.RR{addressRR(q.name, r.serviceTTL(q.target.name), result.Address)}
	default:
		d.authority = []dns.RR{r.soa(q.zone.name)}
	}
	return nil
}

// address answers the names that SRV targets have where a service has an address of its own: they
// spell it. An address of the other family is told beside.
func (r *resolver) address(q *question, d *draft) {
	d.volatile = true // costs nothing to find out again
	rr := []dns.RR{addressRR(q.name, r.nodeTTL, q.target.address)}
	if wanted(q.target.address, q.qtype) {
		d.records = rr
	} else {
		d.tail = rr
	}
}

// reverse answers PTR look-ups (RFC 1035 section 3.5), always in the primary domain.
func (r *resolver) reverse(ctx context.Context, q *question, d *draft) error {
	var owners Owners
	if q.target.address.IsValid() {
		found, err := r.source.Address(ctx, q.target.address)
		switch {
		case err == nil:
			owners = found
			d.uses(owners.Freshness)
		case rcode(err) == dns.RcodeNameError:
			d.volatile = true
		default:
			return err
		}
	}
	d.ordered = true
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			d.records = append(d.records, &dns.PTR{Hdr: head(q.name, dns.TypePTR, r.nodeTTL), Ptr: name})
		}
	}
	for _, n := range owners.Nodes {
		if n.PeerName == "" {
			add(r.nodeName(n, r.primary.name))
		}
	}
	if len(d.records) == 0 {
		for _, i := range owners.Instances {
			if i.Service.PeerName == "" {
				add(escape(i.Service.Service) + ".service." + r.datacenter(i.Node.Datacenter) + "." + r.primary.name)
			}
		}
	}
	switch {
	case len(d.records) > 0:
	case len(r.recursors) > 0:
		return errElsewhere
	default:
		d.rcode = dns.RcodeNameError
		d.volatile = d.volatile || !q.target.address.IsValid()
	}
	return nil
}

// wanted reports whether an address answers a question of that type.
func wanted(addr netip.Addr, qtype uint16) bool {
	switch qtype {
	case dns.TypeA:
		return addr.Is4()
	case dns.TypeAAAA:
		return addr.Is6()
	case dns.TypeANY, dns.TypeTXT:
		return addr.IsValid()
	}
	return false
}

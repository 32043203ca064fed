package dns

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/catalog"
)

// serversService is the service of those who serve the catalog, and so the zone.
const serversService = "consul"

// soa is the zone's start of authority. Its TTL bounds how long others remember that something is
// absent (RFC 2308 section 3).
func (r *resolver) soa(zone string) dns.RR {
	return &dns.SOA{
		Hdr: head(zone, dns.TypeSOA, r.SOA.MinTTL),
		Ns:  "ns." + zone, Mbox: "hostmaster." + zone, Serial: uint32(time.Now().Unix()),
		Refresh: r.SOA.Refresh, Retry: r.SOA.Retry, Expire: r.SOA.Expire, Minttl: r.SOA.MinTTL,
	}
}

// zone answers SOA and NS questions, at whatever name below the zone they are asked.
func (r *resolver) zone(ctx context.Context, q *question, d *draft) error {
	names, glue, err := r.servers(ctx, q.zone.name, d)
	if err != nil {
		d.volatile = true
		if q.qtype == dns.TypeNS && rcode(err) == dns.RcodeServerFailure {
			d.rcode = dns.RcodeServerFailure
			return err
		}
	}
	d.ordered = true
	d.tail = glue
	switch {
	case q.qtype == dns.TypeSOA:
		d.records, d.authority = []dns.RR{r.soa(q.zone.name)}, names
	case len(names) > 0:
		d.records = names
	default:
		d.authority = []dns.RR{r.soa(q.zone.name)}
	}
	return nil
}

// servers lists the zone's name servers and their addresses.
func (r *resolver) servers(ctx context.Context, zone string, d *draft) (names, glue []dns.RR, err error) {
	result, err := r.source.Service(ctx, ServiceQuery{Name: serversService, Datacenter: r.Datacenter})
	if err != nil {
		return nil, nil, err
	}
	d.uses(result.Freshness)
	servers := slices.Clone(result.Instances)
	slices.SortFunc(servers, func(a, b *catalog.Instance) int { return cmp.Compare(a.Node.Node, b.Node.Node) })
	last := ""
	for _, i := range servers {
		name := r.nodeName(i.Node, zone)
		status := i.Status()
		if name == last || !catalog.IsDNSLabel(i.Node.Node) || status != catalog.Passing && status != catalog.Warning {
			continue
		}
		last = name
		names = append(names, &dns.NS{Hdr: head(zone, dns.TypeNS, r.nodeTTL), Ns: name})
		if at := r.instanceAddress(i, dns.TypeANY); at.addr.IsValid() {
			glue = append(glue, addressRR(name, r.nodeTTL, at.addr))
		}
	}
	return names, glue, nil
}

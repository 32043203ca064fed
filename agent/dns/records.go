package dns

import (
	"context"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/catalog"
)

// maxChased is how many distinct host names of one SRV answer are resolved for the client.
const maxChased = 8

// instances drafts the answer for a service: addresses, SRV records or the name it is an alias of.
func (r *resolver) instances(ctx context.Context, q *question, d *draft, result *Instances, ttl uint32) error {
	d.ordered, d.udpLimit = result.Ordered, r.UDPAnswerLimit
	d.perClient = result.PerClient
	d.volatile = d.volatile || result.PerClient
	d.tailored = q.origin.Subnet.IsValid() && (result.Ordered || result.PerClient)
	if len(result.Instances) == 0 {
		d.rcode = dns.RcodeNameError
		return nil
	}
	var err error
	switch q.qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeANY, dns.TypeTXT, dns.TypeCNAME:
		d.limit = r.ARecordLimit
		err = r.addresses(ctx, q, d, result.Instances, ttl)
	case dns.TypeSRV:
		err = r.targets(ctx, q, d, result.Instances, ttl)
	}
	if len(d.records) == 0 {
		d.authority = []dns.RR{r.soa(q.zone.name)}
	}
	return err
}

// addresses drafts A and AAAA records, each address once. Where no instance has one of the asked
// family, host names do: as a name has one alias at most (RFC 1034 section 3.6.2), one of them.
func (r *resolver) addresses(ctx context.Context, q *question, d *draft, instances []*catalog.Instance, ttl uint32) error {
	seen := make(map[netip.Addr]bool, len(instances))
	var hosts []string
	chase := len(r.recursors) > 0
	for _, i := range instances {
		at := r.instanceAddress(i, q.qtype)
		switch {
		case at.host != "":
			if !slices.Contains(hosts, at.host) {
				hosts = append(hosts, at.host)
				chase = chase || r.locate(wireOf(at.host)).kind != foreign
			}
		case wanted(at.addr, q.qtype) && !seen[at.addr]:
			seen[at.addr] = true
			d.records = append(d.records, addressRR(q.name, ttl, at.addr))
		}
	}
	if len(d.records) > 0 || len(hosts) == 0 {
		return nil
	}
	if chase && q.qtype != dns.TypeCNAME {
		d.ordered, d.limit, d.udpLimit = true, 0, 0 // an alias and what it leads to stay together
		d.volatile = d.volatile || len(hosts) > 1
		return r.alias(ctx, q, d, hosts[rand.IntN(len(hosts))], ttl)
	}
	d.limit = 1
	for _, host := range hosts {
		d.records = append(d.records, &dns.CNAME{Hdr: head(q.name, dns.TypeCNAME, ttl), Target: host})
	}
	return nil
}

// alias drafts a CNAME and what it leads to.
func (r *resolver) alias(ctx context.Context, q *question, d *draft, host string, ttl uint32) error {
	d.records = append(d.records, &dns.CNAME{Hdr: head(q.name, dns.TypeCNAME, ttl), Target: host})
	found, err := r.chase(ctx, q, d, host, q.qtype)
	d.records = append(d.records, found...)
	return err
}

// chase resolves a host name that an answer mentions. What cannot be resolved is left to the client.
func (r *resolver) chase(ctx context.Context, q *question, d *draft, host string, qtype uint16) ([]dns.RR, error) {
	wire := wireOf(host)
	if wire == nil || q.depth >= maxAliases {
		return nil, nil
	}
	t := r.locate(wire)
	if t.kind == foreign || t.kind == reverse {
		if len(r.recursors) == 0 {
			return nil, nil
		}
		d.volatile = true
		return r.recurse(ctx, host, qtype, q.tcp), nil
	}
	sub, err := r.resolve(ctx, &question{target: t, wire: wire, name: host, qtype: qtype, origin: q.origin, tcp: q.tcp, depth: q.depth + 1})
	if err != nil {
		return nil, err
	}
	d.stale = append(d.stale, sub.stale...)
	d.unknown = d.unknown || sub.unknown
	d.volatile = d.volatile || sub.volatile
	return sub.records, nil
}

// targets drafts SRV records (RFC 2782), each target and port once, with the targets' addresses.
func (r *resolver) targets(ctx context.Context, q *question, d *draft, instances []*catalog.Instance, ttl uint32) error {
	type endpoint struct {
		target string
		port   uint16
	}
	seen := make(map[endpoint]bool, len(instances))
	hosts := make(map[string]int, len(instances))
	chased := 0
	for _, i := range instances {
		at := r.instanceAddress(i, dns.TypeANY)
		if port, named := i.Service.PortNamed(q.tag); named {
			at.port = port
		}
		target := r.srvTarget(q, i, at)
		port := uint16(at.port)
		if target == "" || seen[endpoint{target, port}] {
			continue
		}
		seen[endpoint{target, port}] = true
		host, met := hosts[target]
		if !met {
			var extras []dns.RR
			if at.host == "" {
				extras = r.targetExtras(q, i, at, ttl)
			} else if chased++; chased <= maxChased {
				for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
					found, err := r.chase(ctx, q, d, at.host, qtype)
					if err != nil {
						return err
					}
					extras = append(extras, found...)
				}
			}
			host = len(d.extras)
			hosts[target] = host
			d.extras = append(d.extras, extras)
		}
		d.records = append(d.records, &dns.SRV{Hdr: head(q.name, dns.TypeSRV, ttl), Priority: 1, Weight: weight(i), Port: port, Target: target})
		d.hosts = append(d.hosts, host)
	}
	return nil
}

// srvTarget is the name at which the instance's address is found.
func (r *resolver) srvTarget(q *question, i *catalog.Instance, at endpointAddress) string {
	switch {
	case at.host != "":
		return at.host
	case !at.addr.IsValid():
		return ""
	case at.own || i.Node.PeerName != "":
		return hex.EncodeToString(at.addr.AsSlice()) + ".addr." + r.datacenter(i.Node.Datacenter) + "." + q.zone.name
	}
	return r.nodeName(i.Node, q.zone.name)
}

// targetExtras drafts what is told beside an SRV record. Records without a name belong to its target.
func (r *resolver) targetExtras(q *question, i *catalog.Instance, at endpointAddress, ttl uint32) []dns.RR {
	extras := []dns.RR{addressRR("", ttl, at.addr)}
	if r.NodeMetaTXT {
		owner := ""
		if at.own || i.Node.PeerName != "" {
			owner = r.nodeName(i.Node, q.zone.name)
		}
		extras = append(extras, metaTexts(i.Node.Meta, owner, ttl)...)
	}
	return extras
}

// weight is the instance's weight by its health. Those that are critical come only from prepared
// queries that ignore the checks that say so.
func weight(i *catalog.Instance) uint16 {
	switch w := i.Service.Weights; {
	case w == nil:
		return 1
	case i.Status() == catalog.Warning:
		return uint16(w.Warning)
	default:
		return uint16(w.Passing)
	}
}

func (r *resolver) nodeName(n *catalog.Node, zone string) string {
	return escape(n.Node) + ".node." + r.datacenter(n.Datacenter) + "." + zone
}

// escape makes a catalog name fit for a name in text form; its dots separate labels.
func escape(name string) string { return strings.ReplaceAll(name, `\`, `\\`) }

func lower(name string) string { return strings.ToLower(name) }

// wireOf is the wire form of a name in lower case, nil if it has none.
func wireOf(name string) []byte {
	buf := make([]byte, maxNameLen+1)
	end, err := dns.PackDomainName(lower(name), buf, 0, nil, false)
	if err != nil || end > maxNameLen {
		return nil
	}
	return buf[:end]
}

func head(name string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

func addressRR(name string, ttl uint32, addr netip.Addr) dns.RR {
	if addr.Is4() {
		return &dns.A{Hdr: head(name, dns.TypeA, ttl), A: addr.AsSlice()}
	}
	return &dns.AAAA{Hdr: head(name, dns.TypeAAAA, ttl), AAAA: addr.AsSlice()}
}

// metaTexts turns node meta into TXT records: key=value (RFC 1464), or the value alone where the key
// begins with rfc1035-.
func metaTexts(meta map[string]string, name string, ttl uint32) []dns.RR {
	var texts []dns.RR
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		text := key + "=" + meta[key]
		if strings.HasPrefix(key, "rfc1035-") {
			text = meta[key]
		}
		var parts []string
		for len(text) > 255 { // of one string (RFC 1035 section 3.3)
			parts = append(parts, escape(text[:255]))
			text = text[255:]
		}
		texts = append(texts, &dns.TXT{Hdr: head(name, dns.TypeTXT, ttl), Txt: append(parts, escape(text))})
	}
	return texts
}

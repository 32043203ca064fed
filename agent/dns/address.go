package dns

import (
	"net/netip"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/catalog"
)

// endpointAddress is where an instance is reached.
type endpointAddress struct {
	addr netip.Addr
	host string // in place of addr, fully qualified
	port int
	own  bool // the service's own address, not its node's
}

// instanceAddress finds where an instance is reached: its own address, else its node's, in the family
// that is asked for if there is a choice, and as other datacenters see it if it is in another.
func (r *resolver) instanceAddress(i *catalog.Instance, qtype uint16) endpointAddress {
	s := i.Service
	at := endpointAddress{port: s.Port}
	base := s.Address
	if w, some := catalog.AtWAN(s.TaggedAddresses, s.Port); some && r.remote(i.Node) {
		base, at.port = w.Address, w.Port
	}
	if base == "" {
		at.addr, at.host = r.nodeAddress(i.Node, qtype)
		return at
	}
	at.own = true
	at.addr, at.host = choose(base, r.remote(i.Node), qtype, func(tag string) string { return s.TaggedAddresses[tag].Address })
	return at
}

// nodeAddress finds the address of a node, or the host name it has instead.
func (r *resolver) nodeAddress(n *catalog.Node, qtype uint16) (netip.Addr, string) {
	base := n.Address
	if wan := n.TaggedAddresses[catalog.WANTag]; wan != "" && r.remote(n) {
		base = wan
	}
	return choose(base, r.remote(n), qtype, func(tag string) string { return n.TaggedAddresses[tag] })
}

// remote reports whether addresses of a node are to be those that other datacenters use.
func (r *resolver) remote(n *catalog.Node) bool {
	return r.TranslateWAN && n.Datacenter != "" && n.Datacenter != r.Datacenter
}

// choose reads an address. If it is not of the asked family but a tagged address is, that one is taken.
func choose(base string, remote bool, qtype uint16, tagged func(string) string) (netip.Addr, string) {
	addr, err := netip.ParseAddr(base)
	if err != nil {
		if base == "" || wireOf(dns.Fqdn(base)) == nil {
			return netip.Addr{}, ""
		}
		return netip.Addr{}, dns.Fqdn(base)
	}
	addr = addr.Unmap().WithZone("")
	if wanted(addr, qtype) || qtype != dns.TypeA && qtype != dns.TypeAAAA {
		return addr, ""
	}
	tag := "lan"
	if remote {
		tag = catalog.WANTag
	}
	if qtype == dns.TypeA {
		tag += "_ipv4"
	} else {
		tag += "_ipv6"
	}
	if other, err := netip.ParseAddr(tagged(tag)); err == nil && wanted(other.Unmap(), qtype) {
		return other.Unmap().WithZone(""), ""
	}
	return addr, ""
}

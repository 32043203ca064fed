package catalog

import (
	"net/netip"
	"slices"
)

// VirtualTag is the tagged address under which an instance of the mesh shows its destination's virtual address.
const VirtualTag = "consul-virtual"

// VirtualPool is where virtual addresses come from: reserved (RFC 1112 section 4), so that nothing else is there.
var VirtualPool = netip.MustParsePrefix("240.0.0.0/4")

// maxManual is how many addresses a service may be given beside its own.
const maxManual = 8

// VirtualAddress is where transparent proxies capture the traffic for a service of the mesh. A service has one
// for as long as there is something of the mesh with its name.
// Source: https://developer.hashicorp.com/consul/docs/services/discovery/dns-static-lookups#service-virtual-ip-lookups
type VirtualAddress struct {
	Service     string
	Address     string   // assigned, from VirtualPool
	Manual      []string `json:",omitempty"` // given by operators
	CreateIndex uint64
	ModifyIndex uint64
}

// ManualAddresses checks addresses that an operator gives a service and returns them without repetition, each in
// its usual spelling.
func ManualAddresses(given []string) ([]string, error) {
	list := []string{}
	for _, text := range given {
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			return nil, Errorf(Invalid, "ManualVIPs: %q is no IP address", text)
		case addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast():
			return nil, Errorf(Invalid, "ManualVIPs: %s is no address that a service can be reached at", text)
		case VirtualPool.Contains(addr.Unmap()):
			return nil, Errorf(Invalid, "ManualVIPs: %s is in %s, where addresses are assigned automatically: choose another", text, VirtualPool)
		}
		if text = addr.Unmap().String(); !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	if len(list) > maxManual {
		return nil, Errorf(Invalid, "ManualVIPs: %d addresses: a service may have %d", len(list), maxManual)
	}
	return list, nil
}

package dns

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// kind is what a name is about.
type kind int

const (
	nothing  kind = iota // a name of the zone that can never exist
	apex                 // the zone itself, or one of its fixed branches such as service.consul
	node                 // <node>.node
	service              // [tag or port.]<service>.service, .connect, .ingress
	virtual              // [port.]<service>.virtual
	prepared             // <query>.query
	address              // <hex>.addr
	reverse              // in-addr.arpa, ip6.arpa
	foreign              // somebody else's name
)

// target is what a name asks for, all in lower case.
type target struct {
	kind    kind
	mesh    Mesh
	name    string
	tag     string // or the name of a port
	dc      string // "" for the agent's own
	peer    string
	group   string // sameness group
	address netip.Addr
	zone    zone // the names of the answer are in this one
}

// locate finds out what a name in lower-case wire form means.
// Source: https://developer.hashicorp.com/consul/docs/services/discovery/dns-static-lookups
func (s *settings) locate(name []byte) target {
	for _, z := range s.zones {
		if hasSuffix(name, z.wire) {
			t := locateIn(labels(name[:len(name)-len(z.wire)]))
			t.zone = z
			return t
		}
	}
	if hasSuffix(name, arpa4) || hasSuffix(name, arpa6) {
		return target{kind: reverse, address: parseArpa(labels(name)), zone: s.primary}
	}
	return target{kind: foreign, zone: s.primary}
}

var (
	arpa4 = []byte("\x07in-addr\x04arpa\x00")
	arpa6 = []byte("\x03ip6\x04arpa\x00")
)

// hasSuffix reports whether a wire name ends in the labels of another; a label must not merely end in
// bytes that look like them.
func hasSuffix(name, suffix []byte) bool {
	if !bytes.HasSuffix(name, suffix) {
		return false
	}
	at, want := 0, len(name)-len(suffix)
	for at < want {
		at += 1 + int(name[at])
	}
	return at == want
}

// labels splits a wire name, with or without its end.
func labels(name []byte) []string {
	var list []string
	for at := 0; at < len(name) && name[at] != 0; {
		size := int(name[at])
		list = append(list, string(name[at+1:at+1+size]))
		at += 1 + size
	}
	return list
}

var branches = map[string]target{
	"node":    {kind: node},
	"service": {kind: service},
	"connect": {kind: service, mesh: Connect},
	"ingress": {kind: service, mesh: Ingress},
	"virtual": {kind: virtual},
	"query":   {kind: prepared},
	"addr":    {kind: address},
}

// locateIn reads the labels of a name below the zone, from its end: where, what, who.
func locateIn(rest []string) target {
	if len(rest) == 0 {
		return target{kind: apex}
	}
	var place target
	rest, ok := place.places(rest)
	if !ok || len(rest) == 0 {
		return target{}
	}
	t, found := branches[rest[len(rest)-1]]
	switch {
	case found:
		rest = rest[:len(rest)-1]
	case len(rest) >= 2 && branches[rest[len(rest)-2]].kind != nothing: // the old form, <what>.<datacenter>
		t = branches[rest[len(rest)-2]]
		if t.kind == virtual {
			place.peer = rest[len(rest)-1]
		} else {
			place.dc = rest[len(rest)-1]
		}
		rest = rest[:len(rest)-2]
	case isRFC2782(rest): // _service._tag
		t = target{kind: service}
	case len(rest) == 3 && isRFC2782(rest[:2]): // _service._tag.<datacenter>
		t, place.dc, rest = target{kind: service}, rest[2], rest[:2]
	default:
		return target{}
	}
	t.dc, t.peer, t.group = place.dc, place.peer, place.group
	return t.who(rest)
}

// places takes pairs such as dc1.dc off the end of the labels.
func (t *target) places(rest []string) ([]string, bool) {
	for len(rest) >= 2 {
		value := rest[len(rest)-2]
		if _, branch := branches[value]; branch && len(rest) < 4 {
			break // web.service.dc: a datacenter called "dc", in the old form
		}
		switch rest[len(rest)-1] {
		case "dc":
			t.dc = value
		case "peer":
			t.peer = value
		case "sg":
			t.group = value
		case "ns", "ap": // one tenancy: its name is all that can be said
			if value != "default" {
				return nil, false
			}
		default:
			return rest, true
		}
		rest = rest[:len(rest)-2]
	}
	return rest, true
}

// who reads the labels before the branch.
func (t target) who(rest []string) target {
	if len(rest) == 0 {
		return target{kind: apex}
	}
	last := len(rest) - 1
	switch t.kind {
	case node: // a node's name may have dots
		t.name = strings.Join(rest, ".")
	case service:
		if isRFC2782(rest) {
			t.name, t.tag = rest[0][1:], rest[1][1:]
			if t.tag == "tcp" { // any protocol; _udp is a tag like others
				t.tag = ""
			}
		} else {
			t.name, t.tag = rest[last], strings.Join(rest[:last], ".")
		}
	case prepared:
		t.name = strings.Join(rest, ".")
		if isRFC2782(rest) {
			t.name = rest[0][1:]
		}
	case virtual:
		t.name = rest[last]
		switch last {
		case 0:
		case 1:
			t.tag = rest[0]
		default:
			return target{}
		}
	case address:
		raw, err := hex.DecodeString(rest[last])
		addr, ok := netip.AddrFromSlice(raw)
		if last > 0 || err != nil || !ok {
			return target{}
		}
		t.address = addr
	}
	return t
}

// isRFC2782 reports whether labels have the form _service._protocol.
func isRFC2782(rest []string) bool {
	return len(rest) == 2 && len(rest[0]) > 1 && len(rest[1]) > 1 && rest[0][0] == '_' && rest[1][0] == '_'
}

// parseArpa reads the labels of a reverse name (RFC 1035 section 3.5, RFC 3596 section 2.5); the
// address is invalid if they spell none.
func parseArpa(rest []string) netip.Addr {
	v6 := rest[len(rest)-2] == "ip6"
	digits := slices.Clone(rest[:len(rest)-2])
	slices.Reverse(digits)
	if !v6 {
		if len(digits) != 4 {
			return netip.Addr{}
		}
		addr, _ := netip.ParseAddr(strings.Join(digits, "."))
		return addr
	}
	if len(digits) != 32 {
		return netip.Addr{}
	}
	var raw [16]byte
	for i, digit := range digits {
		v, err := strconv.ParseUint(digit, 16, 4)
		if err != nil || len(digit) != 1 {
			return netip.Addr{}
		}
		raw[i/2] = raw[i/2]<<4 | byte(v)
	}
	return netip.AddrFrom16(raw)
}

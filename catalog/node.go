package catalog

import (
	"fmt"
	"maps"
	"strings"
)

// Locality is where a node or instance runs.
type Locality struct {
	Region string `json:",omitempty"`
	Zone   string `json:",omitempty"`
}

// Node is a machine of the catalog.
type Node struct {
	ID              string
	Node            string // its name, unique in a datacenter regardless of case
	Address         string
	Datacenter      string
	TaggedAddresses map[string]string
	Meta            map[string]string
	Locality        *Locality `json:",omitempty"`
	PeerName        string    `json:",omitempty"`
	CreateIndex     uint64
	ModifyIndex     uint64
}

// Same reports whether two nodes say the same, their indexes left aside.
func (n *Node) Same(o *Node) bool {
	return n.ID == o.ID && n.Node == o.Node && n.Address == o.Address && n.Datacenter == o.Datacenter &&
		maps.Equal(n.TaggedAddresses, o.TaggedAddresses) && maps.Equal(n.Meta, o.Meta) && sameLocality(n.Locality, o.Locality) &&
		n.PeerName == o.PeerName
}

func sameLocality(a, b *Locality) bool {
	return a == b || a != nil && b != nil && *a == *b
}

const (
	maxMetaPairs = 64
	maxMetaKey   = 128
	maxMetaValue = 512
)

// HasPairs reports whether meta has all the pairs.
func HasPairs(meta, pairs map[string]string) bool {
	for k, v := range pairs {
		if have, ok := meta[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// ValidateMeta checks the key/value pairs of a node or service. Keys that begin with "consul-" are
// reserved unless reserved is true.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/node
func ValidateMeta(meta map[string]string, reserved bool) error {
	if len(meta) > maxMetaPairs {
		return Errorf(Invalid, "meta has %d pairs: at most %d are allowed", len(meta), maxMetaPairs)
	}
	for key, value := range meta {
		switch {
		case key == "":
			return Errorf(Invalid, "meta has an empty key")
		case !metaKey(key):
			return Errorf(Invalid, "meta key %q: only letters, digits, - and _ are allowed", key)
		case len(key) > maxMetaKey:
			return Errorf(Invalid, "meta key %.20q… has %d bytes: at most %d are allowed", key, len(key), maxMetaKey)
		case !reserved && strings.HasPrefix(key, "consul-"):
			return Errorf(Invalid, "meta key %q: keys beginning with consul- are reserved", key)
		case len(value) > maxMetaValue:
			return Errorf(Invalid, "meta value of %q has %d bytes: at most %d are allowed", key, len(value), maxMetaValue)
		}
	}
	return nil
}

func metaKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// ValidateID checks that id has the form of a UUID.
func ValidateID(what, id string) error {
	if !IsUUID(id) {
		return Errorf(Invalid, "%s %q is no UUID: want 8-4-4-4-12 hexadecimal digits", what, id)
	}
	return nil
}

// IsUUID reports whether s has the form of a UUID (RFC 9562 section 4).
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return false
			}
		}
	}
	return true
}

// IsDNSLabel reports whether name can be a label of a DNS name as clients send it (RFC 1123 section
// 2.1, underscores not included).
func IsDNSLabel(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// WarnDNS returns a warning when name cannot be looked up by DNS, else "".
func WarnDNS(what, name string) string {
	if IsDNSLabel(name) {
		return ""
	}
	return fmt.Sprintf("%s %q cannot be found by DNS: use letters, digits and dashes, at most 63", what, name)
}

package catalog

import (
	"fmt"
)

// SamenessGroup names clusters whose services of the same name are the same.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/sameness-group
type SamenessGroup struct {
	EntryHead
	DefaultForFailover bool             `json:",omitempty"`
	IncludeLocal       bool             `json:",omitempty"`
	Members            []SamenessMember // in order of preference
}

// SamenessMember is one of the clusters.
type SamenessMember struct {
	Peer string `json:",omitempty"` // "" is this one
}

// Clusters are the peers of the group in order of preference, "" for this cluster.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/sameness-group
func (e *SamenessGroup) Clusters() []string {
	found := make([]string, 0, len(e.Members)+1)
	if e.IncludeLocal {
		found = append(found, "")
	}
	for _, m := range e.Members {
		found = append(found, m.Peer)
	}
	return found
}

// Normalize implements ConfigEntry.
func (e *SamenessGroup) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *SamenessGroup) Validate() error {
	c := e.check()
	if len(e.Members) == 0 {
		c.fail("Members", "is empty")
	}
	seen := map[string]bool{}
	for i, m := range e.Members {
		at := fmt.Sprintf("Members[%d].Peer", i)
		c.target(at, m.Peer)
		if seen[m.Peer] {
			c.fail(at, "%q is there twice", m.Peer)
		}
		seen[m.Peer] = true
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *SamenessGroup) Clone() ConfigEntry { return clone(e) }

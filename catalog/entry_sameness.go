package catalog

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

// Normalize implements ConfigEntry.
func (e *SamenessGroup) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *SamenessGroup) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *SamenessGroup) Clone() ConfigEntry { return clone(e) }

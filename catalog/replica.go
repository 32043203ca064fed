package catalog

import "slices"

// ReplicaKind is a kind of what the primary datacenter rules over and the others copy.
type ReplicaKind string

// The kinds, by the names that their metrics have.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/telemetry (leader.replication)
const (
	ReplicaPolicies    ReplicaKind = "acl-policies"
	ReplicaRoles       ReplicaKind = "acl-roles"
	ReplicaTokens      ReplicaKind = "acl-tokens"
	ReplicaEntries     ReplicaKind = "config-entries"
	ReplicaFederations ReplicaKind = "federation-state"
	ReplicaKV          ReplicaKind = "kv" // ours: keys, by kv-replication entries
)

// ReplicaKey stands for one row of a kind: two that have the same key and hash say the same.
type ReplicaKey struct {
	Key  string
	Hash []byte
}

// ReplicaRows are rows of one kind.
type ReplicaRows struct {
	Policies    []*Policy          `codec:",omitempty"`
	Roles       []*Role            `codec:",omitempty"`
	Tokens      []*Token           `codec:",omitempty"`
	Entries     []*AnyEntry        `codec:",omitempty"`
	Federations []*FederationState `codec:",omitempty"`
	// Rest is how many of the keys that were asked for, the last ones, are left for another question: they would be too
	// much for one.
	Rest int `codec:",omitempty"`
}

// Len is how many they are.
func (r *ReplicaRows) Len() int {
	return len(r.Policies) + len(r.Roles) + len(r.Tokens) + len(r.Entries) + len(r.Federations)
}

// Ruler is the primary datacenter that a secondary one copies from.
type Ruler struct {
	Datacenter string
	// ClusterID is that of its mesh CA, by which one that was made anew is told from the one before; empty while it is not
	// known.
	ClusterID   string
	ModifyIndex uint64
}

// Primacy says which datacenter is the primary one since it was promoted, whatever the configuration says of those before.
type Primacy struct {
	Datacenter string
	// Epoch counts the promotions: the highest counts.
	Epoch uint64
	// Past are the datacenters that were the primary before.
	Past        []string
	ModifyIndex uint64
}

// Over returns the primary where the configuration names one: another one only if that is in the past. A nil Primacy is
// that of the configuration.
func (p *Primacy) Over(configured string) string {
	if p == nil || !slices.Contains(p.Past, configured) {
		return configured
	}
	return p.Datacenter
}

// Succeeds reports whether the primary has taken over from a datacenter in an orderly way.
func (p *Primacy) Succeeds(datacenter string) bool {
	return p != nil && p.Datacenter != datacenter && slices.Contains(p.Past, datacenter)
}

// Next is the primacy of a datacenter after this one, where the primary was another.
func (p *Primacy) Next(datacenter, was string) Primacy {
	next := Primacy{Datacenter: datacenter, Epoch: 1, Past: []string{was, datacenter}}
	if p != nil {
		next.Epoch = p.Epoch + 1
		for _, name := range p.Past {
			if !slices.Contains(next.Past, name) {
				next.Past = append(next.Past, name)
			}
		}
	}
	return next
}

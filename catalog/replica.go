package catalog

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

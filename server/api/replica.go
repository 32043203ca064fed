package api

import (
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// ReplicaQuery asks the primary datacenter for what there is of a kind, or for the rows with these keys.
type ReplicaQuery struct {
	Kind catalog.ReplicaKind
	From string   // the datacenter that asks
	Keys []string `codec:",omitempty"`
}

// ReplicaList is what there is of a kind.
type ReplicaList struct {
	ClusterID string // of the mesh CA
	Keys      []catalog.ReplicaKey
}

// ReplicaWrite stores in a secondary datacenter what the primary one has: rows of one kind, and keys of the kind to drop.
type ReplicaWrite struct {
	Kind catalog.ReplicaKind
	Rows catalog.ReplicaRows
	Drop []string       `codec:",omitempty"`
	From *catalog.Ruler `codec:",omitempty"` // stored as well, unless it is nil
	// Epoch is that of the primary's primacy. Once another one was promoted nothing is stored.
	Epoch uint64
	// Unfit says why rows were left out, and At when the leader got it; it sets these itself.
	Unfit []string `codec:",omitempty"`
	At    time.Time
}

// ReplicaWritten says which rows could not be stored, and why.
type ReplicaWritten struct{ Refused []string }

// ReplicaProgress is how far the copy of a kind has come.
type ReplicaProgress struct {
	Kind catalog.ReplicaKind
	// Index is the primary's that it has come to, and Rows how many there are.
	Index uint64
	Rows  int
	// LastSuccess is when the copy was last found to be, or made, as the primary was then.
	LastSuccess time.Time
	// Lag is the time since then, or since this server has tried it.
	Lag              time.Duration
	LastError        time.Time
	LastErrorMessage string `json:",omitempty"`
	// Restarts counts how often it had stopped making progress and was started anew.
	Restarts int
}

// Verbs of replication from the primary datacenter to the others.
var (
	ReplicaKeys  = rpc.Method[ReplicaQuery, ReplicaList]{Name: "Replica.Keys", From: rpc.FromFederation}
	ReplicaRows  = rpc.Method[ReplicaQuery, catalog.ReplicaRows]{Name: "Replica.Rows", From: rpc.FromFederation}
	ReplicaApply = rpc.Method[ReplicaWrite, ReplicaWritten]{Name: "Replica.Apply", From: rpc.FromServers}
)

// EachOther is that two datacenters each take the other for the primary one, though neither was promoted.
func EachOther(a, b string) error {
	return catalog.Errorf(catalog.Conflict, "datacenters %s and %s each have the other as primary_datacenter, so neither is primary: set it to the same one of the two on the servers of both", a, b)
}

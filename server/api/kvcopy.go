package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// KVCopyQuery asks a datacenter for some of its keys.
type KVCopyQuery struct {
	From  string // the datacenter that asks
	Scope catalog.KVScope
	// Spans are all keys as the one who asks has them, in order, for KVCompare, or none for whoever only waits for a change;
	// KVHashes is asked for one.
	Spans []catalog.KVSpan `codec:",omitempty"`
	// Keys are those that KVRows is asked for.
	Keys []string `codec:",omitempty"`
}

// KVDiffering says which spans are not the same.
type KVDiffering struct{ Spans []int }

// KVHashList are the first keys of a span, in order.
type KVHashList struct {
	Keys []catalog.ReplicaKey
	More bool // there are others after them
}

// KVRowList are pairs.
type KVRowList struct {
	Pairs []*catalog.KVPair
	// Rest is how many of the keys that were asked for, the last ones, are left for another question.
	Rest int
}

// KVCopyWrite stores keys of another datacenter, as a kv-replication entry says.
type KVCopyWrite struct {
	// Entry is the name of that, and Index its ModifyIndex: when it has changed nothing is stored.
	Entry string
	Index uint64
	Rows  []*catalog.KVPair `codec:",omitempty"`
	Drop  []string          `codec:",omitempty"`
	// Unfit says why rows were left out; the leader sets it.
	Unfit []string `codec:",omitempty"`
}

// KVCopied says what was not stored.
type KVCopied struct {
	Refused []string
	Kept    int // keys that somebody has written here in the meantime
}

// KVCopyProgress is how far the copy of keys has come that an entry asks for.
type KVCopyProgress struct {
	Entry    string
	Source   string
	Prefixes []string
	ReplicaProgress
	// Written and Deleted count keys since this server has taken up the copy.
	Written, Deleted int
	// Kept are keys that are not as in the source by the rules of the entry.
	Kept int
}

// KVCopyView is which keys a datacenter copies from others.
type KVCopyView struct {
	Datacenter string
	Copying    bool
	Copies     []KVCopyProgress
}

// Verbs of the replication of keys between datacenters.
var (
	KVCompare    = rpc.Method[KVCopyQuery, KVDiffering]{Name: "Replica.KVCompare", From: rpc.FromFederation}
	KVHashes     = rpc.Method[KVCopyQuery, KVHashList]{Name: "Replica.KVHashes", From: rpc.FromFederation}
	KVRows       = rpc.Method[KVCopyQuery, KVRowList]{Name: "Replica.KVRows", From: rpc.FromFederation}
	KVCopyApply  = rpc.Method[KVCopyWrite, KVCopied]{Name: "Replica.KVApply", From: rpc.FromServers}
	KVCopyStatus = rpc.Method[Nothing, KVCopyView]{Name: "Replica.KVStatus", From: rpc.FromAgents}
)

package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// KVOp is what a write does to a key.
type KVOp string

// The operations on keys, as transactions name them.
const (
	KVSet            KVOp = "set"
	KVCAS            KVOp = "cas"
	KVLock           KVOp = "lock"
	KVUnlock         KVOp = "unlock"
	KVGet            KVOp = "get"
	KVGetOrEmpty     KVOp = "get-or-empty"
	KVGetTree        KVOp = "get-tree"
	KVCheckIndex     KVOp = "check-index"
	KVCheckSession   KVOp = "check-session"
	KVCheckNotExists KVOp = "check-not-exists"
	KVDelete         KVOp = "delete"
	KVDeleteTree     KVOp = "delete-tree"
	KVDeleteCAS      KVOp = "delete-cas"
)

// KVWrite changes keys. Pair.ModifyIndex is the index to compare with for KVCAS and KVDeleteCAS.
type KVWrite struct {
	Op   KVOp
	Pair catalog.KVPair
}

// KVQuery asks for a key, or for the keys under a prefix.
type KVQuery struct {
	Key       string
	Separator string // where listed keys are cut
}

// AppendKey implements endpoint.Keyed.
func (q *KVQuery) AppendKey(key []byte) []byte {
	return appendString(appendString(key, q.Key), q.Separator)
}

// Verbs of keys. A missing key is an empty list.
var (
	KVApply = rpc.Method[KVWrite, bool]{Name: "KV.Apply", From: rpc.FromAgents}
	KVRead  = rpc.Method[KVQuery, []*catalog.KVPair]{Name: "KV.Get", From: rpc.FromAgents}
	KVList  = rpc.Method[KVQuery, []*catalog.KVPair]{Name: "KV.List", From: rpc.FromAgents}
	KVKeys  = rpc.Method[KVQuery, []string]{Name: "KV.Keys", From: rpc.FromAgents}
)

// SessionOp is what a write does to a session.
type SessionOp string

// The operations on sessions.
const (
	SessionCreate  SessionOp = "create"
	SessionDestroy SessionOp = "destroy"
)

// SessionWrite changes sessions.
type SessionWrite struct {
	Op      SessionOp
	Session catalog.Session
}

// SessionQuery asks for one session, or for those of a node.
type SessionQuery struct {
	ID   string
	Node string
}

// Verbs of sessions. The reply to a creation is the new session's id.
var (
	SessionApply = rpc.Method[SessionWrite, string]{Name: "Session.Apply", From: rpc.FromAgents}
	SessionRead  = rpc.Method[SessionQuery, []*catalog.Session]{Name: "Session.Get", From: rpc.FromAgents}
	SessionList  = rpc.Method[SessionQuery, []*catalog.Session]{Name: "Session.List", From: rpc.FromAgents}
	SessionNode  = rpc.Method[SessionQuery, []*catalog.Session]{Name: "Session.NodeSessions", From: rpc.FromAgents}
	SessionRenew = rpc.Method[SessionQuery, []*catalog.Session]{Name: "Session.Renew", From: rpc.FromAgents}
)

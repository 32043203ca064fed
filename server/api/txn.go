package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// MaxTxnOps is how many operations a transaction may have.
// Source: https://developer.hashicorp.com/consul/api-docs/txn
const MaxTxnOps = 128

// TxnOp is one operation of a transaction: exactly one of its fields is set.
type TxnOp struct {
	KV      *TxnKV      `json:",omitempty"`
	Node    *TxnNode    `json:",omitempty"`
	Service *TxnService `json:",omitempty"`
	Check   *TxnCheck   `json:",omitempty"`
	Session *TxnSession `json:",omitempty"`
}

// Reads reports whether the operation changes nothing: it does without the log. Unknown ones do too.
func (op *TxnOp) Reads() bool {
	switch {
	case op.KV != nil:
		switch op.KV.Verb {
		case KVSet, KVCAS, KVLock, KVUnlock, KVDelete, KVDeleteTree, KVDeleteCAS:
			return false
		}
		return true
	case op.Node != nil:
		return op.Node.Verb == TxnGet
	case op.Service != nil:
		return op.Service.Verb == TxnGet
	case op.Check != nil:
		return op.Check.Verb == TxnGet
	}
	return op.Session == nil
}

// TxnKV is an operation on a key.
type TxnKV struct {
	Verb    KVOp
	Key     string
	Value   []byte
	Flags   uint64
	Index   uint64
	Session string
}

// The operations on nodes, services and checks.
const (
	TxnGet       = "get"
	TxnSet       = "set"
	TxnCAS       = "cas"
	TxnDelete    = "delete"
	TxnDeleteCAS = "delete-cas"
)

// TxnNode is an operation on a node; Node.ModifyIndex is the index to compare with.
type TxnNode struct {
	Verb string
	Node catalog.Node
}

// TxnService is an operation on a service of a node.
type TxnService struct {
	Verb    string
	Node    string
	Service catalog.Service
}

// TxnCheck is an operation on a check.
type TxnCheck struct {
	Verb  string
	Check catalog.Check
}

// TxnSession is an operation on a session.
type TxnSession struct {
	Verb    string
	Session catalog.Session
}

// TxnRequest is a list of operations of which either all take effect or none.
type TxnRequest struct{ Ops []TxnOp }

// TxnResult is what one operation returned: at most one of its fields is set.
type TxnResult struct {
	KV      *catalog.KVPair  `json:",omitempty"`
	Node    *catalog.Node    `json:",omitempty"`
	Service *catalog.Service `json:",omitempty"`
	Check   *catalog.Check   `json:",omitempty"`
}

// TxnError says what one operation failed with.
type TxnError struct {
	OpIndex int
	What    string
}

// TxnReply has results when everything took effect and errors when nothing did.
type TxnReply struct {
	Results []TxnResult
	Errors  []TxnError
}

// Verbs of transactions. TxnRead takes only operations that read.
var (
	TxnApply = rpc.Method[TxnRequest, TxnReply]{Name: "Txn.Apply", From: rpc.FromAgents}
	TxnRead  = rpc.Method[TxnRequest, TxnReply]{Name: "Txn.Read", From: rpc.FromAgents}
)

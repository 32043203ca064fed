package api

import (
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// ConfigOp is what a write does to a config entry.
type ConfigOp string

// The operations on config entries.
const (
	ConfigSet       ConfigOp = "set"
	ConfigCAS       ConfigOp = "cas"
	ConfigDelete    ConfigOp = "delete"
	ConfigDeleteCAS ConfigOp = "delete-cas"
)

// ConfigWrite changes a config entry. Deletes look at the kind and name of Entry only. Its ModifyIndex is
// the index to compare with for ConfigCAS and ConfigDeleteCAS.
type ConfigWrite struct {
	Op    ConfigOp
	Entry catalog.AnyEntry
	At    time.Time // when the leader got it; it sets this itself
}

// ConfigQuery asks for an entry, for those of a kind, or for all.
type ConfigQuery struct {
	Kind catalog.EntryKind
	Name string
}

// AppendKey implements endpoint.Keyed.
func (q *ConfigQuery) AppendKey(key []byte) []byte {
	return appendString(appendString(key, string(q.Kind)), q.Name)
}

// Verbs of config entries. A missing entry is an empty one. ConfigApply answers whether what it compares
// with was right.
var (
	ConfigApply   = rpc.Method[ConfigWrite, bool]{Name: "Config.Apply", From: rpc.FromAgents}
	ConfigGet     = rpc.Method[ConfigQuery, catalog.AnyEntry]{Name: "Config.Get", From: rpc.FromAgents}
	ConfigList    = rpc.Method[ConfigQuery, []*catalog.AnyEntry]{Name: "Config.List", From: rpc.FromAgents}
	ConfigListAll = rpc.Method[ConfigQuery, []*catalog.AnyEntry]{Name: "Config.ListAll", From: rpc.FromAgents}
)

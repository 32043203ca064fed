package state

import "github.com/curia-mesh/curia/catalog"

// indexRow remembers when something last changed that leaves no row of its own behind.
type indexRow struct {
	Key   string
	Value uint64
}

var indexes = &table[indexRow]{name: "indexes", indexes: map[string]func(*indexRow) []byte{
	primary: func(r *indexRow) []byte { return joined(r.Key) },
}}

// Keys of the indexes table.
const (
	reapedIndex = "reaped" // the newest grave that was reaped
	namesIndex  = "names"  // the last change of the set of service names and their tags
	nodesIndex  = "nodes"  // the last removal of a node
)

func indexOf(tx *Txn, key string) uint64 {
	if row := indexes.get(tx, nil, primary, joined(key)); row != nil {
		return row.Value
	}
	return 0
}

func setIndex(tx *Txn, key string) { indexes.put(tx, &indexRow{key, tx.Index}) }

// A grave marks where rows were removed, so that the index of what remains never goes back.
type grave struct {
	Kind  string
	Key   string
	Index uint64
}

var graves = &table[grave]{name: "graves", indexes: map[string]func(*grave) []byte{
	primary: func(g *grave) []byte { return append(joined(g.Kind), g.Key...) },
}}

// Kinds of graves.
const (
	graveKV       = "kv"       // a key
	graveInstance = "instance" // a service that lost an instance
	graveCheck    = "check"    // a service that lost a check of an instance
	graveConnect  = "connect"  // a mesh destination that lost an instance
	graveNode     = "node"     // a node that lost itself, a service or a check
	graveSession  = "session"  // a session
)

func bury(tx *Txn, kind, key string) {
	graves.put(tx, &grave{Kind: kind, Key: key, Index: tx.Index})
}

// buried is the newest grave at key, or anywhere under it when tree is set, and never below what was
// reaped: the floor of a result's index.
func buried(tx *Txn, kind, key string, tree bool) uint64 {
	newest := max(indexOf(tx, reapedIndex), 1)
	at := append(joined(kind), key...)
	if !tree {
		if g := graves.get(tx, nil, primary, at); g != nil {
			newest = max(newest, g.Index)
		}
		return newest
	}
	for g := range graves.scan(tx, nil, primary, at) {
		newest = max(newest, g.Index)
	}
	return newest
}

// ReapGraves removes the graves up to index: by then no client waits with an older one.
func ReapGraves(tx *Txn, index uint64) {
	reaped := indexOf(tx, reapedIndex)
	for _, g := range graves.all(tx, primary, nil) {
		if g.Index <= index {
			graves.remove(tx, g)
			reaped = max(reaped, g.Index)
		}
	}
	indexes.put(tx, &indexRow{reapedIndex, reaped})
}

// AnyGraves reports whether there are graves up to index.
func AnyGraves(tx *Txn, index uint64) bool {
	for g := range graves.scan(tx, nil, primary, nil) {
		if g.Index <= index {
			return true
		}
	}
	return false
}

// newestInstance and newestHealth are the index of the last change of what an instance shows.
func newestInstance(i *catalog.Instance) uint64 {
	return max(i.Node.ModifyIndex, i.Service.ModifyIndex)
}

func newestHealth(i *catalog.Instance) uint64 {
	newest := newestInstance(i)
	for _, c := range i.Checks {
		newest = max(newest, c.ModifyIndex)
	}
	return newest
}

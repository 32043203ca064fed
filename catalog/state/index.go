package state

import "github.com/curia-mesh/curia/catalog"

// indexRow remembers when something last changed that leaves no row of its own behind.
type indexRow struct {
	Key   string
	Value uint64
}

var indexes = &table[indexRow]{
	name: "indexes",
	of:   func(v *version) *rows[indexRow] { return &v.indexes },
	keys: []func([]byte, *indexRow) []byte{
		primary: func(key []byte, r *indexRow) []byte { return joined(key, r.Key) },
	},
}

// Keys of the indexes table.
const (
	rootsIndex       = "roots"             // the last change of the set of roots
	namesIndex       = "names"             // the last change of the set of service names and their tags
	nodesIndex       = "nodes"             // the last removal of a node
	instancesIndex   = "instances"         // the last removal of an instance
	sessionsIndex    = "sessions"          // the last removal of a session
	coordinatesIndex = "coordinates"       // the last removal of a coordinate
	queriesIndex     = "queries"           // the last change of a prepared query
	peeringsIndex    = "peerings"          // the last removal of a peering
	importsIndex     = "imports"           // the last removal of an imported service
	exportsIndex     = "exports"           // the last removal of an export set
	joinsIndex       = "joins"             // the last removal of a join token
	tokensIndex      = "acl-tokens"        // the last change of a token
	policiesIndex    = "acl-policies"      // the last change of a policy
	rolesIndex       = "acl-roles"         // the last change of a role
	methodsIndex     = "acl-auth-methods"  // the last change of an auth method
	bindingsIndex    = "acl-binding-rules" // the last change of a binding rule
	aclBootIndex     = "acl-bootstrap"     // when the first management token was made
	virtualIndex     = "virtual"           // no index: the number of the virtual address assigned last
	locksIndex       = "locks"             // no index: the highest LockIndex whose grave was reaped
)

// leftState is the key of the index at which a check last left a state.
func leftState(s catalog.Status) string { return "state/" + string(s) }

// reapedIndex is the key of the newest grave of a kind that was reaped.
func reapedIndex(kind string) string { return "reaped/" + kind }

func indexOf(tx *Txn, key string) uint64 {
	if row := indexes.get(tx, nil, primary, tx.key(key)); row != nil {
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
	// LockIndex of a key, which goes on from there when the key comes back.
	LockIndex uint64 `codec:",omitempty"`
}

var graves = &table[grave]{
	name: "graves",
	of:   func(v *version) *rows[grave] { return &v.graves },
	keys: []func([]byte, *grave) []byte{
		primary: func(key []byte, g *grave) []byte { return append(joined(key, g.Kind), g.Key...) },
	},
}

// Kinds of graves.
const (
	graveKV           = "kv"            // a key
	graveInstance     = "instance"      // a service that lost an instance
	graveCheck        = "check"         // a service that lost a check of an instance
	graveConnect      = "connect"       // a mesh destination that lost an instance
	graveConnectCheck = "connect-check" // a mesh destination that lost a check of an instance
	graveNode         = "node"          // a node that is gone, by its name and by its id
	graveNodeService  = "node-service"  // a node that lost a service
	graveNodeCheck    = "node-check"    // a node that lost a check
	graveNodeSession  = "node-session"  // a node that lost a session
	graveSession      = "session"       // a session
	graveEntry        = "config-entry"  // a config entry
	graveVirtual      = "virtual"       // the virtual address of a service
)

func bury(tx *Txn, kind, key string) {
	graves.put(tx, &grave{Kind: kind, Key: key, Index: tx.Index})
}

func graveKey(tx *Txn, kind, key string) []byte {
	tx.scratch[2] = append(tx.key(kind), key...)
	return tx.scratch[2]
}

// buried is the newest grave at key, and never below what was reaped: the floor of a result's index.
func buried(tx *Txn, kind, key string) uint64 {
	newest := max(indexOf(tx, reapedIndex(kind)), 1)
	if g := graves.get(tx, nil, primary, graveKey(tx, kind, key)); g != nil {
		newest = max(newest, g.Index)
	}
	return newest
}

// buriedUnder is the same for all keys that begin with prefix.
func buriedUnder(tx *Txn, kind, prefix string) uint64 {
	newest := max(indexOf(tx, reapedIndex(kind)), 1)
	for g := range graves.scan(tx, nil, primary, graveKey(tx, kind, prefix)) {
		newest = max(newest, g.Index)
	}
	return newest
}

// ReapGraves removes the graves up to index: by then no client waits with an older one.
func ReapGraves(tx *Txn, index uint64) {
	for _, g := range graves.all(tx, primary, nil) {
		if g.Index > index {
			continue
		}
		graves.remove(tx, g)
		raise(tx, reapedIndex(g.Kind), g.Index)
		raise(tx, locksIndex, g.LockIndex)
	}
}

func raise(tx *Txn, key string, to uint64) {
	if to > indexOf(tx, key) {
		indexes.put(tx, &indexRow{key, to})
	}
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

package state

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

var nodes = &table[catalog.Node]{
	name: "nodes",
	of:   func(v *version) *rows[catalog.Node] { return &v.nodes },
	keys: []func([]byte, *catalog.Node) []byte{
		primary: func(key []byte, n *catalog.Node) []byte { return joined(key, fold(n.Node)) },
		nodeByID: func(key []byte, n *catalog.Node) []byte {
			if n.ID == "" {
				return nil
			}
			return joined(key, fold(n.ID))
		},
		nodeByAddress: func(key []byte, n *catalog.Node) []byte { return joined(key, n.Address, fold(n.Node)) },
	},
}

// Indexes of nodes beside the one by name.
const (
	nodeByID = iota + 1
	nodeByAddress
)

func nodeNamed(tx *Txn, w *Watch, name string) *catalog.Node {
	return nodes.get(tx, w, primary, tx.key(fold(name)))
}

func nodeWithID(tx *Txn, w *Watch, id string) *catalog.Node {
	return nodes.get(tx, w, nodeByID, tx.key(fold(id)))
}

// Node returns the node with the name, or with the id when name is one.
func Node(tx *Txn, w *Watch, name string) *catalog.Node {
	if n := nodeNamed(tx, w, name); n != nil || !catalog.IsUUID(name) {
		return n
	}
	return nodeWithID(tx, w, name)
}

// NodeIndex is the index of the last change of the node with the name or id, its removal included.
func NodeIndex(tx *Txn, n *catalog.Node, name string) uint64 {
	if n != nil {
		return n.ModifyIndex
	}
	return buried(tx, graveNode, fold(name))
}

// Nodes returns all nodes that keep accepts, by name. The index counts removed ones.
func Nodes(tx *Txn, w *Watch, keep func(*catalog.Node) bool) ([]*catalog.Node, uint64) {
	found, index := []*catalog.Node{}, max(1, indexOf(tx, nodesIndex))
	for n := range nodes.scan(tx, w, primary, nil) {
		index = max(index, n.ModifyIndex)
		if keep == nil || keep(n) {
			found = append(found, n)
		}
	}
	return found, index
}

// NodesAt returns the nodes with an address.
func NodesAt(tx *Txn, w *Watch, address string) []*catalog.Node {
	found := []*catalog.Node{}
	for n := range nodes.scan(tx, w, nodeByAddress, tx.key(address)) {
		found = append(found, n)
	}
	return found
}

// EnsureNode adds or changes a node and returns the stored row. A node keeps its creation index; one
// that says the same again is left as it is. A name that a living node holds under another id is
// refused, and so is an id that one holds under another name; those of a dead one are taken over.
func EnsureNode(tx *Txn, n *catalog.Node) (*catalog.Node, error) {
	if err := zeroless("node", n.Node, n.ID, n.Address); err != nil {
		return nil, err
	}
	row, old := *n, nodeNamed(tx, nil, n.Node)
	if row.ID == "" && old != nil {
		row.ID = old.ID
	}
	before := old // the row that this one goes on from
	if row.ID != "" {
		if err := takeName(tx, &row, old); err != nil {
			return nil, err
		}
		if same := nodeWithID(tx, nil, row.ID); same != nil && fold(same.Node) != fold(row.Node) {
			if err := takeID(tx, &row, same); err != nil {
				return nil, err
			}
			DeleteNode(tx, same.Node) // renamed: what was on it is registered anew under the new name
			before = same
		}
	}
	if old != nil && old.Same(&row) {
		return old, nil
	}
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if before != nil {
		row.CreateIndex = before.CreateIndex
	}
	tx.store.shared.node(&row)
	nodes.put(tx, &row)
	if old != nil && old.ID != "" && fold(old.ID) != fold(row.ID) {
		bury(tx, graveNode, fold(old.ID))
	}
	staleNode(tx, row.Node)
	return &row, nil
}

// zeroless refuses names that would run together with others in keys.
func zeroless(what string, names ...string) error {
	for _, name := range names {
		if strings.IndexByte(name, 0) >= 0 {
			return catalog.Errorf(catalog.Invalid, "%s %q: %q holds a zero byte", what, names[0], name)
		}
	}
	return nil
}

// takeName decides whether n may have the name that old holds.
func takeName(tx *Txn, n, old *catalog.Node) error {
	if old == nil || old.ID == "" || fold(old.ID) == fold(n.ID) {
		return nil
	}
	if !alive(tx, old) {
		return nil
	}
	return catalog.Errorf(catalog.Conflict,
		"node name %q is taken: node %s at %s is alive under it, node %s at %s wants it; give one of them another node_name, or let the first leave",
		n.Node, old.ID, old.Address, n.ID, n.Address)
}

// takeID decides whether n may have the id that old, which has another name, holds.
func takeID(tx *Txn, n, old *catalog.Node) error {
	if !alive(tx, old) {
		return nil
	}
	return catalog.Errorf(catalog.Conflict,
		"node id %s is taken: node %q at %s is alive with it, node %q at %s wants it; if one has a copy of the other's data_dir, remove node-id from the copy, else let the first leave",
		n.ID, old.Node, old.Address, n.Node, n.Address)
}

// alive is whether gossip says of a node that it is there.
func alive(tx *Txn, n *catalog.Node) bool {
	health := Check(tx, nil, n.Node, catalog.SerfHealth)
	return health != nil && health.Status != catalog.Critical
}

// Claim refuses an agent that says something about its node while a living node has its name or its id: what it
// says would be taken for the other's.
func Claim(tx *Txn, n *catalog.Node) error {
	if n.ID == "" {
		return nil
	}
	if err := takeName(tx, n, nodeNamed(tx, nil, n.Node)); err != nil {
		return err
	}
	if same := nodeWithID(tx, nil, n.ID); same != nil && fold(same.Node) != fold(n.Node) {
		return takeID(tx, n, same)
	}
	return nil
}

// DeleteNode removes a node with its services, checks, sessions and coordinates, and reports whether it
// was there.
func DeleteNode(tx *Txn, name string) bool {
	n := nodeNamed(tx, nil, name)
	if n == nil {
		return false
	}
	name = fold(n.Node)
	for _, i := range instances.all(tx, instanceByNode, tx.key(name)) {
		DeleteService(tx, name, i.Service.ID)
	}
	for _, c := range checks.all(tx, primary, tx.key(name)) {
		removeCheck(tx, c)
	}
	for _, s := range sessions.all(tx, sessionByNode, tx.key(name)) {
		endSession(tx, s)
	}
	for _, c := range coordinates.all(tx, primary, tx.key(name)) {
		coordinates.remove(tx, c)
		setIndex(tx, coordinatesIndex)
	}
	nodes.remove(tx, n)
	bury(tx, graveNode, name)
	if n.ID != "" {
		bury(tx, graveNode, fold(n.ID))
	}
	setIndex(tx, nodesIndex)
	return true
}

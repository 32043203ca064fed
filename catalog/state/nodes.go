package state

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

var nodes = &table[catalog.Node]{name: "nodes", indexes: map[string]func(*catalog.Node) []byte{
	primary: func(n *catalog.Node) []byte { return joined(fold(n.Node)) },
	"uuid": func(n *catalog.Node) []byte {
		if n.ID == "" {
			return nil
		}
		return joined(fold(n.ID))
	},
	"address": func(n *catalog.Node) []byte { return joined(n.Address, fold(n.Node)) },
}}

// Node returns the node with the name, or with the id when name is one.
func Node(tx *Txn, w *Watch, name string) *catalog.Node {
	if n := nodes.get(tx, w, primary, joined(fold(name))); n != nil || !catalog.IsUUID(name) {
		return n
	}
	return nodes.get(tx, w, "uuid", joined(fold(name)))
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
func NodesAt(tx *Txn, w *Watch, address string) ([]*catalog.Node, uint64) {
	found, index := []*catalog.Node{}, max(1, indexOf(tx, nodesIndex))
	for n := range nodes.scan(tx, w, "address", joined(address)) {
		index = max(index, n.ModifyIndex)
		found = append(found, n)
	}
	return found, index
}

// EnsureNode adds or changes a node and returns the stored row. A node keeps its creation index; one
// that says the same again is left as it is. A name that a living node holds under another id is
// refused; a dead one is taken over.
func EnsureNode(tx *Txn, n *catalog.Node) (*catalog.Node, error) {
	if strings.IndexByte(n.Node, 0) >= 0 {
		return nil, catalog.Errorf(catalog.Invalid, "node name %q holds a zero byte", n.Node)
	}
	old := nodes.get(tx, nil, primary, joined(fold(n.Node)))
	if n.ID != "" {
		if same := nodes.get(tx, nil, "uuid", joined(fold(n.ID))); same != nil && fold(same.Node) != fold(n.Node) {
			if err := takeName(tx, n, old); err != nil {
				return nil, err
			}
			DeleteNode(tx, same.Node)
			old = same
		} else if old != nil && old.ID != "" && fold(old.ID) != fold(n.ID) {
			if err := takeName(tx, n, old); err != nil {
				return nil, err
			}
		}
	} else if old != nil && old.ID != "" {
		kept := *n
		kept.ID = old.ID
		n = &kept
	}
	row := *n
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old != nil {
		row.CreateIndex = old.CreateIndex
		if old.Same(n) {
			return old, nil
		}
	}
	nodes.put(tx, &row)
	staleNode(tx, row.Node)
	return &row, nil
}

// takeName decides whether n may have the name that old holds.
func takeName(tx *Txn, n, old *catalog.Node) error {
	if old == nil || old.ID == "" || fold(old.ID) == fold(n.ID) {
		return nil
	}
	health := checks.get(tx, nil, primary, checkKey(old.Node, catalog.SerfHealth))
	if health == nil || health.Status == catalog.Critical {
		return nil
	}
	return catalog.Errorf(catalog.Conflict,
		"node name %q is taken: node %s at %s is alive under it, node %s at %s wants it; give one of them another node_name, or let the first leave",
		n.Node, old.ID, old.Address, n.ID, n.Address)
}

// DeleteNode removes a node with its services, checks, sessions and coordinates, and reports whether it
// was there.
func DeleteNode(tx *Txn, name string) bool {
	n := nodes.get(tx, nil, primary, joined(fold(name)))
	if n == nil {
		return false
	}
	under := joined(fold(n.Node))
	for _, c := range checks.all(tx, primary, under) {
		dropCheck(tx, c)
	}
	for _, i := range instances.all(tx, "node", under) {
		removeInstance(tx, i)
	}
	for _, s := range sessions.all(tx, "node", under) {
		endSession(tx, s)
	}
	for _, c := range coordinates.all(tx, primary, under) {
		coordinates.remove(tx, c)
	}
	nodes.remove(tx, n)
	bury(tx, graveNode, fold(n.Node))
	setIndex(tx, nodesIndex)
	return true
}

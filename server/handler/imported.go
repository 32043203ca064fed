package handler

import (
	"cmp"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
)

// What peers export is read like what is of this cluster, and apart from it: a question names the peer.

// imported yields every instance that a peer exports, sidecars among them. The index is that of the last change.
func imported(tx *state.Txn, w *state.Watch, peer string, each func(*catalog.Instance)) uint64 {
	all, index := state.Imports(tx, w, peer)
	for _, s := range all {
		for _, i := range s.Instances {
			each(i)
		}
		for _, i := range s.Sidecars {
			if i.Service.Kind != catalog.KindTypical { // native instances are among the others
				each(i)
			}
		}
	}
	return index
}

// importedInstances returns the instances of a service that a peer exports.
func importedInstances(tx *state.Txn, w *state.Watch, q *api.ServiceQuery) ([]*catalog.Instance, uint64) {
	s, index := state.Imported(tx, w, q.Peer, q.Service)
	switch {
	case s == nil || q.Ingress:
		return nil, index
	case q.Connect:
		return s.Sidecars, index
	}
	return s.Instances, index
}

// importedNodes lists the nodes that have something which a peer exports.
func importedNodes(tx *state.Txn, w *state.Watch, q *api.NodeQuery) (*[]*catalog.Node, uint64, error) {
	found, seen := []*catalog.Node{}, map[string]bool{}
	index := imported(tx, w, q.Peer, func(i *catalog.Instance) {
		n := i.Node
		if (q.Node != "" && !strings.EqualFold(n.Node, q.Node)) || seen[n.Node] || !catalog.HasPairs(n.Meta, q.Meta) {
			return
		}
		seen[n.Node] = true
		found = append(found, n)
	})
	slices.SortFunc(found, func(a, b *catalog.Node) int { return cmp.Compare(a.Node, b.Node) })
	return &found, index, nil
}

// importedNode returns one of them with what it has; the node is nil when there is none.
func importedNode(tx *state.Txn, w *state.Watch, q *api.NodeQuery) (node *catalog.Node, found []*catalog.Instance, index uint64) {
	index = imported(tx, w, q.Peer, func(i *catalog.Instance) {
		if strings.EqualFold(i.Node.Node, q.Node) {
			node, found = i.Node, append(found, i)
		}
	})
	return node, found, index
}

// importedChecks lists the checks of a peer's instances, each once.
func importedChecks(tx *state.Txn, w *state.Watch, peer string, of func(*catalog.Instance) bool, keep func(*catalog.Check) bool) ([]*catalog.Check, uint64) {
	type key struct{ node, id string }
	found, seen := []*catalog.Check{}, map[key]bool{}
	index := imported(tx, w, peer, func(i *catalog.Instance) {
		if !of(i) {
			return
		}
		for _, c := range i.Checks {
			if k := (key{c.Node, c.CheckID}); keep(c) && !seen[k] {
				seen[k] = true
				found = append(found, c)
			}
		}
	})
	return found, index
}

package state

import (
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

var checks = &table[catalog.Check]{name: "checks", indexes: map[string]func(*catalog.Check) []byte{
	primary: func(c *catalog.Check) []byte { return checkKey(c.Node, c.CheckID) },
	// Only what needs attention is indexed by state: in a healthy fleet almost nothing.
	"state": func(c *catalog.Check) []byte {
		if c.Status == catalog.Passing {
			return nil
		}
		return joined(string(c.Status), fold(c.Node), c.CheckID)
	},
	// The checks of nodes themselves, which every instance of the node carries.
	"node": func(c *catalog.Check) []byte {
		if c.ServiceID != "" {
			return nil
		}
		return checkKey(c.Node, c.CheckID)
	},
}}

func checkKey(node, id string) []byte { return joined(fold(node), id) }

func mapsEqual(a, b map[string]string) bool { return maps.Equal(a, b) }

// Check returns one check of a node, nil when there is none.
func Check(tx *Txn, w *Watch, node, id string) *catalog.Check {
	return checks.get(tx, w, primary, checkKey(node, id))
}

func nodeChecks(tx *Txn, node string) []*catalog.Check {
	return checks.all(tx, "node", joined(fold(node)))
}

// NodeChecks returns all checks of a node and of its services.
func NodeChecks(tx *Txn, w *Watch, node string) ([]*catalog.Check, uint64) {
	index, found := buried(tx, graveNode, fold(node), false), []*catalog.Check{}
	for c := range checks.scan(tx, w, primary, joined(fold(node))) {
		index = max(index, c.ModifyIndex)
		found = append(found, c)
	}
	return found, index
}

// ServiceChecks returns the checks that belong to a service itself, with the nodes they are on.
func ServiceChecks(tx *Txn, w *Watch, service string, keep func(*catalog.Node) bool) ([]*catalog.Check, uint64) {
	found := []*catalog.Check{}
	all, _, index := ServiceInstances(tx, w, service)
	for _, i := range all {
		if keep != nil && !keep(i.Node) {
			continue
		}
		for _, c := range i.Checks {
			if c.ServiceID != "" {
				found = append(found, c)
			}
		}
	}
	return found, index
}

// StateChecks returns the checks in a state, or all for catalog.Any.
func StateChecks(tx *Txn, w *Watch, status catalog.Status, keep func(*catalog.Node) bool) ([]*catalog.Check, uint64) {
	found, index := []*catalog.Check{}, uint64(1)
	for _, s := range []catalog.Status{catalog.Passing, catalog.Warning, catalog.Critical} {
		if status == catalog.Any || status == s {
			index = max(index, indexOf(tx, leftState(s)))
		}
	}
	add := func(c *catalog.Check) {
		if status != catalog.Any && c.Status != status {
			return
		}
		index = max(index, c.ModifyIndex)
		if keep != nil {
			if n := nodes.get(tx, nil, primary, joined(fold(c.Node))); n == nil || !keep(n) {
				return
			}
		}
		found = append(found, c)
	}
	if status == catalog.Any || status == catalog.Passing {
		for c := range checks.scan(tx, w, primary, nil) {
			add(c)
		}
		return found, index
	}
	for c := range checks.scan(tx, w, "state", joined(string(status))) {
		add(c)
	}
	return found, index
}

// leftState is the key of the index at which a check last left a state.
func leftState(s catalog.Status) string { return "state/" + string(s) }

// EnsureCheck adds or changes a normalized check of a node, and of one of its services when ServiceID
// is set. A check that turns critical ends the sessions that depend on it.
func EnsureCheck(tx *Txn, c *catalog.Check) error {
	if strings.IndexByte(c.CheckID, 0) >= 0 {
		return catalog.Errorf(catalog.Invalid, "check %q: its id holds a zero byte", c.CheckID)
	}
	n := nodes.get(tx, nil, primary, joined(fold(c.Node)))
	if n == nil {
		return catalog.Errorf(catalog.Invalid, "check %q: node %q is not registered", c.CheckID, c.Node)
	}
	row := *c
	row.Node = n.Node
	var owner *catalog.Instance
	if c.ServiceID != "" {
		owner = Instance(tx, nil, c.Node, c.ServiceID)
		if owner == nil {
			return catalog.Errorf(catalog.Invalid, "check %q: service %q is not registered on node %q", c.CheckID, c.ServiceID, c.Node)
		}
		row.ServiceName, row.ServiceTags = owner.Service.Service, owner.Service.Tags
	}
	old := Check(tx, nil, c.Node, c.CheckID)
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old != nil {
		row.CreateIndex = old.CreateIndex
		if old.Same(&row) {
			return nil
		}
		if old.ServiceID != row.ServiceID {
			dropCheck(tx, old)
		} else if old.Status != row.Status {
			setIndex(tx, leftState(old.Status))
		}
	}
	checks.put(tx, &row)
	attach(tx, owner, &row)
	if row.Status == catalog.Critical {
		endSessionsOf(tx, &row)
	}
	return nil
}

// attach puts a check into the instances that carry it: those of the whole node, or its owner.
func attach(tx *Txn, owner *catalog.Instance, c *catalog.Check) {
	if owner == nil {
		staleNode(tx, c.Node)
		return
	}
	at := slices.IndexFunc(owner.Checks, func(o *catalog.Check) bool { return o.CheckID == c.CheckID })
	next := slices.Clone(owner.Checks)
	if at >= 0 {
		next[at] = c
	} else {
		next = append(next, c)
	}
	instances.put(tx, &catalog.Instance{Node: owner.Node, Service: owner.Service, Checks: next})
}

// DeleteCheck removes a check, ends the sessions that depend on it and reports whether it was there.
func DeleteCheck(tx *Txn, node, id string) bool {
	c := Check(tx, nil, node, id)
	if c == nil {
		return false
	}
	dropCheck(tx, c)
	bury(tx, graveNode, fold(node))
	return true
}

func dropCheck(tx *Txn, c *catalog.Check) {
	checks.remove(tx, c)
	setIndex(tx, leftState(c.Status))
	if c.ServiceID == "" {
		for i := range instances.scan(tx, nil, "node", joined(fold(c.Node))) {
			bury(tx, graveCheck, fold(i.Service.Service))
			staleInstance(tx, c.Node, i.Service.ID)
		}
	} else {
		bury(tx, graveCheck, fold(c.ServiceName))
		staleInstance(tx, c.Node, c.ServiceID)
	}
	endSessionsOf(tx, c)
}

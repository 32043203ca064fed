package state

import (
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

var checks = &table[catalog.Check]{
	name: "checks",
	of:   func(v *version) *rows[catalog.Check] { return &v.checks },
	keys: []func([]byte, *catalog.Check) []byte{
		primary: func(key []byte, c *catalog.Check) []byte { return joined(key, fold(c.Node), c.CheckID) },
		// Only what needs attention is indexed by state: in a healthy fleet almost nothing.
		checkByState: func(key []byte, c *catalog.Check) []byte {
			if c.Status == catalog.Passing {
				return nil
			}
			return joined(key, string(c.Status), fold(c.Node), c.CheckID)
		},
	},
}

const checkByState = 1

// Check returns one check of a node, nil when there is none.
func Check(tx *Txn, w *Watch, node, id string) *catalog.Check {
	return checks.get(tx, w, primary, tx.key(fold(node), id))
}

// nodeChecks returns the checks of a node itself, which every instance of the node carries.
func nodeChecks(tx *Txn, node string) []*catalog.Check {
	var found []*catalog.Check
	for c := range checks.scan(tx, nil, primary, tx.key(fold(node))) {
		if c.ServiceID == "" {
			found = append(found, c)
		}
	}
	return found
}

// NodeChecks returns all checks of a node and of its services.
func NodeChecks(tx *Txn, w *Watch, node string) ([]*catalog.Check, uint64) {
	index, found := buried(tx, graveNodeCheck, fold(node)), []*catalog.Check{}
	for c := range checks.scan(tx, w, primary, tx.key(fold(node))) {
		index = max(index, c.ModifyIndex)
		found = append(found, c)
	}
	return found, index
}

// ServiceChecks returns the checks that belong to a service itself, on the nodes that keep accepts.
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

// StateChecks returns the checks in a state, or all for catalog.Any, on the nodes that keep accepts.
func StateChecks(tx *Txn, w *Watch, status catalog.Status, keep func(*catalog.Node) bool) ([]*catalog.Check, uint64) {
	found, index := []*catalog.Check{}, uint64(1)
	for _, s := range []catalog.Status{catalog.Passing, catalog.Warning, catalog.Critical} {
		if status == catalog.Any || status == s {
			index = max(index, indexOf(tx, leftState(s)))
		}
	}
	by, prefix := primary, []byte(nil)
	if status != catalog.Any && status != catalog.Passing {
		by, prefix = checkByState, tx.key(string(status))
	}
	in := checks.scan(tx, w, by, prefix)
	if keep != nil {
		nodes.scan(tx, w, primary, nil) // any of them may begin or cease to be accepted
	}
	for c := range in {
		if status != catalog.Any && c.Status != status {
			continue
		}
		index = max(index, c.ModifyIndex)
		if keep != nil {
			n := nodeNamed(tx, nil, c.Node)
			if n == nil {
				continue
			}
			index = max(index, n.ModifyIndex)
			if !keep(n) {
				continue
			}
		}
		found = append(found, c)
	}
	return found, index
}

// EnsureCheck adds or changes a normalized check of a node, and of one of its services when ServiceID
// is set. A check that turns critical ends the sessions that depend on it.
func EnsureCheck(tx *Txn, c *catalog.Check) error {
	if strings.IndexByte(c.CheckID, 0) >= 0 {
		return catalog.Errorf(catalog.Invalid, "check %q: its id holds a zero byte", c.CheckID)
	}
	n := nodeNamed(tx, nil, c.Node)
	if n == nil {
		return catalog.Errorf(catalog.Invalid, "check %q: node %q is not registered", c.CheckID, c.Node)
	}
	row := *c
	row.Node = n.Node
	if c.ServiceID != "" {
		owner := Instance(tx, nil, c.Node, c.ServiceID)
		if owner == nil {
			return catalog.Errorf(catalog.Invalid, "check %q: service %q is not registered on node %q", c.CheckID, c.ServiceID, c.Node)
		}
		row.ServiceName, row.ServiceTags = owner.Service.Service, owner.Service.Tags
	}
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old := Check(tx, nil, c.Node, c.CheckID); old != nil {
		row.CreateIndex = old.CreateIndex
		if old.Same(&row) {
			return nil
		}
		if old.Status != row.Status {
			setIndex(tx, leftState(old.Status))
		}
		if old.ServiceID != row.ServiceID {
			detach(tx, old)
		}
	}
	tx.store.shared.check(&row)
	checks.put(tx, &row)
	attach(tx, &row)
	if row.Status == catalog.Critical {
		endSessionsOf(tx, &row)
	}
	return nil
}

// attach puts a check into the instances that carry it: its owner, or all of the node.
func attach(tx *Txn, c *catalog.Check) {
	if c.ServiceID == "" {
		staleNode(tx, c.Node)
		return
	}
	owner := Instance(tx, nil, c.Node, c.ServiceID)
	next := make([]*catalog.Check, 0, len(owner.Checks)+1)
	for _, o := range owner.Checks {
		if o.CheckID != c.CheckID {
			next = append(next, o)
		}
	}
	at := slices.IndexFunc(next, func(o *catalog.Check) bool { return o.ServiceID != "" && o.CheckID > c.CheckID })
	if at < 0 {
		at = len(next)
	}
	instances.put(tx, &catalog.Instance{Node: owner.Node, Service: owner.Service, Checks: slices.Insert(next, at, c)})
}

// detach marks the instances that carry a check as having lost it.
func detach(tx *Txn, c *catalog.Check) {
	lost := func(i *catalog.Instance) {
		bury(tx, graveCheck, fold(i.Service.Service))
		if name := i.Service.ConnectName(); name != "" {
			bury(tx, graveConnectCheck, fold(name))
		}
		staleInstance(tx, c.Node, i.Service.ID)
	}
	if c.ServiceID != "" {
		if i := Instance(tx, nil, c.Node, c.ServiceID); i != nil {
			lost(i)
		}
		return
	}
	for i := range instances.scan(tx, nil, instanceByNode, tx.key(fold(c.Node))) {
		lost(i)
	}
}

// DeleteCheck removes a check, ends the sessions that depend on it and reports whether it was there.
func DeleteCheck(tx *Txn, node, id string) bool {
	c := Check(tx, nil, node, id)
	if c == nil {
		return false
	}
	removeCheck(tx, c)
	return true
}

func removeCheck(tx *Txn, c *catalog.Check) {
	checks.remove(tx, c)
	setIndex(tx, leftState(c.Status))
	bury(tx, graveNodeCheck, fold(c.Node))
	detach(tx, c)
	endSessionsOf(tx, c)
}

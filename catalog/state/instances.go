package state

import (
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// instances holds each service of each node together with its node and checks, joined when they are
// written, so that a health query is one scan with one watch channel.
var instances = &table[catalog.Instance]{name: "instances", indexes: map[string]func(*catalog.Instance) []byte{
	primary: func(i *catalog.Instance) []byte {
		return joined(fold(i.Service.Service), fold(i.Node.Node), i.Service.ID)
	},
	"node": func(i *catalog.Instance) []byte { return instanceKey{fold(i.Node.Node), i.Service.ID}.bytes() },
	"connect": func(i *catalog.Instance) []byte {
		name := i.Service.ConnectName()
		if name == "" {
			return nil
		}
		return joined(fold(name), fold(i.Node.Node), i.Service.ID)
	},
	"address": func(i *catalog.Instance) []byte {
		if i.Service.Address == "" {
			return nil
		}
		return joined(i.Service.Address, fold(i.Node.Node), i.Service.ID)
	},
}}

type instanceKey struct{ node, id string }

func (k instanceKey) bytes() []byte { return joined(k.node, k.id) }

// Instance returns one service of a node, nil when there is none.
func Instance(tx *Txn, w *Watch, node, id string) *catalog.Instance {
	return instances.get(tx, w, "node", instanceKey{fold(node), id}.bytes())
}

// ServiceInstances returns the instances of a service. The first index counts changes of nodes and
// services, the second those of checks too.
func ServiceInstances(tx *Txn, w *Watch, service string) (found []*catalog.Instance, index, health uint64) {
	name := fold(service)
	index = buried(tx, graveInstance, name, false)
	health = max(index, buried(tx, graveCheck, name, false))
	return collect(tx, w, primary, name, index, health)
}

// ConnectInstances returns the instances that mesh connections to a service reach: its proxies and the
// native ones.
func ConnectInstances(tx *Txn, w *Watch, service string) (found []*catalog.Instance, index, health uint64) {
	name := fold(service)
	index = buried(tx, graveConnect, name, false)
	return collect(tx, w, "connect", name, index, index)
}

func collect(tx *Txn, w *Watch, by, name string, index, health uint64) ([]*catalog.Instance, uint64, uint64) {
	var found []*catalog.Instance
	for i := range instances.scan(tx, w, by, joined(name)) {
		index = max(index, newestInstance(i))
		health = max(health, newestHealth(i))
		found = append(found, i)
	}
	return found, index, max(index, health)
}

// NodeInstances returns the services of a node, by id. The index counts changes of the node, its
// services and their removal.
func NodeInstances(tx *Txn, w *Watch, node string) ([]*catalog.Instance, uint64) {
	index := buried(tx, graveNode, fold(node), false)
	var found []*catalog.Instance
	for i := range instances.scan(tx, w, "node", joined(fold(node))) {
		index = max(index, newestInstance(i))
		found = append(found, i)
	}
	return found, index
}

// InstancesAt returns the instances with an address of their own that is this one.
func InstancesAt(tx *Txn, w *Watch, address string) []*catalog.Instance {
	found := []*catalog.Instance{}
	for i := range instances.scan(tx, w, "address", joined(address)) {
		found = append(found, i)
	}
	return found
}

// AllInstances yields every instance to keep, in order of service names.
func AllInstances(tx *Txn, w *Watch, keep func(*catalog.Instance)) {
	for i := range instances.scan(tx, w, primary, nil) {
		keep(i)
	}
}

// EnsureService adds or changes a normalized service of a node that exists and returns the stored row.
func EnsureService(tx *Txn, node string, s *catalog.Service) (*catalog.Service, error) {
	if strings.IndexByte(s.Service, 0) >= 0 || strings.IndexByte(s.ID, 0) >= 0 {
		return nil, catalog.Errorf(catalog.Invalid, "service %q: its name or id holds a zero byte", s.ID)
	}
	n := nodes.get(tx, nil, primary, joined(fold(node)))
	if n == nil {
		return nil, catalog.Errorf(catalog.Invalid, "service %q: node %q is not registered", s.ID, node)
	}
	row := *s
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	old := Instance(tx, nil, node, s.ID)
	if old == nil {
		next := &catalog.Instance{Node: n, Service: &row, Checks: nodeChecks(tx, n.Node)}
		share(tx, &row)
		instances.put(tx, next)
		tally(tx, nil, &row)
		return &row, nil
	}
	if old.Service.Same(s) {
		return old.Service, nil
	}
	row.CreateIndex = old.Service.CreateIndex
	next := &catalog.Instance{Node: n, Service: &row, Checks: retagged(tx, old, &row)}
	instances.put(tx, next)
	tally(tx, old.Service, &row)
	if fold(old.Service.Service) != fold(row.Service) {
		bury(tx, graveInstance, fold(old.Service.Service))
	}
	if was := fold(old.Service.ConnectName()); was != fold(row.ConnectName()) && was != "" {
		bury(tx, graveConnect, was)
	}
	return &row, nil
}

// retagged returns an instance's checks with the name and tags of its changed service.
func retagged(tx *Txn, old *catalog.Instance, s *catalog.Service) []*catalog.Check {
	if old.Service.Service == s.Service && slices.Equal(old.Service.Tags, s.Tags) {
		return old.Checks
	}
	next := slices.Clone(old.Checks)
	for i, c := range next {
		if c.ServiceID != "" {
			changed := *c
			changed.ServiceName, changed.ServiceTags, changed.ModifyIndex = s.Service, s.Tags, tx.Index
			checks.put(tx, &changed)
			next[i] = &changed
		}
	}
	return next
}

// share makes s use the same strings, tags and metadata as another instance of its service where they
// are equal: fleets repeat themselves, memory need not.
func share(tx *Txn, s *catalog.Service) {
	for i := range instances.scan(tx, nil, primary, joined(fold(s.Service))) {
		like := i.Service
		if s.Service == like.Service {
			s.Service = like.Service
		}
		if slices.Equal(s.Tags, like.Tags) {
			s.Tags = like.Tags
		}
		if len(s.Meta) > 0 && mapsEqual(s.Meta, like.Meta) {
			s.Meta = like.Meta
		}
		if *s.Weights == *like.Weights {
			s.Weights = like.Weights
		}
		return
	}
}

// DeleteService removes a service of a node with its checks and reports whether it was there.
func DeleteService(tx *Txn, node, id string) bool {
	i := Instance(tx, nil, node, id)
	if i == nil {
		return false
	}
	for _, c := range i.Checks {
		if c.ServiceID == id {
			dropCheck(tx, c)
		}
	}
	removeInstance(tx, i)
	bury(tx, graveNode, fold(node))
	return true
}

func removeInstance(tx *Txn, i *catalog.Instance) {
	instances.remove(tx, i)
	delete(tx.stale, instanceKey{fold(i.Node.Node), i.Service.ID})
	tally(tx, i.Service, nil)
	bury(tx, graveInstance, fold(i.Service.Service))
	if name := i.Service.ConnectName(); name != "" {
		bury(tx, graveConnect, fold(name))
	}
}

// staleNode marks every instance of a node to be rebuilt: the node or one of its own checks changed.
func staleNode(tx *Txn, node string) {
	for i := range instances.scan(tx, nil, "node", joined(fold(node))) {
		staleInstance(tx, node, i.Service.ID)
	}
}

func staleInstance(tx *Txn, node, id string) {
	if tx.stale == nil {
		tx.stale = map[instanceKey]struct{}{}
	}
	tx.stale[instanceKey{fold(node), id}] = struct{}{}
}

// rebuildInstances joins the marked instances anew. The order does not matter: each stands alone.
func rebuildInstances(tx *Txn) {
	for key := range tx.stale {
		old := instances.get(tx, nil, "node", key.bytes())
		n := nodes.get(tx, nil, primary, joined(key.node))
		if old == nil || n == nil {
			continue
		}
		joinedChecks := nodeChecks(tx, key.node)
		for _, c := range old.Checks {
			if c.ServiceID == "" {
				continue
			}
			if now := checks.get(tx, nil, primary, checkKey(key.node, c.CheckID)); now != nil && now.ServiceID == key.id {
				joinedChecks = append(joinedChecks, now)
			}
		}
		instances.put(tx, &catalog.Instance{Node: n, Service: old.Service, Checks: joinedChecks})
	}
	clear(tx.stale)
}

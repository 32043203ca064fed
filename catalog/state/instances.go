package state

import (
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

// instances holds each service of each node together with its node and checks, joined when they are
// written, so that a health query is one scan with one cell to watch. The checks of the node come first,
// then those of the service, each in order of their ids.
var instances = &table[catalog.Instance]{
	name: "instances",
	of:   func(v *version) *rows[catalog.Instance] { return &v.instances },
	keys: []func([]byte, *catalog.Instance) []byte{
		primary: func(key []byte, i *catalog.Instance) []byte {
			return joined(key, fold(i.Service.Service), fold(i.Node.Node), i.Service.ID)
		},
		instanceByNode: func(key []byte, i *catalog.Instance) []byte { return joined(key, fold(i.Node.Node), i.Service.ID) },
		instanceByDestination: func(key []byte, i *catalog.Instance) []byte {
			name := i.Service.ConnectName()
			if name == "" {
				return nil
			}
			return joined(key, fold(name), fold(i.Node.Node), i.Service.ID)
		},
		instanceByAddress: func(key []byte, i *catalog.Instance) []byte {
			if i.Service.Address == "" {
				return nil
			}
			return joined(key, i.Service.Address, fold(i.Node.Node), i.Service.ID)
		},
		instanceByKind: func(key []byte, i *catalog.Instance) []byte {
			if !i.Service.Kind.Gateway() {
				return nil
			}
			return joined(key, string(i.Service.Kind), fold(i.Service.Service), fold(i.Node.Node), i.Service.ID)
		},
	},
}

// Indexes of instances beside the one by service.
const (
	instanceByNode        = iota + 1
	instanceByDestination // of mesh connections
	instanceByAddress     // of its own
	instanceByKind        // of gateways
)

// instanceKey names an instance: the folded name of its node, and its id.
type instanceKey struct{ node, id string }

// Instance returns one service of a node, nil when there is none.
func Instance(tx *Txn, w *Watch, node, id string) *catalog.Instance {
	return instances.get(tx, w, instanceByNode, tx.key(fold(node), id))
}

// ServiceInstances returns the instances of a service. The first index counts changes of nodes and
// services, the second those of checks too.
func ServiceInstances(tx *Txn, w *Watch, service string) (found []*catalog.Instance, index, health uint64) {
	name := fold(service)
	index = buried(tx, graveInstance, name)
	health = max(index, buried(tx, graveCheck, name))
	return collect(tx, w, primary, name, index, health)
}

// ConnectInstances returns the instances that mesh connections to a service reach: its proxies and the
// native ones.
func ConnectInstances(tx *Txn, w *Watch, service string) (found []*catalog.Instance, index, health uint64) {
	name := fold(service)
	index = buried(tx, graveConnect, name)
	health = max(index, buried(tx, graveConnectCheck, name))
	return collect(tx, w, instanceByDestination, name, index, health)
}

func collect(tx *Txn, w *Watch, by int, name string, index, health uint64) ([]*catalog.Instance, uint64, uint64) {
	var found []*catalog.Instance
	for i := range instances.scan(tx, w, by, tx.key(name)) {
		index = max(index, newestInstance(i))
		health = max(health, newestHealth(i))
		found = append(found, i)
	}
	return found, index, max(index, health)
}

// NodeInstances returns the services of a node, by id. The index counts changes of the node, its
// services and their removal.
func NodeInstances(tx *Txn, w *Watch, node string) ([]*catalog.Instance, uint64) {
	name := fold(node)
	index := max(buried(tx, graveNode, name), buried(tx, graveNodeService, name))
	var found []*catalog.Instance
	for i := range instances.scan(tx, w, instanceByNode, tx.key(name)) {
		index = max(index, newestInstance(i))
		found = append(found, i)
	}
	return found, index
}

// InstancesAt returns the instances with an address of their own that is this one.
func InstancesAt(tx *Txn, w *Watch, address string) []*catalog.Instance {
	found := []*catalog.Instance{}
	for i := range instances.scan(tx, w, instanceByAddress, tx.key(address)) {
		found = append(found, i)
	}
	return found
}

// Gateways returns the gateways of a kind, in order of their names. The index counts changes of their checks too.
func Gateways(tx *Txn, w *Watch, kind catalog.Kind) ([]*catalog.Instance, uint64) {
	found, index := []*catalog.Instance{}, max(1, indexOf(tx, instancesIndex))
	for i := range instances.scan(tx, w, instanceByKind, tx.key(string(kind))) {
		found = append(found, i)
	}
	for _, i := range found {
		index = max(index, newestInstance(i), newestHealth(i), buried(tx, graveCheck, fold(i.Service.Service)))
	}
	return found, index
}

// AllInstances yields every instance to keep, in order of service names. The index counts changes of
// nodes and services, and their removal.
func AllInstances(tx *Txn, w *Watch, keep func(*catalog.Instance)) uint64 {
	index := max(1, indexOf(tx, instancesIndex))
	for i := range instances.scan(tx, w, primary, nil) {
		index = max(index, newestInstance(i))
		keep(i)
	}
	return index
}

// EnsureService adds or changes a normalized service of a node that exists and returns the stored row.
func EnsureService(tx *Txn, node string, s *catalog.Service) (*catalog.Service, error) {
	if err := zeroless("service", s.ID, s.Service, s.Address, s.ConnectName()); err != nil {
		return nil, err
	}
	n := nodeNamed(tx, nil, node)
	if n == nil {
		return nil, catalog.Errorf(catalog.Invalid, "service %q: node %q is not registered", s.ID, node)
	}
	row := *s
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	showVirtual(tx, &row, tx.Index)
	old := settled(tx, node, s.ID)
	if old == nil {
		tx.store.shared.service(&row)
		instances.put(tx, &catalog.Instance{Node: n, Service: &row, Checks: nodeChecks(tx, n.Node)})
		recount(tx, nil, &row)
		return &row, nil
	}
	if old.Service.Same(&row) {
		return old.Service, nil
	}
	tx.store.shared.service(&row)
	row.CreateIndex = old.Service.CreateIndex
	next := &catalog.Instance{Node: n, Service: &row, Checks: retagged(tx, old, &row)}
	if fold(old.Service.Service) != fold(row.Service) {
		instances.remove(tx, old) // its primary key holds the name
		bury(tx, graveInstance, fold(old.Service.Service))
	}
	instances.put(tx, next)
	recount(tx, old.Service, &row)
	if was := fold(old.Service.ConnectName()); was != "" && was != fold(row.ConnectName()) {
		bury(tx, graveConnect, was)
		dropVirtual(tx, was)
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

// DeleteService removes a service of a node with its checks and reports whether it was there.
func DeleteService(tx *Txn, node, id string) bool {
	i := settled(tx, node, id)
	if i == nil {
		return false
	}
	for _, c := range i.Checks {
		if c.ServiceID != "" {
			removeCheck(tx, c)
		}
	}
	instances.remove(tx, i)
	recount(tx, i.Service, nil)
	bury(tx, graveInstance, fold(i.Service.Service))
	if name := i.Service.ConnectName(); name != "" {
		bury(tx, graveConnect, fold(name))
		dropVirtual(tx, name)
	}
	bury(tx, graveNodeService, fold(node))
	setIndex(tx, instancesIndex)
	return true
}

// staleNode marks every instance of a node to be rebuilt: the node or one of its own checks changed.
func staleNode(tx *Txn, node string) {
	for i := range instances.scan(tx, nil, instanceByNode, tx.key(fold(node))) {
		staleInstance(tx, node, i.Service.ID)
	}
}

func staleInstance(tx *Txn, node, id string) {
	if tx.stale == nil {
		tx.stale = map[instanceKey]struct{}{}
	}
	tx.stale[instanceKey{fold(node), id}] = struct{}{}
}

// settled returns an instance as it will be after the transaction, for writes that go on from it.
func settled(tx *Txn, node, id string) *catalog.Instance {
	key := instanceKey{fold(node), id}
	if _, ok := tx.stale[key]; ok {
		rebuildInstance(tx, key, nodeChecks(tx, key.node))
		delete(tx.stale, key)
	}
	return Instance(tx, nil, node, id)
}

// rebuildInstance joins an instance anew with its node and its checks, those of the node given.
func rebuildInstance(tx *Txn, key instanceKey, ofNode []*catalog.Check) {
	old, n := Instance(tx, nil, key.node, key.id), nodeNamed(tx, nil, key.node)
	if old == nil || n == nil {
		return
	}
	all := slices.Clip(ofNode)
	for _, c := range old.Checks {
		if c.ServiceID == "" {
			continue
		}
		if now := Check(tx, nil, key.node, c.CheckID); now != nil && now.ServiceID == key.id {
			all = append(all, now)
		}
	}
	instances.put(tx, &catalog.Instance{Node: n, Service: old.Service, Checks: all})
}

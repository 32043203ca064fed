package state

import (
	"fmt"
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

// Save gives put every row of every table that a snapshot needs, table by table in a fixed order.
func Save(tx *Txn, put func(table string, row any) error) error {
	for _, t := range tables {
		err := t.save(tx, func(row any) error { return put(t.title(), row) })
		if err != nil {
			return fmt.Errorf("saving table %s: %w", t.title(), err)
		}
	}
	return nil
}

// Blank returns a new row of a table to decode into, nil when there is no such table.
func Blank(title string) any {
	for _, t := range tables {
		if t.title() == title {
			return t.blank()
		}
	}
	return nil
}

// A Loader fills a new version of a store that replaces the old one whole, or not at all.
type Loader struct {
	store *Store
	tx    *Txn
	// owned are the checks of services, waiting for their instances.
	owned map[instanceKey][]*catalog.Check
	// manual are the virtual addresses that operators gave services, each with the folded name of its own.
	manual map[string]string
}

// Load begins to replace everything in the store. Nothing happens to it before Finish.
func (s *Store) Load() *Loader {
	s.writing.Lock()
	next := &Store{gone: make(chan struct{}), serial: s.serial, tallies: tallies{}}
	s.writing.Unlock()
	next.present.Store(emptyVersion())
	return &Loader{store: s, tx: next.Write(0), owned: map[instanceKey][]*catalog.Check{}, manual: map[string]string{}}
}

// Row adds a row that Save gave out, in the order that it did.
func (l *Loader) Row(title string, row any) error {
	for _, t := range tables {
		if t.title() == title {
			return t.load(l, row)
		}
	}
	return fmt.Errorf("state: no table %q", title)
}

// Finish makes what was loaded the present version.
func (l *Loader) Finish() {
	l.tx.Commit()
	l.store.replace(l.tx.store)
}

// savedChecks is the table of checks as snapshots hold it.
type savedChecks struct{ *table[catalog.Check] }

func (s savedChecks) load(l *Loader, row any) error {
	c, ok := row.(*catalog.Check)
	if !ok {
		return fmt.Errorf("state: table checks: row is a %T", row)
	}
	c.Normalize()
	if n := nodeNamed(l.tx, nil, c.Node); n != nil && n.Node == c.Node {
		c.Node = n.Node // the same string for all
	}
	l.tx.store.shared.check(c)
	s.put(l.tx, c)
	if c.ServiceID != "" {
		key := instanceKey{fold(c.Node), c.ServiceID}
		l.owned[key] = append(l.owned[key], c)
	}
	return nil
}

// savedInstances is the table of instances as snapshots hold it: each with the name of its node, for
// the node and the checks are rows of their own.
type savedInstances struct{ *table[catalog.Instance] }

type savedInstance struct {
	Node    string
	Service *catalog.Service
}

func (s savedInstances) save(tx *Txn, put func(any) error) error {
	for i := range s.scan(tx, nil, primary, nil) {
		if err := put(&savedInstance{i.Node.Node, i.Service}); err != nil {
			return err
		}
	}
	return nil
}

func (savedInstances) blank() any { return new(savedInstance) }

func (s savedInstances) load(l *Loader, row any) error {
	r, ok := row.(*savedInstance)
	if !ok || r.Service == nil {
		return fmt.Errorf("state: table instances: row is a %T without a service", row)
	}
	n := nodeNamed(l.tx, nil, r.Node)
	if n == nil {
		return fmt.Errorf("state: table instances: service %q is on node %q, which is not there", r.Service.ID, r.Node)
	}
	service := r.Service
	service.Normalize()
	showVirtual(l.tx, service, service.ModifyIndex)
	l.tx.store.shared.service(service)
	owned := l.owned[instanceKey{fold(n.Node), service.ID}]
	for _, c := range owned {
		if c.ServiceID = service.ID; c.ServiceName == service.Service && slices.Equal(c.ServiceTags, service.Tags) {
			c.ServiceName, c.ServiceTags = service.Service, service.Tags
		}
	}
	s.put(l.tx, &catalog.Instance{Node: n, Service: service, Checks: append(nodeChecks(l.tx, n.Node), owned...)})
	count(l.tx, service, +1)
	return nil
}

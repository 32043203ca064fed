package state_test

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// desk writes to a store, each call at the next index, and checks its invariants after each.
type desk struct {
	*testing.T
	store *state.Store
	index uint64
}

func newDesk(t *testing.T) *desk {
	d := &desk{T: t, store: state.New(), index: 1}
	d.write(func(tx *state.Txn) {
		d.node(tx, "n1")
		d.service(tx, "i1", "web")
		d.service(tx, "i2", "db")
	})
	return d
}

func (d *desk) write(f func(tx *state.Txn)) {
	d.Helper()
	d.index++
	tx := d.store.Write(d.index)
	f(tx)
	tx.Commit()
	for _, wrong := range d.store.Check() {
		d.Error("invariant:", wrong)
	}
}

func (d *desk) node(tx *state.Txn, name string) {
	d.Helper()
	if _, err := state.EnsureNode(tx, &catalog.Node{Node: name, Address: "10.0.0.1"}); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) service(tx *state.Txn, id, name string, tags ...string) {
	d.Helper()
	s := &catalog.Service{ID: id, Service: name, Tags: tags}
	s.Normalize()
	if _, err := state.EnsureService(tx, "n1", s); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) check(tx *state.Txn, id, service string, status catalog.Status) {
	d.Helper()
	c := &catalog.Check{Node: "n1", CheckID: id, ServiceID: service, Status: status}
	c.Normalize()
	if err := state.EnsureCheck(tx, c); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) session(tx *state.Txn, id string, checks ...string) {
	d.Helper()
	s := &catalog.Session{ID: id, Node: "n1", NodeChecks: checks, LockDelay: 15 * time.Second}
	s.Normalize()
	if _, err := state.SessionCreate(tx, s); err != nil {
		d.Fatal(err)
	}
}

// TestOneTransaction holds what went wrong, or nearly, when one transaction did several things to one
// instance, whose joined row lags behind until the end.
func TestOneTransaction(t *testing.T) {
	d := newDesk(t)
	d.write(func(tx *state.Txn) { d.check(tx, "c", "i1", catalog.Passing) })
	d.write(func(tx *state.Txn) {
		d.check(tx, "c", "i2", catalog.Passing)
		state.DeleteService(tx, "n1", "i1")
	})
	if c := state.Check(d.store.Read(), nil, "n1", "c"); c == nil || c.ServiceName != "db" {
		t.Errorf("a check that moved went with the service that it left: %+v", c)
	}
	d.write(func(tx *state.Txn) {
		state.DeleteCheck(tx, "n1", "c")
		d.service(tx, "i2", "db", "v2")
	})
	if c := state.Check(d.store.Read(), nil, "n1", "c"); c != nil {
		t.Errorf("a removed check came back with the new tags of its service: %+v", c)
	}
	d.write(func(tx *state.Txn) {
		d.check(tx, "c", "i2", catalog.Passing)
		state.DeleteCheck(tx, "n1", "c")
		state.DeleteService(tx, "n1", "i2")
	})
	d.write(func(tx *state.Txn) {
		d.service(tx, "i1", "web")
		d.check(tx, "whole", "", catalog.Passing)
		d.check(tx, "c", "i1", catalog.Passing)
		state.DeleteCheck(tx, "n1", "whole")
		d.check(tx, "b", "i1", catalog.Passing)
	})
	if i := state.Instance(d.store.Read(), nil, "n1", "i1"); len(i.Checks) != 2 || i.Checks[0].CheckID != "b" {
		t.Errorf("the instance carries %d checks, want b and c", len(i.Checks))
	}
	d.write(func(tx *state.Txn) {
		state.DeleteNode(tx, "n1")
		d.node(tx, "N1")
		d.service(tx, "i1", "other")
		d.service(tx, "i1", "web")
	})
	if names, _ := state.ServiceNames(d.store.Read(), nil); len(names) != 1 || names["web"] == nil {
		t.Errorf("services are %v, want web", names)
	}
}

// TestFencing: whoever gets a lock has a higher LockIndex than all before, whatever became of the key.
func TestFencing(t *testing.T) {
	d := newDesk(t)
	d.write(func(tx *state.Txn) { d.session(tx, "s1"); d.session(tx, "s2") })
	last := uint64(0)
	lock := func(session string) {
		t.Helper()
		d.write(func(tx *state.Txn) {
			p, err := state.KVLock(tx, &catalog.KVPair{Key: "k", Session: session})
			if err != nil || p == nil || p.LockIndex <= last {
				t.Fatalf("LockIndex %d behind %d: %+v %v", p.LockIndex, last, p, err)
			}
			last = p.LockIndex
		})
	}
	between := []func(tx *state.Txn){
		func(tx *state.Txn) { state.KVUnlock(tx, &catalog.KVPair{Key: "k", Session: "s1"}) },
		func(tx *state.Txn) { state.KVDelete(tx, "k") },
		func(tx *state.Txn) { state.KVDelete(tx, "k"); state.KVSet(tx, &catalog.KVPair{Key: "k"}) },
		func(tx *state.Txn) { state.KVDeleteTree(tx, ""); state.ReapGraves(tx, tx.Index) },
		func(tx *state.Txn) {
			state.KVDeleteTree(tx, "")
			state.ReapGraves(tx, tx.Index)
			state.KVSet(tx, &catalog.KVPair{Key: "k", Value: []byte("plain")})
		},
		func(tx *state.Txn) { state.SessionDestroy(tx, "s1"); d.session(tx, "s1") },
	}
	for _, f := range between {
		lock("s1")
		d.write(f)
		lock("s2")
		d.write(func(tx *state.Txn) { state.KVUnlock(tx, &catalog.KVPair{Key: "k", Session: "s2"}) })
	}
	if last != uint64(2*len(between)) {
		t.Errorf("after %d locks the LockIndex is %d", 2*len(between), last)
	}
}

// TestSessionEnds: a session ends with any check it depends on, by status or by removal, and its locks
// are kept from others for its lock delay.
func TestSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for what, end := range map[string]func(d *desk, tx *state.Txn){
			"critical": func(d *desk, tx *state.Txn) { d.check(tx, "c", "", catalog.Critical) },
			"removed":  func(_ *desk, tx *state.Txn) { state.DeleteCheck(tx, "n1", "c") },
			"node":     func(_ *desk, tx *state.Txn) { state.DeleteNode(tx, "n1") },
		} {
			d := newDesk(t)
			d.write(func(tx *state.Txn) {
				d.check(tx, "c", "", catalog.Warning)
				d.session(tx, "s", "c")
				state.KVLock(tx, &catalog.KVPair{Key: "k", Session: "s"})
			})
			d.write(func(tx *state.Txn) { d.check(tx, "c", "i1", catalog.Passing) })
			if s, _ := state.Session(d.store.Read(), nil, "s"); s == nil {
				t.Errorf("%s: the session ended when its check moved to a service", what)
			}
			d.write(func(tx *state.Txn) { end(d, tx) })
			if s, _ := state.Session(d.store.Read(), nil, "s"); s != nil {
				t.Errorf("%s: the session lives on", what)
			}
			if p, _ := state.KVGet(d.store.Read(), nil, "k"); p == nil || p.Session != "" {
				t.Errorf("%s: the lock is %+v, want it free", what, p)
			}
			time.Sleep(15*time.Second - 1)
			if !d.store.LockDelayed("k") || d.store.LockDelayed("other") {
				t.Errorf("%s: the lock is not delayed", what)
			}
			if time.Sleep(time.Nanosecond); d.store.LockDelayed("k") {
				t.Errorf("%s: the lock is delayed for ever", what)
			}
		}
	})
}

// TestValues: an empty value is no value, however it was written, and the same value again is no change.
func TestValues(t *testing.T) {
	d := newDesk(t)
	d.write(func(tx *state.Txn) { state.KVSet(tx, &catalog.KVPair{Key: "k", Value: []byte{}}) })
	p, index := state.KVGet(d.store.Read(), nil, "k")
	if p.Value != nil {
		t.Errorf("empty value is %#v, want nil", p.Value)
	}
	d.write(func(tx *state.Txn) { state.KVSet(tx, &catalog.KVPair{Key: "k"}) })
	if _, again := state.KVGet(d.store.Read(), nil, "k"); again != index {
		t.Errorf("the same value again took the index from %d to %d", index, again)
	}
}

// TestNamesInKeys: names that could run together in keys are refused when written, and find nothing when
// looked up.
func TestNamesInKeys(t *testing.T) {
	d := newDesk(t)
	if found, _, _ := state.ServiceInstances(d.store.Read(), nil, "web\x00n1"); found != nil {
		t.Errorf("the key of one instance passed for a service: %v", found)
	}
	d.write(func(tx *state.Txn) {
		proxy := &catalog.Service{ID: "p", Service: "p", Kind: catalog.KindConnectProxy, Proxy: &catalog.Proxy{DestinationServiceName: "web\x00n1"}}
		proxy.Normalize()
		_, service := state.EnsureService(tx, "n1", proxy)
		_, node := state.EnsureNode(tx, &catalog.Node{Node: "n1\x00i1"})
		_, session := state.SessionCreate(tx, &catalog.Session{ID: "s\x00", Node: "n1"})
		check := state.EnsureCheck(tx, &catalog.Check{Node: "n1", CheckID: "c\x00"})
		for what, err := range map[string]error{"service": service, "node": node, "session": session, "check": check} {
			if catalog.CodeOf(err) != catalog.Invalid {
				t.Errorf("%s with a zero byte: %v", what, err)
			}
		}
	})
}

// TestNodeNames: a name can be taken over from the dead, not from the living, and a node that comes
// under another name leaves the old one.
func TestNodeNames(t *testing.T) {
	const a, b = "9e0e0bd1-0000-4000-8000-00000000000a", "9e0e0bd1-0000-4000-8000-00000000000b"
	d := newDesk(t)
	ensure := func(name, id string) (err error) {
		d.write(func(tx *state.Txn) {
			_, err = state.EnsureNode(tx, &catalog.Node{Node: name, ID: id, Address: "10.0.0.2"})
		})
		return err
	}
	if err := ensure("n1", a); err != nil {
		t.Fatal("a node without an id gets one:", err)
	}
	d.write(func(tx *state.Txn) { d.check(tx, catalog.SerfHealth, "", catalog.Passing) })
	if err := ensure("N1", b); catalog.CodeOf(err) != catalog.Conflict {
		t.Errorf("the name of a living node was taken: %v", err)
	}
	d.write(func(tx *state.Txn) { d.check(tx, catalog.SerfHealth, "", catalog.Critical) })
	if err := ensure("N1", b); err != nil {
		t.Errorf("the name of a dead node was refused: %v", err)
	}
	if n := state.Node(d.store.Read(), nil, a); n != nil {
		t.Errorf("the dead node is still found by its id: %+v", n)
	}
	if err := ensure("n2", b); err != nil {
		t.Fatal(err)
	}
	tx := d.store.Read()
	if state.Node(tx, nil, "n1") != nil || state.Node(tx, nil, b).Node != "n2" {
		t.Error("the renamed node is found under its old name")
	}
}

// TestShared: rows share what is equal, and only that.
func TestShared(t *testing.T) {
	d := newDesk(t)
	metas := map[string]map[string]string{"n1": {"a": "b", "c": "d"}, "n2": {"a": "b\x00c\x00d"}, "n3": {}, "n4": nil, "n5": {"c": "d", "a": "b"}}
	d.write(func(tx *state.Txn) {
		for name, meta := range metas {
			if _, err := state.EnsureNode(tx, &catalog.Node{Node: name, Meta: meta}); err != nil {
				t.Fatal(err)
			}
		}
		d.service(tx, "i3", "web", "a", "b")
		d.service(tx, "i4", "web", "a\x00b")
	})
	for name, meta := range metas {
		if n := state.Node(d.store.Read(), nil, name); !reflect.DeepEqual(n.Meta, meta) {
			t.Errorf("%s has %q, want %q", name, n.Meta, meta)
		}
	}
	if i := state.Instance(d.store.Read(), nil, "n1", "i4"); len(i.Service.Tags) != 1 {
		t.Errorf("tags are %q", i.Service.Tags)
	}
}

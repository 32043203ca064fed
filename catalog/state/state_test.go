package state_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// query is one question, with the arguments it is asked with. A precise one has the index of its own
// last change: single writes that leave the result alone leave the index alone.
type query struct {
	name    string
	precise bool
	ask     func(tx *state.Txn, w *state.Watch) (any, uint64)
}

func ask[T any](f func(*state.Txn, *state.Watch, string) (T, uint64), arg string) func(*state.Txn, *state.Watch) (any, uint64) {
	return func(tx *state.Txn, w *state.Watch) (any, uint64) { return f(tx, w, arg) }
}

func rackA(n *catalog.Node) bool { return n.Meta["rack"] == "a" }

// queries are all kinds of questions, about what is there and what is not.
func queries() (all []query) {
	add := func(precise bool, name string, ask func(*state.Txn, *state.Watch) (any, uint64)) {
		all = append(all, query{name, precise, ask})
	}
	for what, keep := range map[string]func(*catalog.Node) bool{"": nil, " in rack a": rackA} {
		add(keep == nil, "nodes"+what, func(tx *state.Txn, w *state.Watch) (any, uint64) { return state.Nodes(tx, w, keep) })
		for _, s := range []catalog.Status{catalog.Any, catalog.Passing, catalog.Warning, catalog.Critical} {
			add(keep == nil, "checks "+string(s)+what, func(tx *state.Txn, w *state.Watch) (any, uint64) { return state.StateChecks(tx, w, s, keep) })
		}
		for _, name := range []string{"web", "DB", "none"} {
			add(false, "checks of service "+name+what, func(tx *state.Txn, w *state.Watch) (any, uint64) {
				return state.ServiceChecks(tx, w, name, keep)
			})
		}
	}
	for _, name := range append(nodeNames[:4:4], nodeIDs...) {
		add(true, "node "+name, func(tx *state.Txn, w *state.Watch) (any, uint64) {
			n := state.Node(tx, w, name)
			return n, state.NodeIndex(tx, n, name)
		})
	}
	for _, name := range nodeNames[:4] {
		add(false, "services of node "+name, func(tx *state.Txn, w *state.Watch) (any, uint64) {
			found, index := state.NodeInstances(tx, w, name)
			return flat(found), index
		})
		add(true, "checks of node "+name, ask(state.NodeChecks, name))
		add(true, "sessions of node "+name, ask(state.NodeSessions, name))
		add(false, "coordinates of node "+name, ask(state.NodeCoordinates, name))
	}
	add(true, "services", func(tx *state.Txn, w *state.Watch) (any, uint64) { return state.ServiceNames(tx, w) })
	add(true, "instances", func(tx *state.Txn, w *state.Watch) (any, uint64) {
		found := []*catalog.Instance{}
		index := state.AllInstances(tx, w, func(i *catalog.Instance) { found = append(found, i) })
		return flat(found), index
	})
	for what, f := range map[string]func(*state.Txn, *state.Watch, string) ([]*catalog.Instance, uint64, uint64){"service ": state.ServiceInstances, "connect ": state.ConnectInstances} {
		for _, name := range []string{"web", "DB", "none"} {
			add(true, what+name, func(tx *state.Txn, w *state.Watch) (any, uint64) {
				found, index, _ := f(tx, w, name)
				return flat(found), index
			})
			add(true, what+name+" health", func(tx *state.Txn, w *state.Watch) (any, uint64) {
				found, _, index := f(tx, w, name)
				return found, index
			})
		}
	}
	for _, key := range append([]string{"", "none", "a/b/none"}, keys...) {
		add(true, "key "+key, ask(state.KVGet, key))
		add(true, "keys under "+key, ask(state.KVList, key))
		add(false, "cut keys under "+key, func(tx *state.Txn, w *state.Watch) (any, uint64) { return state.KVKeys(tx, w, key, "/") })
	}
	for _, id := range append([]string{"none"}, sessionIDs...) {
		add(true, "session "+id, ask(state.Session, id))
	}
	for _, name := range []string{"web", "DB", "none"} {
		add(true, "entry "+name, func(tx *state.Txn, w *state.Watch) (any, uint64) {
			return state.ConfigEntry(tx, w, catalog.EntryServiceDefaults, name)
		})
	}
	for _, kind := range []catalog.EntryKind{"", catalog.EntryServiceDefaults, catalog.EntryMesh} {
		add(true, "entries "+string(kind), func(tx *state.Txn, w *state.Watch) (any, uint64) { return state.ConfigEntries(tx, w, kind) })
	}
	for _, name := range []string{"web", "DB", "none"} {
		add(true, "virtual address of "+name, func(tx *state.Txn, w *state.Watch) (any, uint64) { return state.Virtual(tx, w, name) })
	}
	add(true, "sessions", func(tx *state.Txn, w *state.Watch) (any, uint64) { return state.Sessions(tx, w) })
	add(true, "coordinates", func(tx *state.Txn, w *state.Watch) (any, uint64) { return state.Coordinates(tx, w) })
	return all
}

// flat is what of instances the catalog shows, which leaves checks out.
func flat(found []*catalog.Instance) (list []*catalog.CatalogService) {
	for _, i := range found {
		row := i.Flatten()
		row.ModifyIndex = max(row.ModifyIndex, i.Node.ModifyIndex)
		list = append(list, row)
	}
	return list
}

// answer is a query's result at one time.
type answer struct {
	text  string
	index uint64
	watch state.Watch
}

func answers(s *state.Store, all []query) []*answer {
	list := make([]*answer, len(all))
	tx := s.Read()
	for i, q := range all {
		list[i] = &answer{}
		result, index := q.ask(tx, &list[i].watch)
		list[i].text, list[i].index = encoded(result), index
	}
	return list
}

// TestModel compares the store with plain maps under random transactions, and every answer with the one
// before: one that differs must have a higher index, and its watch must have fired.
func TestModel(t *testing.T) {
	all := queries()
	rapid.Check(t, func(t *rapid.T) {
		store, m := state.New(), newModel()
		before := answers(store, all)
		for range rapid.IntRange(1, 40).Draw(t, "transactions") {
			m.index++
			next, tx := m.clone(), store.Write(m.index)
			ops := rapid.SampledFrom([]int{1, 1, 1, 3, 6}).Draw(t, "ops")
			reaped := false
			for range ops {
				reaped = operation(t, tx, next) || reaped
			}
			if rapid.IntRange(0, 9).Draw(t, "abort") == 0 {
				tx.Abort()
				ops = 0
			} else {
				tx.Commit()
				next.settle()
				m = next
			}
			for _, wrong := range store.Check() {
				t.Error("invariant:", wrong)
			}
			if got, want := contents(store), m.everything(); got != want {
				t.Fatalf("the store holds\n%s\nwant\n%s", got, want)
			}
			for i, now := range answers(store, all) {
				compare(t, all[i], before[i], now, ops, reaped)
				if now.index != before[i].index || before[i].watch.Fired() {
					before[i] = now
				}
			}
		}
		if copied := reloaded(t, store); contents(copied) != contents(store) || saved(t, copied) != saved(t, store) {
			t.Fatalf("restored\n%s\nwant\n%s", saved(t, copied), saved(t, store))
		}
	})
}

// TestUnrelatedWrites: 10,000 writes beside what was read move no index, and next to none of them wakes
// anybody in vain. (FEATURES P18)
func TestUnrelatedWrites(t *testing.T) {
	d := newDesk(t)
	d.write(func(tx *state.Txn) {
		d.node(tx, "n10")
		d.check(tx, "c1", "i1", catalog.Critical)
		d.check(tx, "c2", "", catalog.Warning)
		d.session(tx, "s1")
		for _, key := range keys {
			state.KVSet(tx, &catalog.KVPair{Key: key})
		}
		state.CoordinateSet(tx, []*catalog.NodeCoordinate{{Node: "n1", Coord: &catalog.Coordinate{Vec: make([]float64, 8)}}})
		state.EntrySet(tx, defaults("web", "http"))
	})
	// Lists of everything are about what is written here.
	whole := regexp.MustCompile(`^(nodes.*|services|instances|sessions|coordinates|entries (service-defaults)?|checks ((any|passing).*|\w* in rack a)|(cut )?keys under )$`)
	all := slices.DeleteFunc(queries(), func(q query) bool { return whole.MatchString(q.name) })
	before, woken := answers(d.store, all), map[string]int{}
	for n := range 10_000 {
		d.index++
		tx := d.store.Write(d.index)
		name := fmt.Sprintf("m%d", n%50)
		state.EnsureNode(tx, &catalog.Node{Node: name, Address: fmt.Sprint(n % 7)})
		s := &catalog.Service{ID: fmt.Sprint("i", n%9), Service: fmt.Sprint("other", n%11), Port: n%100 + 1, Connect: &catalog.Connect{Native: n%2 == 0}}
		s.Normalize()
		state.EnsureService(tx, name, s)
		state.EnsureCheck(tx, &catalog.Check{Node: name, CheckID: fmt.Sprint("c", n%3), ServiceID: s.ID, Status: catalog.Passing, Definition: &catalog.CheckDefinition{}})
		state.KVSet(tx, &catalog.KVPair{Key: fmt.Sprint("c/", n%1000), Flags: uint64(n)})
		state.SessionCreate(tx, &catalog.Session{ID: fmt.Sprint("t", n), Node: name})
		state.EntrySet(tx, defaults(fmt.Sprint("other", n%11), fmt.Sprint("p", n%5)))
		if n%3 == 0 {
			state.EntryDelete(tx, catalog.EntryServiceDefaults, fmt.Sprint("other", n%7))
			state.DeleteService(tx, name, s.ID)
			state.KVDelete(tx, fmt.Sprint("c/", n%777))
			state.SessionDestroy(tx, fmt.Sprint("t", n-1))
			state.CoordinateSet(tx, []*catalog.NodeCoordinate{{Node: name, Coord: &catalog.Coordinate{Height: float64(n)}}})
		}
		if n%100 == 0 {
			state.DeleteNode(tx, name)
		}
		tx.Commit()
		for i, q := range all {
			if !before[i].watch.Fired() {
				continue
			}
			woken[q.name]++
			if before[i] = answers(d.store, all[i:i+1])[0]; before[i].index > 3 {
				t.Fatalf("%s: the index went to %d at write %d", q.name, before[i].index, n)
			}
		}
	}
	for name, n := range woken {
		if n > 5 {
			t.Errorf("%s: 10,000 unrelated writes woke it %d times", name, n)
		}
	}
}

func compare(t *rapid.T, q query, before, after *answer, ops int, reaped bool) {
	switch {
	case after.index < before.index:
		t.Errorf("%s: the index went back from %d to %d", q.name, before.index, after.index)
	case after.text != before.text && after.index == before.index:
		t.Errorf("%s: the index stayed %d while the result went from\n%s to\n%s", q.name, before.index, before.text, after.text)
	case after.text != before.text && !before.watch.Fired():
		t.Errorf("%s: nobody was woken when the result went from\n%s to\n%s", q.name, before.text, after.text)
	case ops == 0 && before.watch.Fired():
		t.Errorf("%s: a transaction that was given up woke somebody", q.name)
	case q.precise && ops <= 1 && !reaped && after.text == before.text && after.index != before.index:
		t.Errorf("%s: the index went from %d to %d for nothing: %s", q.name, before.index, after.index, after.text)
	}
}

var (
	nodeNames  = []string{"n1", "N1", "n2", "n10", "n1", "n1"}
	nodeIDs    = []string{"9e0e0bd1-0000-4000-8000-00000000000a", "9E0E0BD1-0000-4000-8000-00000000000b"}
	sessionIDs = []string{"s1", "s2", "s3", "s4"}
	keys       = []string{"a", "a/b", "a/b/c", "a/bc", "b"}
	checkIDs   = []string{catalog.SerfHealth, "c1", "c2", "c10"}
	statuses   = []catalog.Status{catalog.Passing, catalog.Passing, catalog.Warning, catalog.Critical}
)

// operation does one random thing to both and reports whether it was to reap graves.
func operation(t *rapid.T, tx *state.Txn, m *model) (reaped bool) {
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	agree := func(what string, err error, ok bool) {
		if (err == nil) != ok {
			t.Fatalf("%s: error %v, the model says %v", what, err, ok)
		}
	}
	m.index = tx.Index
	node := pick("node", nodeNames...)
	switch pick("op", "node", "node", "service", "service", "service", "service", "check", "check", "check", "delete node", "delete service",
		"delete check", "session", "session", "session", "destroy", "kv", "kv", "kv", "entry", "entry", "manual", "coordinate", "reap") {
	case "node":
		n := &catalog.Node{Node: node, ID: pick("id", "", "", nodeIDs[0], nodeIDs[1]), Address: pick("address", "10.0.0.1", "10.0.0.2")}
		if rack := pick("rack", "", "a", "b"); rack != "" {
			n.Meta = map[string]string{"rack": rack}
		}
		ok := m.ensureNode(n)
		_, err := state.EnsureNode(tx, n)
		agree("node", err, ok)
	case "service":
		s := drawService(pick)
		ok := m.ensureService(node, s)
		_, err := state.EnsureService(tx, node, s)
		agree("service", err, ok)
	case "check":
		c := &catalog.Check{Node: node, CheckID: pick("check", checkIDs...), Status: rapid.SampledFrom(statuses).Draw(t, "status"), Output: pick("output", "", "x"), ServiceID: pick("of", "", "i1", "i2", "i10")}
		c.Normalize()
		ok := m.ensureCheck(c)
		agree("check", state.EnsureCheck(tx, c), ok)
	case "delete node":
		m.deleteNode(node)
		state.DeleteNode(tx, node)
	case "delete service":
		id := pick("id", "i1", "i2", "i10")
		m.deleteService(node, id)
		state.DeleteService(tx, node, id)
	case "delete check":
		id := pick("check", checkIDs...)
		m.deleteCheck(node, id)
		state.DeleteCheck(tx, node, id)
	case "session":
		s := &catalog.Session{ID: pick("session", sessionIDs...), Node: node, Behavior: rapid.SampledFrom([]catalog.Behavior{catalog.Release, catalog.Delete}).Draw(t, "behavior")}
		if id := pick("depends", "", catalog.SerfHealth, "c1"); id != "" {
			s.NodeChecks = []string{id}
		}
		ok := m.createSession(s)
		_, err := state.SessionCreate(tx, s)
		agree("session", err, ok)
	case "destroy":
		id := pick("session", sessionIDs...)
		m.endSession(id)
		state.SessionDestroy(tx, id)
	case "kv":
		kvOperation(t, tx, m, pick)
	case "entry":
		entryOperation(t, tx, m, pick)
	case "manual":
		name := pick("of the mesh", "web", "DB", "none")
		addresses := rapid.SampledFrom([][]string{nil, {"10.1.1.1"}, {"10.1.1.2", "10.1.1.1"}}).Draw(t, "addresses")
		had, want := m.virtuals[strings.ToLower(name)] != nil, m.manual(name, addresses)
		if found, from := state.SetManual(tx, name, addresses); found != had || !slices.Equal(from, want) {
			t.Fatalf("manual addresses of %s: found %v, taken from %q, want %v, %q", name, found, from, had, want)
		}
	case "coordinate":
		c := &catalog.NodeCoordinate{Node: node, Coord: &catalog.Coordinate{Vec: make([]float64, 8), Height: float64(rapid.IntRange(1, 2).Draw(t, "height"))}}
		m.place(c)
		state.CoordinateSet(tx, []*catalog.NodeCoordinate{c})
	case "reap":
		state.ReapGraves(tx, uint64(rapid.IntRange(0, int(m.index)).Draw(t, "up to")))
		return true
	}
	return false
}

func drawService(pick func(string, ...string) string) *catalog.Service {
	s := &catalog.Service{ID: pick("id", "i1", "i2", "i10"), Service: pick("service", "web", "Web", "db"), Port: 80, Address: pick("own", "", "10.0.0.9")}
	if tag := pick("tag", "", "v1", "v2", "v1"); tag != "" {
		s.Tags = []string{tag, "x", tag}
	}
	switch pick("kind", "", "", "native", "proxy web", "proxy db") {
	case "native":
		s.Connect = &catalog.Connect{Native: true}
	case "proxy web":
		s.Kind, s.Proxy = catalog.KindConnectProxy, &catalog.Proxy{DestinationServiceName: "WEB"}
	case "proxy db":
		s.Kind, s.Proxy = catalog.KindConnectProxy, &catalog.Proxy{DestinationServiceName: "db"}
	}
	s.Normalize()
	return s
}

func defaults(name, protocol string) *catalog.ServiceDefaults {
	e := &catalog.ServiceDefaults{Protocol: protocol}
	e.Kind, e.Name = catalog.EntryServiceDefaults, name
	e.Normalize()
	return e
}

func entryOperation(t *rapid.T, tx *state.Txn, m *model, pick func(string, ...string) string) {
	e := defaults(pick("entry", "web", "Web", "db"), pick("protocol", "http", "tcp"))
	name, cas := strings.ToLower(e.Name), uint64(rapid.IntRange(0, int(m.index)).Draw(t, "cas"))
	old := m.entries[name]
	if old != nil {
		cas = rapid.SampledFrom([]uint64{cas, old.ModifyIndex}).Draw(t, "present")
	}
	switch op := pick("write", "set", "set", "cas", "cas", "delete", "delete-cas"); op {
	case "set":
		m.setEntry(*e, nil)
		state.EntrySet(tx, e)
	case "cas":
		want := m.setEntry(*e, &cas)
		if state.EntrySetCAS(tx, e, cas) != want {
			t.Fatalf("entry %s at %d: want %v", e.Name, cas, want)
		}
	case "delete":
		state.EntryDelete(tx, e.Kind, e.Name)
		delete(m.entries, name)
	case "delete-cas":
		gone := old != nil && old.ModifyIndex == cas
		if state.EntryDeleteCAS(tx, e.Kind, e.Name, cas) != gone {
			t.Fatalf("delete of entry %s at %d: want %v", e.Name, cas, gone)
		}
		if gone {
			delete(m.entries, name)
		}
	}
}

func kvOperation(t *rapid.T, tx *state.Txn, m *model, pick func(string, ...string) string) {
	key := pick("key", keys...)
	p := &catalog.KVPair{Key: key, Value: []byte(pick("value", "", "x", "y")), Session: pick("by", sessionIDs...)}
	old, lock := m.pairs[key], uint64(0)
	held, cas := "", uint64(rapid.IntRange(0, int(m.index)).Draw(t, "cas"))
	if old != nil {
		held, lock = old.Session, old.LockIndex
		cas = rapid.SampledFrom([]uint64{cas, old.ModifyIndex}).Draw(t, "present")
	}
	fresh := old == nil && cas == 0 || old != nil && cas == old.ModifyIndex
	switch op := pick("kv", "set", "set", "cas", "lock", "lock", "lock", "unlock", "delete", "delete-cas", "delete-tree"); op {
	case "set", "cas":
		stored := (*catalog.KVPair)(nil)
		if op == "set" {
			stored, fresh = state.KVSet(tx, p), true
		} else {
			stored = state.KVSetCAS(tx, p, cas)
		}
		if (stored != nil) != fresh {
			t.Fatalf("%s of %q at %d stored %v", op, key, cas, stored)
		}
		if fresh && (stored.LockIndex < lock || old != nil && stored.LockIndex != lock) {
			t.Fatalf("%s of %q took its LockIndex from %d to %d", op, key, lock, stored.LockIndex)
		}
		if fresh {
			m.put(p, held, stored.LockIndex)
		}
	case "lock":
		stored, err := state.KVLock(tx, p)
		may := m.sessions[p.Session] != nil && (held == "" || held == p.Session)
		if (stored != nil) != may || (err != nil) != (m.sessions[p.Session] == nil) {
			t.Fatalf("lock of %q, held by %q, for %q stored %v: %v", key, held, p.Session, stored, err)
		}
		if may && (held == "" && stored.LockIndex <= m.locks[key] || held != "" && stored.LockIndex != lock) {
			t.Fatalf("lock of %q, held by %q, went to LockIndex %d, it had %d before and %d once", key, held, stored.LockIndex, lock, m.locks[key])
		}
		if may {
			m.put(p, p.Session, stored.LockIndex)
		}
	case "unlock":
		stored, err := state.KVUnlock(tx, p)
		may := old != nil && held == p.Session
		if (stored != nil) != may || err != nil {
			t.Fatalf("unlock of %q, held by %q, by %q stored %v: %v", key, held, p.Session, stored, err)
		}
		if may {
			m.put(p, "", lock)
		}
	case "delete":
		state.KVDelete(tx, key)
		delete(m.pairs, key)
	case "delete-cas":
		gone := old == nil || cas == old.ModifyIndex
		if state.KVDeleteCAS(tx, key, cas) != gone {
			t.Fatalf("delete of %q at %d: want %v", key, cas, gone)
		}
		if gone {
			delete(m.pairs, key)
		}
	case "delete-tree":
		state.KVDeleteTree(tx, key)
		m.deleteTree(key)
	}
}

// saved is the whole of a snapshot, row by row.
func saved(t *rapid.T, s *state.Store) string {
	var text bytes.Buffer
	err := state.Save(s.Read(), func(table string, row any) error {
		fmt.Fprint(&text, table, " ")
		return json.NewEncoder(&text).Encode(row)
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// reloaded is a store that was loaded from what s saves.
func reloaded(t *rapid.T, s *state.Store) *state.Store {
	handle := &codec.MsgpackHandle{}
	handle.RawToString, handle.MapType = true, reflect.TypeFor[map[string]any]()
	fresh := state.New()
	l := fresh.Load()
	err := state.Save(s.Read(), func(table string, row any) error {
		var data []byte
		if err := codec.NewEncoderBytes(&data, handle).Encode(row); err != nil {
			return err
		}
		blank := state.Blank(table)
		if err := codec.NewDecoderBytes(data, handle).Decode(blank); err != nil {
			return err
		}
		return l.Row(table, blank)
	})
	if err != nil {
		t.Fatal(err)
	}
	gone := fresh.Abandoned()
	l.Finish()
	select {
	case <-gone:
	default:
		t.Fatal("the old version was not abandoned")
	}
	for _, wrong := range fresh.Check() {
		t.Error("restored invariant:", wrong)
	}
	return fresh
}

package fsm_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/fsm"
)

// furnished is a cluster with something of everything.
func furnished(t failer) *cluster {
	c := newCluster()
	service := &catalog.Service{
		ID: "w1", Service: "web", Tags: []string{"v1"}, Meta: map[string]string{"a": "b"}, Kind: catalog.KindConnectProxy, Port: 80,
		Proxy: &catalog.Proxy{DestinationServiceName: "db", Config: map[string]any{"x": []any{1.5, "y", true}}, Upstreams: []catalog.Upstream{{DestinationName: "u", LocalBindPort: 9}}},
	}
	for _, out := range c.batch(t, [][]byte{
		c.entry(t, api.Register.Name, &api.RegisterRequest{
			Node: "n1", ID: "9e0e0bd1-0000-4000-8000-000000000001", Address: "10.0.0.1", Service: service,
			Checks: []*catalog.Check{{CheckID: "c1", Status: catalog.Passing}, {CheckID: "c2", ServiceID: "w1", Status: catalog.Warning}},
		}),
		c.logged(t, api.SessionApply.Name, &api.SessionWrite{Op: api.SessionCreate, Session: catalog.Session{ID: "s1", Node: "n1", NodeChecks: []string{"c1"}, Behavior: catalog.Release}}),
		c.entry(t, api.KVApply.Name, &api.KVWrite{Op: api.KVLock, Pair: catalog.KVPair{Key: "k", Value: []byte("v"), Session: "s1"}}),
		c.entry(t, api.KVApply.Name, &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: "gone"}}),
		c.entry(t, api.KVApply.Name, &api.KVWrite{Op: api.KVDelete, Pair: catalog.KVPair{Key: "gone"}}),
		c.entry(t, api.CoordinateSet.Name, &api.CoordinateUpdate{Updates: []*catalog.NodeCoordinate{{Node: "n1", Coord: &catalog.Coordinate{Vec: make([]float64, 8)}}}}),
		c.entry(t, api.AutopilotSet.Name, &api.AutopilotWrite{Config: catalog.AutopilotConfig{MaxTrailingLogs: 250}}),
	}) {
		if err := out.(fsm.Outcome).Err; err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// FuzzApply: whatever is in the log, applying it ends in an outcome, and one that is an error leaves the
// store as it was.
func FuzzApply(f *testing.F) {
	c := furnished(f)
	for _, entry := range [][]byte{
		c.entry(f, api.Register.Name, &api.RegisterRequest{Node: "n2", Address: "10.0.0.2", Service: &catalog.Service{Service: "db"}}),
		c.entry(f, api.Sync.Name, &api.SyncRequest{Register: api.RegisterRequest{Node: "n1", Address: "10.0.0.1"}, Deregister: []api.DeregisterRequest{{Node: "n1", ServiceID: "w1"}}}),
		c.entry(f, api.TxnApply.Name, &api.TxnRequest{Ops: []api.TxnOp{{Check: &api.TxnCheck{Verb: "delete", Check: catalog.Check{Node: "n1", CheckID: "c2"}}}, {Service: &api.TxnService{Verb: "delete", Node: "n1", Service: catalog.Service{ID: "w1"}}}}}),
		c.entry(f, api.KVApply.Name, &api.KVWrite{Op: api.KVDeleteTree}),
		c.entry(f, api.GravesReap.Name, &api.Reap{Index: 5}),
	} {
		f.Add(entry)
	}
	for _, bad := range []string{
		"\x01\x10Catalog.Register\x82\xa4Node\xa2n1\xa8Services\x91\xc0", "\x01\x10Catalog.Register\x82\xa4Node\xa2n1\xa6Checks\x91\xc0",
		"\x01\x09Txn.Apply\x81\xa3Ops\x91\x80", "\x01\x09Txn.Apply\x81\xa3Ops\xdd\xff\xff\xff\xff", "\x01\x11Coordinate.Update\x81\xa7Updates\x92\xc0\x80",
		"\x01\x0cAutopilotSet", "\x01\x0dSession.Apply\x81\xa2Op\xa6create",
	} {
		f.Add([]byte(bad))
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		c := furnished(t)
		before := dump(t, c.store)
		outcome := c.batch(t, [][]byte{entry})[0].(fsm.Outcome)
		if outcome.Err != nil && dump(t, c.store) != before {
			t.Errorf("%v left something behind", outcome.Err)
		}
		if outcome.Err != nil && strings.Contains(outcome.Err.Error(), "panic") {
			t.Error(outcome.Err)
		}
		sound(t, c.store)
	})
}

// TestDamage: a snapshot that was cut short, or changed in any place, is refused before anything is
// touched. (RELIABILITY R14)
func TestDamage(t *testing.T) {
	source, target := furnished(t), furnished(t)
	good := source.save(t)
	target.batch(t, [][]byte{target.entry(t, api.KVApply.Name, &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: "own"}})})
	before, gone := dump(t, target.store), target.store.Abandoned()
	refused := func(what string, data []byte) {
		t.Helper()
		if err := target.fsm.Restore(readCloser{bytes.NewReader(data)}); err == nil || !strings.HasPrefix(err.Error(), "snapshot: ") {
			t.Fatalf("%s: restored: %v", what, err)
		}
	}
	for n := range good {
		refused(fmt.Sprint("cut at ", n), good[:n])
		flipped := slices.Clone(good)
		flipped[n] ^= 1 << (n % 8)
		refused(fmt.Sprint("flipped at ", n), flipped)
	}
	refused("one byte more", append(slices.Clone(good), 0))
	refused("twice", append(slices.Clone(good), good...))
	refused("a chunk twice", append(slices.Clone(good[:len(good)-13]), good[20:]...))
	select {
	case <-gone:
		t.Error("the store was replaced")
	default:
	}
	if dump(t, target.store) != before || target.fsm.Applied() != 8 {
		t.Error("the store has changed")
	}
	target.restore(t, good)
	if dump(t, target.store) != dump(t, source.store) || target.fsm.Applied() != 7 || digest(t, target) != digest(t, source) {
		t.Error("what was restored is not what was saved")
	}
	sound(t, target.store)
}

var tables = []string{"nodes", "checks", "instances", "names", "kv", "graves", "sessions", "coordinates", "indexes", "settings", "config-entries", "none"}

// framed is a snapshot of given rows, with the sums that it needs.
func framed(table string, rows uint32, body []byte) []byte {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	sealed := func(part []byte, body []byte) []byte {
		sum := crc32.Checksum(append(slices.Clone(part), body...), castagnoli)
		return append(binary.BigEndian.AppendUint32(part, sum), body...)
	}
	part := func(table string, rows, size uint32) []byte {
		p := append([]byte{byte(len(table))}, table...)
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(p, rows), size)
	}
	out := sealed(binary.BigEndian.AppendUint64([]byte("CURIASN1"), 9), nil)
	out = append(out, sealed(part(table, rows, uint32(len(body))), body)...)
	return append(out, sealed(part("", 1, 0), nil)...)
}

// TestCrafted: snapshots with right sums and wrong contents.
func TestCrafted(t *testing.T) {
	pair := func(key string) string { return "\x83\xa3Key\xa1" + key + "\xa5Value\xc0\xabModifyIndex\x05" }
	load := func(data []byte) (*state.Store, error) {
		store := state.New()
		var start, end runtime.MemStats
		runtime.ReadMemStats(&start)
		_, _, err := fsm.Load(bytes.NewReader(data), store)
		runtime.ReadMemStats(&end)
		if took := end.TotalAlloc - start.TotalAlloc; took > uint64(64*len(data)+1<<20) {
			t.Errorf("%d bytes took %d to load: %v", len(data), took, err)
		}
		return store, err
	}
	if _, err := load(framed("kv", 2, []byte(pair("a")+pair("b")))); err != nil {
		t.Error("two pairs:", err)
	}
	claim := framed("kv", 1, nil)
	binary.BigEndian.PutUint32(claim[20+3+4:], 60<<20)
	huge := framed("kv", 1, make([]byte, 64<<20+1))
	for what, data := range map[string][]byte{
		"more bytes than rows": framed("kv", 1, []byte(pair("a")+pair("b"))),
		"more rows than bytes": framed("kv", 3, []byte(pair("a")+pair("b"))),
		"rows of nothing":      framed("kv", 1<<31, []byte(pair("a"))),
		"60 MiB that are not":  claim,
		"65 MiB that are":      huge,
		"unknown table":        framed("none", 1, []byte(pair("a"))),
		"service without node": framed("instances", 1, []byte("\x82\xa4Node\xa2n1\xa7Service\x81\xa7Service\xa3web")),
		"node of a service":    framed("instances", 1, []byte("\x81\xa4Node\xa2n1      ")),
	} {
		if _, err := load(data); err == nil {
			t.Errorf("%s: loaded", what)
		}
	}
}

// TestSparse: rows that leave out what normal ones have, as another version may write them, are as good
// as normal ones, and share what is equal.
func TestSparse(t *testing.T) {
	store := state.New()
	l := store.Load()
	for _, row := range []struct{ table, text string }{
		{"nodes", `{"Node":"n1"}`}, {"checks", `{"Node":"n1","CheckID":"a","ServiceID":"i"}`}, {"checks", `{"Node":"n1","CheckID":"b","Definition":{}}`},
		{"instances", `{"Node":"n1","Service":{"ID":"i","Service":"web"}}`}, {"names", `{"Name":"web"}`}, {"kv", `{"Key":"k"}`},
		{"sessions", `{"ID":"s","Node":"n1"}`}, {"coordinates", `{"Node":"n1"}`}, {"indexes", `{"Key":"names"}`}, {"settings", `{"Name":"autopilot"}`},
	} {
		blank := state.Blank(row.table)
		if err := json.Unmarshal([]byte(row.text), blank); err != nil {
			t.Fatal(err)
		}
		if err := l.Row(row.table, blank); err != nil {
			t.Fatal(err)
		}
	}
	l.Finish()
	tx := store.Read()
	a, b := state.Check(tx, nil, "n1", "a"), state.Check(tx, nil, "n1", "b")
	if a.Definition == nil || a.Definition != b.Definition || a.Status != catalog.Critical {
		t.Errorf("checks are %+v and %+v", a, b)
	}
	if critical, _ := state.StateChecks(tx, nil, catalog.Critical, nil); len(critical) != 2 {
		t.Errorf("%d checks are critical", len(critical))
	}
	write := store.Write(10)
	s := &catalog.Service{ID: "i", Service: "web"}
	s.Normalize()
	if _, err := state.EnsureService(write, "n1", s); err != nil {
		t.Error(err)
	}
	state.CoordinateSet(write, []*catalog.NodeCoordinate{{Node: "n1", Coord: &catalog.Coordinate{}}})
	state.DeleteNode(write, "n1")
	write.Commit()
	for _, wrong := range store.Check() {
		t.Error("invariant:", wrong)
	}
}

// FuzzRestore: whatever rows a snapshot holds, loading them ends, takes memory in proportion, and either
// leaves the store as it was or one that commands can be applied to.
func FuzzRestore(f *testing.F) {
	good := furnished(f).save(f)
	f.Add(byte(255), uint32(0), good)
	for at := 20; good[at] > 0; {
		name := string(good[at+1 : at+1+int(good[at])])
		head := at + 1 + len(name)
		rows, size := binary.BigEndian.Uint32(good[head:]), int(binary.BigEndian.Uint32(good[head+4:]))
		f.Add(byte(slices.Index(tables, name)), rows, good[head+12:head+12+size])
		at = head + 12 + size
	}
	for _, bomb := range bombs() {
		f.Add(byte(2), uint32(1), bomb)
	}
	c := furnished(f)
	after := [][]byte{
		c.entry(f, api.Deregister.Name, &api.DeregisterRequest{Node: "n1"}),
		c.entry(f, api.Register.Name, &api.RegisterRequest{Node: "n1", Address: "10.0.0.1", Service: &catalog.Service{Service: "web"}}),
		c.entry(f, api.KVApply.Name, &api.KVWrite{Op: api.KVDeleteTree}),
		c.entry(f, api.GravesReap.Name, &api.Reap{Index: 1 << 40}),
	}
	f.Fuzz(func(t *testing.T, table byte, rows uint32, body []byte) {
		data := body
		if int(table) < len(tables) {
			data = framed(tables[table], rows, body)
		}
		c := furnished(t)
		before := dump(t, c.store)
		var start, end runtime.MemStats
		runtime.ReadMemStats(&start)
		_, _, err := fsm.Load(bytes.NewReader(data), c.store)
		runtime.ReadMemStats(&end)
		if took := end.TotalAlloc - start.TotalAlloc; took > uint64(64*len(data)+1<<20) {
			t.Errorf("%d bytes took %d to load: %v", len(data), took, err)
		}
		if err != nil {
			if dump(t, c.store) != before {
				t.Errorf("%v left something behind", err)
			}
			return
		}
		dump(t, c.store)
		c.store.Check()
		for _, entry := range after {
			c.fsm.ApplyBatch([]*raft.Log{{Index: 100, Data: entry}})
		}
	})
}

// bombs are rows of little text that become much.
func bombs() [][]byte {
	row := func(inner string) []byte {
		return []byte("\x82\xa4Node\xa2n1\xa7Service\x81\xa5Proxy\x82" + inner)
	}
	return [][]byte{
		row("\xa9Upstreams\xdc\xff\xff" + strings.Repeat("\x80", 65535)),
		row("\xa6Config\x81\xa1x\xdc\xff\xff" + strings.Repeat("\x80", 65535)),
		row("\xa6Config\x81\xa1x" + strings.Repeat("\x91", 65535) + "\xc0"),
		row("\xa9Upstreams\xdd\x7f\xff\xff\xff"),
	}
}

// TestBombs: a list of empty objects is refused from strangers, and takes what it takes from ourselves.
func TestBombs(t *testing.T) {
	for i, bomb := range bombs() {
		if _, _, err := fsm.Load(bytes.NewReader(framed("instances", 1, bomb)), state.New()); err == nil {
			t.Errorf("bomb %d was loaded", i)
		}
	}
	c := newCluster()
	paths := make([]catalog.ExposePath, 100_000)
	c.batch(t, [][]byte{c.logged(t, api.Register.Name, &api.RegisterRequest{
		Node: "n1", Address: "10.0.0.1", Service: &catalog.Service{Service: "web", Proxy: &catalog.Proxy{Expose: catalog.Expose{Paths: paths}}},
	})})
	saved := c.save(t)
	if _, _, err := fsm.Load(bytes.NewReader(saved), state.New()); err == nil {
		t.Error("100,000 empty objects were loaded from a stranger")
	}
	c.restore(t, saved)
	if i := state.Instance(c.store.Read(), nil, "n1", "web"); i == nil || len(i.Service.Proxy.Expose.Paths) != len(paths) {
		t.Error("what this server itself has stored could not be read again")
	}
}

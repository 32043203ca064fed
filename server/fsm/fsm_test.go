package fsm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/fsm"
)

// dump is everything in a store, as a snapshot holds it.
func dump(t failer, s *state.Store) string {
	var text strings.Builder
	err := state.Save(s.Read(), func(table string, row any) error {
		line, err := json.Marshal(row)
		fmt.Fprintf(&text, "%s %s\n", table, line)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func sound(t failer, s *state.Store) {
	t.Helper()
	for _, wrong := range s.Check() {
		t.Error("invariant:", wrong)
	}
}

// drawEntry is a random command about few things, so that they meet. Some fail before they write, some
// after.
func drawEntry(t *rapid.T, c *cluster) []byte {
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	node := func() string { return pick("node", "n1", "n2", "N1") }
	pair := catalog.KVPair{Key: pick("key", "a", "a/b", "c"), Value: []byte(pick("value", "", "x", "y")), Session: pick("session", "s1", "s2", "")}
	service := catalog.Service{ID: pick("id", "i1", "i2"), Service: pick("service", "web", "db"), Tags: []string{pick("tag", "v1", "v2")}}
	if rapid.Bool().Draw(t, "native") {
		service.Connect = &catalog.Connect{Native: true}
	}
	check := catalog.Check{Node: node(), CheckID: pick("check", "c1", "c2"), ServiceID: pick("of", "", "i1", "i2"), Status: catalog.Status(pick("status", "passing", "critical"))}
	switch pick("verb", "register", "register", "deregister", "kv", "kv", "session", "destroy", "txn", "txn", "coordinate", "config", "config", "virtual", "reap", "bad") {
	case "register":
		r := &api.RegisterRequest{Node: node(), Address: "10.0.0.1"}
		if rapid.Bool().Draw(t, "with service") {
			r.Service = &service
		}
		if check.Node = ""; rapid.Bool().Draw(t, "with check") { // which may be of a service that is not there
			r.Check = &check
		}
		return c.entry(t, api.Register.Name, r)
	case "deregister":
		return c.entry(t, api.Deregister.Name, &api.DeregisterRequest{Node: node(), ServiceID: pick("service id", "", "i1"), CheckID: pick("check id", "", "c1")})
	case "session":
		return c.logged(t, api.SessionApply.Name, &api.SessionWrite{Op: api.SessionCreate, Session: catalog.Session{ID: pair.Session, Node: node(), Behavior: catalog.Delete}})
	case "destroy":
		return c.logged(t, api.SessionApply.Name, &api.SessionWrite{Op: api.SessionDestroy, Session: catalog.Session{ID: pair.Session}})
	case "txn":
		ops := []api.TxnOp{
			{KV: &api.TxnKV{Verb: api.KVOp(pick("op", "set", "delete", "delete-tree")), Key: pair.Key, Value: pair.Value}},
			{Service: &api.TxnService{Verb: pick("service op", "set", "delete", "cas"), Node: node(), Service: service}},
			{Check: &api.TxnCheck{Verb: pick("check op", "set", "delete"), Check: check}},
			{KV: &api.TxnKV{Verb: api.KVOp(pick("last", "get-or-empty", "check-not-exists", "lock")), Key: pair.Key, Session: pair.Session}},
			{Node: &api.TxnNode{Verb: pick("node op", "set", "delete", "get"), Node: catalog.Node{Node: node(), Address: "10.0.0.2"}}},
		}
		return c.logged(t, api.TxnApply.Name, &api.TxnRequest{Ops: rapid.Permutation(ops).Draw(t, "ops")[:rapid.IntRange(1, len(ops)).Draw(t, "many")]})
	case "coordinate":
		return c.entry(t, api.CoordinateSet.Name, &api.CoordinateUpdate{Updates: []*catalog.NodeCoordinate{{Node: node(), Coord: &catalog.Coordinate{Vec: make([]float64, 8)}}}})
	case "config": // some do not go with one another
		var e catalog.AnyEntry
		text := pick("entry", `{"Kind":"service-defaults","Name":"web","Protocol":"http"}`, `{"Kind":"service-defaults","Name":"Web"}`,
			`{"Kind":"service-splitter","Name":"web","Splits":[{"Weight":100}]}`, `{"Kind":"proxy-defaults","Name":"global","Config":{"protocol":"http","a":[1,{"b":null}]}}`)
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		e.Entry().Normalize()
		return c.logged(t, api.ConfigApply.Name, &api.ConfigWrite{Op: api.ConfigOp(pick("config", "set", "set", "cas", "delete", "delete-cas")), Entry: e})
	case "virtual":
		return c.logged(t, api.VirtualAssign.Name, &api.VirtualWrite{Service: service.Service, ManualVIPs: []string{pick("address", "10.1.1.1", "10.1.1.2")}})
	case "reap":
		return c.entry(t, api.GravesReap.Name, &api.Reap{Index: uint64(rapid.IntRange(0, 20).Draw(t, "up to"))})
	case "bad":
		return []byte(pick("bad", "", "\x01", "\x01\x03abc", "\x02\x08KV.Apply", "\x01\x08KV.Apply\xc1", "\x01\x06KV.Get\x80"))
	}
	ops := []string{"set", "cas", "lock", "lock", "unlock", "delete", "delete-cas", "delete-tree"}
	pair.ModifyIndex = uint64(rapid.IntRange(0, 5).Draw(t, "cas"))
	return c.logged(t, api.KVApply.Name, &api.KVWrite{Op: api.KVOp(pick("kv", ops...)), Pair: pair})
}

// TestBatches: a log has the same outcomes and leaves the same state in whatever batches it is applied,
// and a server that was restored from a snapshot goes on to the same state.
func TestBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, many, late := newCluster(), newCluster(), newCluster()
		var log [][]byte
		for range rapid.IntRange(1, 40).Draw(t, "entries") {
			log = append(log, drawEntry(t, one))
		}
		outcome := func(out []any) string {
			var text strings.Builder
			for _, o := range out {
				reply, _ := json.Marshal(o.(fsm.Outcome).Reply)
				fmt.Fprintf(&text, "%s %v\n", reply, o.(fsm.Outcome).Err)
			}
			return text.String()
		}
		restored := rapid.IntRange(0, len(log)).Draw(t, "restored at")
		for at := 0; at < len(log); {
			n := min(rapid.IntRange(1, 10).Draw(t, "batch"), len(log)-at)
			want := ""
			for _, entry := range log[at : at+n] {
				want += outcome(one.batch(t, [][]byte{entry}))
			}
			if got := outcome(many.batch(t, log[at:at+n])); got != want {
				t.Fatalf("together:\n%s\none by one:\n%s", got, want)
			}
			if late.index > 0 {
				late.batch(t, log[at:at+n])
			}
			if at += n; late.index == 0 && at >= restored {
				late.restore(t, one.save(t))
			}
		}
		want := dump(t, one.store)
		for what, c := range map[string]*cluster{"in batches": many, "after a restore": late} {
			if got := dump(t, c.store); c.index > 0 && got != want {
				t.Fatalf("%s:\n%s\none by one:\n%s", what, got, want)
			}
			if c.index > 0 && c.fsm.Applied() != one.fsm.Applied() {
				t.Fatalf("%s: applied %d, want %d", what, c.fsm.Applied(), one.fsm.Applied())
			}
			if c.index > 0 && digest(t, c) != digest(t, one) {
				t.Fatalf("%s: the same store has another digest", what)
			}
			sound(t, c.store)
		}
	})
}

// digest is that of a cluster's store, at the index that it is asked at.
func digest(t failer, c *cluster) string {
	t.Helper()
	tx, index := c.fsm.Version()
	sum, err := fsm.Digest(tx)
	if err != nil || index != c.fsm.Applied() {
		t.Fatalf("digest at index %d of %d: %v", index, c.fsm.Applied(), err)
	}
	return sum
}

// TestDigest: what differs in a single row has another digest.
func TestDigest(t *testing.T) {
	c := newCluster()
	seen := map[string]string{digest(t, c): "nothing"}
	step := func(what string, entry []byte) {
		t.Helper()
		c.batch(t, [][]byte{entry})
		sum := digest(t, c)
		if was, ok := seen[sum]; ok {
			t.Errorf("after %s the digest is that after %s", what, was)
		}
		seen[sum] = what
	}
	set := func(key, value string) []byte {
		return c.logged(t, api.KVApply.Name, &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: key, Value: []byte(value)}})
	}
	step("a key", set("a", "1"))
	step("another value", set("a", "2"))
	step("another key", set("b", "2"))
	step("its deletion", c.logged(t, api.KVApply.Name, &api.KVWrite{Op: api.KVDelete, Pair: catalog.KVPair{Key: "b"}}))
	step("a node", c.entry(t, api.Register.Name, &api.RegisterRequest{Node: "n", Address: "10.0.0.1", NodeMeta: map[string]string{"a": "1", "b": "2", "c": "3"}}))
	want := digest(t, c)
	for range 20 { // maps are of another order each time
		if got := digest(t, c); got != want {
			t.Fatal("the digest of one version changes")
		}
	}
}

// TestFailedBatch: only what fails after writing costs its batch another application.
func TestFailedBatch(t *testing.T) {
	c := newCluster()
	set := func(key string) []byte {
		return c.logged(t, api.KVApply.Name, &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: key}})
	}
	late := c.logged(t, api.TxnApply.Name, &api.TxnRequest{Ops: []api.TxnOp{
		{KV: &api.TxnKV{Verb: api.KVSet, Key: "given up"}}, {KV: &api.TxnKV{Verb: api.KVGet, Key: "none"}},
	}})
	c.index = 7
	out := c.batch(t, [][]byte{set("a"), []byte("bad"), set("b"), late, set("c"), late, late, append(set("d"), 0)})
	for i, want := range []bool{true, false, true, false, true, false, false, false} {
		if o := out[i].(fsm.Outcome); (o.Err == nil) != want {
			t.Errorf("entry %d: %+v", i, o)
		}
	}
	pairs, _ := state.KVList(c.store.Read(), nil, "")
	if len(pairs) != 3 || pairs[0].ModifyIndex != 8 || pairs[1].ModifyIndex != 10 || pairs[2].ModifyIndex != 12 {
		t.Errorf("the store holds %+v", pairs)
	}
	if out := c.fsm.ApplyBatch([]*raft.Log{{Index: 16, Type: raft.LogNoop, Data: []byte("x")}}); out[0] != nil || c.fsm.Applied() != 16 {
		t.Errorf("an entry that is no command: %v, applied %d", out, c.fsm.Applied())
	}
}

// TestPanic: an entry that makes the program panic fails, and the others of its batch do not.
func TestPanic(t *testing.T) {
	c := newCluster()
	bad := rpc.Method[api.Nothing, api.Nothing]{Name: "Test.Panic", From: rpc.FromAgents}
	endpoint.AddCommand(c.registry, endpoint.Command[api.Nothing, api.Nothing]{Method: bad, Open: "a test", Apply: func(tx *state.Txn, _ *api.Nothing) (*api.Nothing, error) {
		state.KVSet(tx, &catalog.KVPair{Key: "half"})
		panic("oh")
	}})
	set := c.logged(t, api.KVApply.Name, &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: "k"}})
	out := c.batch(t, [][]byte{set, c.logged(t, bad.Name, &api.Nothing{}), set})
	for i, want := range []bool{true, false, true} {
		if o := out[i].(fsm.Outcome); (o.Err == nil) != want {
			t.Errorf("entry %d: %+v", i, o)
		}
	}
	if pairs, _ := state.KVList(c.store.Read(), nil, ""); len(pairs) != 1 {
		t.Errorf("the store holds %+v", pairs)
	}
}

func (c *cluster) save(t failer) []byte {
	var saved bytes.Buffer
	if err := fsm.Save(&saved, c.store.Read(), c.fsm.Applied()); err != nil {
		t.Fatal(err)
	}
	return saved.Bytes()
}

func (c *cluster) restore(t failer, saved []byte) {
	if err := c.fsm.Restore(readCloser{bytes.NewReader(saved)}); err != nil {
		t.Fatal(err)
	}
	c.index = c.fsm.Applied()
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

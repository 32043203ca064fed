package replica_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/replica"
)

// kv does something with a key, as a client does.
func (p *place) kv(t rapid.TB, op api.KVOp, key, value string) {
	t.Helper()
	if _, _, err := api.KVApply.Call(context.Background(), p.Registry, rpc.Header{}, &api.KVWrite{Op: op, Pair: catalog.KVPair{Key: key, Value: []byte(value), Flags: uint64(len(value))}}); err != nil {
		t.Fatal(err)
	}
}

// pairs are all keys with what they say, in order.
func (p *place) pairs(prefix string) string {
	var b strings.Builder
	list, _ := state.KVList(p.store.Read(), nil, prefix)
	for _, pair := range list {
		fmt.Fprintf(&b, "%s=%s/%d ", pair.Key, pair.Value, pair.Flags)
	}
	return b.String()
}

// replicate writes an entry, and returns why it could not be.
func (p *place) replicate(e catalog.KVReplication) error {
	e.Kind = catalog.EntryKVReplication
	_, _, err := api.ConfigApply.Call(context.Background(), p.Registry, rpc.Header{}, &api.ConfigWrite{Op: api.ConfigSet, Entry: *catalog.AnyOf(&e)})
	return err
}

func (p *place) mustReplicate(t rapid.TB, e catalog.KVReplication) {
	t.Helper()
	if err := p.replicate(e); err != nil {
		t.Fatal(err)
	}
}

// ways lead to other datacenters by their names.
type ways map[string]*way

func (w ways) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	if to := w[call.Header.Datacenter]; to != nil {
		return to.Call(ctx, call)
	}
	return rpc.Answer{}, catalog.Errorf(catalog.NoPath, "No path to datacenter %q", call.Header.Datacenter)
}

// keysOf copies keys to a datacenter until stop is called, or the test ends.
func keysOf(t testing.TB, p *place, w ways) (k *replica.Keys, stop func()) {
	t.Helper()
	k = replica.NewKeys(replica.KeysConfig{
		Datacenter: p.name, Abroad: w, Ask: func(dc string) rpc.Header { return rpc.Header{Datacenter: dc} },
		Log: slog.New(slog.NewTextHandler(&p.log, nil)),
	}, p.store, p.Registry.Duties())
	ctx, end := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends when it is stopped, or with the test
		defer close(done)
		k.Run(ctx)
	}()
	stop = func() {
		end()
		<-done
	}
	t.Cleanup(stop)
	return k, stop
}

// bring copies keys from dc1 to dc2 by an entry, from when it is begun.
func bring(t testing.TB, e catalog.KVReplication) (one, two *place, w *way, begin func() *replica.Keys) {
	one, two = newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
	w = &way{to: one}
	e.Name, e.Source = "keys", "dc1"
	two.mustReplicate(t, e)
	return one, two, w, func() *replica.Keys {
		k, _ := keysOf(t, two, ways{"dc1": w})
		return k
	}
}

// settle gives the copies a while of virtual time.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func alike(t rapid.TB, one, two *place, prefix string) {
	t.Helper()
	if a, b := one.pairs(prefix), two.pairs(prefix); a != b {
		t.Errorf("%s has under %q\n%.2000s\n%s\n%.2000s", one.name, prefix, a, two.name, b)
	}
}

// theCopy is the progress of the only one.
func theCopy(t testing.TB, k *replica.Keys) api.KVCopyProgress {
	t.Helper()
	list, running := k.Progress()
	if len(list) != 1 || !running {
		t.Fatalf("%+v %v", list, running)
	}
	return list[0]
}

// TestKeysAreCopied: keys under the prefixes come, with their flags and without their locks, and what is excluded does not;
// for what has not changed nothing is written.
func TestKeysAreCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, _, begin := bring(t, catalog.KVReplication{Prefixes: []string{"config/", "app"}, Exclude: []string{"config/secret/", "appendix"}, Conflict: "Source"})
		for _, key := range []string{"app", "app/1", "appendix", "config/a", "config/secret/x", "config/z", "other"} {
			one.kv(t, api.KVSet, key, key)
		}
		k := begin()
		settle(5 * time.Second)
		const want = "app=app/3 app/1=app/1/5 config/a=config/a/8 config/z=config/z/8 "
		if got := two.pairs(""); got != want {
			t.Errorf("copied is %s", got)
		}
		index := two.Applied()
		one.kv(t, api.KVSet, "other", "changed")
		one.kv(t, api.KVSet, "config/secret/x", "changed")
		settle(time.Hour)
		if now := two.Applied(); now != index {
			t.Errorf("%d entries of the log for nothing new", now-index)
		}
		one.kv(t, api.KVSet, "config/a", "new")
		one.kv(t, api.KVDelete, "app/1", "")
		settle(5 * time.Second)
		if got := two.pairs(""); got != "app=app/3 config/a=new/3 config/z=config/z/8 " {
			t.Errorf("copied is %s", got)
		}
		if n := two.Applied() - index; n != 2 {
			t.Errorf("%d entries of the log for one change and one deletion", n)
		}
		two.kv(t, api.KVSet, "config/a", "mine") // the source's word counts
		two.kv(t, api.KVSet, "config/b", "mine")
		settle(time.Minute)
		alike(t, one, two, "config/z")
		if p := theCopy(t, k); p.Rows != 3 || p.Index == 0 || p.Lag > time.Minute || p.LastErrorMessage != "" || p.Source != "dc1" {
			t.Errorf("%+v", p)
		}
		if got := two.pairs("config/"); got != "config/a=new/3 config/z=config/z/8 " {
			t.Errorf("copied is %s", got)
		}
	})
}

// TestKeysKept: what is written where it comes to stays, and so does what was there; it is counted. What was only copied
// goes with the source's.
func TestKeysKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, _, begin := bring(t, catalog.KVReplication{Prefixes: []string{""}})
		two.kv(t, api.KVSet, "a", "mine")
		two.kv(t, api.KVSet, "b", "mine")
		for _, key := range []string{"b", "c", "d", "e"} {
			one.kv(t, api.KVSet, key, "theirs")
		}
		k := begin()
		settle(5 * time.Second)
		if got := two.pairs(""); got != "a=mine/4 b=mine/4 c=theirs/6 d=theirs/6 e=theirs/6 " {
			t.Errorf("copied is %s", got)
		}
		two.kv(t, api.KVSet, "c", "mine")
		two.kv(t, api.KVSet, "d", "theirs") // even if it says the same
		one.kv(t, api.KVSet, "c", "news")
		one.kv(t, api.KVDelete, "d", "")
		one.kv(t, api.KVDelete, "e", "")
		settle(time.Minute)
		if got := two.pairs(""); got != "a=mine/4 b=mine/4 c=mine/4 d=theirs/6 " {
			t.Errorf("copied is %s", got)
		}
		if p := theCopy(t, k); p.Kept != 2 || p.LastErrorMessage != "" {
			t.Errorf("%+v", p)
		}
		two.kv(t, api.KVDelete, "b", "") // whoever gives it up has it copied
		settle(time.Minute)
		if got := two.pairs("b"); got != "b=theirs/6 " {
			t.Errorf("copied is %s", got)
		}
	})
}

// TestDeletionsKept: with that rule nothing is ever deleted.
func TestDeletionsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, _, begin := bring(t, catalog.KVReplication{Prefixes: []string{"a"}, Conflict: "source", Deletions: "Keep"})
		one.kv(t, api.KVSet, "a1", "x")
		one.kv(t, api.KVSet, "a2", "x")
		k := begin()
		settle(5 * time.Second)
		one.kv(t, api.KVDeleteTree, "a", "")
		settle(time.Minute)
		if got := two.pairs(""); got != "a1=x/1 a2=x/1 " {
			t.Errorf("left is %s", got)
		}
		if p := theCopy(t, k); p.Kept != 2 || p.LastErrorMessage != "" {
			t.Errorf("%+v", p)
		}
	})
}

// TestLockedKey: a lock on a key that is copied over stays its holder's.
func TestLockedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, _, begin := bring(t, catalog.KVReplication{Prefixes: []string{"a"}, Conflict: "source"})
		register := func(p *place) string {
			if _, _, err := api.Register.Call(t.Context(), p.Registry, rpc.Header{}, &api.RegisterRequest{Node: "n", Address: "127.0.0.1"}); err != nil {
				t.Fatal(err)
			}
			id, _, err := api.SessionApply.Call(t.Context(), p.Registry, rpc.Header{}, &api.SessionWrite{Op: api.SessionCreate, Session: catalog.Session{Node: "n"}})
			if err != nil {
				t.Fatal(err)
			}
			return *id
		}
		lock := func(p *place, key string) string {
			s := register(p)
			if done, _, err := api.KVApply.Call(t.Context(), p.Registry, rpc.Header{}, &api.KVWrite{Op: api.KVLock, Pair: catalog.KVPair{Key: key, Session: s, Value: []byte(p.name)}}); err != nil || !*done {
				t.Fatal(done, err)
			}
			return s
		}
		lock(one, "a/theirs")
		one.kv(t, api.KVSet, "a/mine", "theirs")
		mine := lock(two, "a/mine")
		begin()
		settle(time.Minute)
		alike(t, one, two, "a")
		theirs, _ := state.KVGet(two.store.Read(), nil, "a/theirs")
		held, _ := state.KVGet(two.store.Read(), nil, "a/mine")
		if theirs == nil || theirs.Session != "" || held == nil || held.Session != mine || held.LockIndex != 1 {
			t.Errorf("copied are %+v %+v", theirs, held)
		}
	})
}

// TestManyKeys: many keys and large ones come, in entries of the log that are not too large, and one change among them does
// not cost the others.
func TestManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, w, begin := bring(t, catalog.KVReplication{Prefixes: []string{"a/"}})
		for i := range 5000 {
			one.kv(t, api.KVSet, fmt.Sprintf("a/%05d", i), "x")
		}
		large := strings.Repeat("x", 512<<10)
		for i := range 5 {
			one.kv(t, api.KVSet, fmt.Sprint("a/large", i), large)
		}
		k := begin()
		settle(time.Minute)
		alike(t, one, two, "")
		if n := two.Applied() - 10; n < 12 || n > 20 {
			t.Errorf("5000 keys and 2.5 MB came in %d entries of the log", n)
		}
		var asked int
		w.set(func(w *way) { w.sent = &asked })
		one.kv(t, api.KVSet, "a/02500", "y")
		settle(20 * time.Second)
		alike(t, one, two, "")
		w.set(func(w *way) {
			if asked > 64<<10 {
				t.Errorf("%d bytes were told to learn of one change", asked)
			}
		})
		if p := theCopy(t, k); p.Rows != 5005 || p.Written != 5006 {
			t.Errorf("%+v", p)
		}
	})
}

// TestMassDeletion: a source that was made anew, or restored from before, deletes next to nothing until an operator says
// so, and what it has is copied meanwhile.
func TestMassDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, w, begin := bring(t, catalog.KVReplication{Prefixes: []string{"a/"}, Conflict: "source"})
		for i := range 30 {
			one.kv(t, api.KVSet, fmt.Sprintf("a/%02d", i), "x")
		}
		k := begin()
		settle(5 * time.Second)
		anew := newPlace(t, "dc1", 5)
		anew.kv(t, api.KVSet, "a/new", "x")
		w.set(func(w *way) { w.to = anew })
		settle(5 * time.Minute)
		if p := theCopy(t, k); !strings.Contains(p.LastErrorMessage, "30 of 30 keys that are here are not in dc1") && !strings.Contains(p.LastErrorMessage, "30 of 31 keys that are here are not in dc1") ||
			!strings.Contains(p.LastErrorMessage, "set MaxDeletions of kv-replication/keys to at least 30") || p.Deleted != 0 {
			t.Errorf("%+v", p)
		}
		if n := strings.Count(two.pairs("a/"), "="); n != 31 {
			t.Errorf("%d keys are left", n)
		}
		if two.log.count("the source is older than it was") == 0 {
			t.Error("nobody is told that the index went back")
		}
		w.set(func(w *way) { w.to = one }) // its snapshot is restored
		settle(5 * time.Minute)
		alike(t, one, two, "")
		w.set(func(w *way) { w.to = anew })
		settle(5 * time.Minute)
		two.mustReplicate(t, catalog.KVReplication{EntryHead: catalog.EntryHead{Name: "keys"}, Source: "dc1", Prefixes: []string{"a/"}, Conflict: "source", MaxDeletions: 30})
		settle(time.Minute)
		alike(t, anew, two, "")
		if p := theCopy(t, k); p.Deleted != 30 || p.LastErrorMessage != "" {
			t.Errorf("%+v", p)
		}
	})
	synctest.Test(t, func(t *testing.T) { // half of them may go
		one, two, _, begin := bring(t, catalog.KVReplication{Prefixes: []string{"a/"}})
		for i := range 40 {
			one.kv(t, api.KVSet, fmt.Sprintf("a/%02d", i), "x")
		}
		begin()
		settle(5 * time.Second)
		for i := range 20 {
			one.kv(t, api.KVDelete, fmt.Sprintf("a/%02d", i), "")
		}
		settle(time.Minute)
		alike(t, one, two, "")
		one.kv(t, api.KVDeleteTree, "a/1", "")
		one.kv(t, api.KVDeleteTree, "a/2", "")
		settle(time.Minute)
		alike(t, one, two, "")
	})
}

// TestEntryRemoved: without the entry nothing is copied, and what was stays; with another one the rules change at once.
func TestEntryRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, _, begin := bring(t, catalog.KVReplication{Prefixes: []string{"a/"}})
		one.kv(t, api.KVSet, "a/1", "x")
		one.kv(t, api.KVSet, "b/1", "x")
		k := begin()
		settle(5 * time.Second)
		gone := &catalog.KVReplication{EntryHead: catalog.EntryHead{Kind: catalog.EntryKVReplication, Name: "keys"}}
		if _, _, err := api.ConfigApply.Call(t.Context(), two.Registry, rpc.Header{}, &api.ConfigWrite{Op: api.ConfigDelete, Entry: *catalog.AnyOf(gone)}); err != nil {
			t.Fatal(err)
		}
		one.kv(t, api.KVSet, "a/1", "y")
		settle(time.Minute)
		if got := two.pairs(""); got != "a/1=x/1 " {
			t.Errorf("left is %s", got)
		}
		if list, _ := k.Progress(); len(list) != 0 {
			t.Errorf("%+v", list)
		}
		two.mustReplicate(t, catalog.KVReplication{EntryHead: catalog.EntryHead{Name: "keys"}, Source: "dc1", Prefixes: []string{"b/"}, Targets: []string{"DC2"}})
		settle(5 * time.Second)
		if got := two.pairs(""); got != "a/1=x/1 b/1=x/1 " {
			t.Errorf("left is %s", got)
		}
	})
}

// TestBothWays: two datacenters copy from one another, each under a prefix of its own, and a leader that comes after
// another one writes nothing that is there.
func TestBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
		all := ways{"dc1": {to: one}, "dc2": {to: two}}
		for _, p := range []*place{one, two} {
			p.mustReplicate(t, catalog.KVReplication{EntryHead: catalog.EntryHead{Name: "one"}, Source: "dc1", Prefixes: []string{"of/dc1/"}, Conflict: "source"})
			p.mustReplicate(t, catalog.KVReplication{EntryHead: catalog.EntryHead{Name: "two"}, Source: "dc2", Prefixes: []string{"of/"}, Exclude: []string{"of/dc1/"}, Conflict: "source"})
		}
		keysOf(t, one, all)
		_, stop := keysOf(t, two, all)
		one.kv(t, api.KVSet, "of/dc1/a", "x")
		two.kv(t, api.KVSet, "of/dc2/a", "x")
		one.kv(t, api.KVSet, "of/dc2/b", "not mine to write")
		settle(time.Minute)
		alike(t, one, two, "")
		if got := one.pairs(""); got != "of/dc1/a=x/1 of/dc2/a=x/1 " {
			t.Errorf("%s", got)
		}
		stop()
		index := two.Applied()
		keysOf(t, two, all)
		settle(time.Hour)
		if now := two.Applied(); now != index {
			t.Errorf("another leader writes %d entries of the log for nothing new", now-index)
		}
	})
}

// TestKeysCutAndHealed: while the source is away what was copied stays; that is said once, and what has changed comes once
// it is back. Copies that hang are started anew.
func TestKeysCutAndHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, w, begin := bring(t, catalog.KVReplication{Prefixes: []string{"a/"}, Conflict: "source"})
		one.kv(t, api.KVSet, "a/1", "x")
		k := begin()
		settle(5 * time.Second)
		w.set(func(w *way) { w.cut = true })
		one.kv(t, api.KVSet, "a/2", "x")
		settle(time.Hour)
		if got := two.pairs(""); got != "a/1=x/1 " {
			t.Errorf("left is %s", got)
		}
		if p := theCopy(t, k); !strings.Contains(p.LastErrorMessage, "No path") || p.Lag < 59*time.Minute {
			t.Errorf("%+v", p)
		}
		if n := two.log.count("not as its source is"); n != 1 {
			t.Errorf("it is said %d times", n)
		}
		w.set(func(w *way) { w.cut = false })
		settle(10 * time.Second)
		alike(t, one, two, "")
		release := make(chan struct{})
		defer close(release)
		w.set(func(w *way) { w.hangs, w.release = 1, release })
		settle(time.Minute)
		one.kv(t, api.KVSet, "a/3", "x")
		settle(10 * time.Minute)
		alike(t, one, two, "")
		if p := theCopy(t, k); p.Restarts != 1 {
			t.Errorf("%+v", p)
		}
	})
}

// TestConverges: whatever is written at the source and where it comes to, however the way is cut, and whoever leads: once it
// heals, the one is as the other.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		conflict := rapid.SampledFrom([]catalog.KVConflict{"source", "keep"}).Draw(rt, "conflict")
		name := rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"a/", "b/", "b/x/"}).Draw(t, "dir") + rapid.StringMatching(`[a-c]{0,2}`).Draw(t, "key")
		})
		type step struct {
			what, key, value string
			rest             time.Duration
		}
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				rapid.SampledFrom([]string{"set", "set", "set", "delete", "tree", "mine", "unmine", "cut", "heal", "leader"}).Draw(t, "what"), name.Draw(t, "name"),
				rapid.StringMatching(`[x-z]{0,2}`).Draw(t, "value"), time.Duration(rapid.IntRange(0, 3000).Draw(t, "rest")) * time.Millisecond,
			}
		}), 1, 40).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			one, two := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10)
			w, mine := &way{to: one}, map[string]string{}
			two.mustReplicate(t, catalog.KVReplication{EntryHead: catalog.EntryHead{Name: "keys"}, Source: "dc1", Prefixes: []string{"a/", "b/"}, Exclude: []string{"b/x/"}, Conflict: conflict, MaxDeletions: 1000})
			_, stop := keysOf(t, two, ways{"dc1": w})
			for _, s := range steps {
				switch s.what {
				case "set":
					one.kv(t, api.KVSet, s.key, s.value)
				case "delete":
					one.kv(t, api.KVDelete, s.key, "")
				case "tree":
					one.kv(t, api.KVDeleteTree, s.key, "")
				case "mine":
					two.kv(t, api.KVSet, s.key, s.value+"!")
					mine[s.key] = s.value + "!"
				case "unmine":
					two.kv(t, api.KVDelete, s.key, "")
					delete(mine, s.key)
				case "cut":
					w.set(func(w *way) { w.cut = true })
				case "heal":
					w.set(func(w *way) { w.cut = false })
				case "leader":
					stop()
					_, stop = keysOf(t, two, ways{"dc1": w})
				}
				time.Sleep(s.rest)
			}
			w.set(func(w *way) { w.cut = false })
			settle(2 * time.Minute)
			want := map[string]string{}
			theirs, _ := state.KVList(one.store.Read(), nil, "")
			for _, p := range theirs {
				if !strings.HasPrefix(p.Key, "b/x/") {
					want[p.Key] = string(p.Value)
				}
			}
			for key, value := range mine {
				if conflict == "keep" || strings.HasPrefix(key, "b/x/") {
					want[key] = value
				}
			}
			got := map[string]string{}
			here, _ := state.KVList(two.store.Read(), nil, "")
			for _, p := range here {
				got[p.Key] = string(p.Value)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				rt.Fatalf("it has become %v, want %v", got, want)
			}
			index := two.Applied()
			if settle(10 * time.Minute); two.Applied() != index {
				rt.Fatal("it never rests")
			}
		})
	})
}

// TestIllSource: what a source sends that is of another version, or in the wrong hands, changes nothing but what the entry
// speaks of, and is said.
func TestIllSource(t *testing.T) {
	f := func(says string, ill func(call *rpc.Call, answer rpc.Answer) any) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			one, two, w, begin := bring(t, catalog.KVReplication{Prefixes: []string{"a/"}, Conflict: "source"})
			one.kv(t, api.KVSet, "a/1", "x")
			one.kv(t, api.KVSet, "b", "x")
			w.set(func(w *way) { w.ill = ill })
			k := begin()
			settle(time.Minute)
			if p := theCopy(t, k); !strings.Contains(p.LastErrorMessage, says) {
				t.Errorf("want %q: %+v", says, p)
			}
			if strings.Contains(two.pairs(""), "b") {
				t.Errorf("copied is %s", two.pairs(""))
			}
		})
	}
	hashes := func(keys ...catalog.ReplicaKey) func(*rpc.Call, rpc.Answer) any {
		return func(call *rpc.Call, _ rpc.Answer) any {
			if call.Method == api.KVHashes.Name {
				return &api.KVHashList{Keys: keys}
			}
			return nil
		}
	}
	rows := func(rest int, pairs ...*catalog.KVPair) func(*rpc.Call, rpc.Answer) any {
		return func(call *rpc.Call, _ rpc.Answer) any {
			if call.Method == api.KVRows.Name {
				return &api.KVRowList{Pairs: pairs, Rest: rest}
			}
			return nil
		}
	}
	f("keys that it was not asked for", hashes(catalog.ReplicaKey{Key: "b"}))
	f("keys that it was not asked for", hashes(catalog.ReplicaKey{Key: "a/2"}, catalog.ReplicaKey{Key: "a/1"}))
	f("a list without an end", func(call *rpc.Call, _ rpc.Answer) any {
		if call.Method == api.KVHashes.Name {
			return &api.KVHashList{More: true}
		}
		return nil
	})
	f("spans that it was not asked for", func(call *rpc.Call, _ rpc.Answer) any {
		if call.Method == api.KVCompare.Name {
			return &api.KVDiffering{Spans: []int{0, 7}}
		}
		return nil
	})
	f("other rows than it was asked for", rows(1))
	f("other rows than it was asked for", rows(0, &catalog.KVPair{Key: "a/1"}, &catalog.KVPair{Key: "a/2"}))
	f(`key "b" is none that kv-replication/keys speaks of`, rows(0, &catalog.KVPair{Key: "b"}))
	f("an empty row", rows(0, nil))
}

// TestWhoMayCopyKeys: it takes the right to read all keys under the prefixes; what is asked for must make sense.
func TestWhoMayCopyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newPlace(t, "dc1", 100)
		ask := func(q *api.KVCopyQuery) error {
			_, _, err := api.KVHashes.Call(t.Context(), one.Registry, rpc.Header{}, q)
			return err
		}
		f := func(says string, q api.KVCopyQuery) {
			t.Helper()
			if err := ask(&q); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v, want %q", err, says)
			}
		}
		f("another datacenter calls itself dc1", api.KVCopyQuery{From: "dc1", Scope: catalog.KVScope{Prefixes: []string{"a/"}}})
		f("0 prefixes", api.KVCopyQuery{From: "dc2"})
		f("overlap, or are not in order", api.KVCopyQuery{From: "dc2", Scope: catalog.KVScope{Prefixes: []string{"a", "a/"}}})
		f("want one", api.KVCopyQuery{From: "dc2", Scope: catalog.KVScope{Prefixes: []string{"a/"}}})
		f("more than is answered at once", api.KVCopyQuery{From: "dc2", Scope: catalog.KVScope{Prefixes: []string{"a/"}}, Keys: make([]string, 5000)})
	})
}

// TestOneSource: entries that would bring one key from two sides are refused, and the error names the other one.
func TestOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, "dc1", 100)
		f := func(says string, e catalog.KVReplication) {
			t.Helper()
			err := p.replicate(e)
			if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
				t.Errorf("%v, want %q", err, says)
			}
		}
		entry := func(name, source string, targets []string, exclude string, prefixes ...string) catalog.KVReplication {
			e := catalog.KVReplication{EntryHead: catalog.EntryHead{Name: name}, Source: source, Targets: targets, Prefixes: prefixes}
			if exclude != "" {
				e.Exclude = []string{exclude}
			}
			return e
		}
		f("", entry("a", "dc1", nil, "", "config/"))
		f("", entry("a", "dc1", nil, "", "config/", "more/")) // itself is in nobody's way
		f("kv-replication/a, which brings it from dc1: each key has one source", entry("b", "dc2", nil, "", "config/app/"))
		f("kv-replication/a, which brings it from dc1", entry("b", "dc2", []string{"dc1"}, "", "conf"))
		f("kv-replication/a, which brings it from there too", entry("b", "dc1", []string{"dc3"}, "", "config/app/"))
		f("kv-replication/a", entry("b", "dc2", nil, "", ""))
		f("", entry("a", "dc1", []string{"dc3"}, "config/app/", "config/"))
		f("", entry("b", "dc2", nil, "", "config/app/"))
		f("", entry("c", "dc1", []string{"dc2"}, "config/app/", "config/"))
		f("kv-replication/b", entry("a", "dc1", nil, "", "config/"))

		f("Source is missing", entry("x", "", nil, "", "x/"))
		f("is no name of a datacenter", entry("x", "dc 1", nil, "", "x/"))
		f("a datacenter copies no keys from itself", entry("x", "DC1", []string{"dc1"}, "", "x/"))
		f("is there twice", entry("x", "dc1", []string{"dc2", "dc2"}, "", "x/"))
		f("Prefixes is empty", entry("x", "dc1", nil, ""))
		f("the shorter one is enough", entry("x", "dc1", nil, "", "x/", "x/y"))
		f("must not begin with a slash", entry("x", "dc1", nil, "", "/x"))
		f("leaves nothing", entry("x", "dc1", nil, "x", "x/"))
		f("excludes nothing", entry("x", "dc1", nil, "y/", "x/"))
		f("has 513 bytes", entry("x", "dc1", nil, "", strings.Repeat("x", 513)))
		e := entry("x", "dc1", nil, "", "x/")
		e.Conflict = "newest"
		f(`Conflict "newest" is none of keep, source`, e)
		e.Conflict, e.Deletions = "", "later"
		f(`Deletions "later" is none of copy, keep`, e)
		e.Deletions, e.MaxDeletions = "", -1
		f("MaxDeletions -1 is negative", e)
	})
}

// TestHalfCopiedEntries: where entries meet that nobody could write together, none of them copies anything.
func TestHalfCopiedEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, three := newPlace(t, "dc1", 100), newPlace(t, "dc2", 10), newPlace(t, "dc3", 10)
		one.kv(t, api.KVSet, "a/1", "x")
		three.kv(t, api.KVSet, "a/2", "x")
		var rows catalog.ReplicaRows
		for name, source := range map[string]string{"x": "dc1", "y": "dc3"} {
			e := &catalog.KVReplication{EntryHead: catalog.EntryHead{Kind: catalog.EntryKVReplication, Name: name}, Source: source, Prefixes: []string{"a/"}}
			e.Normalize()
			rows.Entries = append(rows.Entries, catalog.AnyOf(e))
		}
		if _, _, err := api.ReplicaApply.Call(t.Context(), two.Registry, rpc.Header{}, &api.ReplicaWrite{Kind: catalog.ReplicaEntries, Rows: rows}); err != nil {
			t.Fatal(err)
		}
		k, _ := keysOf(t, two, ways{"dc1": {to: one}, "dc3": {to: three}})
		settle(time.Minute)
		list, _ := k.Progress()
		if len(list) != 2 || !strings.Contains(list[0].LastErrorMessage, "kv-replication/y") || !strings.Contains(list[1].LastErrorMessage, "kv-replication/x") || two.pairs("") != "" {
			t.Errorf("%+v %s", list, two.pairs(""))
		}
		if _, _, err := api.ReplicaApply.Call(t.Context(), two.Registry, rpc.Header{}, &api.ReplicaWrite{Kind: catalog.ReplicaEntries, Drop: []string{"kv-replication/y"}}); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		alike(t, one, two, "")
	})
}

// TestStaleEntry: what was made by an entry as it was before is not stored any more.
func TestStaleEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, "dc2", 10)
		p.mustReplicate(t, catalog.KVReplication{EntryHead: catalog.EntryHead{Name: "keys"}, Source: "dc1", Prefixes: []string{"a/"}})
		_, _, err := api.KVCopyApply.Call(t.Context(), p.Registry, rpc.Header{}, &api.KVCopyWrite{Entry: "keys", Index: 1, Rows: []*catalog.KVPair{{Key: "a/1"}}})
		if catalog.CodeOf(err) != catalog.Conflict || p.pairs("") != "" {
			t.Errorf("%v %s", err, p.pairs(""))
		}
	})
}

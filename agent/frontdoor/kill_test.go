package frontdoor_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/server/raftstore"
)

// ledger is what an agent has acknowledged, over all its lives.
type ledger struct {
	mu       sync.Mutex
	keys     map[string]string // value by key
	locks    map[string]string // session by key
	sessions map[string]bool
	services map[string]bool
	nodes    map[string]bool
	counter  int // of the key that is only written by CAS
	acks     chan struct{}
}

func newLedger() *ledger {
	return &ledger{keys: map[string]string{}, locks: map[string]string{}, sessions: map[string]bool{}, services: map[string]bool{}, nodes: map[string]bool{}}
}

// acked notes an acknowledged write. It returns true.
func (l *ledger) acked(note func()) bool {
	l.mu.Lock()
	note()
	l.mu.Unlock()
	select {
	case l.acks <- struct{}{}:
	default: // there are more than anyone waits for
	}
	return true
}

// load writes from all sides until the agent is gone. round makes names unique.
func (l *ledger) load(ctx context.Context, c testkit.Client, round int) *sync.WaitGroup {
	var wait sync.WaitGroup
	put := func(path, body string) (answer string, ok bool) {
		r, err := c.Ask(ctx, http.MethodPut, path, body)
		return r.Body, err == nil && r.Status == http.StatusOK
	}
	// Each worker ends with the first request that is not answered well.
	worker := func(step func(i int) bool) {
		wait.Go(func() {
			for i := 0; step(i); i++ {
			}
		})
	}
	for w := range 3 {
		worker(func(i int) bool {
			key, value := fmt.Sprintf("put/%d/%d/%d", round, w, i), fmt.Sprint(rand.Uint64())
			_, ok := put("/v1/kv/"+key, value)
			return ok && l.acked(func() { l.keys[key] = value })
		})
	}
	worker(func(int) bool {
		r, err := c.Ask(ctx, http.MethodGet, "/v1/kv/counter", "")
		if err != nil || r.Status != http.StatusOK {
			return false
		}
		l.mu.Lock()
		next := l.counter + 1
		l.mu.Unlock()
		done, ok := put(fmt.Sprintf("/v1/kv/counter?cas=%d", r.Index()), strconv.Itoa(next))
		return ok && done == "true" && l.acked(func() { l.counter = next })
	})
	worker(func(i int) bool { return l.lock(put, fmt.Sprintf("lock/%d/%d", round, i), i%3 == 0) })
	worker(func(i int) bool {
		id := fmt.Sprintf("service-%d-%d", round, i)
		_, ok := put("/v1/agent/service/register", fmt.Sprintf(`{"ID": %q, "Name": "web", "Check": {"TTL": "1h", "Status": "passing"}}`, id))
		return ok && l.acked(func() { l.services[id] = true })
	})
	worker(func(i int) bool {
		node := fmt.Sprintf("node-%d-%d", round, i)
		_, ok := put("/v1/catalog/register", fmt.Sprintf(`{"Node": %q, "Address": "10.0.0.1"}`, node))
		return ok && l.acked(func() { l.nodes[node] = true })
	})
	worker(func(int) bool { // Raft takes snapshots and compacts its log meanwhile
		_, err := c.Ask(ctx, http.MethodGet, "/v1/snapshot", "")
		return err == nil
	})
	return &wait
}

// lock makes a session, takes a key with it and perhaps gives it back.
func (l *ledger) lock(put func(path, body string) (string, bool), key string, release bool) bool {
	created, ok := put("/v1/session/create", `{"LockDelay": "0s"}`)
	_, rest, _ := strings.Cut(created, `:"`)
	id, _, found := strings.Cut(rest, `"`)
	if !ok || !found {
		return false
	}
	l.acked(func() { l.sessions[id] = true })
	if done, ok := put("/v1/kv/"+key+"?acquire="+id, "held"); !ok || done != "true" {
		return false
	}
	l.acked(func() { l.locks[key] = id })
	if !release {
		return true
	}
	done, ok := put("/v1/kv/"+key+"?release="+id, "free")
	return ok && done == "true" && l.acked(func() { l.locks[key] = "" })
}

// verify wants everything that was acknowledged.
func (l *ledger) verify(t testing.TB, c testkit.Client) {
	t.Helper()
	var pairs []struct {
		Key, Session string
		Value        []byte
	}
	c.Get(t, "/v1/kv/?recurse").JSON(t, &pairs)
	values, holders := map[string]string{}, map[string]string{}
	for _, p := range pairs {
		values[p.Key], holders[p.Key] = string(p.Value), p.Session
	}
	for key, value := range l.keys {
		if values[key] != value {
			t.Errorf("key %s is %q, acknowledged was %q", key, values[key], value)
		}
	}
	for key, session := range l.locks {
		// A release that nobody acknowledged may have happened.
		if now := holders[key]; now != session && (session == "" || values[key] != "free") {
			t.Errorf("lock %s is held by %q, acknowledged was %q", key, now, session)
		}
	}
	switch now, err := strconv.Atoi(values["counter"]); {
	case err != nil || now < l.counter || now > l.counter+1:
		t.Errorf("the counter is %q, acknowledged was %d", values["counter"], l.counter)
	default:
		l.counter = now
	}
	var sessions []struct{ ID string }
	c.Get(t, "/v1/session/list").JSON(t, &sessions)
	for id := range l.sessions {
		if !slices.ContainsFunc(sessions, func(s struct{ ID string }) bool { return s.ID == id }) {
			t.Errorf("session %s is lost", id)
		}
	}
	services := c.Get(t, "/v1/agent/services").Body
	catalog := c.Until(t, "/v1/health/service/web", func(r testkit.Reply) bool {
		return !slices.ContainsFunc(slices.Collect(keysOf(l.services)), func(id string) bool { return !strings.Contains(r.Body, `"ID":"`+id+`"`) })
	})
	for id := range l.services {
		if !strings.Contains(services, `"`+id+`":`) || !strings.Contains(catalog.Body, `"CheckID":"service:`+id+`"`) {
			t.Errorf("service %s is lost", id)
		}
	}
	nodes := c.Get(t, "/v1/catalog/nodes").Body
	for node := range l.nodes {
		if !strings.Contains(nodes, `"`+node+`"`) {
			t.Errorf("node %s is lost", node)
		}
	}
}

func keysOf(m map[string]bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// term is Raft's present term.
func term(t testing.TB, c testkit.Client) uint64 {
	t.Helper()
	var self struct {
		Stats struct {
			Raft struct{ Term string } `json:"raft"`
		}
	}
	c.Get(t, "/v1/agent/self").JSON(t, &self)
	n, err := strconv.ParseUint(self.Stats.Raft.Term, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A server that is killed at any moment has everything that it acknowledged when it is back, and never
// votes twice in a term.
func TestKills(t *testing.T) {
	n := testkit.New(t, testkit.Settings{
		"log_level": "info", "raft_trailing_logs": 50, "raft_logstore": testkit.Settings{"wal": testkit.Settings{"segment_size_mb": 1}},
	})
	p := n.Spawn(t)
	p.Put(t, "/v1/kv/counter", "0")
	l := newLedger()
	last := term(t, p.Client)
	var starts []time.Duration
	for round := range figure(10, 100) {
		l.acks = make(chan struct{}, 1000)
		load := l.load(t.Context(), p.Client, round)
		for range 20 + rand.N(150) {
			select {
			case <-l.acks:
			case <-time.After(patience):
				t.Fatalf("round %d: no more acknowledgements; the end of the log:\n%s", round, p.Log.Tail())
			}
		}
		p.Kill(t)
		load.Wait()
		start := time.Now()
		p = n.Spawn(t)
		starts = append(starts, time.Since(start))
		now := term(t, p.Client)
		if now <= last {
			t.Errorf("round %d: term %d after term %d: a vote is lost", round, now, last)
		}
		last = now
		l.verify(t, p.Client)
		if t.Failed() {
			t.Fatalf("round %d; the end of the log:\n%s", round, p.Log.Tail())
		}
	}
	slices.Sort(starts)
	median := starts[len(starts)/2]
	t.Logf("%d keys, %d locks, %d services acknowledged; half of the starts took %v or less", len(l.keys), len(l.locks), len(l.services), median)
	p.Stop(t)
	disk, err := raftstore.Open(n.Data()+"/raft/log/wal", raftstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	voted, err := disk.GetUint64([]byte("LastVoteTerm"))
	if err != nil || voted != last {
		t.Errorf("the vote on disk is of term %d, %v; want %d", voted, err, last)
	}
}

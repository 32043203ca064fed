package server_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

func TestCallsWaitForTheLeaderToBeReadyAgain(t *testing.T) {
	s, _ := start(t, "")
	s.Notice(false)
	done := make(chan struct{})
	go func() { defer close(done); put(t, s, "a", "1") }()
	s.Notice(true)
	<-done
	for range 50 { // terms that are over before their duties have begun
		s.Notice(false)
		s.Notice(true)
	}
	put(t, s, "a", "2")
}

// Raft waits for whoever takes its notices.
func TestNoticesAreTakenWhileTheDutiesAreBusy(t *testing.T) {
	busy, release := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	s, _ := start(t, "", func(c *server.Config) {
		members := c.Members
		c.Members = func() []gossip.Member {
			if armed.CompareAndSwap(true, false) {
				close(busy)
				<-release
			}
			return members()
		}
	})
	armed.Store(true)
	s.Observe()
	<-busy
	for range 100 {
		s.Notice(false)
		s.Notice(true)
	}
	close(release)
	put(t, s, "a", "1")
}

// pool is a LAN pool that the test changes.
type pool struct {
	mu      sync.Mutex
	members []gossip.Member
}

func (p *pool) list() []gossip.Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.members)
}

func (p *pool) set(s *server.Server, members ...gossip.Member) {
	p.mu.Lock()
	p.members = append([]gossip.Member{member("one", gossip.StatusAlive)}, members...)
	p.mu.Unlock()
	if s != nil {
		s.Observe()
	}
}

// health blocks until the health that gossip gives a node is want; empty is no node.
func health(t *testing.T, s *server.Server, node string, want catalog.Status) {
	t.Helper()
	for index := uint64(0); ; {
		checks, meta, err := api.HealthNode.Call(t.Context(), s.Caller(), rpc.Header{MinIndex: index}, &api.NodeQuery{Node: node})
		if err != nil {
			t.Fatal(err)
		}
		got := catalog.Status("")
		for _, c := range *checks {
			if c.CheckID == catalog.SerfHealth {
				got = c.Status
			}
		}
		if got == want {
			return
		}
		index = meta.Index
	}
}

// TestMassFailure: nodes that gossip has forgotten are removed, but not while most have failed.
func TestMassFailure(t *testing.T) {
	p := &pool{}
	p.set(nil)
	s, _ := start(t, "", func(c *server.Config) { c.Members, c.ReapMaxFailed = p.list, 50 })
	all := func(status gossip.Status, names ...string) (members []gossip.Member) {
		for _, name := range names {
			m := member(name, status)
			m.Tags["id"] = fmt.Sprintf("9e0e0bd1-0000-4000-8000-%012x", name)
			members = append(members, m)
		}
		return members
	}
	p.set(s, all(gossip.StatusAlive, "a", "b", "c", "d", "e", "f", "g", "h", "i")...)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		health(t, s, name, catalog.Passing)
	}
	// Of ten, three are forgotten: they are removed.
	p.set(s, all(gossip.StatusAlive, "d", "e", "f", "g", "h", "i")...)
	for _, name := range []string{"a", "b", "c"} {
		health(t, s, name, "")
	}
	// Of the seven that are left, one is forgotten and four have failed: it stays.
	p.set(s, append(all(gossip.StatusAlive, "i"), all(gossip.StatusFailed, "e", "f", "g", "h")...)...)
	for _, name := range []string{"e", "f", "g", "h"} {
		health(t, s, name, catalog.Critical)
	}
	p.set(s, append(all(gossip.StatusAlive, "i", "last"), all(gossip.StatusFailed, "e", "f", "g", "h")...)...)
	health(t, s, "last", catalog.Passing) // all were looked at before
	if check := state.Check(s.Store().Read(), nil, "d", catalog.SerfHealth); check == nil {
		t.Error("a node was removed while five of seven had failed")
	}
	// Two come back: no more than half have failed, and the forgotten one goes.
	p.set(s, append(all(gossip.StatusAlive, "g", "h", "i", "last"), all(gossip.StatusFailed, "e", "f")...)...)
	health(t, s, "d", "")
}

func TestCatalogFollowsTheMembers(t *testing.T) {
	p := &pool{}
	p.set(nil)
	s, _ := start(t, "", func(c *server.Config) { c.Members = p.list })
	p.set(s, member("two", gossip.StatusAlive))
	health(t, s, "two", catalog.Passing)
	p.set(s, member("two", gossip.StatusFailed))
	health(t, s, "two", catalog.Critical)
	p.set(s, member("two", gossip.StatusAlive))
	health(t, s, "two", catalog.Passing)
	p.set(s, member("two", gossip.StatusLeft))
	health(t, s, "two", "")
	p.set(s, member("two", gossip.StatusAlive))
	health(t, s, "two", catalog.Passing)
	p.set(s) // pruned
	health(t, s, "two", "")

	moved := member("three", gossip.StatusAlive)
	p.set(s, moved)
	health(t, s, "three", catalog.Passing)
	moved.Addr = moved.Addr.Next()
	p.set(s, moved)
	for index := uint64(0); ; {
		nodes, meta, err := api.Nodes.Call(t.Context(), s.Caller(), rpc.Header{MinIndex: index}, &api.NodeQuery{Node: "three"})
		if err != nil || len(*nodes) != 1 {
			t.Fatal(nodes, err)
		}
		if (*nodes)[0].Address == moved.Addr.String() {
			break
		}
		index = meta.Index
	}
}

// A server that starts knows its members one after the other. Those it does not know yet must not lose
// what they have in the catalog.
func TestNodesThatGossipDoesNotKnowYetStay(t *testing.T) {
	dir, p := t.TempDir(), &pool{}
	p.set(nil, member("two", gossip.StatusAlive))
	follow := func(c *server.Config) { c.Members = p.list }
	s, stop := start(t, dir, follow)
	health(t, s, "two", catalog.Passing)
	stop()
	p.set(nil)
	s, _ = start(t, dir, follow)
	p.set(s, member("three", gossip.StatusAlive))
	health(t, s, "three", catalog.Passing)
	p.set(s)
	health(t, s, "three", "") // another look at all members has been
	health(t, s, "two", catalog.Passing)
}

// Names that differ in case are one to the catalog.
func TestServerKeepsItsNodeWhateverItsNameLooksLike(t *testing.T) {
	p := &pool{}
	p.set(nil)
	s, _ := start(t, "", func(c *server.Config) { c.Members = p.list })
	req := &api.RegisterRequest{Node: "ONE", Address: "127.0.0.1", ID: "9e0e0bd1-0000-4000-8000-000000000001",
		Checks: []*catalog.Check{{Node: "ONE", CheckID: catalog.SerfHealth, Name: catalog.SerfHealthName, Status: catalog.Passing}}}
	if _, _, err := api.Register.Call(t.Context(), s.Caller(), rpc.Header{}, req); err != nil {
		t.Fatal(err)
	}
	nodes, before, err := api.Nodes.Call(t.Context(), s.Caller(), rpc.Header{}, &api.NodeQuery{})
	if err != nil || len(*nodes) != 1 {
		t.Fatal(nodes, err)
	}
	created := (*nodes)[0].CreateIndex
	p.set(s, member("two", gossip.StatusAlive))
	health(t, s, "two", catalog.Passing)
	p.set(s)
	health(t, s, "two", "")
	nodes, _, err = api.Nodes.Call(t.Context(), s.Caller(), rpc.Header{}, &api.NodeQuery{Node: "one"})
	if err != nil || len(*nodes) != 1 || (*nodes)[0].CreateIndex != created {
		t.Errorf("the server's own node was removed for a while: %v, %v (index was %d)", (*nodes), err, before.Index)
	}
}

// Whoever writes the server's own node does it after gossip's entry is there, however early it comes: so what
// the agent adds is a later change.
func TestOwnNodeIsInTheCatalogBeforeAnybodyWrites(t *testing.T) {
	for range 5 {
		kick := make(chan struct{}, 64)
		cfg := config("")
		cfg.LeaderChanged = func() { kick <- struct{}{} }
		s, err := server.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		write := func() {
			req := &api.RegisterRequest{Node: "one", ID: cfg.NodeID, Address: "127.0.0.1", TaggedAddresses: map[string]string{"lan": "127.0.0.1"}}
			if _, _, err := api.Register.Call(t.Context(), s.Caller(), rpc.Header{}, req); err != nil {
				t.Error(err)
			}
		}
		for range 4 {
			wait.Go(write)
		}
		wait.Go(func() { <-kick; write() })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		wait.Wait()
		nodes, _, err := api.Nodes.Call(t.Context(), s.Caller(), rpc.Header{}, &api.NodeQuery{Node: "one"})
		if err != nil || len(*nodes) != 1 || (*nodes)[0].ModifyIndex <= (*nodes)[0].CreateIndex {
			t.Errorf("%+v, %v", (*nodes)[0], err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestBackupOfAnotherMachineOfTheSameNameIsTakenOver(t *testing.T) {
	other, _ := start(t, "", func(c *server.Config) {
		m := member("one", gossip.StatusAlive)
		m.Tags["id"], c.NodeID = "9e0e0bd1-0000-4000-8000-0000000000ff", "9e0e0bd1-0000-4000-8000-0000000000ff"
		c.Members = func() []gossip.Member { return []gossip.Member{m} }
	})
	saved, _ := save(t, other)
	s, _ := start(t, "")
	if err := restore(t, s, saved); err != nil {
		t.Fatal(err)
	}
	for index := uint64(0); ; {
		nodes, meta, err := api.Nodes.Call(t.Context(), s.Caller(), rpc.Header{MinIndex: index}, &api.NodeQuery{Node: "one"})
		if err != nil {
			t.Fatal(err)
		}
		if len(*nodes) == 1 && (*nodes)[0].ID == member("one", gossip.StatusAlive).Tags["id"] {
			break
		}
		index = meta.Index
	}
	health(t, s, "one", catalog.Passing)
}

func TestServerEndsWhileItStarts(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		s, err := server.Open(config(t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), after)
		if err := s.Run(ctx); err != nil {
			t.Errorf("ended after %v: %v", after, err)
		}
		cancel()
	}
}

// Entries of the configuration are written by a new leader where there are none, and only there.
func TestEntriesOfTheConfiguration(t *testing.T) {
	entry := func(name, protocol string) *catalog.ServiceDefaults {
		e := &catalog.ServiceDefaults{Protocol: protocol}
		e.Kind, e.Name = catalog.EntryServiceDefaults, name
		e.Normalize()
		return e
	}
	splitter := &catalog.ServiceSplitter{Splits: []catalog.ServiceSplit{{Weight: 100}}} // of a service that speaks tcp
	splitter.Kind, splitter.Name = catalog.EntryServiceSplitter, "plain"
	splitter.Normalize()
	s, _ := start(t, "", func(c *server.Config) {
		c.Entries = []catalog.ConfigEntry{entry("web", "http"), splitter, entry("db", "tcp")}
	})
	put(t, s, "a", "1") // when the leader is there
	protocols := func() string {
		list, _, err := api.ConfigListAll.Call(t.Context(), s.Caller(), rpc.Header{}, &api.ConfigQuery{})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, a := range *list {
			e := a.Entry().(*catalog.ServiceDefaults)
			text += e.Name + " " + e.Protocol + ", "
		}
		return text
	}
	s.WaitLeading(t.Context())
	if got := protocols(); got != "db tcp, web http, " {
		t.Errorf("a new cluster has %s", got)
	}
	write := func(op api.ConfigOp, e catalog.ConfigEntry) {
		if _, _, err := api.ConfigApply.Call(t.Context(), s.Caller(), rpc.Header{}, &api.ConfigWrite{Op: op, Entry: *catalog.AnyOf(e)}); err != nil {
			t.Fatal(err)
		}
	}
	write(api.ConfigSet, entry("web", "grpc"))
	write(api.ConfigDelete, entry("db", ""))
	if err := s.Reload(server.SnapshotPace{}, []catalog.ConfigEntry{entry("web", "http"), entry("api", "http")}); err != nil {
		t.Fatal(err)
	}
	if got := protocols(); got != "web grpc, " {
		t.Errorf("a leader that goes on leading has %s", got)
	}
	s.Notice(false)
	s.Notice(true)
	watch := state.Watch{}
	for e, _ := state.ConfigEntry(s.Store().Read(), &watch, catalog.EntryServiceDefaults, "api"); e == nil; e, _ = state.ConfigEntry(s.Store().Read(), &watch, catalog.EntryServiceDefaults, "api") {
		if err := watch.Wait(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		watch = state.Watch{}
	}
	if got := protocols(); got != "api http, web grpc, " {
		t.Errorf("the next leader has %s", got)
	}
}

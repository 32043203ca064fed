package external

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// servers answer what a monitor asks, and remember what it writes.
type servers struct {
	mu      sync.Mutex
	index   uint64
	found   api.External
	changed chan struct{}
	written []string
}

func newServers(probers ...string) *servers {
	return &servers{index: 1, changed: make(chan struct{}), found: api.External{Probers: probers}}
}

func (s *servers) change(edit func(*api.External)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.found
	next.Nodes, next.Checks = append([]*catalog.Node{}, next.Nodes...), append([]*catalog.Check{}, next.Checks...)
	edit(&next)
	s.index++
	s.found = next
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *servers) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	switch req := call.Body.(type) {
	case *api.TxnRequest:
		c := req.Ops[0].Check.Check
		s.mu.Lock()
		s.written = append(s.written, fmt.Sprintf("%s/%s %s", c.Node, c.CheckID, c.Status))
		s.mu.Unlock()
		s.change(func(e *api.External) {
			c.ModifyIndex = s.index + 1
			for i, old := range e.Checks {
				if old.Node == c.Node && old.CheckID == c.CheckID {
					e.Checks[i] = &c
					return
				}
			}
			e.Checks = append(e.Checks, &c)
		})
		return rpc.Answer{Body: rpc.NewBody(&api.TxnReply{Results: []api.TxnResult{{Check: &c}}}, nil)}, nil
	case *api.DeregisterRequest:
		s.mu.Lock()
		s.written = append(s.written, "deregister "+req.Node+"/"+req.ServiceID)
		s.mu.Unlock()
		return rpc.Answer{Body: rpc.NewBody(&api.Nothing{}, nil)}, nil
	}
	for {
		s.mu.Lock()
		found, index, changed := s.found, s.index, s.changed
		s.mu.Unlock()
		if index > call.Header.MinIndex {
			return rpc.Answer{Meta: rpc.Meta{Index: index}, Body: rpc.NewBody(&found, nil)}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return rpc.Answer{}, ctx.Err()
		}
	}
}

func (s *servers) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.written, ", ")
}

// TestPinged: a node that wants it is pinged; one lost packet does not count, and who says no more that it
// wants it is left alone.
func TestPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		up, pings := map[string]bool{"10.0.0.1": true, "10.0.0.2": true}, map[string]int{}
		s := newServers("me")
		m := New(Deps{Caller: s, Node: "me", Token: func() string { return "" }, Ping: func(_ context.Context, address string) bool {
			mu.Lock()
			defer mu.Unlock()
			pings[address]++
			return up[address]
		}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		step := func(what string, span time.Duration, want string) {
			t.Helper()
			time.Sleep(span)
			synctest.Wait()
			if got := s.log(); got != want {
				t.Fatalf("%s: written %q, want %q", what, got, want)
			}
		}
		s.change(func(e *api.External) {
			e.Nodes = []*catalog.Node{
				{Node: "a", Address: "10.0.0.1", Meta: map[string]string{api.ExternalNode: "true", api.ExternalProbe: "true"}},
				{Node: "b", Address: "10.0.0.2", Meta: map[string]string{api.ExternalNode: "true"}},
			}
		})
		step("the first ping", 5*time.Second, "a/externalNodeHealth passing")
		step("nothing new", time.Minute, "a/externalNodeHealth passing")
		set := func(address string, there bool) { mu.Lock(); up[address] = there; mu.Unlock() }
		set("10.0.0.1", false)
		step("one lost", pingEvery, "a/externalNodeHealth passing")
		set("10.0.0.1", true)
		step("back again", pingEvery, "a/externalNodeHealth passing")
		set("10.0.0.1", false)
		step("gone", 2*pingEvery+time.Second, "a/externalNodeHealth passing, a/externalNodeHealth critical")
		s.change(func(e *api.External) { e.Nodes = e.Nodes[1:] })
		synctest.Wait()
		time.Sleep(2 * lookPause)
		mu.Lock()
		before := pings["10.0.0.1"]
		mu.Unlock()
		time.Sleep(time.Minute)
		mu.Lock()
		if pings["10.0.0.1"] != before || pings["10.0.0.2"] != 0 {
			t.Errorf("pinged %v, %d of them before", pings, before)
		}
		mu.Unlock()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestOwner: each node has one prober; when one goes, only its nodes change hands, and all probers get a
// fair share.
func TestOwner(t *testing.T) {
	all := []string{"s1", "s2", "s3"}
	counts, moved := map[string]int{}, 0
	const nodes = 3000
	for i := range nodes {
		node := fmt.Sprintf("node-%d", i)
		was := owner(node, all)
		counts[was]++
		if again := owner(strings.ToUpper(node), []string{"s3", "s1", "s2"}); again != was {
			t.Fatalf("%s: %s, in another order %s", node, was, again)
		}
		now := owner(node, all[:2])
		if was != "s3" && now != was {
			t.Fatalf("%s went from %s to %s although that is there", node, was, now)
		}
		if was != now {
			moved++
		}
	}
	for _, p := range all {
		if n := counts[p]; n < nodes/3*8/10 || n > nodes/3*12/10 {
			t.Errorf("%s has %d of %d nodes", p, n, nodes)
		}
	}
	if moved != counts["s3"] {
		t.Errorf("%d nodes moved, s3 had %d", moved, counts["s3"])
	}
	if got := owner("a", nil); got != "" {
		t.Errorf("without probers it is %q", got)
	}
}

// TestNotMine: what is another prober's, has no definition or would run a program is left alone.
func TestNotMine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers("other")
		m := New(Deps{Caller: s, Node: "me", Token: func() string { return "" }})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		tcp := &catalog.CheckDefinition{TCP: "127.0.0.1:1", Interval: catalog.Duration(time.Second)}
		s.change(func(e *api.External) {
			e.Nodes = []*catalog.Node{{Node: "a", Meta: map[string]string{api.ExternalNode: "true"}}}
			e.Checks = []*catalog.Check{{Node: "a", CheckID: "t", Status: catalog.Passing, Definition: tcp}}
		})
		synctest.Wait()
		time.Sleep(time.Minute)
		if n := m.set.Counts(); len(n) != 0 {
			t.Errorf("checks of another: %v", n)
		}
		s.change(func(e *api.External) {
			e.Probers = []string{"me"}
			e.Checks = []*catalog.Check{
				{Node: "a", CheckID: "script", Definition: &catalog.CheckDefinition{ScriptArgs: []string{"/bin/true"}}},
				{Node: "a", CheckID: "both", Definition: &catalog.CheckDefinition{TCP: "127.0.0.1:1", ScriptArgs: []string{"/bin/true"}}},
				{Node: "a", CheckID: "nothing", Definition: &catalog.CheckDefinition{}},
				{Node: "a", CheckID: "ttl", Definition: &catalog.CheckDefinition{TTL: 1}},
				{Node: "b", CheckID: "stranger", Definition: tcp},
			}
		})
		synctest.Wait()
		time.Sleep(time.Minute)
		if n := m.set.Counts(); len(n) != 0 || s.log() != "" {
			t.Errorf("checks that must not be made: %v, written %s", n, s.log())
		}
		stop()
		<-done
	})
}

package frontdoor_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// A cluster of three goes on while its servers are killed, restarted, leave and come back.
func TestClusterOfThree(t *testing.T) {
	all := testkit.NewCluster(t, 3, nil).Spawn(t)
	for i, p := range all {
		p.Put(t, fmt.Sprint("/v1/kv/k", i), p.Get(t, "/v1/status/leader").Body)
	}
	leader, others := testkit.Leader(t, all[0], all...)
	for _, p := range all {
		p.Until(t, "/v1/catalog/nodes", func(r testkit.Reply) bool { return strings.Count(r.Body, `"Node":"s`) == 3 })
		p.Until(t, "/v1/health/service/consul?passing", func(r testkit.Reply) bool { return strings.Count(r.Body, `"Node":"s`) > 3 })
		r := p.Get(t, "/v1/kv/k1?consistent")
		if r.Header.Get("X-Consul-KnownLeader") != "true" || r.Header.Get("X-Consul-LastContact") != "0" {
			t.Errorf("a consistent read says %v", r.Header)
		}
		if r := p.Get(t, "/v1/kv/?recurse&stale"); r.Header.Get("X-Consul-KnownLeader") != "true" {
			t.Errorf("a stale read says %v", r.Header)
		}
	}

	// A session made at one follower holds a lock that another one sees; a transaction at a follower.
	var session struct{ ID string }
	others[0].Put(t, "/v1/session/create", "").JSON(t, &session)
	if r := others[1].Put(t, "/v1/kv/lock?acquire="+session.ID, "x"); r.Body != "true" {
		t.Errorf("the lock was not acquired: %s", r.Body)
	}
	others[0].Put(t, "/v1/txn", `[{"KV":{"Verb":"set","Key":"t","Value":"YQ=="}}]`)
	archive := others[1].Get(t, "/v1/snapshot").Body

	// The leader is killed: whoever asks waits for the next one, and a reader that blocks is not told an error.
	index := others[0].Get(t, "/v1/kv/k0").Index()
	blocked := make(chan testkit.Reply, 1)
	go func() {
		r, err := others[0].Ask(t.Context(), http.MethodGet, fmt.Sprint("/v1/kv/k0?wait=25s&index=", index), "")
		if err != nil {
			t.Error(err)
		}
		blocked <- r
	}()
	leader.Kill(t)
	others[1].Get(t, "/v1/kv/k0?consistent") // which is asked again when its connection dies: a write may not be
	others[1].Put(t, "/v1/kv/k0", "1")
	others[1].Put(t, "/v1/kv/watched", "1")
	if r := <-blocked; r.Status >= http.StatusInternalServerError {
		t.Errorf("who waited through the election got %d %s", r.Status, r.Body)
	}
	leader = leader.Node.Spawn(t)
	leader.Get(t, "/v1/kv/watched")
	all = append(others, leader)

	// A restore through a follower.
	leader.Do(t, http.MethodPut, "/v1/snapshot", archive).Want(t, http.StatusOK)
	leader.Do(t, http.MethodGet, "/v1/kv/watched", "").Want(t, http.StatusNotFound)

	// One leaves: the others go on without it. It comes back and has a vote again.
	leader, others = testkit.Leader(t, all[0], all...)
	if out, code := leader.Run(t, "leave"); code != 0 {
		t.Fatalf("leave: %d %s", code, out)
	}
	if code := leader.Exit(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, leader.Log.Tail())
	}
	if out, _ := others[0].Run(t, "operator", "raft", "list-peers"); strings.Count(out, " true ") != 2 {
		t.Errorf("after one has left:\n%s", out)
	}
	others[0].Put(t, "/v1/kv/two", "1")
	next, _ := testkit.Leader(t, others[0], others...)
	back := leader.Node.Spawn(t)
	next.Log.Wait(t, "step=promote server="+strings.TrimSpace(nodeName(t, back)))
	back.Get(t, "/v1/kv/two")

	// A rolling restart.
	for _, p := range append(others, back) {
		p.Stop(t)
		p = p.Node.Spawn(t)
		p.Put(t, "/v1/kv/rolling", "1")
	}
}

func nodeName(t *testing.T, p *testkit.Process) string {
	t.Helper()
	var self struct{ Config struct{ NodeName string } }
	p.Get(t, "/v1/agent/self").JSON(t, &self)
	return self.Config.NodeName
}

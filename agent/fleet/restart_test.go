package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

// What was registered with a client agent, and how its checks were, is there again after a crash. Meanwhile the
// servers say that the agent is not there.
func TestClientCrash(t *testing.T) {
	s, c := fleet(t, nil)
	c.Put(t, "/v1/agent/service/register", `{"Name": "web", "Port": 80, "Check": {"CheckID": "up", "TTL": "1h"}}`)
	c.Put(t, "/v1/agent/check/warn/up?note=careful", "")
	state := func(want ...string) {
		t.Helper()
		s.Until(t, "/v1/health/node/c1", func(r testkit.Reply) bool {
			var checks []struct{ CheckID, Status, Output string }
			r.JSON(t, &checks)
			var is []string
			for _, k := range checks {
				is = append(is, k.CheckID+" "+k.Status)
			}
			return strings.Join(is, ", ") == strings.Join(want, ", ")
		})
	}
	state("serfHealth passing", "up warning")
	before := s.Get(t, "/v1/catalog/service/web").Body
	c.Kill(t)
	state("serfHealth critical", "up warning")
	c = c.Node.Spawn(t)
	state("serfHealth passing", "up warning")
	if after := s.Get(t, "/v1/catalog/service/web").Body; after != before {
		t.Errorf("the service after the restart: %s\nbefore: %s", after, before)
	}
	if checks := c.Get(t, "/v1/agent/checks").Body; !strings.Contains(checks, `"careful"`) {
		t.Errorf("checks after the restart: %s", checks)
	}
}

// While servers are killed one after the other, when the last one is back, no stale read and no DNS
// question at a client agent fails; consistent reads wait for the next leader, and writes go on.
func TestServersCrashInTurn(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take their time")
	}
	cluster := testkit.NewCluster(t, 3, nil)
	servers := cluster.Spawn(t)
	c := cluster[0].Join(t, "c1", testkit.Settings{"performance": testkit.Settings{"rpc_hold_timeout": "20s"}}).Spawn(t)
	c.Put(t, "/v1/agent/service/register", `{"Name": "web", "Port": 80}`)
	for _, s := range servers {
		s.Until(t, "/v1/health/service/web?stale", func(r testkit.Reply) bool { return r.Body != "[]" })
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 2)
	count := func(ask func() error) { // until ctx ends
		n := 0
		for ctx.Err() == nil {
			if err := ask(); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("after %d answers: %w", n, err)
				return
			}
			n++
		}
		failed <- nil
	}
	go count(func() error {
		r, err := c.Ask(ctx, "GET", "/v1/health/service/web?stale", "")
		if err == nil && (r.Status != http.StatusOK || !strings.Contains(r.Body, `"web"`)) {
			err = fmt.Errorf("status %d: %s", r.Status, r.Body)
		}
		return err
	})
	go count(func() error {
		m, err := dns.ExchangeContext(ctx, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeSRV), fmt.Sprintf("127.0.0.1:%d", c.DNS))
		if err == nil && len(m.Answer) != 1 {
			err = errors.New(m.String())
		}
		return err
	})
	for i, s := range servers {
		s.Kill(t)
		c.Get(t, "/v1/catalog/nodes?consistent") // held until there is a leader, and asked again if its connection dies
		c.Put(t, "/v1/kv/round", fmt.Sprint(i))
		servers[i] = s.Node.Spawn(t)
		if got := servers[i].Get(t, "/v1/health/service/web?stale").Body; got == "[]" {
			t.Error("a server that is back answers before it knows what it knew")
		}
		if got := c.Get(t, "/v1/kv/round?raw").Body; got != fmt.Sprint(i) {
			t.Errorf("the key after round %d: %q", i, got)
		}
	}
	cancel()
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// When the process of the leader dies, the others see that its port is closed, and do not wait until it seems silent,
// which with these settings takes 7.5 s.
func TestLeaderIsReplacedWhenItsProcessDies(t *testing.T) {
	if testing.Short() {
		t.Skip("the leader's lease has to run out")
	}
	servers := testkit.NewCluster(t, 3, testkit.Settings{"performance": testkit.Settings{"raft_multiplier": 10, "rpc_hold_timeout": "60s"}}).Spawn(t)
	leader, others := testkit.Leader(t, servers[0], servers...)
	others[0].Put(t, "/v1/kv/k", "before")
	leader.Kill(t)
	others[0].Get(t, "/v1/kv/k?consistent") // asked again when its connection dies, which a write is not
	others[0].Put(t, "/v1/kv/k", "after")
	for _, p := range others {
		if got := p.Get(t, "/v1/kv/k?consistent&raw").Body; got != "after" {
			t.Errorf("k = %q", got)
		}
		if log := p.Log.Tail(); strings.Contains(log, "heartbeat timeout reached") {
			t.Errorf("a server waited for its heartbeat timeout:\n%s", log)
		}
	}
}

// A server that is back knows the tokens before it says what one may do: neither is a good one refused, nor a deleted one
// good.
func TestServerThatIsBackKnowsTheTokens(t *testing.T) {
	const management = "5f3c2a10-0000-4000-8000-00000000feed"
	acl := testkit.Settings{"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"initial_management": management, "agent": management}}
	servers := testkit.NewCluster(t, 3, testkit.Settings{"acl": acl}).Spawn(t)
	leader, others := testkit.Leader(t, servers[0], servers...)
	members := func(p *testkit.Process, secret string) int {
		t.Helper()
		return p.Do(t, "GET", "/v1/agent/members", "", "X-Consul-Token", secret).Status
	}
	var token struct{ AccessorID, SecretID string }
	leader.Do(t, "PUT", "/v1/acl/token", `{"TemplatedPolicies": [{"TemplateName": "builtin/dns"}]}`, "X-Consul-Token", management).Want(t, http.StatusOK).JSON(t, &token)
	back := others[0]
	for range 3 {
		back.Kill(t)
		back = back.Node.Spawn(t)
		if status := members(back, token.SecretID); status != http.StatusOK {
			t.Fatalf("a token that is good: status %d", status)
		}
	}
	back.Kill(t)
	leader.Do(t, "DELETE", "/v1/acl/token/"+token.AccessorID, "", "X-Consul-Token", management).Want(t, http.StatusOK)
	back = back.Node.Spawn(t)
	if status := members(back, token.SecretID); status != http.StatusForbidden {
		t.Errorf("a token that was deleted meanwhile: status %d", status)
	}
}

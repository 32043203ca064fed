package fleet_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/rpc/gossip"
)

// What a client agent is asked it answers as its server does, and what is registered with it is in the catalog.
func TestClientAgent(t *testing.T) {
	s, c := fleet(t, nil)
	c.Put(t, "/v1/agent/service/register", `{"Name": "web", "Tags": ["a"], "Port": 80, "Check": {"CheckID": "up", "TTL": "1h", "Status": "passing"}}`)
	c.Put(t, "/v1/kv/key?flags=3", "value")
	c.Put(t, "/v1/catalog/register", `{"Node": "outside", "Address": "10.0.0.9", "Service": {"Service": "db", "Port": 5432}}`)
	c.Do(t, "POST", "/v1/query", `{"Name": "find", "Service": {"Service": "web"}}`).Want(t, http.StatusOK)
	c.Until(t, "/v1/health/node/c1", func(r testkit.Reply) bool { return strings.Contains(r.Body, `"serfHealth"`) })
	for _, path := range []string{
		"/v1/catalog/nodes", "/v1/catalog/services", "/v1/catalog/service/web", "/v1/catalog/node/c1", "/v1/catalog/node-services/c1", "/v1/catalog/datacenters",
		"/v1/health/service/web?passing", "/v1/health/service/web?stale", "/v1/health/service/web?consistent", "/v1/health/service/web?cached", "/v1/health/node/c1",
		"/v1/health/checks/web", "/v1/health/state/any", "/v1/kv/key", "/v1/kv/?recurse", "/v1/kv/?keys", "/v1/kv/nothing", "/v1/session/list", "/v1/query",
		"/v1/query/find/execute", "/v1/status/leader", "/v1/status/peers", "/v1/operator/raft/configuration", "/v1/operator/autopilot/configuration",
		"/v1/connect/ca/roots", "/v1/config/service-defaults", "/v1/coordinate/datacenters", "/v1/agent/members", "/v1/health/service/nothing", "/v1/nothing",
		"/v1/catalog/services?dc=far", "/v1/discovery-chain/web", "/v1/internal/ui/services", "/v1/catalog/nodes?near=c1",
	} {
		want, got := s.Do(t, "GET", path, ""), c.Do(t, "GET", path, "")
		if got.Status != want.Status || got.Body != want.Body || got.Index() != want.Index() {
			t.Errorf("%s: status %d, index %d: %s\nof the server: status %d, index %d: %s", path, got.Status, got.Index(), got.Body, want.Status, want.Index(), want.Body)
		}
	}
	var self struct {
		Config struct{ Server bool }
		Member struct{ Tags map[string]string }
		Stats  map[string]map[string]string
	}
	if c.Get(t, "/v1/agent/self").JSON(t, &self); self.Config.Server || self.Member.Tags["role"] != "node" || self.Stats["consul"]["known_servers"] != "1" {
		t.Errorf("/v1/agent/self: %+v", self)
	}
	if m := resolve(t, c.Node, "web.service.consul.", dns.TypeSRV); len(m.Answer) != 1 || m.Answer[0].(*dns.SRV).Port != 80 {
		t.Errorf("DNS: %v", m)
	}
}

// A client agent that is told to leave takes its node out of the catalog.
func TestClientLeaves(t *testing.T) {
	s, c := fleet(t, nil)
	s.Until(t, "/v1/catalog/nodes", func(r testkit.Reply) bool { return strings.Contains(r.Body, `"Node":"c1"`) })
	c.Stop(t) // by SIGTERM, at which clients leave
	s.Until(t, "/v1/catalog/nodes", func(r testkit.Reply) bool { return !strings.Contains(r.Body, `"Node":"c1"`) })
}

// Whoever tells an agent to leave over the API is answered when the others know that it has left, and then it ends.
func TestAgentIsToldToLeave(t *testing.T) {
	s, c := fleet(t, nil)
	s.Until(t, "/v1/catalog/nodes", func(r testkit.Reply) bool { return strings.Contains(r.Body, `"Node":"c1"`) })
	c.Put(t, "/v1/agent/leave", "")
	type member struct {
		Name   string
		Status gossip.Status
	}
	var members []member
	if s.Get(t, "/v1/agent/members").JSON(t, &members); !slices.Contains(members, member{"c1", gossip.StatusLeft}) {
		t.Errorf("members of the server: %+v", members)
	}
	if code := c.Exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.Until(t, "/v1/catalog/nodes", func(r testkit.Reply) bool { return !strings.Contains(r.Body, `"Node":"c1"`) })
}

// TestRPCRate: a client agent asks the servers no more than limits.rpc_rate lets it, and says so; a reload ends that.
func TestRPCRate(t *testing.T) {
	n := testkit.New(t, nil)
	n.Start(t)
	c := n.Join(t, "c1", testkit.Settings{"limits": testkit.Settings{"rpc_rate": 0.01, "rpc_max_burst": 100}})
	a := c.Start(t)
	refused := testkit.Reply{}
	for range 101 {
		if r := c.Do(t, "GET", "/v1/kv/none", ""); r.Status != 404 {
			refused = r
			break
		}
	}
	if refused.Status != 429 || !strings.Contains(refused.Body, "limits.rpc_rate") {
		t.Fatalf("status %d: %s", refused.Status, refused.Body)
	}
	counted := false
	for range 2 { // between counting and looking one interval of the metrics may end, and no more than one
		c.Do(t, "GET", "/v1/kv/none", "")
		counted = counted || strings.Contains(c.Get(t, "/v1/agent/metrics").Body, "client.rpc.exceeded")
	}
	if !counted {
		t.Error("it is not counted")
	}
	c.Configure(t, testkit.Settings{"limits": nil})
	a.Reload(t)
	for range 200 {
		c.Do(t, "GET", "/v1/kv/none", "").Want(t, 404)
	}
}

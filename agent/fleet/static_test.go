package fleet_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

// While no server can be reached, a client agent answers what it was asked before as it was told last, and says
// so. What is registered meanwhile is in the catalog when a server is back.
func TestServersAway(t *testing.T) {
	s, c := fleet(t, testkit.Settings{"performance": testkit.Settings{"rpc_hold_timeout": "500ms"}})
	c.Put(t, "/v1/agent/service/register", `{"Name": "web", "Port": 80, "Check": {"CheckID": "up", "TTL": "1h", "Status": "passing"}}`)
	c.Put(t, "/v1/kv/key", "value")
	paths := []string{
		"/v1/health/service/web?passing", "/v1/catalog/nodes", "/v1/catalog/services", "/v1/health/node/c1", "/v1/health/service/web?cached", "/v1/catalog/service/web?stale",
	}
	before := map[string]testkit.Reply{}
	for _, path := range paths {
		before[path] = c.Get(t, path)
	}
	c.Get(t, "/v1/kv/key")
	named := resolve(t, c.Node, "web.service.consul.", dns.TypeA)
	s.Kill(t)

	for _, noticed := range []bool{false, true} { // by gossip
		for _, path := range paths {
			r := c.Get(t, path)
			if r.Body != before[path].Body || r.Index() != before[path].Index() {
				t.Errorf("%s without servers: %s\nbefore: %s", path, r.Body, before[path].Body)
			}
			if h := r.Header; h.Get("X-Cache") != "HIT" || h.Get("Age") == "" || h.Get("X-Consul-KnownLeader") != "false" {
				t.Errorf("%s is not marked as old: %v", path, h)
			}
		}
		if m := resolve(t, c.Node, "web.service.consul.", dns.TypeA); len(m.Answer) != len(named.Answer) || m.Rcode != dns.RcodeSuccess {
			t.Errorf("DNS without servers: %v\nbefore: %v", m, named)
		}
		// What nobody knows, and what must be true now, has no answer.
		for _, path := range []string{"/v1/health/service/never-asked", "/v1/catalog/nodes?consistent", "/v1/kv/key", "/v1/session/list"} {
			if r := c.Do(t, "GET", path, ""); r.Status != http.StatusInternalServerError {
				t.Errorf("%s without servers: status %d: %s", path, r.Status, r.Body)
			}
		}
		for _, path := range []string{"/v1/agent/self", "/v1/agent/services", "/v1/agent/checks", "/v1/agent/members", "/v1/agent/metrics", "/v1/agent/health/service/name/web"} {
			c.Get(t, path)
		}
		if !noticed {
			c.Log.Wait(t, "LAN pool changed: event=failed node=n1")
		}
	}
	if r := c.Do(t, "GET", "/v1/status/leader", ""); r.Body != "No known Consul servers" || r.Status != http.StatusInternalServerError {
		t.Errorf("/v1/status/leader: status %d: %s", r.Status, r.Body)
	}
	c.Put(t, "/v1/agent/service/register", `{"Name": "late", "Port": 81}`)
	c.Put(t, "/v1/agent/check/fail/up", "")
	if n := strings.Count(c.Log.String(), "no server can be reached"); n != 1 {
		t.Errorf("that no server can be reached is logged %d times:\n%s", n, c.Log)
	}

	s = s.Node.Spawn(t)
	c.Log.Wait(t, "the servers can be reached again")
	s.Until(t, "/v1/health/service/late", func(r testkit.Reply) bool { return r.Body != "[]" })
	s.Until(t, "/v1/health/state/critical", func(r testkit.Reply) bool { return strings.Contains(r.Body, `"CheckID":"up"`) })
	if r := c.Get(t, "/v1/health/service/web"); r.Header.Get("X-Cache") != "" || r.Header.Get("X-Consul-KnownLeader") != "true" {
		t.Errorf("with the server back: %v", r.Header)
	}
}

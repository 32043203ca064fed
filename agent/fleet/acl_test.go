package fleet_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

const boss = "5f3c2a10-0000-4000-8000-00000000feed"

// guarded starts a server and a client agent that check tokens and deny by default.
func guarded(t *testing.T) (s, c *testkit.Agent) {
	t.Helper()
	acls := func(more testkit.Settings) testkit.Settings {
		tokens := testkit.Settings{"agent": boss}
		for key, value := range more {
			tokens[key] = value
		}
		return testkit.Settings{"acl": testkit.Settings{"enabled": true, "default_policy": "deny", "tokens": tokens}}
	}
	s = testkit.New(t, acls(testkit.Settings{"initial_management": boss})).Start(t)
	return s, s.Join(t, "c1", acls(testkit.Settings{"agent_recovery": "rescue"})).Start(t)
}

// as is a token with rules.
func as(t *testing.T, s *testkit.Agent, rules string) (secret, accessor string) {
	t.Helper()
	name := fmt.Sprintf("p%d", len(rules))
	s.Do(t, http.MethodPut, "/v1/acl/policy", fmt.Sprintf(`{"Name":%q,"Rules":%q}`, name, rules), "X-Consul-Token", boss).Want(t, http.StatusOK)
	made := struct{ SecretID, AccessorID string }{}
	s.Do(t, http.MethodPut, "/v1/acl/token", fmt.Sprintf(`{"Policies":[{"Name":%q}]}`, name), "X-Consul-Token", boss).Want(t, http.StatusOK).JSON(t, &made)
	return made.SecretID, made.AccessorID
}

// TestClientACL: a client agent enforces what it answers by itself, with what the servers say of tokens, also while they
// are away; who waits on it learns nothing with a token that is gone.
func TestClientACL(t *testing.T) {
	s, c := guarded(t)
	app, _ := as(t, s, `service "web" { policy = "write" } node_prefix "" { policy = "read" } agent "c1" { policy = "read" }`)
	reader, accessor := as(t, s, `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`)
	f := func(status int, token, method, path, body string) testkit.Reply {
		t.Helper()
		r := c.Do(t, method, path, body, "X-Consul-Token", token)
		if r.Status != status {
			t.Errorf("%s %s: status %d, want %d: %.300s", method, path, r.Status, status, r.Body)
		}
		return r
	}
	f(403, "", "GET", "/v1/agent/self", "")
	f(403, reader, "GET", "/v1/agent/self", "")
	f(200, app, "GET", "/v1/agent/self", "")
	f(403, app, "PUT", "/v1/agent/reload", "")
	f(403, reader, "PUT", "/v1/agent/service/register", `{"Name":"web"}`)
	f(403, app, "PUT", "/v1/agent/service/register", `{"Name":"db"}`)
	f(200, app, "PUT", "/v1/agent/service/register", `{"Name":"web","Check":{"CheckID":"up","TTL":"1h","Status":"passing"}}`)
	if r := f(200, app, "GET", "/v1/health/service/web", ""); !strings.Contains(r.Body, `"web"`) {
		t.Errorf("it is not in the catalog: %s", r.Body)
	}
	if r := f(200, "", "GET", "/v1/agent/services", ""); r.Body != "{}" {
		t.Errorf("without a token: %s", r.Body)
	}
	waiting := make(chan testkit.Reply, 2)
	for _, path := range []string{"/v1/health/service/web?", "/v1/health/service/web?cached&"} {
		index := f(200, reader, "GET", path, "").Index()
		go func() {
			r, err := c.Ask(t.Context(), http.MethodGet, fmt.Sprintf("%swait=5m&index=%d", path, index), "", "X-Consul-Token", reader)
			if err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
			waiting <- r
		}()
	}
	s.Do(t, http.MethodDelete, "/v1/acl/token/"+accessor, "", "X-Consul-Token", boss).Want(t, http.StatusOK)
	f(200, app, "PUT", "/v1/agent/check/fail/up", "")
	for range 2 {
		if r := <-waiting; r.Status == http.StatusOK {
			t.Errorf("who waited with a deleted token: %.300s", r.Body)
		}
	}
	s.Stop(t)
	f(200, app, "GET", "/v1/agent/self", "") // acl.down_policy is extend-cache
	f(403, "99999999-9999-9999-9999-999999999999", "GET", "/v1/agent/self", "")
	f(200, "rescue", "GET", "/v1/agent/self", "")
	f(200, "rescue", "PUT", "/v1/agent/reload", "")
}

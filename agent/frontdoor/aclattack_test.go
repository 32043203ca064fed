package frontdoor_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// secured starts a server that checks tokens and denies by default, and a client agent of it if that is wanted.
func secured(t *testing.T, more testkit.Settings) *matrix {
	t.Helper()
	acls := testkit.Settings{"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"initial_management": bossToken, "agent": bossToken}}
	for key, value := range more {
		acls[key] = value
	}
	node := testkit.New(t, testkit.Settings{"acl": acls})
	return &matrix{Agent: node.Start(t), t: t, made: map[string]string{}, tokens: map[string]string{}}
}

// TestACLAliases: a path that is written in another way is no way around a rule.
func TestACLAliases(t *testing.T) {
	m := secured(t, nil)
	m.put("/v1/kv/secret", "treasure")
	token := m.token(`key_prefix "a/" { policy = "write" } agent_prefix "" { policy = "deny" }`)
	for _, target := range []string{
		"/v1/agent/self", "/v1//agent/self", "/v1/agent/self/", "/V1/agent/self", "/v1/agent/%73elf", "/v1/agent/service/../self", "/v1/agent/./self", "/v1/agent/self%2f",
		"/v1/agent/self?token=", "http://x/v1/agent/self", "/v1/kv/secret", "/v1/kv/a/../secret", "/v1/kv/a/%2e%2e/secret", "/v1/kv//secret", "/v1/kv/%73ecret", "/v1/kv/secret?recurse", "/v1/kv/?recurse",
	} {
		conn, err := net.Dial("tcp", m.Addr())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nX-Consul-Token: %s\r\nConnection: close\r\n\r\n", target, token)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(target, err)
		}
		resp.Body.Close()
		conn.Close()
		if resp.StatusCode == http.StatusOK {
			t.Errorf("%s: status %d", target, resp.StatusCode)
		}
	}
}

// TestACLWhichToken: the header counts before the bearer, the bearer before the parameter; what counts is not made up for
// by the next one.
func TestACLWhichToken(t *testing.T) {
	m := secured(t, nil)
	m.put("/v1/kv/k", "x")
	const none = "99999999-9999-9999-9999-999999999999"
	f := func(want int, path string, headers ...string) {
		t.Helper()
		if got := m.Do(t, http.MethodGet, path, "", headers...); got.Status != want {
			t.Errorf("%s %q: status %d, want %d", path, headers, got.Status, want)
		}
	}
	f(200, "/v1/kv/k?token="+bossToken)
	f(200, "/v1/kv/k", "Authorization", "bearer "+bossToken)
	f(200, "/v1/kv/k", "X-Consul-Token", bossToken, "Authorization", "Bearer "+none)
	f(403, "/v1/kv/k", "X-Consul-Token", none, "Authorization", "Bearer "+bossToken)
	f(403, "/v1/kv/k?token="+bossToken, "X-Consul-Token", none)
	f(403, "/v1/kv/k?token="+bossToken, "Authorization", "Bearer "+none)
	f(403, "/v1/kv/k", "Authorization", "Basic "+bossToken)
	f(403, "/v1/kv/k?Token="+bossToken)
	f(403, "/v1/kv/k", "X-Consul-Token", strings.ToUpper(bossToken))
}

// TestACLRecursiveDelete (A29): the right to a prefix is none to a sibling, and a rule below it counts.
func TestACLRecursiveDelete(t *testing.T) {
	m := secured(t, nil)
	keys := []string{"foo/a", "foo/keep/b", "foobar", "fo"}
	for _, k := range keys {
		m.put("/v1/kv/"+k, "x")
	}
	token := m.token(`key_prefix "foo/" { policy = "write" } key_prefix "foo/keep/" { policy = "read" }`)
	for _, prefix := range []string{"", "f", "foo", "foo/", "foo/k", "foo/keep/", "foobar", "/foo/", "foo/../"} {
		if got := m.Do(t, http.MethodDelete, "/v1/kv/"+prefix+"?recurse", "", "X-Consul-Token", token); got.Status != http.StatusForbidden && prefix != "/foo/" && prefix != "foo/../" {
			t.Errorf("%q: status %d", prefix, got.Status)
		}
		body := fmt.Sprintf(`[{"KV":{"Verb":"delete-tree","Key":%q}}]`, prefix)
		m.Do(t, http.MethodPut, "/v1/txn", body, "X-Consul-Token", token)
	}
	for _, k := range keys {
		m.boss(http.MethodGet, "/v1/kv/"+k, "").Want(t, http.StatusOK)
	}
	m.Do(t, http.MethodDelete, "/v1/kv/foo/a?recurse", "", "X-Consul-Token", token).Want(t, http.StatusOK)
	m.boss(http.MethodGet, "/v1/kv/foo/a", "").Want(t, http.StatusNotFound)
}

// TestACLTxn: every operation that is denied is told, and nothing is done.
func TestACLTxn(t *testing.T) {
	m := secured(t, nil)
	m.put("/v1/kv/mine/a", "old")
	token := m.token(`key_prefix "mine/" { policy = "write" }`)
	got := m.Do(t, http.MethodPut, "/v1/txn", `[{"KV":{"Verb":"set","Key":"mine/a","Value":"bmV3"}},{"KV":{"Verb":"set","Key":"b"}},{"KV":{"Verb":"get","Key":"absent"}}]`, "X-Consul-Token", token)
	if got.Status != http.StatusConflict || strings.Count(got.Body, "Permission denied") != 2 || !strings.Contains(got.Body, `"OpIndex":1`) || !strings.Contains(got.Body, `"OpIndex":2`) {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if kept := m.boss(http.MethodGet, "/v1/kv/mine/a?raw", ""); kept.Body != "old" {
		t.Errorf("it is %s", kept.Body)
	}
}

// TestACLListPolicy: where key_prefix rules have to say list, reading is not enough.
func TestACLListPolicy(t *testing.T) {
	m := secured(t, testkit.Settings{"enable_key_list_policy": true})
	m.put("/v1/kv/a/1", "x")
	f := func(want int, policy, path string) {
		t.Helper()
		token := m.token(`key_prefix "a/" { policy = "` + policy + `" }`)
		if got := m.Do(t, http.MethodGet, path, "", "X-Consul-Token", token); got.Status != want {
			t.Errorf("%s with %s: status %d, want %d", path, policy, got.Status, want)
		}
	}
	for _, policy := range []string{"list", "write"} {
		f(200, policy, "/v1/kv/a/?recurse")
		f(200, policy, "/v1/kv/a/?keys")
		f(403, policy, "/v1/kv/?keys")
	}
	f(403, "read", "/v1/kv/a/?recurse")
	f(403, "read", "/v1/kv/a/?keys")
	f(200, "read", "/v1/kv/a/1")
}

// TestACLWhileWaiting: who waits for a change learns nothing of it when its token is gone by then, or has lost the right.
func TestACLWhileWaiting(t *testing.T) {
	m := secured(t, nil)
	m.put("/v1/kv/k", "before")
	m.keep("reader", "ID", m.put("/v1/acl/policy", `{"Name":"reader","Rules":"key_prefix \"\" { policy = \"read\" }"}`))
	token := func() (secret, accessor string) {
		made := struct{ SecretID, AccessorID string }{}
		m.put("/v1/acl/token", `{"Policies":[{"Name":"reader"}]}`).JSON(t, &made)
		return made.SecretID, made.AccessorID
	}
	for what, lose := range map[string]func(accessor string){
		"deleted": func(accessor string) { m.boss(http.MethodDelete, "/v1/acl/token/"+accessor, "").Want(t, http.StatusOK) },
		"without the right": func(string) {
			m.put("/v1/acl/policy/{reader}", `{"Name":"reader","Rules":"key_prefix \"\" { policy = \"deny\" }"}`)
		},
	} {
		m.put("/v1/acl/policy/{reader}", `{"Name":"reader","Rules":"key_prefix \"\" { policy = \"read\" }"}`)
		secret, accessor := token()
		waiting := make(chan testkit.Reply, 3)
		for _, path := range []string{"/v1/kv/k?", "/v1/kv/?recurse&", "/v1/kv/k?cached&"} {
			index := m.Do(t, http.MethodGet, path, "", "X-Consul-Token", secret).Want(t, http.StatusOK).Index()
			go func() {
				r, err := m.Ask(t.Context(), http.MethodGet, fmt.Sprintf("%swait=1m&index=%d", path, index), "", "X-Consul-Token", secret)
				if err != nil && t.Context().Err() == nil {
					t.Error(err)
				}
				waiting <- r
			}()
		}
		lose(accessor)
		m.put("/v1/kv/k", "the secret "+what) // the same value would be no change
		for range 3 {
			if r := <-waiting; r.Status == http.StatusOK || strings.Contains(r.Body, "dGhlIHNlY3JldC") {
				t.Errorf("%s: status %d %s", what, r.Status, r.Body)
			}
		}
	}
}

// TestACLAgent (A30): what the agent answers by itself it shows to those who may see it.
func TestACLAgent(t *testing.T) {
	m := secured(t, nil)
	m.put("/v1/agent/service/register", `{"Name":"web","Check":{"CheckID":"webcheck","TTL":"1h"}}`)
	m.put("/v1/agent/service/register", `{"Name":"db"}`)
	token := m.token(`service "web" { policy = "read" }`)
	f := func(status int, want, method, path, body string) {
		t.Helper()
		got := m.Do(t, method, path, body, "X-Consul-Token", token)
		if got.Status != status || !strings.Contains(got.Body, want) || got.Status == http.StatusOK && strings.Contains(got.Body, `"db"`) {
			t.Errorf("%s %s: %d %.300s", method, path, got.Status, got.Body)
		}
	}
	f(200, `"web"`, "GET", "/v1/agent/services", "")
	f(200, `"webcheck"`, "GET", "/v1/agent/checks", "")
	f(403, "Permission denied", "GET", "/v1/agent/service/db", "")
	f(403, "lacks permission 'service:write' on \"web\"; the rule service \"web\" with policy read decides", "PUT", "/v1/agent/service/deregister/web", "")
	f(403, "Permission denied", "PUT", "/v1/agent/service/register", `{"Name":"web"}`)
	f(403, "Permission denied", "PUT", "/v1/agent/check/pass/webcheck", "")
	f(404, "absent", "PUT", "/v1/agent/check/pass/absent", "") // who keeps a check alive has to register it again
	token = m.token(`service "web" { policy = "write" } service "other" { policy = "write" }`)
	f(403, "Permission denied", "PUT", "/v1/agent/service/register", `{"Name":"web","ID":"db"}`)                                 // the id of another service
	f(403, "Permission denied", "PUT", "/v1/agent/service/register", `{"Name":"web","Connect":{"SidecarService":{"Name":"x"}}}`) // a sidecar of another name
	f(403, "Permission denied", "PUT", "/v1/agent/check/register", `{"Name":"c","TTL":"1h","ServiceID":"db"}`)
	f(403, "Permission denied", "PUT", "/v1/agent/check/register", `{"Name":"c","CheckID":"webcheck","TTL":"1h"}`) // which would be the node's
	f(200, "", "PUT", "/v1/agent/check/pass/webcheck", "")
	f(200, "", "PUT", "/v1/agent/service/deregister/web", "")
	if got := m.boss("GET", "/v1/agent/service/db", ""); got.Status != http.StatusOK {
		t.Error("db is gone")
	}
}

// TestACLRecovery: the recovery token is good for the agent's own endpoints and nothing else.
func TestACLRecovery(t *testing.T) {
	m := secured(t, testkit.Settings{"tokens": testkit.Settings{"initial_management": bossToken, "agent": bossToken, "agent_recovery": "rescue"}})
	m.put("/v1/kv/k", "x")
	for path, want := range map[string]int{"/v1/agent/self": 200, "/v1/agent/metrics": 200, "/v1/kv/k": 403, "/v1/operator/raft/configuration": 403, "/v1/acl/tokens": 403} {
		if got := m.Do(t, "GET", path, "", "X-Consul-Token", "rescue"); got.Status != want {
			t.Errorf("%s: status %d, want %d", path, got.Status, want)
		}
	}
	if got := m.Do(t, "GET", "/v1/agent/self", "", "X-Consul-Token", "rescu"); got.Status != 403 {
		t.Errorf("status %d", got.Status)
	}
}

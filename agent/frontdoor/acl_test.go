package frontdoor_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

const management = "5f3c2a10-0000-4000-8000-00000000feed"

// tokens are the settings of an agent that checks them.
func tokens(more testkit.Settings) testkit.Settings {
	acl := testkit.Settings{"enabled": true, "default_policy": "deny", "enable_token_persistence": true, "tokens": testkit.Settings{"initial_management": management, "agent": management}}
	for key, value := range more {
		acl[key] = value
	}
	return testkit.Settings{"acl": acl, "log_level": "trace"}
}

func as(secret string) []string { return []string{"X-Consul-Token", secret} }

// made is a token as the API answers with it.
type made struct{ AccessorID, SecretID string }

func create(t *testing.T, a testkit.Client, body string) (token made) {
	t.Helper()
	a.Do(t, "PUT", "/v1/acl/token", body, as(management)...).Want(t, http.StatusOK).JSON(t, &token)
	return token
}

// TestA28_Waiting: who waits for a change gets an answer for the token as it is then: none when it is gone, and less when
// it may do less.
func TestA28_Waiting(t *testing.T) {
	a := testkit.New(t, tokens(nil)).Start(t)
	policy := func(rules string) string {
		return fmt.Sprintf(`{"Name": "p", "Rules": %q}`, rules)
	}
	var p struct{ ID string }
	a.Do(t, "PUT", "/v1/acl/policy", policy(`key_prefix "" { policy = "read" }`), as(management)...).Want(t, http.StatusOK).JSON(t, &p)
	gone, less := create(t, a.Client, `{"Policies": [{"Name": "p"}], "ServiceIdentities": [{"ServiceName": "x"}]}`), create(t, a.Client, `{"Policies": [{"Name": "p"}]}`)
	a.Do(t, "PUT", "/v1/kv/a/b", "1", as(management)...).Want(t, http.StatusOK)
	type reply struct {
		testkit.Reply
		err error
	}
	wait := func(secret string) <-chan reply {
		t.Helper()
		index := a.Do(t, "GET", "/v1/kv/a/b", "", as(secret)...).Want(t, http.StatusOK).Index()
		got := make(chan reply, 1)
		go func() {
			r, err := a.Ask(context.Background(), "GET", "/v1/kv/a/b?wait=20s&index="+strconv.FormatUint(index, 10), "", as(secret)...)
			got <- reply{r, err}
		}()
		return got
	}
	first, second := wait(gone.SecretID), wait(less.SecretID)
	a.Do(t, "DELETE", "/v1/acl/token/"+gone.AccessorID, "", as(management)...).Want(t, http.StatusOK)
	a.Do(t, "PUT", "/v1/acl/policy/"+p.ID, policy(`key "other" { policy = "read" }`), as(management)...).Want(t, http.StatusOK)
	a.Do(t, "PUT", "/v1/kv/a/b", "2", as(management)...).Want(t, http.StatusOK)
	for name, got := range map[string]<-chan reply{"of a deleted token": first, "of a token that may do less": second} {
		if r := <-got; r.err != nil || r.Status != http.StatusForbidden {
			t.Errorf("the answer %s: %d %s %v", name, r.Status, r.Body, r.err)
		}
	}
}

// TestStrangeRules: a policy may speak of a resource that does not exist, which the log tells, but not of one that looks
// like a slip of the pen.
func TestStrangeRules(t *testing.T) {
	a := testkit.New(t, tokens(nil)).Start(t)
	write := func(name, rules string) testkit.Reply {
		return a.Do(t, "PUT", "/v1/acl/policy", fmt.Sprintf(`{"Name": %q, "Rules": %q}`, name, rules), as(management)...)
	}
	write("far", `spaceship "x" { policy = "read" }`).Want(t, http.StatusOK)
	if log := a.Log.String(); !strings.Contains(log, "a policy speaks of what does not exist") || !strings.Contains(log, "line 1: there is no resource") {
		t.Errorf("the log does not warn:\n%s", log)
	}
	if r := write("near", `sevrice "x" { policy = "deny" }`).Want(t, http.StatusInternalServerError); !strings.Contains(r.Body, "did you mean service?") {
		t.Error(r.Body)
	}
}

// TestBlankErrors: an error to a query of the catalog, of tokens and of prepared queries says in its header that nothing
// is known, as clients of Consul find it; one to a request that is none does not.
func TestBlankErrors(t *testing.T) {
	a := testkit.New(t, tokens(nil)).Start(t)
	for path, want := range map[string]string{"/v1/catalog/nodes?filter=x": "1", "/v1/query/none": "1", "/v1/acl/tokens": "1", "/v1/catalog/nodes?index=x": "", "/v1/kv/a": "", "/v1/acl/policies": ""} {
		r := a.Do(t, "GET", path, "", as("nobody")...)
		if got := r.Header.Get("X-Consul-Index"); r.Status < 400 || got != want {
			t.Errorf("%s: status %d, index %q, want %q", path, r.Status, got, want)
		}
	}
}

// TestTokensKept: tokens that are set over the API are there after a restart, readable by their owner only, and the last
// management token can be had back.
func TestTokensKept(t *testing.T) {
	n := testkit.New(t, tokens(nil))
	a := n.Start(t)
	reader := create(t, a.Client, `{"TemplatedPolicies": [{"TemplateName": "builtin/dns"}]}`)
	a.Do(t, "PUT", "/v1/agent/token/default", fmt.Sprintf(`{"Token": %q}`, reader.SecretID), as(management)...).Want(t, http.StatusOK)
	nodes := func(a *testkit.Agent) int {
		var list []any
		a.Do(t, "GET", "/v1/catalog/nodes", "").Want(t, http.StatusOK).JSON(t, &list)
		return len(list)
	}
	if got := nodes(a); got != 1 {
		t.Errorf("who shows no token sees %d nodes, want 1", got)
	}
	a.Reload(t)
	if got := nodes(a); got != 1 {
		t.Errorf("after a reload who shows no token sees %d nodes, want 1", got)
	}
	a.Stop(t)
	info, err := os.Stat(filepath.Join(n.Data(), "acl-tokens.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	a = n.Start(t)
	if got := nodes(a); got != 1 {
		t.Errorf("after a restart who shows no token sees %d nodes, want 1", got)
	}
	refusal := a.Do(t, "PUT", "/v1/acl/bootstrap", "").Want(t, http.StatusForbidden).Body
	_, rest, _ := strings.Cut(refusal, "reset index: ")
	index, _, _ := strings.Cut(rest, ")")
	file := filepath.Join(n.Data(), "acl-bootstrap-reset")
	for text, status := range map[string]int{"": http.StatusForbidden, "x": http.StatusForbidden, "1": http.StatusForbidden} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a.Do(t, "PUT", "/v1/acl/bootstrap", "").Want(t, status)
	}
	if err := os.WriteFile(file, []byte(index+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var again made
	a.Do(t, "PUT", "/v1/acl/bootstrap", "").Want(t, http.StatusOK).JSON(t, &again)
	if _, err := os.Stat(file); err == nil {
		t.Error("the reset file is there still")
	}
	a.Do(t, "PUT", "/v1/acl/bootstrap", "").Want(t, http.StatusForbidden)
	a.Do(t, "GET", "/v1/acl/tokens", "", as(again.SecretID)...).Want(t, http.StatusOK)
	for _, secret := range []string{management, reader.SecretID, again.SecretID} {
		if strings.Contains(a.Log.String(), secret) {
			t.Error("the log, at trace level, holds a secret")
		}
	}
}

// TestTokensRestored: a snapshot brings back the tokens of its time, and takes away those made since; what is built in is
// there afterwards in any case.
func TestTokensRestored(t *testing.T) {
	plain := testkit.New(t, testkit.Settings{"acl": testkit.Settings{"enabled": false}}).Start(t)
	before := plain.Do(t, "GET", "/v1/snapshot", "").Want(t, http.StatusOK).Body
	plain.Stop(t)
	a := testkit.New(t, tokens(nil)).Start(t)
	old := create(t, a.Client, `{}`)
	archive := a.Do(t, "GET", "/v1/snapshot", "", as(management)...).Want(t, http.StatusOK).Body
	a.Do(t, "DELETE", "/v1/acl/token/"+old.AccessorID, "", as(management)...).Want(t, http.StatusOK)
	later := create(t, a.Client, `{}`)
	self := func(secret string, status int) {
		t.Helper()
		a.Do(t, "GET", "/v1/acl/token/self", "", as(secret)...).Want(t, status)
	}
	a.Do(t, "PUT", "/v1/snapshot", archive, as(later.SecretID)...).Want(t, http.StatusForbidden)
	a.Do(t, "PUT", "/v1/snapshot", archive).Want(t, http.StatusForbidden)
	a.Do(t, "PUT", "/v1/snapshot", archive, as(management)...).Want(t, http.StatusOK)
	self(old.SecretID, http.StatusOK)
	self(later.SecretID, http.StatusForbidden)
	a.Do(t, "PUT", "/v1/snapshot?force", before, as(management)...).Want(t, http.StatusOK)
	self(old.SecretID, http.StatusForbidden)
	self(management, http.StatusOK)
	var policies []any
	a.Do(t, "GET", "/v1/acl/policies", "", as(management)...).Want(t, http.StatusOK).JSON(t, &policies)
	if len(policies) != 2 {
		t.Errorf("%d policies, want the 2 that are built in", len(policies))
	}
}

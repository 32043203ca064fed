package frontdoor_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog/acl"
)

type auditEvent struct {
	EventType string `json:"event_type"`
	Payload   struct {
		ID, Stage string
		Auth      struct {
			Accessor string `json:"accessor_id"`
		}
		Request struct {
			Operation, Endpoint string
			Remote              string            `json:"remote_addr"`
			Params              map[string]string `json:"query_params"`
		}
		Response struct{ Status string }
	}
}

// auditEvents reads a record; it must be nothing but events.
func auditEvents(t *testing.T, path string) (events []auditEvent) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e auditEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		events = append(events, e)
	}
	return events
}

// TestAudit: every request is recorded when it begins and when it ends, with its status and without its token.
func TestAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.json")
	n := testkit.NewDev(t, testkit.Settings{"audit": map[string]any{"enabled": true, "sink": map[string]any{"file": map[string]any{"type": "file", "path": path}}}})
	a := n.Start(t)
	const secret = "d5e7a1b2-0000-4000-8000-00000000beef"
	n.Put(t, "/v1/kv/a", "1")
	n.Do(t, http.MethodGet, "/v1/kv/none", "").Want(t, http.StatusNotFound)
	n.Do(t, http.MethodGet, "/v1/no/such/thing", "").Want(t, http.StatusNotFound)
	n.Do(t, http.MethodPost, "/v1/kv/a", "").Want(t, http.StatusMethodNotAllowed)
	index := n.Get(t, "/v1/kv/a?token="+secret).Index()
	n.Do(t, http.MethodGet, fmt.Sprintf("/v1/kv/a?index=%d&wait=10ms&token=%s", index, secret), "").Want(t, http.StatusOK)
	n.Get(t, "/v1/agent/metrics?"+strings.Repeat("x=1&", 100))
	a.Stop(t)

	type pair struct{ what, status string }
	begun, ended := map[string]string{}, []pair{}
	for _, e := range auditEvents(t, path) {
		p := e.Payload
		what := p.Request.Operation + " " + p.Request.Endpoint
		switch {
		case e.EventType != "audit" || !strings.HasPrefix(p.Request.Remote, "127.0.0.1:"):
			t.Errorf("got %+v", e)
		case p.Stage == "OperationStart":
			begun[p.ID] = what
		case p.Stage == "OperationComplete" && begun[p.ID] == what:
			ended = append(ended, pair{what, p.Response.Status})
			delete(begun, p.ID)
		default:
			t.Errorf("an end without a beginning: %+v", e)
		}
	}
	if len(begun) > 0 {
		t.Errorf("requests without an end: %v", begun)
	}
	for _, want := range []pair{
		{"PUT /v1/kv/a", "200"}, {"GET /v1/kv/none", "404"}, {"GET /v1/no/such/thing", "404"}, {"POST /v1/kv/a", "405"},
		{"GET /v1/kv/a", "200"}, {"GET /v1/kv/a", "200"}, {"GET /v1/agent/metrics", "200"},
	} {
		found := false
		for i, p := range ended {
			if p == want {
				ended[i], found = pair{}, true
				break
			}
		}
		if !found {
			t.Errorf("%v is not recorded", want)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), secret) {
		t.Errorf("the record holds the token: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestAuditWithoutASink: what cannot be recorded is said at the start.
func TestAuditWithoutASink(t *testing.T) {
	for why, audit := range map[string]any{
		"no audit.sink says where to": map[string]any{"enabled": true},
		"no such file or directory": map[string]any{"enabled": true, "sink": map[string]any{"file": map[string]any{
			"type": "file", "path": filepath.Join(t.TempDir(), "none", "audit.json")}}},
	} {
		p := testkit.NewDev(t, testkit.Settings{"audit": audit})
		refuses(t, p, why, why)
	}
}

// TestAuditNamesTokens: where tokens are checked the record says whose request it was.
func TestAuditNamesTokens(t *testing.T) {
	const secret = "3f9c1d52-7a41-4a63-9a31-1f6f2d1c0a77"
	path := filepath.Join(t.TempDir(), "audit.json")
	n := testkit.NewDev(t, testkit.Settings{
		"audit": map[string]any{"enabled": true, "sink": map[string]any{"file": map[string]any{"type": "file", "path": path}}},
		"acl":   map[string]any{"enabled": true, "default_policy": "deny", "tokens": map[string]any{"initial_management": secret}},
	})
	a := n.Start(t)
	var self struct{ AccessorID string }
	if err := json.Unmarshal([]byte(n.Get(t, "/v1/acl/token/self?token="+secret).Body), &self); err != nil || self.AccessorID == "" {
		t.Fatalf("%+v, %v", self, err)
	}
	n.Do(t, http.MethodGet, "/v1/kv/a", "").Want(t, http.StatusForbidden)
	a.Stop(t)
	whose := map[string]string{}
	for _, e := range auditEvents(t, path) {
		whose[e.Payload.Request.Endpoint+" "+e.Payload.Response.Status] = e.Payload.Auth.Accessor
	}
	if whose["/v1/acl/token/self 200"] != self.AccessorID || whose["/v1/kv/a 403"] != acl.AnonymousID {
		t.Errorf("got %v, the token is %s", whose, self.AccessorID)
	}
}

package frontdoor_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

func TestA31_NothingRunsInABrowser(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	const script = "<script>alert(1)</script>"
	for _, value := range []string{script, "<!DOCTYPE html><html>", "%PDF-1.4", "\x89PNG\r\n", ""} {
		n.Put(t, "/v1/kv/page", value)
		raw := n.Get(t, "/v1/kv/page?raw")
		h := raw.Header
		if raw.Body != value || h.Get("Content-Type") != "text/plain" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") != "sandbox" {
			t.Errorf("raw value %q: %q with %v", value, raw.Body, h)
		}
	}
	n.Put(t, "/v1/kv/%3Cscript%3E", script)
	n.Put(t, "/v1/catalog/register", `{"Node": "<script>", "Address": "<script>", "Service": {"Service": "<img onerror=x>", "Tags": ["<script>"]}}`)
	n.Put(t, "/v1/agent/service/register", `{"Name": "<script>", "Check": {"TTL": "1m", "Notes": "<script>"}}`)
	n.Put(t, "/v1/event/fire/%3Cscript%3E", script)
	for _, path := range []string{
		"/v1/kv/?keys", "/v1/kv/?recurse", "/v1/kv/%3Cscript%3E", "/v1/catalog/nodes", "/v1/catalog/services", "/v1/catalog/service/%3Cimg%20onerror=x%3E",
		"/v1/catalog/nodes?pretty", "/v1/agent/services", "/v1/agent/checks", "/v1/event/list", "/v1/agent/self",
		"/v1/agent/health/service/name/%3Cscript%3E?format=text", "/v1/agent/health/service/name/%3Cscript%3Ex", "/v1/agent/health/service/id/%3Cscript%3Ex?format=text",
		"/v1/%3Cscript%3E", "/%3Cscript%3E", "/v1/kv/x?index=%3Cscript%3E", "/v1/kv/x?wait=%3Cscript%3E", "/v1/catalog/nodes?filter=%3Cscript%3E",
		"/v1/catalog/nodes?dc=%3Cscript%3E", "/v1/session/info/%3Cscript%3E", "/v1/session/renew/%3Cscript%3E", "/v1/health/state/%3Cscript%3E",
	} {
		r := n.Do(t, http.MethodGet, path, "")
		kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
		switch {
		case kind == "application/json" && !strings.Contains(r.Body, "<"):
		case kind == "text/plain" && r.Header.Get("X-Content-Type-Options") == "nosniff":
		case r.Body == "":
		default:
			t.Errorf("%s: %d %v\n%.200s", path, r.Status, r.Header, r.Body)
		}
	}
	for path, body := range map[string]string{
		"/v1/session/renew/%3Cscript%3E": "", "/v1/agent/check/pass/%3Cscript%3E": "", "/v1/catalog/register": "<script>", "/v1/agent/token/%3Cscript%3E": "{}",
		"/v1/agent/service/register": `{"<script>": 1}`,
	} {
		r := n.Do(t, http.MethodPut, path, body)
		if r.Status < 400 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("PUT %s: %d %v", path, r.Status, r.Header)
		}
	}
}

func TestA32_ScriptChecks(t *testing.T) {
	ran := func(n *testkit.Node) string { return filepath.Join(n.Dir, "ran") }
	script := func(n *testkit.Node) string {
		return fmt.Sprintf(`{"CheckID": "s", "Name": "s", "Interval": "1s", "Args": ["/bin/sh", "-c", "echo x >> %s"]}`, ran(n))
	}
	for what, c := range map[string]struct {
		settings testkit.Settings
		allowed  bool
	}{
		"default":         {nil, false},
		"on all networks": {testkit.Settings{"client_addr": "0.0.0.0"}, false},
		"files only":      {testkit.Settings{"enable_local_script_checks": true}, false},
		"allowed":         {testkit.Settings{"enable_script_checks": true}, true},
	} {
		n := testkit.NewDev(t, c.settings)
		a := n.Start(t)
		for path, body := range map[string]string{
			"/v1/agent/check/register":                           script(n),
			"/v1/agent/service/register":                         `{"Name": "a", "Check": ` + script(n) + `}`,
			"/v1/agent/service/register?replace-existing-checks": `{"Name": "b", "Checks": [{"TTL": "1m"}, ` + script(n) + `]}`,
			"/v1/agent/service/register?sidecar":                 `{"Name": "c", "Connect": {"SidecarService": {"Check": ` + script(n) + `}}}`,
			"/v1/agent/check/register?docker":                    `{"Name": "d", "DockerContainerID": "x", "Shell": "/bin/sh", "Interval": "1s", "Args": ["true"]}`,
		} {
			r := n.Do(t, http.MethodPut, path, body)
			if refused := r.Status >= 400; refused == c.allowed {
				t.Errorf("%s: PUT %s: %d %s", what, path, r.Status, r.Body)
			} else if refused && !strings.Contains(r.Body, "enable_script_checks") {
				t.Errorf("%s: PUT %s names no setting: %s", what, path, r.Body)
			}
		}
		// What others write into the catalog is never run.
		n.Put(t, "/v1/catalog/register", `{"Node": "n1", "Address": "127.0.0.1", "SkipNodeUpdate": true, "Check": {"Node": "n1", "CheckID": "c", "Name": "c", "Status": "passing"}}`)
		if services := n.Get(t, "/v1/agent/services"); !c.allowed && services.Body != "{}" {
			t.Errorf("%s: registered: %s", what, services.Body)
		}
		if checks := n.Get(t, "/v1/agent/checks"); !c.allowed && checks.Body != "{}" {
			t.Errorf("%s: registered: %s", what, checks.Body)
		}
		a.Stop(t)
		if _, err := os.Stat(ran(n)); !c.allowed && err == nil {
			t.Errorf("%s: a script ran", what)
		}
	}
}

func TestA33_RedirectsAndOutput(t *testing.T) {
	var inner atomic.Int32
	admin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inner.Add(1) }))
	defer admin.Close()
	var front *httptest.Server
	front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, admin.URL+"/v1/agent/leave", http.StatusTemporaryRedirect)
		case "/metadata":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		case "/same":
			http.Redirect(w, r, front.URL+"/large", http.StatusFound)
		case "/large":
			io.Copy(w, io.LimitReader(zeros{}, 1<<20))
		}
	}))
	defer front.Close()
	n := testkit.NewDev(t, nil)
	n.Start(t)
	for _, id := range []string{"away", "metadata", "same", "large"} {
		status := map[bool]string{true: "passing", false: "critical"}[id == "away" || id == "metadata"]
		n.Put(t, "/v1/agent/check/register", fmt.Sprintf(`{"CheckID": %q, "Name": %q, "HTTP": "%s/%s", "Interval": "1s", "Status": %q}`, id, id, front.URL, id, status))
	}
	type check struct{ CheckID, Status, Output string }
	n.Until(t, "/v1/health/node/n1", func(r testkit.Reply) bool {
		var checks []check
		r.JSON(t, &checks)
		done := 0
		for _, c := range checks {
			want := map[string]string{"away": "critical", "metadata": "critical", "same": "passing", "large": "passing"}[c.CheckID]
			if len(c.Output) > 4096+200 {
				t.Fatalf("check %s has %d bytes of output", c.CheckID, len(c.Output))
			}
			if want != "" && c.Status == want {
				done++
				if want == "critical" && !strings.Contains(c.Output, "redirect") {
					t.Errorf("check %s: %s", c.CheckID, c.Output)
				}
			}
		}
		return done == 4
	})
	if inner.Load() > 0 {
		t.Error("a check followed a redirect to another server")
	}
}

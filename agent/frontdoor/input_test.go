package frontdoor_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/testkit"
)

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// Every route refuses the methods that it has not, and says which it has.
func TestWrongMethods(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	for _, route := range httpapi.Routes() {
		path := wildcard.ReplaceAllString(route.Path, "x")
		allowed := []string{"OPTIONS"}
		if route.NoOptions {
			allowed = nil
		}
		for _, m := range route.Methods {
			allowed = append(allowed, m.Name)
		}
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "TRACE", "BREW", "OPTIONS"} {
			want := http.StatusMethodNotAllowed
			if method == "OPTIONS" {
				want = http.StatusOK
			} else if slices.Contains(allowed, method) {
				continue
			}
			r := n.Do(t, method, path, "")
			if r.Status != want || r.Header.Get("Allow") != strings.Join(allowed, ",") {
				t.Errorf("%s %s: status %d, Allow %q; want %v", method, path, r.Status, r.Header.Get("Allow"), allowed)
			}
			if r.Body == "" && want != http.StatusOK && method != "HEAD" {
				t.Errorf("%s %s: no word of what is wrong", method, path)
			}
		}
	}
}

func TestUnknownPaths(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	for _, path := range []string{
		"/v1", "/v1/", "/v2/kv/x", "/v1/kvx", "/v1/catalog", "/v1/catalog/nodes/x", "/v1/status/leader/x", "/v1/agent/selfish", "/v1/agent/tokens/a",
		"/v1/txn/x", "/v1/%00", "/v1/%2e%2e/etc/passwd", "/etc/passwd", "/v1/operator/raft", "/V1/KV/x", "/debug/pprof/nothing", "/v1/" + strings.Repeat("x", 8000),
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			if r := n.Do(t, method, path, ""); r.Status != http.StatusNotFound || r.Body == "" {
				t.Errorf("%s %.60s: status %d %.100s", method, path, r.Status, r.Body)
			}
		}
	}
	if status, _, _ := say(t, n.Addr(), "GET /v1/"+strings.Repeat("x", 80000)+" HTTP/1.1\r\nHost: a\r\n\r\n"); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a head of 80 KB: status %d", status)
	}
}

// Keys are what the client says, to the byte: no cleaning, no redirect to another key. Only a slash at
// the beginning is refused.
func TestKeysAreTakenAsTheyAre(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	keys := []string{"a//b", "a/./b", "a/../b", "..", ".", "a b", "ä€", "a%b", "a?b", "a#b", "a/", "\x01", "\xff", strings.Repeat("k", 4000)}
	for _, key := range keys {
		target := "/v1/kv/" + escape(key)
		if status, _, body := say(t, n.Addr(), "PUT "+target+" HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"); status != 200 {
			t.Errorf("PUT %q: status %d %s", key, status, body)
		}
		if status, _, body := say(t, n.Addr(), "GET "+target+"?raw HTTP/1.1\r\nHost: a\r\n\r\n"); status != 200 || body != "x" {
			t.Errorf("GET %q: status %d %s", key, status, body)
		}
	}
	if r := n.Do(t, http.MethodPut, "/v1/kv//a", "x"); r.Status < 400 || !strings.Contains(r.Body, "slash") {
		t.Errorf("PUT /a: status %d %s", r.Status, r.Body)
	}
	var stored []string
	n.Get(t, "/v1/kv/?keys").JSON(t, &stored)
	if len(stored) != len(keys) {
		t.Errorf("%d keys became %d: %q", len(keys), len(stored), stored)
	}
}

// escape keeps slashes and dots, which a URL's path may have as they are.
func escape(key string) string {
	var b strings.Builder
	for _, c := range []byte(key) {
		if c == '/' || c == '.' || 'a' <= c && c <= 'z' {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + string("0123456789ABCDEF"[c>>4]) + string("0123456789ABCDEF"[c&15]))
	}
	return b.String()
}

func TestBadParameters(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	blocking := []string{
		"/v1/kv/x", "/v1/kv/x?recurse", "/v1/kv/x?keys", "/v1/catalog/nodes", "/v1/catalog/services", "/v1/catalog/service/x", "/v1/catalog/connect/x",
		"/v1/catalog/node/x", "/v1/catalog/node-services/x", "/v1/catalog/gateway-services/x", "/v1/health/node/x", "/v1/health/checks/x", "/v1/health/service/x",
		"/v1/health/connect/x", "/v1/health/ingress/x", "/v1/health/state/any", "/v1/session/info/x", "/v1/session/node/x", "/v1/session/list",
		"/v1/coordinate/nodes", "/v1/coordinate/node/x", "/v1/event/list",
	}
	for _, path := range blocking {
		for _, bad := range []string{
			"index=abc", "index=-1", "index=1.5", "index=99999999999999999999", "wait=abc&index=1", "wait=10&index=1", "wait=1e9h",
			"stale&consistent", "max_stale=x", "max_stale=-1s", "a=%zz",
		} {
			join := "?"
			if strings.Contains(path, "?") {
				join = "&"
			}
			r := n.Do(t, http.MethodGet, path+join+bad, "")
			if r.Status != http.StatusBadRequest || r.Body == "" {
				t.Errorf("%s with %s: status %d %.200s", path, bad, r.Status, r.Body)
			}
		}
	}
	for _, path := range []string{"/v1/catalog/nodes", "/v1/catalog/service/consul", "/v1/health/service/consul", "/v1/health/state/any", "/v1/agent/services", "/v1/agent/checks", "/v1/agent/members"} {
		for _, bad := range []string{"Node==", "((", "Nope==x", "Node==x+and", "Node+in", "Node=~x", "Node+matches+%22[%22", "'", "%00"} {
			r := n.Do(t, http.MethodGet, path+"?filter="+bad, "")
			if empty := r.Status == 200 && (r.Body == "{}" || r.Body == "[]"); (r.Status < 400 || r.Body == "") && !(empty && strings.Contains(path, "/agent/")) {
				t.Errorf("%s?filter=%s: status %d %.200s", path, bad, r.Status, r.Body)
			}
		}
	}
	for method, paths := range map[string][]string{
		"GET": {
			"/v1/health/service/x?passing=perhaps", "/v1/agent/members?wan=perhaps", "/v1/agent/monitor?loglevel=purple", "/v1/catalog/nodes?dc=elsewhere",
			"/v1/kv/", "/v1/catalog/service/", "/v1/health/node/", "/v1/agent/service/",
		},
		"PUT": {
			"/v1/kv/", "/v1/kv/x?cas=abc", "/v1/kv/x?flags=-1", "/v1/kv/x?cas=1&acquire=y", "/v1/kv/x?acquire=nobody", "/v1/agent/maintenance",
			"/v1/agent/maintenance?enable=perhaps", "/v1/agent/service/maintenance/x", "/v1/agent/service/maintenance/x?enable=true", "/v1/agent/check/pass/none",
			"/v1/agent/check/pass/", "/v1/agent/service/deregister/none", "/v1/session/renew/none", "/v1/session/destroy/", "/v1/agent/force-leave/",
			"/v1/agent/join/", "/v1/event/fire/", "/v1/event/fire/x?node=[", "/v1/event/fire/x?tag=y", "/v1/agent/token/unknown",
		},
		"DELETE": {"/v1/kv/", "/v1/kv/x?cas=abc", "/v1/kv/x?recurse&cas=1", "/v1/operator/raft/peer", "/v1/operator/raft/peer?id=none"},
	} {
		for _, path := range paths {
			if r := n.Do(t, method, path, ""); r.Status < 400 || r.Status == 404 && r.Body == "" || r.Body == "" {
				t.Errorf("%s %s: status %d %.200s", method, path, r.Status, r.Body)
			}
		}
	}
}

func TestMalformedBodies(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	for _, path := range []string{
		"/v1/catalog/register", "/v1/catalog/deregister", "/v1/agent/service/register", "/v1/agent/check/register", "/v1/agent/check/update/x", "/v1/session/create",
		"/v1/txn", "/v1/coordinate/update", "/v1/operator/autopilot/configuration", "/v1/agent/token/default",
	} {
		for _, body := range []string{"{", "}", "nul", `{"a"`, `{"a":}`, `{"Name": "x"`, `{"Name": "x",}`, "[{]", "\x00", "<xml/>", `"text"`, "5", "true", `{'Name': 'x'}`, "\xef\xbb\xbf{", `{"Name": "` + "\n" + `"}`} {
			if r := n.Do(t, http.MethodPut, path, body); r.Status != http.StatusBadRequest || r.Body == "" {
				t.Errorf("PUT %s %q: status %d %.200s", path, body, r.Status, r.Body)
			}
		}
	}
	for path, bodies := range map[string][]string{
		"/v1/catalog/register": {`{}`, `{"Node": "x"}`, `{"Address": "1.1.1.1"}`, `{"Node": "x", "Address": "1.1.1.1", "Check": {"Name": "c", "Status": "purple"}}`,
			`{"Node": "x", "Address": "1.1.1.1", "ID": "no uuid"}`, `{"Node": "x", "Address": "1.1.1.1", "Service": {"Service": ""}}`},
		"/v1/catalog/deregister": {`{}`, `{"ServiceID": "x"}`},
		"/v1/agent/service/register": {`{}`, `{"Name": ""}`, `{"Name": "x", "Port": -1}`, `{"Name": "x", "Port": 70000}`, `{"Name": "x", "Kind": "purple"}`,
			`{"Name": "x", "Check": {"TTL": "soon"}}`, `{"Name": "x", "Check": {"TTL": "-5s"}}`, `{"Name": "x", "Check": {"Interval": "1s"}}`, `{"Name": "x", "Check": {"HTTP": "http://a/"}}`,
			`{"Name": "x", "Check": {"HTTP": "nonsense", "Interval": "1s"}}`, `{"Name": "x", "Check": {"TTL": "1m", "Status": "purple"}}`,
			`{"Name": "x", "Weights": {"Passing": -1}}`, `{"Name": "x", "TaggedAddresses": {"lan": {"Port": "x"}}}`},
		"/v1/agent/check/register": {`{}`, `{"Name": "c"}`, `{"Name": "c", "TTL": "1m", "HTTP": "http://a/", "Interval": "1s"}`, `{"Name": "c", "TTL": "1m", "ServiceID": "none"}`,
			`{"Name": "c", "AliasService": "none", "TTL": "1m"}`, `{"Name": "c", "TCP": "a:1", "Interval": "x"}`},
		"/v1/session/create": {`{"TTL": "5x"}`, `{"TTL": "1s"}`, `{"TTL": "48h"}`, `{"LockDelay": "-5s"}`, `{"LockDelay": "2h"}`, `{"Behavior": "purple"}`, `{"Node": "none"}`, `{"Checks": ["none"]}`},
		"/v1/txn":            {`[{"KV": {"Verb": "fly", "Key": "x"}}]`, `[{"KV": {"Verb": "set", "Key": ""}}]`, `[{"KV": {"Verb": "cas", "Key": "x", "Index": -1}}]`, `[{"Node": {"Verb": "set", "Node": {}}}]`},
	} {
		for _, body := range bodies {
			if r := n.Do(t, http.MethodPut, path, body); r.Status < 400 || len(r.Body) < 10 {
				t.Errorf("PUT %s %s: status %d %.200s", path, body, r.Status, r.Body)
			}
		}
	}
	for path, want := range map[string]string{"/v1/agent/services": "{}", "/v1/agent/checks": "{}", "/v1/session/list": "[]"} {
		if got := n.Get(t, path); got.Body != want {
			t.Errorf("%s: %s, something refused was taken", path, got.Body)
		}
	}
}

// Names that DNS cannot carry are served over HTTP, and the log says that DNS will not have them.
func TestNamesThatBreakDNS(t *testing.T) {
	n := testkit.NewDev(t, testkit.Settings{"node_name": "bad_node!", "services": []any{testkit.Settings{"name": "from file"}}})
	a := n.Start(t)
	for _, name := range []string{"under_score", "with space", "dotted.name", "ünicode", strings.Repeat("long", 20), "-dash"} {
		n.Put(t, "/v1/agent/service/register", `{"Name": "`+name+`", "Tags": ["tag_`+name+`"]}`)
		r := n.Get(t, "/v1/health/service/"+escape(name))
		if !strings.Contains(r.Body, `"Service":"`+name+`"`) {
			t.Errorf("service %q is not served: %s", name, r.Body)
		}
		if !warned(a.Log.String(), name) {
			t.Errorf("no warning about service %q", name)
		}
	}
	for _, name := range []string{"bad_node!", "from file"} {
		if !warned(a.Log.String(), name) {
			t.Errorf("no warning about %q", name)
		}
	}
	a.Stop(t)
}

func warned(log, name string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "[WARN]") && strings.Contains(line, "DNS") && strings.Contains(line, name) {
			return true
		}
	}
	return false
}

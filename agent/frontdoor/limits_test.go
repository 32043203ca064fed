package frontdoor_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// refusals makes n requests and returns how many were refused for coming too quickly.
func refusals(t *testing.T, c testkit.Client, n int, method, path, body string) (refused int) {
	t.Helper()
	for range n {
		switch r := c.Do(t, method, path, body); r.Status {
		case http.StatusOK:
		case http.StatusTooManyRequests:
			if refused++; !strings.Contains(r.Body, "rate limit exceeded") || !strings.Contains(r.Body, "try again later") {
				t.Errorf("the refusal says %q", r.Body)
			}
		default:
			t.Fatalf("%s %s: %d %s", method, path, r.Status, r.Body)
		}
	}
	return refused
}

// TestRequestLimits: limits.request_limits bounds what a server is asked, over HTTP and by other agents, and a reload
// changes it.
func TestRequestLimits(t *testing.T) {
	limits := func(mode string) testkit.Settings {
		return testkit.Settings{"limits": map[string]any{"request_limits": map[string]any{"mode": mode, "read_rate": 1, "write_rate": 1}}}
	}
	n := testkit.NewDev(t, nil)
	a := n.Start(t)
	n.Put(t, "/v1/kv/a", "1")
	reload := func(mode string) {
		t.Helper()
		n.Configure(t, limits(mode))
		a.Reload(t)
	}
	reload("permissive")
	counted := false
	for range 2 { // between counting and looking one interval of the metrics may end, and no more than one
		if got := refusals(t, n.Client, 40, http.MethodGet, "/v1/kv/a", ""); got != 0 {
			t.Errorf("permissive refused %d", got)
		}
		metrics := n.Get(t, "/v1/agent/metrics").Body
		counted = counted || strings.Contains(metrics, "rpc.rate_limit.exceeded") && strings.Contains(metrics, "global/read")
	}
	if !counted {
		t.Error("what is over the rate is not counted")
	}
	reload("enforcing")
	if got := refusals(t, n.Client, 100, http.MethodGet, "/v1/kv/a", ""); got == 0 {
		t.Error("a hundred reads at one a second: none was refused")
	}
	if got := refusals(t, n.Client, 100, http.MethodPut, "/v1/kv/a", "2"); got == 0 {
		t.Error("a hundred writes at one a second: none was refused")
	}
	if got := refusals(t, n.Client, 30, http.MethodGet, "/v1/status/leader", ""); got != 0 {
		t.Errorf("what keeps a cluster going was refused %d times", got)
	}
	reload("disabled")
	if got := refusals(t, n.Client, 100, http.MethodGet, "/v1/kv/a", ""); got != 0 {
		t.Errorf("disabled refused %d", got)
	}
}

// TestLimitsOfAddresses: an entry of kind control-plane-request-limit bounds each address, by families, also behind
// client agents, until it is gone.
func TestLimitsOfAddresses(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	client := n.Join(t, "client", nil)
	client.Start(t)
	client.Do(t, http.MethodPut, "/v1/kv/a", "1").Want(t, http.StatusOK)
	n.Put(t, "/v1/config", `{"Kind": "control-plane-request-limit", "Name": "all", "Mode": "enforcing", "KV": {"WriteRate": 1}}`)
	if got := refusals(t, n.Client, 100, http.MethodPut, "/v1/kv/a", "2"); got == 0 {
		t.Error("a hundred writes at one a second: none was refused")
	}
	if got := refusals(t, client.Client, 100, http.MethodPut, "/v1/kv/a", "2"); got == 0 {
		t.Error("a hundred writes through a client agent: none was refused")
	}
	if got := refusals(t, n.Client, 100, http.MethodGet, "/v1/kv/a", ""); got != 0 {
		t.Errorf("%d reads were refused, which have no bound", got)
	}
	n.Do(t, http.MethodDelete, "/v1/config/control-plane-request-limit/all", "").Want(t, http.StatusOK)
	for round := 0; refusals(t, n.Client, 20, http.MethodPut, "/v1/kv/a", "2") > 0; round++ { // servers hear of it a moment later
		if round == 100 {
			t.Fatal("writes are refused after the entry has gone")
		}
	}
}

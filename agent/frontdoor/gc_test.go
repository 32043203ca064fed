package frontdoor_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// A node whose agent is gone is listed with the reason, and removed only on request; one without an agent stays.
func TestCatalogGC(t *testing.T) {
	n := testkit.NewDev(t, nil)
	p := n.Spawn(t)
	p.Put(t, "/v1/catalog/register", `{"Node": "dead", "Address": "10.0.0.9", "NodeMeta": {"class": "spot"}, "Service": {"Service": "web"}, "Check": {"CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "critical"}}`)
	p.Put(t, "/v1/catalog/register", `{"Node": "legacy", "Address": "10.0.0.8", "Check": {"CheckID": "c", "Name": "c", "Status": "critical"}}`)
	f := func(want string, code int, args ...string) {
		t.Helper()
		if out, got := n.Run(t, append([]string{"catalog", "gc"}, args...)...); got != code || !strings.Contains(out, want) || strings.Contains(out, "legacy") {
			t.Errorf("%v: exit code %d: %s", args, got, out)
		}
	}
	f("No node is to be removed", 0, "-node-meta=class=other")
	f("gossip has forgotten it", 0)
	p.Get(t, "/v1/catalog/node/dead")
	f("1 nodes removed", 0, "-apply")
	if body := p.Get(t, "/v1/catalog/nodes").Body; strings.Contains(body, "dead") || !strings.Contains(body, "legacy") {
		t.Errorf("nodes %s", body)
	}
	p.Do(t, http.MethodGet, "/v1/catalog/service/web", "").Want(t, http.StatusOK)
	f("No node is to be removed", 0, "-apply")
}

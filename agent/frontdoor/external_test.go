package frontdoor_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// The checks of a node without an agent follow what they look at; those of other nodes do not.
func TestExternalNode(t *testing.T) {
	n := testkit.NewDev(t, nil)
	a := n.Start(t)
	var status atomic.Int32
	status.Store(http.StatusOK)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	t.Cleanup(web.Close)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	register := func(node, meta string) {
		t.Helper()
		a.Put(t, "/v1/catalog/register", fmt.Sprintf(`{"Node": %q, "Address": "127.0.0.1", "NodeMeta": {%s}, "Service": {"ID": "w1", "Service": "web-%s", "Port": 80}, "Checks": [
			{"CheckID": "http", "Name": "http", "ServiceID": "w1", "Status": "critical", "Definition": {"HTTP": %q, "Interval": "1s", "Timeout": "5s"}},
			{"CheckID": "tcp", "Name": "tcp", "Status": "critical", "Definition": {"TCP": %q, "Interval": "1s"}}]}`, node, meta, node, web.URL, plain.Addr()))
	}
	register("printer", `"external-node": "true", "external-probe": "true"`)
	register("plain", `"external-node": "false"`)
	await := func(path, want string) string {
		t.Helper()
		return a.Until(t, path, func(r testkit.Reply) bool {
			return strings.Count(r.Body, `"Status":"`+want+`"`) == strings.Count(r.Body, `"Status"`)
		}).Body
	}
	if body := await("/v1/health/node/printer?filter=CheckID!=x", "passing"); strings.Count(body, `"Status"`) < 2 {
		t.Errorf("the node's checks: %s", body)
	}
	a.Until(t, "/v1/health/node/printer", func(r testkit.Reply) bool { return strings.Contains(r.Body, `"externalNodeHealth"`) })
	status.Store(http.StatusTooManyRequests)
	await("/v1/health/checks/web-printer", "warning")
	status.Store(http.StatusInternalServerError)
	await("/v1/health/checks/web-printer", "critical")
	plain.Close()
	a.Until(t, "/v1/health/node/printer", func(r testkit.Reply) bool { return strings.Count(r.Body, `"Status":"critical"`) == 2 })
	if body := a.Get(t, "/v1/health/node/plain").Body; strings.Contains(body, "passing") {
		t.Errorf("a node that is not external: %s", body)
	}
	// What its owner writes meanwhile is not undone, and a check that is removed does not come back.
	a.Put(t, "/v1/catalog/deregister", `{"Node": "printer", "CheckID": "http"}`)
	status.Store(http.StatusOK)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if r, err := a.Ask(ctx, "GET", fmt.Sprintf("/v1/health/checks/web-printer?wait=2500ms&index=%d", a.Get(t, "/v1/health/checks/web-printer").Index()), ""); err != nil || r.Body != "[]" {
		t.Errorf("after the removal: %s, %v", r.Body, err)
	}
}

package sidecar_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/sidecar"
	"github.com/curia-mesh/curia/agent/testkit"
)

// querying is the registration of web with a sidecar whose one upstream is a prepared query.
func querying(t testing.TB, query string, side, port int) string {
	t.Helper()
	return strings.Replace(meshed("web", app(t, "web"), side, map[string]int{query: port}), `"DestinationName"`, `"DestinationType":"prepared_query","Config":{"protocol":"http"},"DestinationName"`, 1)
}

// selected is a service of the mesh whose instance and sidecar have a tag.
func selected(registration, tag string) string {
	return strings.Replace(registration, `"Name":"api"`, fmt.Sprintf(`"Name":"api","Tags":[%q]`, tag), 1)
}

// prepared makes a query, or changes the one with an id, and returns its id.
func prepared(t testing.TB, a *testkit.Agent, id, query string) string {
	t.Helper()
	if id != "" {
		a.Put(t, "/v1/query/"+id, query).Want(t, http.StatusOK)
		return id
	}
	var made struct{ ID string }
	a.Do(t, http.MethodPost, "/v1/query", query).Want(t, http.StatusOK).JSON(t, &made)
	return made.ID
}

// targets waits until the listeners of a prepared query lead to so many targets.
func targets(t testing.TB, c testkit.Client, listener string, n int) {
	t.Helper()
	c.Until(t, "/v1/agent/connect/proxy/clusters", func(r testkit.Reply) bool {
		var all []sidecar.ClusterStatus
		r.JSON(t, &all)
		found := 0
		for _, s := range all {
			if strings.HasPrefix(s.Listener, listener) {
				found++
			}
		}
		return found == n
	})
}

// A prepared query as an upstream fails over as it says, to what it selects elsewhere, as fast as a service-resolver and through
// gateways as the mode says; and back. A change of the query is in use at once.
func TestQueriesFailOver(t *testing.T) {
	for mode, through := range map[string][2]uint64{"none": {0, 0}, "remote": {0, 1}, "local": {1, 1}} {
		t.Run(mode, func(t *testing.T) {
			dcs := datacenters(t, "dc1", "dc2")
			one, two := dcs[0], dcs[1]
			here, there, web := testkit.FreePorts(t), testkit.FreePorts(t), testkit.FreePorts(t)
			for i, dc := range dcs {
				dc.Put(t, "/v1/config", `{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}`)
				dc.Put(t, "/v1/config", fmt.Sprintf(`{"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": %q}}`, mode))
				dc.Put(t, "/v1/agent/service/register", gatewayAt([]int{here.Server, there.Server}[i]))
			}
			two.Put(t, "/v1/agent/service/register", selected(meshed("api", app(t, "far"), there.SerfLAN, nil), "v1"))
			if mode == "none" { // gateways know names, and not what a query selects
				old := strings.Replace(meshed("api", app(t, "old"), there.SerfWAN, nil), `"ID":"api"`, `"ID":"old"`, 1)
				two.Put(t, "/v1/agent/service/register", strings.ReplaceAll(old, `"AliasService":"api"`, `"AliasService":"old"`))
				opened(t, two.Client, "old-sidecar-proxy/inbound")
			}
			one.Put(t, "/v1/agent/service/register", selected(meshed("api", app(t, "near"), here.SerfLAN, nil), "v1"))
			id := prepared(t, one, "", `{"Name": "spare", "Service": {"Service": "API", "Tags": ["v1"], "Failover": {"NearestN": 1}}}`)
			one.Put(t, "/v1/agent/service/register", querying(t, "spare", web.SerfLAN, web.DNS))
			url := fmt.Sprintf("http://127.0.0.1:%d/", web.DNS)
			for _, dc := range dcs {
				opened(t, dc.Client, "api-sidecar-proxy/inbound")
				opened(t, dc.Client, "mesh-gateway/gateway")
			}
			opened(t, one.Client, "web-sidecar-proxy/spare")
			targets(t, one.Client, "web-sidecar-proxy/spare", 2)
			inUse(t, one.Client, fmt.Sprint("127.0.0.1:", there.SerfLAN), fmt.Sprint("127.0.0.1:", here.SerfLAN))
			within(t, patience, url, "near /")

			sick(t, one, "api")
			within(t, failover, url, "far /")
			if _, r := once(url); r == nil || !strings.Contains(r.Header.Get("X-Client"), "dc/dc1/svc/web") {
				t.Error("the application elsewhere is not told who is calling")
			}
			if got := [2]uint64{passed(t, one.Client, "*.dc2"), passed(t, two.Client, "api.dc2")}; min(got[0], 1) != through[0] || min(got[1], 1) != through[1] {
				t.Errorf("the gateways here and there passed on %v connections, want %v", got, through)
			}
			well(t, one, "api")
			within(t, failover, url, "near /")

			if mode == "none" {
				prepared(t, one, id, `{"Name": "spare", "Service": {"Service": "api", "Tags": ["!v1"], "Failover": {"Datacenters": ["dc1", "dc2"]}}}`)
				within(t, failover, url, "old /")
			}
			prepared(t, one, id, `{"Name": "spare", "Service": {"Service": "api", "Tags": ["v1"]}}`)
			targets(t, one.Client, "web-sidecar-proxy/spare", 1)
			within(t, patience, url, "near /")
		})
	}
}

// A prepared query fails over to peers, by its own targets and by a sameness group, and comes home.
func TestQueriesFailOverToPeers(t *testing.T) {
	north, south := peered(t)
	there, here := exported(t, north, south), testkit.FreePorts(t)
	south.Put(t, "/v1/agent/service/register", meshed("api", app(t, "south"), here.SerfLAN, nil))
	south.Put(t, "/v1/config", `{"Kind": "sameness-group", "Name": "all", "Members": [{"Partition": "default"}, {"Peer": "north"}]}`).Want(t, http.StatusOK)
	id := prepared(t, south, "", `{"Name": "spare", "Service": {"Service": "api", "Failover": {"Targets": [{"Peer": "north"}]}}}`)
	south.Put(t, "/v1/agent/service/register", querying(t, "spare", here.SerfWAN, here.DNS))
	url := fmt.Sprintf("http://127.0.0.1:%d/", here.DNS)
	opened(t, north.Client, "api-sidecar-proxy/inbound")
	opened(t, south.Client, "web-sidecar-proxy/spare")
	for _, query := range []string{"", `{"Name": "spare", "Service": {"Service": "api", "SamenessGroup": "all"}}`} {
		if query != "" {
			prepared(t, south, id, query)
		}
		targets(t, south.Client, "web-sidecar-proxy/spare", 2)
		inUse(t, south.Client, fmt.Sprint("127.0.0.1:", there.SerfLAN))
		within(t, patience, url, "south /")
		sick(t, south, "api")
		within(t, failover, url, "north /")
		if _, r := once(url); r == nil || !strings.Contains(r.Header.Get("X-Client"), "dc/south/svc/web") {
			t.Error("the application is not told who is calling from the other cluster")
		}
		well(t, south, "api")
		within(t, failover, url, "south /")
	}
	prepared(t, south, id, `{"Name": "spare", "Service": {"Service": "api", "Peer": "north"}}`)
	within(t, patience, url, "north /")
}

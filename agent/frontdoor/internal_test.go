package frontdoor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// Peerings as far as they go with one cluster. The secret of a token is nowhere but in the token.
func TestPeering(t *testing.T) {
	n := testkit.New(t, nil)
	a := n.Spawn(t)
	var token struct{ PeeringToken string }
	a.Do(t, "POST", "/v1/peering/token", `{"PeerName": "east", "Meta": {"env": "test"}, "ServerExternalAddresses": ["10.0.0.1:8503"]}`).Want(t, http.StatusOK).JSON(t, &token)
	for _, path := range []string{"/v1/peering/east", "/v1/peerings", "/v1/peerings?filter=Meta.env==test"} {
		if body := a.Get(t, path).Body; !strings.Contains(body, `"State":"PENDING"`) || strings.Contains(body, "ecret") {
			t.Errorf("%s: %s", path, body)
		}
	}
	before := a.Get(t, "/v1/peerings").Body
	a.Stop(t)
	a = n.Spawn(t)
	if body := a.Get(t, "/v1/peerings").Body; body != before {
		t.Errorf("after a restart %s, before %s", body, before)
	}
	for body, want := range map[string]int{
		fmt.Sprintf(`{"PeerName": "west", "PeeringToken": %q}`, token.PeeringToken): 500, `{"PeerName": "west", "PeeringToken": "x"}`: 500,
		`{"PeerName": "west", "PeeringToken": "x", "Partition": "team"}`: 400, `{"PeerName": "west"}`: 400, `{"PeeringToken": "x"}`: 400, `{"Peer": "x"}`: 400,
	} {
		if r := a.Do(t, "POST", "/v1/peering/establish", body); r.Status != want || r.Body == "" {
			t.Errorf("%.80s: %d %s, want %d", body, r.Status, r.Body, want)
		}
	}
	a.Do(t, "DELETE", "/v1/peering/east", "").Want(t, http.StatusOK)
	a.Do(t, "GET", "/v1/peering/east", "").Want(t, http.StatusNotFound)
	if body := a.Get(t, "/v1/peerings").Body; body != "[]" {
		t.Errorf("after the end: %s", body)
	}
}

// What the web interface reads: summaries that add up.
func TestInternalUI(t *testing.T) {
	n := testkit.NewDev(t, nil)
	a := n.Start(t)
	for _, body := range []string{
		`{"Node": "u1", "Address": "10.0.0.1", "Service": {"ID": "w1", "Service": "web", "Tags": ["b", "a"], "Port": 80, "Meta": {"external-source": "nomad"}}, "Checks": [{"CheckID": "host", "Name": "host", "Status": "warning"}, {"CheckID": "s", "Name": "s", "ServiceID": "w1", "Status": "passing"}]}`,
		`{"Node": "u1", "Address": "10.0.0.1", "Service": {"ID": "w2", "Service": "web", "Tags": ["a"], "Port": 81}}`,
		`{"Node": "u2", "Address": "10.0.0.2", "Service": {"ID": "w3", "Service": "Web", "Port": 82}, "Check": {"CheckID": "s", "Name": "s", "ServiceID": "w3", "Status": "critical"}}`,
		`{"Node": "u2", "Address": "10.0.0.2", "Service": {"Service": "web-proxy", "Kind": "connect-proxy", "Port": 83, "Proxy": {"DestinationServiceName": "web", "Mode": "transparent"}}}`,
	} {
		a.Put(t, "/v1/catalog/register", body)
	}
	type summary struct {
		Kind, Name, Datacenter                                      string
		Tags, Nodes, ExternalSources                                []string
		InstanceCount, ChecksPassing, ChecksWarning, ChecksCritical int
		ConnectedWithProxy, TransparentProxy                        bool
	}
	var services []summary
	a.Get(t, "/v1/internal/ui/services?filter="+"Service.Service+!%3D+consul").JSON(t, &services)
	want := "[{ web dc1 [a b] [u1 u2] [nomad] 3 1 1 1 true false} {connect-proxy web-proxy dc1 [] [u2] [] 1 0 0 0 false true}]"
	if got := fmt.Sprint(services); got != want {
		t.Errorf("services\n%s, want\n%s", got, want)
	}
	type count struct {
		Name                              string
		Total, Passing, Warning, Critical int
	}
	var overview struct{ Nodes, Services, Checks []count }
	a.Get(t, "/v1/internal/ui/catalog-overview").JSON(t, &overview)
	want = "{[{ 3 2 1 0}] [{consul 1 1 0 0} {web 3 0 2 1} {web-proxy 1 1 0 0}] [{Serf Health Status 1 1 0 0} {host 1 0 1 0} {s 2 1 0 1}]}"
	if got := fmt.Sprint(overview); got != want {
		t.Errorf("overview\n%s, want\n%s", got, want)
	}
	var nodes []struct {
		Node     string
		Services []struct{ ID string }
		Checks   []struct{ CheckID string }
	}
	a.Get(t, "/v1/internal/ui/nodes?filter=Node+!%3D+n1").JSON(t, &nodes)
	if got, want := fmt.Sprint(nodes), "[{u1 [{w1} {w2}] [{host} {s}]} {u2 [{w3} {web-proxy}] [{s}]}]"; got != want {
		t.Errorf("nodes %s, want %s", got, want)
	}
	a.Do(t, "GET", "/v1/internal/ui/node/none", "").Want(t, http.StatusNotFound)
	a.Do(t, "GET", "/v1/internal/ui/exported-services", "").Want(t, http.StatusInternalServerError)
	if body := a.Get(t, "/v1/internal/ui/exported-services?peer=east").Body; body != "[]" {
		t.Errorf("exported to nobody: %s", body)
	}
}

// The leader tells which mesh gateways there are.
func TestFederationStates(t *testing.T) {
	n := testkit.New(t, nil)
	a := n.Spawn(t)
	if body := a.Get(t, "/v1/internal/federation-states/mesh-gateways").Body; body != "{}" {
		t.Errorf("without gateways: %s", body)
	}
	a.Put(t, "/v1/catalog/register", `{"Node": "g1", "Address": "10.0.0.1", "Service": {"Service": "gw", "Kind": "mesh-gateway", "Port": 443}, "Check": {"CheckID": "c", "ServiceID": "gw", "Status": "passing"}}`)
	a.Stop(t)
	a = n.Spawn(t) // a new leader looks at once
	var told map[string][]struct {
		Service struct{ ID string }
		Checks  []struct{ Status string }
	}
	a.Until(t, "/v1/internal/federation-states/mesh-gateways", func(r testkit.Reply) bool { return r.Body != "{}" }).JSON(t, &told)
	if got := fmt.Sprint(told); got != "map[dc1:[{{gw} [{passing}]}]]" {
		t.Errorf("told %s", got)
	}
	a.Get(t, "/v1/internal/federation-state/dc1")
	a.Do(t, "GET", "/v1/internal/federation-state/dc2", "").Want(t, http.StatusNotFound)
}

// Gateways of a kind are told of as they come, fail and go, and so are the names of the services of the mesh; other changes
// wake nobody who waits for them.
func TestGatewaysOfAKind(t *testing.T) {
	a := testkit.NewDev(t, nil).Start(t)
	const gateways, services = "/v1/internal/gateways/mesh-gateway", "/v1/internal/mesh-services"
	register := func(text string) { a.Put(t, "/v1/catalog/register", `{"Node": "g1", "Address": "10.0.0.1", `+text+`}`) }
	until := func(path, want string) {
		t.Helper()
		a.Until(t, path, func(r testkit.Reply) bool {
			if path == services {
				return strings.TrimSpace(r.Body) == want
			}
			var found []struct {
				Service struct{ ID string }
				Checks  []struct{ Status string }
			}
			r.JSON(t, &found)
			return fmt.Sprint(found) == want
		})
	}
	until(gateways, "[]")
	until(services, "[]")
	register(`"Service": {"Service": "web", "Port": 80}`)
	register(`"Service": {"Service": "gw", "Port": 443}`)
	index := a.Get(t, gateways).Index()
	register(`"Service": {"Service": "gw", "Kind": "mesh-gateway", "Port": 443}`) // what it is changes, not its name
	until(gateways, "[{{gw} []}]")
	register(`"Check": {"Name": "c", "CheckID": "c", "ServiceID": "gw", "Status": "critical"}`)
	until(gateways, "[{{gw} [{critical}]}]")
	a.Put(t, "/v1/catalog/deregister", `{"Node": "g1", "CheckID": "c"}`)
	until(gateways, "[{{gw} []}]")
	before := a.Get(t, gateways).Index()
	register(`"Service": {"Service": "web", "Port": 81}`)
	if after := a.Get(t, gateways).Index(); index >= before || after != before {
		t.Errorf("indexes %d, %d and %d", index, before, after)
	}
	register(`"Service": {"Service": "side", "Kind": "connect-proxy", "Port": 82, "Proxy": {"DestinationServiceName": "api"}}`)
	until(services, `["api"]`)
	a.Put(t, "/v1/catalog/deregister", `{"Node": "g1", "ServiceID": "side"}`)
	until(services, "[]")
	a.Put(t, "/v1/catalog/deregister", `{"Node": "g1", "ServiceID": "gw"}`)
	until(gateways, "[]")
	a.Do(t, "GET", "/v1/internal/gateways/plain", "").Want(t, http.StatusInternalServerError)
}

// What the web interface lists of gateways: to how many services each leads, and which services it leads to.
func TestInternalUIGateways(t *testing.T) {
	a := testkit.NewDev(t, nil).Start(t)
	for _, body := range []string{
		`{"Node": "u1", "Address": "10.0.0.1", "Service": {"Service": "gw", "Kind": "ingress-gateway", "Port": 443}}`,
		`{"Node": "u1", "Address": "10.0.0.1", "Service": {"Service": "out", "Kind": "terminating-gateway", "Port": 444}}`,
		`{"Node": "u1", "Address": "10.0.0.1", "Service": {"Service": "web", "Port": 80}}`,
		`{"Node": "u1", "Address": "10.0.0.1", "Service": {"Service": "db", "Port": 81}}`,
		`{"Node": "u1", "Address": "10.0.0.1", "Service": {"Service": "alone", "Port": 82}}`,
	} {
		a.Put(t, "/v1/catalog/register", body)
	}
	index := a.Get(t, "/v1/internal/ui/services").Header.Get("X-Consul-Index")
	a.Put(t, "/v1/config", `{"Kind": "ingress-gateway", "Name": "gw", "Listeners": [{"Port": 80, "Protocol": "tcp", "Services": [{"Name": "web"}]}, {"Port": 81, "Protocol": "tcp", "Services": [{"Name": "Web"}]}, {"Port": 82, "Protocol": "tcp", "Services": [{"Name": "db"}]}]}`)
	a.Put(t, "/v1/config", `{"Kind": "terminating-gateway", "Name": "out", "Services": [{"Name": "db"}, {"Name": "elsewhere"}]}`)
	var services []struct {
		Name                 string
		GatewayConfig        struct{ AssociatedServiceCount int }
		ConnectedWithGateway bool
	}
	a.Get(t, "/v1/internal/ui/services?filter=Service.Service+!%3D+consul&wait=1ms&index="+index).JSON(t, &services)
	if got, want := fmt.Sprint(services), "[{alone {0} false} {db {0} true} {gw {2} false} {out {2} false} {web {0} true}]"; got != want {
		t.Errorf("services\n%s, want\n%s", got, want)
	}
}

// The metrics store behind the agent: what reaches it and what comes back.
func TestMetricsProxy(t *testing.T) {
	var seen *http.Request
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.Header().Set("Set-Cookie", "a=b")
		switch r.URL.Path {
		case "/prom/api/v1/query":
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{"status": "success"}`))
		case "/prom/elsewhere":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case "/prom/cut":
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("cut"))
		default:
			http.Error(w, "no", http.StatusTeapot)
		}
	}))
	defer store.Close()
	proxy := func(base string) testkit.Settings {
		return testkit.Settings{"ui_config": testkit.Settings{"metrics_proxy": testkit.Settings{
			"base_url": base, "path_allowlist": []string{"/api/v1/query", "/elsewhere", "/prom/odd", "/cut"}, "add_headers": []testkit.Settings{{"name": "x-scope", "value": "canary"}},
		}}}
	}
	n := testkit.NewDev(t, proxy(strings.Replace(store.URL, "http://", "http://user:canary@", 1)+"/prom/"))
	a := n.Start(t)
	r := a.Get(t, "/v1/internal/ui/metrics-proxy/api/v1/query?query=up%7Ba%3D%22b%22%7D&token=secret&time=1")
	if r.Body != `{"status": "success"}` || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Set-Cookie") != "" {
		t.Errorf("answer: %s %v", r.Body, r.Header)
	}
	a.Do(t, "GET", "/v1/internal/ui/metrics-proxy/api/v1/query?query=up", "", "X-Consul-Token", "secret", "Authorization", "Bearer secret", "Cookie", "secret=1").Want(t, http.StatusOK)
	if user, password, _ := seen.BasicAuth(); user != "user" || password != "canary" || seen.Header.Get("X-Scope") != "canary" {
		t.Errorf("the store is asked with %v", seen.Header)
	}
	if said := fmt.Sprint(seen.Header, seen.URL); strings.Contains(said, "secret") {
		t.Errorf("the store learns the client's secrets: %s", said)
	}
	for path, want := range map[string]int{
		"odd": 418, "elsewhere": 502, "": 403, "admin": 403, "api/v1/query/": 200, "api/v1/queryx": 403, "api/v1": 403, "api/v1/query/%2e%2e/admin": 403,
		"%2e%2e/%2e%2e/api/v1/query": 200, "x%2f..%2fapi/v1/query": 200, "api/v1/query%3Fx=y": 403, "prom/api/v1/query": 403,
	} {
		if r := a.Do(t, "GET", "/v1/internal/ui/metrics-proxy/"+path, ""); r.Status != want || strings.Contains(r.Body, "canary") {
			t.Errorf("%s: %d %s, want %d", path, r.Status, r.Body, want)
		}
	}
	if _, err := a.Ask(t.Context(), "GET", "/v1/internal/ui/metrics-proxy/cut", ""); err == nil {
		t.Error("an answer that was cut off looks whole")
	}
	a.Do(t, "POST", "/v1/internal/ui/metrics-proxy/api/v1/query", "query=up").Want(t, http.StatusMethodNotAllowed)
	n.Configure(t, proxy("http://user:canary@127.0.0.1:1"))
	a.Reload(t)
	if r := a.Do(t, "GET", "/v1/internal/ui/metrics-proxy/api/v1/query", "").Want(t, http.StatusBadGateway); strings.Contains(r.Body, "canary") || strings.Contains(a.Log.Tail(), "canary") {
		t.Errorf("the password is told: %s", r.Body)
	}
	n.Configure(t, proxy(""))
	a.Reload(t)
	a.Do(t, "GET", "/v1/internal/ui/metrics-proxy/api/v1/query", "").Want(t, http.StatusNotFound)
}

// An upstream says in the catalog what it leaves open, and at its agent only what it says.
func TestUpstreamShown(t *testing.T) {
	a := testkit.NewDev(t, nil).Start(t)
	a.Put(t, "/v1/agent/service/register", `{"Name": "p", "Kind": "connect-proxy", "Port": 81, "Proxy": {"DestinationServiceName": "web", "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191}]}}`)
	if body := a.Get(t, "/v1/agent/service/p").Body; !strings.Contains(body, `"Upstreams":[{"DestinationName":"db","LocalBindPort":9191,"MeshGateway":{}}]`) || !strings.Contains(body, `"DestinationServiceName":"web"`) {
		t.Errorf("agent: %s", body)
	}
	for _, path := range []string{"/v1/catalog/service/p", "/v1/health/service/p", "/v1/internal/ui/nodes"} {
		if body := a.Get(t, path).Body; !strings.Contains(body, `{"DestinationType":"","DestinationName":"db","Datacenter":"","LocalBindPort":9191,"MeshGateway":{}}`) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// Sets of exported services over HTTP: written, counted, kept by restarts and snapshots, removed.
func TestExportSets(t *testing.T) {
	const path = "/api/multicluster/v2/exportedservices"
	n := testkit.New(t, nil)
	a := n.Spawn(t)
	if body := a.Get(t, path).Body; body != `{"resources":[]}` {
		t.Errorf("at first: %s", body)
	}
	a.Put(t, "/v1/config", `{"Kind": "exported-services", "Name": "default", "Services": [{"Name": "web", "Consumers": [{"Peer": "west"}]}]}`)
	written := a.Put(t, path+"/e1", `{"data": {"consumers": [{"peer": "east"}, {"sameness_group": "all"}], "services": ["web", "db"]}, "metadata": {"env": "test"}}`).Body
	if want := `{"id":{"name":"e1","type":{"group":"multicluster","groupVersion":"v2","kind":"ExportedServices"}},"data":{"consumers":[{"peer":"east"},{"sameness_group":"all"}],"services":["web","db"]},"metadata":{"env":"test"},"version":"`; !strings.HasPrefix(written, want) {
		t.Errorf("written %s", written)
	}
	kept := func() {
		t.Helper()
		if body := a.Get(t, path+"/e1").Body; body != written {
			t.Errorf("read %s, written %s", body, written)
		}
		if body := a.Get(t, path).Body; body != `{"resources":[`+written+`]}` {
			t.Errorf("listed %s, written %s", body, written)
		}
		if got, want := a.Get(t, "/v1/exported-services").Body, `[{"Service":"db","Consumers":{"Peers":["east"]}},{"Service":"web","Consumers":{"Peers":["east","west"]}}]`; got != want {
			t.Errorf("exported %s, want %s", got, want)
		}
	}
	kept()
	a.Stop(t)
	a = n.Spawn(t)
	kept()
	snapshot := a.Get(t, "/v1/snapshot").Body
	for range 2 { // the second finds nothing, which is no error
		a.Do(t, "DELETE", path+"/e1", "").Want(t, http.StatusNoContent)
		a.Do(t, "GET", path+"/e1", "").Want(t, http.StatusNotFound)
	}
	if body := a.Get(t, "/v1/exported-services").Body; body != `[{"Service":"web","Consumers":{"Peers":["west"]}}]` {
		t.Errorf("after the end: %s", body)
	}
	a.Put(t, "/v1/snapshot", snapshot)
	kept()
}

// Whoever writes a bad set of exported services reads where it is bad and what to write, and nothing is stored.
func TestExportSetsRefused(t *testing.T) {
	const path = "/api/multicluster/v2/exportedservices/"
	a := testkit.NewDev(t, nil).Start(t)
	good := `"consumers": [{"peer": "east"}]`
	list := func(n int, each string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(each, i)
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	for _, bad := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"e", ``, 400, "has no body"},
		{"e", `{"data"`, 400, "request body"},
		{"e", `{}`, 400, "data.services has 0 entries: want 1 to 1000"},
		{"e", `{"data": {"services": ["web"]}}`, 400, "data.consumers has 0 entries: want 1 to 100"},
		{"e", `{"data": {"services": ["web"], "consumers": [{}]}}`, 400, "data.consumers[0] must have exactly one of peer and sameness_group"},
		{"e", `{"data": {"services": ["web"], "consumers": [{"peer": "a", "sameness_group": "b"}]}}`, 400, "data.consumers[0] must have exactly one"},
		{"e", `{"data": {"services": ["web"], "consumers": [{"peer": "a"}, {"partition": "b"}]}}`, 400, "data.consumers[1].partition: \"b\": there are no partitions to export to: name a peer"},
		{"e", `{"data": {"services": ["web"], "consumers": [{"peer": "a"}, {"peer": "a"}]}}`, 400, "data.consumers[1] is there a second time"},
		{"e", `{"data": {"services": ["web"], "consumers": [{"peer": "*"}]}}`, 400, "data.consumers[0].peer"},
		{"e", `{"data": {"services": ["web"], "consumers": [{"pear": "a"}]}}`, 400, "peer"},
		{"e", `{"data": {"services": ["web", "Web"], ` + good + `}}`, 400, "data.services[1] names \"Web\" a second time"},
		{"e", `{"data": {"services": ["*"], ` + good + `}}`, 400, "with the config entry exported-services"},
		{"e", `{"data": {"services": ["web", ""], ` + good + `}}`, 400, "data.services[1] is missing"},
		{"e", `{"data": {"services": ["a\u0000b"], ` + good + `}}`, 400, "data.services[0]"},
		{"e", `{"data": {"services": ["` + strings.Repeat("x", 513) + `"], ` + good + `}}`, 400, "too long"},
		{"e", `{"data": {"services": "web", ` + good + `}}`, 400, "services"},
		{"e", `{"data": {"services": ` + list(1001, `"s%d"`) + `, ` + good + `}}`, 400, "data.services has 1001 entries"},
		{"e", `{"data": {"services": ["web"], "consumers": ` + list(101, `{"peer": "p%d"}`) + `}}`, 400, "data.consumers has 101 entries"},
		{"e", `{"data": {"services": ["web"], ` + good + `}, "owner": {}}`, 400, "owner"},
		{"e", `{"data": {"services": ["web"], ` + good + `}, "metadata": {"a b": "c"}}`, 400, "metadata"},
		{"e", `{"pad": "` + strings.Repeat("x", 2<<20) + `"}`, 413, "at most"},
		{"", `{"data": {"services": ["web"], ` + good + `}}`, 400, "missing name"},
		{"E", `{"data": {"services": ["web"], ` + good + `}}`, 400, "lower-case"},
		{"a/b", `{"data": {"services": ["web"], ` + good + `}}`, 400, "lower-case"},
		{"%00", `{"data": {"services": ["web"], ` + good + `}}`, 400, "exportedservices/"},
		{strings.Repeat("a", 64), `{"data": {"services": ["web"], ` + good + `}}`, 400, "at most 63"},
		{"e?partition=team", `{"data": {"services": ["web"], ` + good + `}}`, 400, "partition"},
	} {
		if r := a.Do(t, "PUT", path+bad.name, bad.body); r.Status != bad.status || !strings.Contains(r.Body, bad.want) || len(r.Body) > 400 {
			t.Errorf("%s %.80s: %d %.400s, want %d with %q", bad.name, bad.body, r.Status, r.Body, bad.status, bad.want)
		}
	}
	if body := a.Get(t, strings.TrimSuffix(path, "/")).Body; body != `{"resources":[]}` {
		t.Errorf("stored: %s", body)
	}
}

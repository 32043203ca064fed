package frontdoor_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// topologyOf is what a service is connected with: "> db proxy-registration true" for what it reaches,
// "< ..." for what reaches it, with whether that is allowed.
func topologyOf(t testing.TB, c testkit.Client, query string) string {
	t.Helper()
	type link struct {
		Name, Source string
		Intention    struct{ Allowed, HasExact, HasPermissions bool }
	}
	var rep struct{ Upstreams, Downstreams []link }
	c.Get(t, "/v1/internal/ui/service-topology/"+query).JSON(t, &rep)
	var lines []string
	for sign, links := range map[string][]link{">": rep.Upstreams, "<": rep.Downstreams} {
		for _, l := range links {
			lines = append(lines, fmt.Sprint(sign, " ", l.Name, " ", l.Source, " ", l.Intention.Allowed))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// What a service reaches and what reaches it: by registrations, chains, gateways and intentions.
func TestTopology(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	proxy := func(of, rest string) string {
		return fmt.Sprintf(`{"Service": %q, "Kind": "connect-proxy", "Port": 3, "Proxy": {"DestinationServiceName": %q%s}}`, of+"-proxy", of, rest)
	}
	registered(t, n.Client,
		`{"Service": "web", "Port": 1}`, `{"Service": "db", "Port": 2}`,
		proxy("web", `, "Upstreams": [{"DestinationName": "db", "LocalBindPort": 90}, {"DestinationName": "far", "Datacenter": "dc2", "LocalBindPort": 91}]`),
		proxy("db", ""), proxy("open", `, "Mode": "transparent"`))
	written(t, n.Client,
		`{"Kind": "service-resolver", "Name": "db", "Redirect": {"Service": "db2"}}`,
		`{"Kind": "ingress-gateway", "Name": "way-in", "Listeners": [{"Port": 9, "Services": [{"Name": "web"}]}]}`,
		`{"Kind": "service-intentions", "Name": "db", "Sources": [{"Name": "web", "Action": "deny"}, {"Name": "open", "Action": "allow"}]}`,
		`{"Kind": "service-intentions", "Name": "web", "Sources": [{"Name": "*", "Action": "allow"}]}`)
	for query, want := range map[string]string{
		"web?kind=":                   "< open wildcard-intention true\n< way-in proxy-registration true\n> db proxy-registration false\n> db2 routing-config true",
		"db?kind=":                    "< open specific-intention true\n< web proxy-registration false",
		"db2?kind=":                   "< web routing-config true",
		"open?kind=":                  "> db specific-intention true\n> web wildcard-intention true",
		"way-in?kind=ingress-gateway": "> web proxy-registration true",
		"absent?kind=":                "",
	} {
		if got := topologyOf(t, n.Client, query); got != want {
			t.Errorf("%s\n%s\nwant\n%s", query, got, want)
		}
	}
	for _, query := range []string{"web", "?kind=", "web?kind=mesh-gateway"} {
		n.Do(t, "GET", "/v1/internal/ui/service-topology/"+query, "").Want(t, http.StatusBadRequest)
	}
	woken := n.Changed(t, "/v1/internal/ui/service-topology/db?kind=")
	written(t, n.Client, `{"Kind": "service-intentions", "Name": "db", "Sources": [{"Name": "web", "Action": "allow"}]}`)
	if r := <-woken; strings.Contains(r.Body, `"Allowed":false`) || !strings.Contains(r.Body, `"HasExact":true`) {
		t.Errorf("woken for %s", r.Body)
	}
}

// What the web interface shows of a gateway: its services, each once, and the intentions about them.
func TestGatewaysInUI(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	registered(t, n.Client, `{"Service": "web", "Port": 1}`)
	written(t, n.Client,
		`{"Kind": "service-defaults", "Name": "web", "Protocol": "http"}`,
		`{"Kind": "ingress-gateway", "Name": "way-in", "Listeners": [{"Port": 8, "Protocol": "http", "Services": [{"Name": "web", "Hosts": ["a.example", "b.example"]}]}, {"Port": 9, "Services": [{"Name": "web"}]}, {"Port": 10, "Services": [{"Name": "absent"}]}]}`,
		`{"Kind": "service-intentions", "Name": "web", "Sources": [{"Name": "api", "Action": "allow"}]}`,
		`{"Kind": "service-intentions", "Name": "*", "Sources": [{"Name": "*", "Action": "deny"}]}`,
		`{"Kind": "service-intentions", "Name": "other", "Sources": [{"Name": "api", "Action": "allow"}]}`)
	var services []struct {
		Name          string
		InstanceCount int
		GatewayConfig struct{ Addresses []string }
	}
	n.Get(t, "/v1/internal/ui/gateway-services-nodes/way-in").JSON(t, &services)
	if got := fmt.Sprint(services); got != "[{absent 0 {[]}} {web 1 {[a.example:8 b.example:8]}}]" {
		t.Errorf("services: %s", got)
	}
	var intentions []struct{ SourceName, DestinationName string }
	n.Get(t, "/v1/internal/ui/gateway-intentions/way-in").JSON(t, &intentions)
	if got := fmt.Sprint(intentions); got != "[{api web} {* *}]" {
		t.Errorf("intentions: %s", got)
	}
}

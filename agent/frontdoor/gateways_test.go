package frontdoor_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
)

// written puts config entries.
func written(t testing.TB, c testkit.Client, entries ...string) {
	t.Helper()
	for _, e := range entries {
		c.Put(t, "/v1/config", e).Want(t, http.StatusOK)
	}
}

// registered puts registrations of services with nodes.
func registered(t testing.TB, c testkit.Client, services ...string) {
	t.Helper()
	for _, s := range services {
		c.Put(t, "/v1/catalog/register", `{"Node": "g1", "Address": "10.0.0.1", "Service": `+s+`}`).Want(t, http.StatusOK)
	}
}

// linesOf is what a gateway leads to, a line for each.
func linesOf(t testing.TB, c testkit.Client, gateway string) string {
	t.Helper()
	var found []catalog.GatewayService
	c.Get(t, "/v1/catalog/gateway-services/"+gateway).JSON(t, &found)
	var lines []string
	for _, s := range found {
		line := s.Service.Name + " " + string(s.GatewayKind) + " " + s.Protocol + s.SNI
		if s.FromWildcard {
			line += " *"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// namesAt are the names of the services of instances.
func namesAt(t testing.TB, c testkit.Client, path string) string {
	t.Helper()
	var found []catalog.Instance
	c.Get(t, path).JSON(t, &found)
	var names []string
	for _, i := range found {
		names = append(names, i.Service.Service)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// Which services gateways lead to, and by which gateways services are reached.
func TestGatewayServices(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	registered(t, n.Client,
		`{"Service": "db", "Port": 1}`, `{"Service": "web", "Port": 2}`,
		`{"Service": "web-proxy", "Kind": "connect-proxy", "Port": 3, "Proxy": {"DestinationServiceName": "web"}}`,
		`{"Service": "way-out", "Kind": "terminating-gateway", "Port": 4}`,
		`{"Service": "way-in", "Kind": "ingress-gateway", "Port": 5}`,
		`{"ID": "no-gateway", "Service": "way-in", "Port": 6}`)
	if got := namesAt(t, n.Client, "/v1/health/connect/db"); got != "" {
		t.Errorf("before there is an entry, db is reached at %q", got)
	}
	written(t, n.Client,
		`{"Kind": "service-defaults", "Name": "web", "Protocol": "http"}`,
		`{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}`,
		`{"Kind": "terminating-gateway", "Name": "way-out", "Services": [{"Name": "*", "SNI": "any"}, {"Name": "Web", "SNI": "own"}]}`,
		`{"Kind": "ingress-gateway", "Name": "way-in", "Listeners": [{"Port": 9, "Services": [{"Name": "db"}]}, {"Port": 8, "Protocol": "http", "Services": [{"Name": "*"}, {"Name": "api"}]}]}`,
		`{"Kind": "api-gateway", "Name": "front", "Listeners": [{"Name": "a", "Port": 80, "Protocol": "http"}, {"Name": "b", "Port": 81, "Protocol": "tcp"}]}`,
		`{"Kind": "http-route", "Name": "r", "Parents": [{"Name": "front", "SectionName": "a"}], "Rules": [{"Services": [{"Name": "web"}, {"Name": "web"}]}]}`,
		`{"Kind": "http-route", "Name": "lost", "Parents": [{"Name": "front", "SectionName": "b"}], "Rules": [{"Services": [{"Name": "api"}]}]}`,
		`{"Kind": "tcp-route", "Name": "r", "Parents": [{"Name": "front"}], "Services": [{"Name": "db"}]}`)
	for gateway, want := range map[string]string{
		"way-out": "db terminating-gateway any *\nway-in terminating-gateway any *\nWeb terminating-gateway own",
		"way-in":  "api ingress-gateway http\ndb ingress-gateway tcp\nweb ingress-gateway http *",
		"front":   "db api-gateway \nweb api-gateway ",
		"none":    "",
	} {
		if got := linesOf(t, n.Client, gateway); got != want {
			t.Errorf("%s leads to\n%s\nwant\n%s", gateway, got, want)
		}
	}
	for path, want := range map[string]string{
		"/v1/health/connect/db": "way-out", "/v1/health/connect/WEB": "way-out web-proxy", "/v1/health/connect/absent": "", "/v1/health/connect/consul": "",
		"/v1/health/ingress/db": "way-in", "/v1/health/ingress/web": "way-in", "/v1/health/ingress/api": "way-in", "/v1/health/ingress/absent": "",
		"/v1/health/ingress/web?passing": "way-in",
	} {
		if got := namesAt(t, n.Client, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// Who waits for the services of a gateway wakes for its entry and for what the wildcard stands for, and
// not for other gateways.
func TestGatewayServicesWake(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	written(t, n.Client,
		`{"Kind": "terminating-gateway", "Name": "some", "Services": [{"Name": "db"}]}`,
		`{"Kind": "terminating-gateway", "Name": "all", "Services": [{"Name": "*"}]}`)
	some, all := n.Changed(t, "/v1/catalog/gateway-services/some"), n.Changed(t, "/v1/catalog/gateway-services/all")
	ways := n.Changed(t, "/v1/health/connect/db")
	registered(t, n.Client, `{"Service": "new", "Port": 1}`)
	if r := <-all; !strings.Contains(r.Body, `"new"`) {
		t.Errorf("woken for %s", r.Body)
	}
	registered(t, n.Client, `{"Service": "some", "Kind": "terminating-gateway", "Port": 2}`)
	if r := <-ways; !strings.Contains(r.Body, "terminating-gateway") {
		t.Errorf("woken for %s", r.Body)
	}
	written(t, n.Client,
		`{"Kind": "terminating-gateway", "Name": "other", "Services": [{"Name": "db"}]}`,
		`{"Kind": "terminating-gateway", "Name": "some", "Services": [{"Name": "db"}, {"Name": "mail"}]}`)
	if r := <-some; !strings.Contains(r.Body, "mail") {
		t.Errorf("woken for %s", r.Body)
	}
	ways = n.Changed(t, "/v1/health/connect/mail")
	n.Do(t, "DELETE", "/v1/config/terminating-gateway/some", "").Want(t, http.StatusOK)
	if r := <-ways; r.Body != "[]" {
		t.Errorf("without the entry: %s", r.Body)
	}
}

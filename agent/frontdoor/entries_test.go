package frontdoor_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// TestGatewayStatusRestart: what the servers made of gateways and routes is the same, its times too, when the log
// is played again, and in a snapshot.
func TestGatewayStatusRestart(t *testing.T) {
	p := testkit.New(t, nil)
	first := p.Spawn(t)
	for _, entry := range []string{
		`{"Kind": "service-defaults", "Name": "web", "Protocol": "http"}`,
		`{"Kind": "api-gateway", "Name": "gw", "Listeners": [{"Name": "main", "Port": 80, "Protocol": "http"}, {"Name": "raw", "Port": 81, "Protocol": "tcp"}]}`,
		`{"Kind": "http-route", "Name": "web", "Parents": [{"Name": "gw"}], "Rules": [{"Services": [{"Name": "web"}]}]}`,
		`{"Kind": "tcp-route", "Name": "db", "Parents": [{"Name": "gw"}], "Services": [{"Name": "db"}]}`,
	} {
		first.Put(t, "/v1/config", entry)
	}
	const all = "/v1/config/"
	want := first.Get(t, all).Body
	if strings.Count(want, `"Status":"True"`) != 7 || !strings.Contains(want, "LastTransitionTime") || !strings.Contains(want, "bound-api-gateway") {
		t.Fatal(want)
	}
	first.Kill(t)
	second := p.Spawn(t)
	if got := second.Get(t, all).Body; got != want {
		t.Errorf("after a restart\n%s\nwant\n%s", got, want)
	}
	other := testkit.New(t, nil).Spawn(t)
	other.Do(t, http.MethodPut, "/v1/snapshot", second.Get(t, "/v1/snapshot").Body).Want(t, http.StatusOK)
	if got := other.Get(t, all).Body; got != want {
		t.Errorf("out of a snapshot\n%s\nwant\n%s", got, want)
	}
}

// TestExportsOnTheCommandLine: a service that is exported to a peer is in the lists of what is.
func TestExportsOnTheCommandLine(t *testing.T) {
	n := testkit.New(t, nil)
	n.Spawn(t)
	for _, step := range []struct {
		args, want string
		code       int
	}{
		{"peering exported-services -name=east", "Peering not found", 1},
		{"peering generate-token -name=east", "", 0},
		{"peering exported-services -name=east", "There are no exported services.", 0},
		{"services export -name=web -consumer-peers=east", `Successfully exported service "web" to east`, 0},
		{"services export -name=db -consumer-peers=east", `Successfully exported service "db" to east`, 0},
		{"services exported-services", "web", 0},
		{"config read -kind=exported-services -name=default", `"Peer": "east"`, 0},
		{"peering exported-services -name=east", "db\nweb\n", 0},
		{"peering establish -name=west -peering-token=rubbish", "peering token is damaged", 1},
		{"peering delete -name=east", "Successfully submitted", 0},
		{"peering read -name=east", "Peering not found", 1},
	} {
		if out, code := n.Run(t, strings.Fields(step.args)...); code != step.code || !strings.Contains(out, step.want) {
			t.Errorf("%s: exit code %d, want %d: %s", step.args, code, step.code, out)
		}
	}
}

// What entries, queries and certificates must not say: it is refused with what to do, in a line that no terminal
// obeys and no log is filled with, and nothing is stored. A subset's filter is checked before somebody reads by it.
func TestHostileWrites(t *testing.T) {
	a := testkit.NewDev(t, nil).Start(t)
	before := a.Get(t, "/v1/config/").Body
	f := func(status int, want, method, path, body string) {
		t.Helper()
		r := a.Do(t, method, path, body)
		if r.Status != status || !strings.Contains(r.Body, want) || len(r.Body) > 1000 || strings.ContainsAny(r.Body, "\n\x1b") {
			t.Errorf("%s %.80s %.200s: %d %.1000q, want %d %s", method, path, body, r.Status, r.Body, status, want)
		}
	}
	long := strings.Repeat("x", 100_000)
	f(500, "at most 512", "PUT", "/v1/config", `{"Kind": "service-defaults", "Name": "`+long+`"}`)
	f(500, "cannot be shown", "PUT", "/v1/config", `{"Kind": "service-defaults", "Name": "a\nb\u001b[2J"}`)
	f(500, "error parsing regexp", "PUT", "/v1/config", `{"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {"Filter": "Service.Meta.v matches \"(a{1000}){1000}\""}}}`)
	f(500, "error parsing regexp", "PUT", "/v1/config", `{"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {"Filter": "ID == a or not (ID == b and Service.Meta.v not matches \"(?=a)\")"}}}`)
	f(500, "second one", "PUT", "/v1/config", `{"Kind": "service-intentions", "Name": "db", "Sources": [{"Name": "web", "Action": "allow"}, {"Name": "Web", "Action": "deny"}]}`)
	f(400, "unknown kind", "DELETE", "/v1/config/soup/x", "")
	f(500, "above", "POST", "/v1/query", `{"Name": "q", "Service": {"Service": "web"}, "DNS": {"TTL": "999999h"}}`)
	f(500, "empty name", "POST", "/v1/query", `{"Name": "q", "Service": {"Service": "web", "Failover": {"Datacenters": ["dc2", ""]}}}`)
	f(500, "cannot be shown", "POST", "/v1/query", `{"Name": "q\n\u001b[2J", "Service": {"Service": "web"}}`)
	f(400, "stands for every service", "GET", "/v1/agent/connect/ca/leaf/*", "")
	f(400, "printable", "GET", "/v1/agent/connect/ca/leaf/a%0Ab", "")
	f(400, "too long", "GET", "/v1/agent/connect/ca/leaf/"+long[:5000], "")
	if after := a.Get(t, "/v1/config/").Body + a.Get(t, "/v1/query").Body; after != before+"[]" {
		t.Errorf("stored: %s", after)
	}
}

// A service that is denied is denied by every spelling of its name, as the catalog takes them for one.
func TestIntentionSpelling(t *testing.T) {
	a := testkit.NewDev(t, nil).Start(t)
	a.Put(t, "/v1/config", `{"Kind": "service-intentions", "Name": "db", "Sources": [{"Name": "web", "Action": "deny"}]}`)
	for _, names := range []string{"source=web&destination=db", "source=Web&destination=db", "source=WEB&destination=DB"} {
		if body := a.Get(t, "/v1/connect/intentions/check?"+names).Body; body != `{"Allowed":false}` {
			t.Errorf("%s: %s", names, body)
		}
	}
}

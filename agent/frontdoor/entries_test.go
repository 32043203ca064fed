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

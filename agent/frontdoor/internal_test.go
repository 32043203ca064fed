package frontdoor_test

import (
	"fmt"
	"net/http"
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

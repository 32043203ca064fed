package fleet_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

// peerTo waits until a peering is in a state, as an agent shows it.
func peerTo(t *testing.T, p *testkit.Process, name, state string) {
	t.Helper()
	p.Until(t, "/v1/peering/"+name, func(r testkit.Reply) bool { return strings.Contains(r.Body, `"State":"`+state+`"`) })
}

// TestPeers: two clusters with tokens and authorities of their own become peers on the command line, see of each other what
// is exported, over HTTP and DNS, and go on when the servers of one are killed and come back.
func TestPeers(t *testing.T) {
	place := func(name string) *testkit.Node {
		return testkit.New(t, testkit.Settings{"node_name": name[:1] + "1", "datacenter": name, "peering": testkit.Settings{"enabled": true}})
	}
	north, south := place("north"), place("south")
	one, two := north.Spawn(t), south.Spawn(t)
	token, code := one.Run(t, "peering", "generate-token", "-name=south")
	if code != 0 {
		t.Fatal(token)
	}
	token = strings.TrimSpace(token)
	if out, code := two.Run(t, "peering", "establish", "-name=north", "-peering-token="+token); code != 0 || !strings.Contains(out, "Successfully established peering connection with north") {
		t.Fatal(out)
	}
	peerTo(t, one, "south", "ACTIVE")
	peerTo(t, two, "north", "ACTIVE")
	if out, code := two.Run(t, "peering", "establish", "-name=north", "-peering-token="+token); code == 0 || !strings.Contains(out, "make another in datacenter north") {
		t.Errorf("the token again: %d %s", code, out)
	}

	one.Put(t, "/v1/catalog/register", `{"Node":"far","Address":"10.9.9.9","Service":{"Service":"web","Port":80,"Tags":["v1"]},"Check":{"CheckID":"c","Name":"c","ServiceID":"web","Status":"passing","Output":"inner workings"}}`).Want(t, http.StatusOK)
	one.Put(t, "/v1/config", `{"Kind":"exported-services","Name":"default","Services":[{"Name":"web","Consumers":[{"Peer":"south"}]}]}`).Want(t, http.StatusOK)
	some := func(r testkit.Reply) bool { return strings.Contains(r.Body, "10.9.9.9") }
	r := two.Until(t, "/v1/health/service/web?peer=north", some)
	if strings.Contains(r.Body, "inner workings") || strings.Count(r.Body, `"PeerName":"north"`) != 3 {
		t.Errorf("seen: %s", r.Body)
	}
	for path, want := range map[string]string{
		"/v1/catalog/service/web?peer=north": "10.9.9.9", "/v1/catalog/services?peer=north": `"web":["v1"]`, "/v1/catalog/nodes?peer=north": `"far"`,
		"/v1/catalog/node/far?peer=north": `"web"`, "/v1/catalog/node-services/far?peer=north": `"web"`, "/v1/health/node/far?peer=north": `"passing"`,
		"/v1/health/checks/web?peer=north": `"passing"`, "/v1/health/state/passing?peer=north": `"far"`, "/v1/peering/north": `"ImportedServices":["web"]`,
		"/v1/health/service/web": "[]", "/v1/catalog/node/far": "null", "/v1/health/service/web?peer=west": "[]",
	} {
		if body := two.Get(t, path).Body; !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
	}
	if body := one.Get(t, "/v1/peering/south").Body; !strings.Contains(body, `"ExportedServices":["web"]`) {
		t.Error(body)
	}
	m := resolve(t, south, "web.service.north.peer.consul.", dns.TypeA)
	if len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "10.9.9.9") {
		t.Errorf("%v", m)
	}
	if m := resolve(t, south, "web.virtual.north.consul.", dns.TypeA); m.Rcode != dns.RcodeNameError {
		t.Errorf("a service without sidecars has a virtual address: %v", m)
	}
	one.Put(t, "/v1/catalog/register", `{"Node":"far","SkipNodeUpdate":true,"Service":{"Kind":"connect-proxy","Service":"web-sidecar-proxy","Port":21000,"Proxy":{"DestinationServiceName":"web"}}}`).Want(t, http.StatusOK)
	two.Until(t, "/v1/health/connect/web?peer=north", some)
	if m := resolve(t, south, "web.virtual.north.consul.", dns.TypeA); len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "240.0.0.1") {
		t.Errorf("%v", m)
	}
	two.Do(t, "POST", "/v1/query", `{"Name":"web","Service":{"Service":"web","Failover":{"Targets":[{"Peer":"north"}]}}}`).Want(t, http.StatusOK)
	if body := two.Get(t, "/v1/query/web/execute").Body; !strings.Contains(body, "10.9.9.9") || !strings.Contains(body, `"PeerName":"north"`) {
		t.Errorf("the query finds %s", body)
	}

	// A sameness group: what has nobody here is found in the first peer that has somebody, in DNS and by queries.
	two.Put(t, "/v1/config", `{"Kind":"sameness-group","Name":"all","DefaultForFailover":true,"IncludeLocal":true,"Members":[{"Peer":"west"},{"Peer":"north"}]}`).Want(t, http.StatusOK)
	for _, name := range []string{"web.service.consul.", "web.service.all.sg.consul."} {
		if m := resolve(t, south, name, dns.TypeA); len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "10.9.9.9") {
			t.Errorf("%s: %v", name, m)
		}
	}
	two.Do(t, "POST", "/v1/query", `{"Name":"same","Service":{"Service":"web","SamenessGroup":"all"}}`).Want(t, http.StatusOK)
	if body := two.Get(t, "/v1/query/same/execute").Body; !strings.Contains(body, "10.9.9.9") || !strings.Contains(body, `"Failovers":2`) {
		t.Errorf("the query of the group finds %s", body)
	}

	// Killed and restarted, each side is who it was. The secrets are in nothing that is shown.
	one.Kill(t)
	peerTo(t, two, "north", "FAILING")
	two.Until(t, "/v1/health/service/web?peer=north", some)
	if body := two.Get(t, "/v1/peering/north").Body; !strings.Contains(body, `"Error":"`) || strings.Contains(body, "ecret") {
		t.Errorf("while the other is away: %s", body)
	}
	one = north.Spawn(t)
	peerTo(t, two, "north", "ACTIVE")
	peerTo(t, one, "south", "ACTIVE")
	two.Kill(t)
	peerTo(t, one, "south", "FAILING")
	one.Put(t, "/v1/catalog/deregister", `{"Node":"far"}`).Want(t, http.StatusOK)
	two = south.Spawn(t)
	two.Until(t, "/v1/health/service/web?peer=north", func(r testkit.Reply) bool { return strings.TrimSpace(r.Body) == "[]" })

	if out, code := one.Run(t, "peering", "delete", "-name=south"); code != 0 {
		t.Error(out)
	}
	peerTo(t, two, "north", "TERMINATED")
	if out, code := two.Run(t, "peering", "read", "-name=north"); code != 0 || !strings.Contains(out, "TERMINATED") {
		t.Error(out)
	}
}

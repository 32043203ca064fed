package sidecar_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
)

// The two forms of the entry mesh.
const (
	throughGateways = `{"Kind": "mesh", "Peering": {"PeerThroughMeshGateways": true}}`
	withoutGateways = `{"Kind": "mesh"}`
)

// tokenFor makes a token for the peering south with more in its request.
func tokenFor(t *testing.T, north *testkit.Agent, more string) (*catalog.PeeringToken, string) {
	t.Helper()
	var made struct{ PeeringToken string }
	north.Do(t, "POST", "/v1/peering/token", `{"PeerName":"south"`+more+`}`).Want(t, http.StatusOK).JSON(t, &made)
	token, err := catalog.ParsePeeringToken(made.PeeringToken)
	if err != nil {
		t.Fatal(err)
	}
	return token, made.PeeringToken
}

func use(t *testing.T, south *testkit.Agent, token string) testkit.Reply {
	t.Helper()
	return south.Do(t, "POST", "/v1/peering/establish", fmt.Sprintf(`{"PeerName":"north","PeeringToken":%q}`, token))
}

// peering waits until an agent shows a peering as wanted.
func peering(t *testing.T, a *testkit.Agent, name string, wanted func(*catalog.Peering) bool) *catalog.Peering {
	t.Helper()
	p := &catalog.Peering{}
	a.Until(t, "/v1/peering/"+name, func(r testkit.Reply) bool {
		*p = catalog.Peering{}
		r.Want(t, http.StatusOK).JSON(t, p)
		return wanted(p)
	})
	return p
}

func active(p *catalog.Peering) bool { return p.State == catalog.PeeringActive }

// known is that the servers of a peer are at these addresses.
func known(addresses ...string) func(*catalog.Peering) bool {
	return func(p *catalog.Peering) bool { return slices.Equal(p.PeerServerAddresses, addresses) }
}

// gateCalled is the registration of a mesh gateway with an id, which nobody runs unless it is managed.
func gateCalled(id string, port int, managed bool) string {
	text := strings.Replace(gatewayAt(port), `"Name"`, fmt.Sprintf(`"ID": %q, "Name"`, id), 1)
	return strings.Replace(text, `"managed": true`, fmt.Sprintf(`"managed": %v`, managed), 1)
}

// A token says that peers come through the gateways of the cluster which made it, where its entry says so: not before there is
// one, and never in place of addresses that people give. Gateways lead to servers only where that is set, and who was refused
// therefore can use the token later.
func TestTokensLeadToGateways(t *testing.T) {
	north, south := apart(t)
	ports := testkit.FreePorts(t)
	gate := fmt.Sprint("127.0.0.1:", ports.Server)
	north.Put(t, "/v1/config", throughGateways)
	if r := north.Do(t, "POST", "/v1/peering/token", `{"PeerName":"south"}`); r.Status == http.StatusOK || !strings.Contains(r.Body, "no mesh gateway is registered in datacenter north") {
		t.Errorf("a token without a gateway: %d %s", r.Status, r.Body)
	}
	outside := fmt.Sprintf(`,"ServerExternalAddresses":[%q]`, gate)
	if token, _ := tokenFor(t, north, outside); !slices.Equal(token.ManualServerAddresses, []string{gate}) || len(token.ServerAddresses) > 0 {
		t.Errorf("with addresses that were given: %+v", token)
	}
	north.Put(t, "/v1/agent/service/register", gatewayAt(ports.Server))
	opened(t, north.Client, "mesh-gateway/gateway")
	if token, _ := tokenFor(t, north, ""); !slices.Equal(token.ServerAddresses, []string{gate}) {
		t.Errorf("with a gateway: %+v", token)
	}
	north.Put(t, "/v1/config", withoutGateways)
	if token, _ := tokenFor(t, north, ""); !slices.Equal(token.ServerAddresses, []string{fmt.Sprint("127.0.0.1:", north.Peering)}) {
		t.Errorf("without the entry: %+v", token)
	}

	_, token := tokenFor(t, north, outside)
	if r := use(t, south, token); r.Status == http.StatusOK || !strings.Contains(r.Body, "a mesh gateway that leads to no servers") || !strings.Contains(r.Body, "the token can still be used") {
		t.Errorf("through a gateway that is not to lead to servers: %d %s", r.Status, r.Body)
	}
	south.Do(t, "GET", "/v1/peering/north", "").Want(t, http.StatusNotFound)
	north.Put(t, "/v1/config", throughGateways)
	inUse(t, north.Client, "server.north.peering.")
	use(t, south, token).Want(t, http.StatusOK)
	peering(t, south, "north", active)
	// The cluster that has the gateway has no such name for the other one, which it does not connect to.
	there, _ := tokenFor(t, south, "")
	if _, err := tls.Dial("tcp", gate, &tls.Config{ServerName: there.ServerName, InsecureSkipVerify: true}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("%s: %v", there.ServerName, err)
	}
}

// Servers of two clusters that know only gateways of one another are peers through these, each through its own: they are told
// when gateways are replaced, one that is dead is passed over, and the setting can be changed on both sides while they are peers.
func TestPeersMeetThroughGateways(t *testing.T) {
	north, south := apart(t)
	there, here := testkit.FreePorts(t), testkit.FreePorts(t)
	gate, second, dead := fmt.Sprint("127.0.0.1:", there.Server), fmt.Sprint("127.0.0.1:", there.DNS), fmt.Sprint("127.0.0.1:", here.DNS)
	for _, a := range []*testkit.Agent{north, south} {
		a.Put(t, "/v1/config", throughGateways)
	}
	north.Put(t, "/v1/agent/service/register", gatewayAt(there.Server))
	south.Put(t, "/v1/agent/service/register", gateCalled("dead", here.DNS, false))
	opened(t, north.Client, "mesh-gateway/gateway")
	inUse(t, north.Client, "server.north.peering.")

	// A token that cannot be used leaves nothing behind.
	made, token := tokenFor(t, north, "")
	if r := use(t, south, token); r.Status == http.StatusOK || !strings.Contains(r.Body, "no mesh gateway leads to "+made.ServerName) || !strings.Contains(r.Body, dead) {
		t.Errorf("through a gateway that is dead: %d %s", r.Status, r.Body)
	}
	south.Do(t, "GET", "/v1/peering/north", "").Want(t, http.StatusNotFound)

	south.Put(t, "/v1/agent/service/register", gateCalled("alive", here.Server, true))
	opened(t, south.Client, "alive/gateway")
	use(t, south, token).Want(t, http.StatusOK)
	peering(t, north, "south", active)
	if p := peering(t, south, "north", active); !known(gate)(p) {
		t.Errorf("the servers are known at %v", p.PeerServerAddresses)
	}
	if near, far := passed(t, south.Client, made.ServerName), passed(t, north.Client, made.ServerName); near == 0 || far == 0 {
		t.Errorf("the gateways have passed on %d and %d connections", near, far)
	}
	seen := func(status string) {
		t.Helper()
		north.Put(t, "/v1/catalog/register", fmt.Sprintf(`{"Node":"far","Address":"10.9.9.9","Service":{"Service":"web","Port":80},"Check":{"CheckID":"c","Name":"c","ServiceID":"web","Status":%q}}`, status))
		south.Until(t, "/v1/health/service/web?peer=north", func(r testkit.Reply) bool { return strings.Contains(r.Body, fmt.Sprintf(`"Status":%q`, status)) })
	}
	north.Put(t, "/v1/config", `{"Kind":"exported-services","Name":"default","Services":[{"Name":"web","Consumers":[{"Peer":"south"}]}]}`)
	seen("passing")

	// Another gateway takes the place of the first; when the stream breaks it leads on.
	north.Put(t, "/v1/agent/service/register", gateCalled("second", there.DNS, true))
	north.Put(t, "/v1/agent/service/deregister/mesh-gateway", "")
	peering(t, south, "north", known(second))
	restart := func() {
		t.Helper()
		north.Stop(t)
		peering(t, south, "north", func(p *catalog.Peering) bool { return p.State == catalog.PeeringFailing })
		north = north.Node.Start(t)
	}
	restart()
	seen("warning")
	if n := passed(t, north.Client, made.ServerName); n == 0 {
		t.Error("the second gateway has passed on nothing")
	}

	// With only a dead gateway of its own the cluster says which, and goes on when there is another.
	south.Put(t, "/v1/agent/service/deregister/alive", "")
	north.Stop(t)
	for line := ""; !strings.Contains(line, "no mesh gateway leads to "+made.ServerName); {
		line = south.Log.Wait(t, "there is no connection with a peer")
	}
	if p := peering(t, south, "north", func(*catalog.Peering) bool { return true }); !strings.Contains(p.StreamStatus.Error, dead) {
		t.Errorf("the gateway is not named: %s", p.StreamStatus.Error)
	}
	north = north.Node.Start(t)
	south.Put(t, "/v1/agent/service/register", gateCalled("alive", here.Server, true))
	seen("critical")

	// Without the setting they meet at the servers' own addresses, and with it at the gateways' again.
	north.Put(t, "/v1/config", withoutGateways)
	peering(t, south, "north", known(fmt.Sprint("127.0.0.1:", north.Peering)))
	south.Put(t, "/v1/config", withoutGateways)
	restart()
	seen("passing")
	if n := passed(t, north.Client, made.ServerName); n > 0 {
		t.Errorf("the gateway has passed on %d connections", n)
	}
	north.Put(t, "/v1/config", throughGateways)
	peering(t, south, "north", known(second))
	restart()
	seen("warning")
	if n := passed(t, north.Client, made.ServerName); n == 0 {
		t.Error("the gateway has passed on nothing after the setting came back")
	}
}

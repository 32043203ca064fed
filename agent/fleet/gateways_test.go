package fleet_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
)

// nowhere is an address of this machine at which no agent listens: what is advertised with it cannot be reached.
const nowhere = "127.66.0.1"

// walled is the place of a server that other datacenters reach through gateways only.
func walled(t *testing.T, ca *testkit.Authority, dc, node string, gateways ...string) *testkit.Node {
	t.Helper()
	s := testkit.Settings{
		"node_name": node, "datacenter": dc, "primary_datacenter": "dc1", "advertise_addr_wan": nowhere,
		"tls":     ca.TLS(ca.Issue(t, nil, "server."+dc+".consul", node+".server."+dc+".consul")),
		"connect": testkit.Settings{"enable_mesh_gateway_wan_federation": true, "proxy": "agent"},
		"acl": testkit.Settings{"enabled": true, "default_policy": "allow", "enable_token_replication": true, "tokens": testkit.Settings{
			"initial_management": rules, "replication": rules,
		}},
	}
	if len(gateways) > 0 {
		s["primary_gateways"], s["primary_gateways_interval"] = gateways, "1s"
		delete(s["acl"].(testkit.Settings)["tokens"].(testkit.Settings), "initial_management")
	}
	return testkit.New(t, s)
}

// rules is the token of those who may do everything.
const rules = "5f0f3a7c-6a3e-4a8e-9b0b-0b8a3f1d2c11"

// gateway is the registration of a mesh gateway that leads to servers. One that is not managed is run by nobody.
func gateway(id string, port int, managed bool) string {
	return fmt.Sprintf(`{"Kind": "mesh-gateway", "Name": "mesh-gateway", "ID": %q, "Address": "127.0.0.1", "Port": %d, "Meta": {"consul-wan-federation": "1"},
		"Proxy": {"Config": {"managed": %v}}, "TaggedAddresses": {"wan": {"Address": "127.0.0.1", "Port": %d}}}`, id, port, managed, port)
}

// said waits until the log has a text, wherever.
func said(t *testing.T, a *testkit.Agent, text string) {
	t.Helper()
	if !strings.Contains(a.Log.String(), text) {
		a.Log.Wait(t, text)
	}
}

// soon asks until the answer has a text: what it waits for is told by no event that a test could hear of.
func soon(t *testing.T, a *testkit.Agent, path, want string, headers ...string) {
	t.Helper()
	beat := time.NewTicker(200 * time.Millisecond)
	defer beat.Stop()
	last := testkit.Reply{}
	for end := time.After(patience); ; {
		if last = a.Do(t, http.MethodGet, path, "", headers...); last.Status == http.StatusOK && strings.Contains(last.Body, want) {
			return
		}
		select {
		case <-beat.C:
		case <-end:
			t.Fatalf("GET %s: %d %.600s, want %q; the end of the log:\n%s", path, last.Status, last.Body, want, a.Log.Tail())
		}
	}
}

// TestServersThroughGateways: two datacenters whose servers have no address for one another federate through gateways:
// gossip, requests, the copy of ACLs and the mesh's CA. They go on when a gateway comes back, and when one is dead beside
// another.
func TestServersThroughGateways(t *testing.T) {
	ca := testkit.NewAuthority(t)
	gates := []testkit.Ports{testkit.FreePorts(t), testkit.FreePorts(t)}
	one := walled(t, ca, "dc1", "a1").Start(t)
	one.Put(t, "/v1/agent/service/register", gateway("gate", gates[0].DNS, true))
	one.Put(t, "/v1/kv/greeting", "from dc1")

	two := walled(t, ca, "dc2", "b1", fmt.Sprint("127.0.0.1:", gates[0].DNS)).Start(t)
	soon(t, two, "/v1/kv/greeting?raw&dc=dc1", "from dc1")
	two.Put(t, "/v1/agent/service/register", gateway("gate", gates[1].DNS, true))
	two.Put(t, "/v1/kv/greeting", "from dc2")
	soon(t, one, "/v1/kv/greeting?raw&dc=dc2", "from dc2")
	said(t, two, "an intermediate of the primary datacenter signs the mesh's certificates")
	for _, a := range []*testkit.Agent{one, two} {
		soon(t, a, "/v1/catalog/datacenters", `"dc1"`)
		soon(t, a, "/v1/catalog/datacenters", `"dc2"`)
		soon(t, a, `/v1/agent/members?wan=1&filter=Status+==+1+and+Name+==+"a1.dc1"`, nowhere)
		soon(t, a, `/v1/agent/members?wan=1&filter=Status+==+1+and+Name+==+"b1.dc2"`, nowhere)
	}
	policy := func(name string) {
		t.Helper()
		one.Do(t, http.MethodPut, "/v1/acl/policy", fmt.Sprintf(`{"Name": %q}`, name), "X-Consul-Token", rules).Want(t, http.StatusOK)
		soon(t, two, "/v1/acl/policy/name/"+name, name, "X-Consul-Token", rules)
	}
	policy("of-the-primary")

	// A gateway that goes away and comes back.
	for _, a := range []*testkit.Agent{one, two} {
		port := gates[0].DNS
		if a == two {
			port = gates[1].DNS
		}
		a.Put(t, "/v1/agent/service/deregister/gate", "")
		a.Put(t, "/v1/agent/service/register", gateway("gate", port, true))
	}
	soon(t, one, "/v1/kv/greeting?raw&dc=dc2", "from dc2")
	soon(t, two, "/v1/kv/greeting?raw&dc=dc1", "from dc1")

	// One that is dead, as far as nobody has found that out yet, beside another that takes over.
	for i, a := range []*testkit.Agent{one, two} {
		a.Put(t, "/v1/agent/service/register", gateway("twin", gates[i].HTTP, true))
		a.Put(t, "/v1/agent/service/register", gateway("gate", gates[i].DNS, false))
	}
	soon(t, one, "/v1/kv/greeting?raw&dc=dc2", "from dc2")
	soon(t, two, "/v1/kv/greeting?raw&dc=dc1", "from dc1")
	policy("later")
	for _, a := range []*testkit.Agent{one, two} {
		for _, other := range []string{"a1.dc1", "b1.dc2"} {
			if strings.Contains(a.Log.String(), "event=failed node="+other) {
				t.Errorf("%s was held for failed", other)
			}
		}
	}
}

// TestGatewayOfStrangers: what a gateway leads to has to prove that it is a server of the datacenter, and who comes through
// one that it is a server of another: the error says which side has to do something.
func TestGatewayOfStrangers(t *testing.T) {
	ours, theirs := testkit.NewAuthority(t), testkit.NewAuthority(t)
	gates := testkit.FreePorts(t)
	one := walled(t, ours, "dc1", "a1").Start(t)
	one.Put(t, "/v1/agent/service/register", gateway("gate", gates.DNS, true))
	two := walled(t, theirs, "dc2", "b1", fmt.Sprint("127.0.0.1:", gates.DNS)).Start(t)
	said(t, two, "the servers of both datacenters need certificates of one CA")
	if !strings.Contains(two.Log.String(), fmt.Sprint("127.0.0.1:", gates.DNS)) {
		t.Errorf("the gateway is not named: %s", two.Log.Tail())
	}
	three := walled(t, ours, "dc3", "c1", fmt.Sprint("127.0.0.1:", gates.HTTP)).Start(t) // where nobody listens
	said(t, three, "no gateway of primary_gateways leads to the primary datacenter")
	if text := three.Log.String(); !strings.Contains(text, "connection refused") || !strings.Contains(text, fmt.Sprint("127.0.0.1:", gates.HTTP)) {
		t.Error(three.Log.Tail())
	}
	// The gateway is for services only now.
	one.Put(t, "/v1/agent/service/register", strings.Replace(gateway("gate", gates.DNS, true), `"consul-wan-federation": "1"`, "", 1))
	four := walled(t, ours, "dc4", "d1", fmt.Sprint("127.0.0.1:", gates.DNS)).Start(t)
	said(t, four, "is it registered with the metadata consul-wan-federation = 1")
	for _, other := range []string{"b1.dc2", "c1.dc3", "d1.dc4"} {
		if strings.Contains(one.Get(t, "/v1/agent/members?wan=1").Body, other) {
			t.Errorf("%s is in the pool of dc1", other)
		}
	}
}

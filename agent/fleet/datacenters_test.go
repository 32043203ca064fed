package fleet_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

// datacenters runs a server in each of two, which know one another: the second has joined the first.
func datacenters(t *testing.T, s testkit.Settings) (one, two *testkit.Process) {
	t.Helper()
	first := testkit.New(t, merged(testkit.Settings{"node_name": "a1", "datacenter": "dc1"}, s))
	second := testkit.New(t, merged(testkit.Settings{"node_name": "b1", "datacenter": "dc2", "retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", first.SerfWAN)}}, s))
	one, two = first.Spawn(t), second.Spawn(t)
	knows(t, one, "dc2")
	knows(t, two, "dc1")
	return one, two
}

// knows waits until a server knows another datacenter.
func knows(t *testing.T, p *testkit.Process, datacenter string) {
	t.Helper()
	line := "another datacenter is known: datacenter=" + datacenter
	if !strings.Contains(p.Log.String(), line) { // it may have come before the one that was waited for last
		p.Log.Wait(t, line)
	}
}

func merged(a, b testkit.Settings) testkit.Settings {
	for key, value := range b {
		a[key] = value
	}
	return a
}

// TestDatacenters: what is asked of another datacenter is answered there, by every way of asking.
func TestDatacenters(t *testing.T) {
	one, two := datacenters(t, nil)
	client := one.Join(t, "c1", testkit.Settings{"datacenter": "dc1"}).Spawn(t)
	two.Put(t, "/v1/catalog/register", `{"Node":"far","Address":"10.9.9.9","Service":{"Service":"web","Port":80}}`).Want(t, http.StatusOK)
	for _, p := range []*testkit.Process{one, client} {
		var found []struct{ Node, Address, Datacenter string }
		r := p.Get(t, "/v1/catalog/service/web?dc=dc2")
		if r.JSON(t, &found); len(found) != 1 || found[0].Node != "far" || found[0].Datacenter != "dc2" || r.Index() == 0 {
			t.Errorf("%s, index %d", r.Body, r.Index())
		}
		if r := p.Get(t, "/v1/catalog/service/web"); strings.TrimSpace(r.Body) != "[]" {
			t.Errorf("the own datacenter has %s", r.Body)
		}
		m := resolve(t, p.Node, "web.service.dc2.consul.", dns.TypeA)
		if len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "10.9.9.9") {
			t.Errorf("%v", m)
		}
		p.Put(t, "/v1/kv/k?dc=dc2", p.Addr()).Want(t, http.StatusOK)
		if r := two.Get(t, "/v1/kv/k?raw"); r.Body != p.Addr() {
			t.Errorf("dc2 has %q", r.Body)
		}
		one.Do(t, "GET", "/v1/kv/k", "").Want(t, http.StatusNotFound)
	}

	// A blocking query crosses both ways.
	r := client.Get(t, "/v1/kv/k?dc=dc2")
	changed := make(chan testkit.Reply, 1)
	go func() { // ends with the answer
		got, err := client.Ask(t.Context(), "GET", fmt.Sprintf("/v1/kv/k?dc=dc2&raw&wait=2m&index=%d", r.Index()), "")
		if err != nil {
			t.Error(err)
		}
		changed <- got
	}()
	two.Put(t, "/v1/kv/k", "news")
	if got := <-changed; got.Body != "news" || got.Index() <= r.Index() {
		t.Errorf("%q, index %d", got.Body, got.Index())
	}

	var names []string
	if client.Get(t, "/v1/catalog/datacenters").JSON(t, &names); !slices.Equal(names, []string{"dc1", "dc2"}) {
		t.Error(names)
	}
	if r := client.Do(t, "GET", "/v1/catalog/nodes?dc=dc3", ""); r.Status != http.StatusInternalServerError || !strings.Contains(r.Body, `No path to datacenter "dc3"`) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	// What is saved and restored is the other datacenter's, and its alone.
	archive := client.Get(t, "/v1/snapshot?dc=dc2").Body
	two.Put(t, "/v1/kv/later", "gone")
	one.Put(t, "/v1/kv/mine", "stays")
	one.Put(t, "/v1/snapshot?dc=dc2", archive).Want(t, http.StatusOK)
	if r := two.Get(t, "/v1/kv/k?raw"); r.Body != "news" {
		t.Errorf("dc2 has %q again", r.Body)
	}
	two.Do(t, "GET", "/v1/kv/later", "").Want(t, http.StatusNotFound)
	one.Get(t, "/v1/kv/mine")
	var places []struct {
		Datacenter  string
		Coordinates []struct{ Node string }
	}
	one.Get(t, "/v1/coordinate/datacenters").JSON(t, &places)
	if len(places) != 2 || places[0].Datacenter != "dc1" || places[1].Datacenter != "dc2" {
		t.Errorf("%+v", places)
	}
	if out, code := one.Run(t, "members", "-wan"); code != 0 || !strings.Contains(out, "a1.dc1") || !strings.Contains(out, "b1.dc2") {
		t.Error(out)
	}
}

// TestQueriesFailOverToDatacenters: a prepared query whose service is not here finds it elsewhere.
func TestQueriesFailOverToDatacenters(t *testing.T) {
	one, two := datacenters(t, nil)
	two.Put(t, "/v1/catalog/register", `{"Node":"far","Address":"10.9.9.9","Service":{"Service":"web","Port":80}}`).Want(t, http.StatusOK)
	one.Do(t, "POST", "/v1/query", `{"Name":"web","Service":{"Service":"web","Failover":{"NearestN":1}}}`).Want(t, http.StatusOK)
	var got struct {
		Datacenter string
		Failovers  int
		Nodes      []any
	}
	one.Get(t, "/v1/query/web/execute").Want(t, http.StatusOK).JSON(t, &got)
	if got.Datacenter != "dc2" || got.Failovers != 1 || len(got.Nodes) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestLostDatacenter: one that cannot be reached is said so at once, is no burden to its neighbour, and is found again.
func TestLostDatacenter(t *testing.T) {
	one, two := datacenters(t, nil)
	two.Put(t, "/v1/kv/k", "v")
	one.Get(t, "/v1/kv/k?dc=dc2").Want(t, http.StatusOK)
	two.Kill(t)
	if r := one.Do(t, "GET", "/v1/kv/k?dc=dc2", ""); r.Status != http.StatusInternalServerError || !strings.Contains(r.Body, `No path to datacenter "dc2"`) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	one.Log.Wait(t, "a datacenter cannot be reached")
	one.Put(t, "/v1/kv/here", "v").Want(t, http.StatusOK)
	if m := resolve(t, one.Node, "web.service.dc2.consul.", dns.TypeA); len(m.Answer) != 0 {
		t.Error(m)
	}
	two.Node.Spawn(t)
	one.Log.Wait(t, "a datacenter can be reached again")
	if r := one.Get(t, "/v1/kv/k?dc=dc2&raw").Want(t, http.StatusOK); r.Body != "v" {
		t.Errorf("it has %q", r.Body)
	}
}

// TestServersFloodIntoTheWAN: of a datacenter's servers one address elsewhere is enough.
func TestServersFloodIntoTheWAN(t *testing.T) {
	far := testkit.New(t, testkit.Settings{"node_name": "b1", "datacenter": "dc2"})
	far.Spawn(t)
	c := testkit.NewCluster(t, 3, testkit.Settings{"datacenter": "dc1"})
	c[0].Configure(t, testkit.Settings{"retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", far.SerfWAN)}})
	all := c.Spawn(t)
	for _, p := range all {
		knows(t, p, "dc2")
		if r := p.Get(t, "/v1/catalog/nodes?dc=dc2"); !strings.Contains(r.Body, "b1") {
			t.Error(r.Body)
		}
	}
	// A new one may hear of its own datacenter by the WAN first, and is no stranger.
	fresh := testkit.New(t, testkit.Settings{
		"node_name": "fresh", "datacenter": "dc1", "bootstrap_expect": nil, "retry_join": []string{fmt.Sprintf("127.0.0.1:%d", c[0].SerfLAN)},
		"retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", far.SerfWAN)},
	}).Spawn(t)
	knows(t, fresh, "dc2")
	for _, p := range append(all, fresh) {
		flooded(t, p, "fresh.dc1")
		if log := p.Log.String(); strings.Contains(log, "a server is not taken into the WAN pool") {
			t.Error(log)
		}
	}
}

// flooded waits until an agent has a member in its WAN pool.
func flooded(t *testing.T, p *testkit.Process, name string) {
	t.Helper()
	if line := "agent.wan: serf: EventMemberJoin: " + name; !strings.Contains(p.Log.String(), line) {
		p.Log.Wait(t, line)
	}
}

// TestDatacentersProveThemselves: a server elsewhere is believed by the name of its own datacenter only.
func TestDatacentersProveThemselves(t *testing.T) {
	ca := testkit.NewAuthority(t)
	start := func(node, datacenter, certified string, more testkit.Settings) *testkit.Process {
		return testkit.New(t, merged(testkit.Settings{
			"node_name": node, "datacenter": datacenter, "tls": ca.TLS(ca.Issue(t, nil, "server."+datacenter+".consul", certified)),
		}, more)).Spawn(t)
	}
	one := start("a1", "dc1", "localhost", nil)
	wan := testkit.Settings{"retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", one.SerfWAN)}}
	two := start("b1", "dc2", "localhost", wan)
	knows(t, one, "dc2")
	knows(t, two, "dc1")
	one.Put(t, "/v1/kv/k", "of one")
	two.Put(t, "/v1/kv/k", "of two")
	if got := one.Get(t, "/v1/kv/k?dc=dc2&raw").Body + two.Get(t, "/v1/kv/k?dc=dc1&raw").Body; got != "of twoof one" {
		t.Error(got)
	}

	// One that says it is of dc3 and has no name of a server there is asked for nothing.
	liar := testkit.New(t, merged(testkit.Settings{
		"node_name": "c1", "datacenter": "dc3", "tls": testkit.Settings{"internal_rpc": testkit.Settings{
			"ca_file": ca.File, "cert_file": "", "verify_outgoing": true, "verify_incoming": false,
		}},
	}, wan))
	cert := ca.Issue(t, nil, "client.dc3.consul")
	liar.Configure(t, testkit.Settings{"tls": testkit.Settings{"internal_rpc": testkit.Settings{"cert_file": cert.File, "key_file": cert.KeyFile}}})
	liar.Spawn(t)
	knows(t, one, "dc3")
	if r := one.Do(t, "GET", "/v1/kv/k?dc=dc3", ""); r.Status != http.StatusInternalServerError || !strings.Contains(r.Body, "No path to datacenter") || !strings.Contains(r.Body, "server.dc3.consul") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

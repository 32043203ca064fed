package fleet_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// Two clusters with the name of one datacenter do not become one pool: whoever joins is told why, and so is the other.
func TestDatacenterOfOneName(t *testing.T) {
	one := testkit.New(t, testkit.Settings{"node_name": "a1", "datacenter": "dc1"}).Spawn(t)
	two := testkit.New(t, testkit.Settings{"node_name": "s1", "datacenter": "dc1"}).Spawn(t)
	at := fmt.Sprintf("127.0.0.1:%d", one.SerfWAN)
	for range 2 {
		out, code := two.Run(t, "join", "-wan", at)
		if code == 0 {
			t.Errorf("it has joined: %s", out)
		}
		says(t, out, `server "a1" at `+at, `datacenter "dc1", as server "s1" is`, "two datacenters have one name", "give one of them another datacenter")
	}
	says(t, one.Log.Wait(t, "a server is not taken into the WAN pool"), "s1.dc1", fmt.Sprintf("127.0.0.1:%d", two.SerfWAN), "two datacenters have one name")
	if n := strings.Count(two.Log.String(), "a server is not taken into the WAN pool"); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, two.Log)
	}
	for _, p := range []*testkit.Process{one, two} {
		if out, _ := p.Run(t, "members", "-wan"); strings.Count(out, ".dc1 ") != 1 {
			t.Errorf("the WAN pool has\n%s", out)
		}
	}
}

// A third datacenter that both have joined asks the one that it knew first, and says that there are two.
func TestThirdDatacenterKnowsTwoOfOneName(t *testing.T) {
	one, third := datacenters(t, nil)
	one.Put(t, "/v1/kv/k", "of the first")
	two := testkit.New(t, testkit.Settings{
		"node_name": "a0", "datacenter": "dc1", "retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", third.SerfWAN)},
	}).Spawn(t)
	two.Put(t, "/v1/kv/k", "of the other")
	says(t, third.Log.Wait(t, "two clusters are called by the name of one datacenter"), "datacenter=dc1", `first="a1 at 127.0.0.1:`, `other="a0 at 127.0.0.1:`, "give the other another datacenter")
	for range 20 {
		if r := third.Get(t, "/v1/kv/k?dc=dc1&raw"); r.Body != "of the first" {
			t.Fatalf("it has %q", r.Body)
		}
	}
	if out, _ := third.Run(t, "info"); !strings.Contains(out, "two_clusters_with_one_name = dc1") {
		t.Error(out)
	}
	for _, p := range []*testkit.Process{one, two} {
		if !strings.Contains(p.Log.String(), "a server is not taken into the WAN pool") { // before it was ready
			p.Log.Wait(t, "a server is not taken into the WAN pool")
		}
		p.Get(t, "/v1/catalog/nodes?dc=dc2") // they are not cut off by that
	}
	one.Kill(t)
	if r := third.Do(t, "GET", "/v1/kv/k?dc=dc1&raw", ""); r.Status != http.StatusInternalServerError || !strings.Contains(r.Body, `No path to datacenter "dc1"`) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	one.Node.Spawn(t)
	third.Log.Wait(t, "a datacenter can be reached again")
	if r := third.Get(t, "/v1/kv/k?dc=dc1&raw"); r.Body != "of the first" {
		t.Errorf("it has %q", r.Body)
	}
}

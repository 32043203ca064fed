package frontdoor_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
)

// The virtual address of a service, from the registration of its sidecar to its end: in the catalog, in its
// chain and in DNS, across a kill.
func TestVirtualAddresses(t *testing.T) {
	n := testkit.New(t, nil)
	p := n.Spawn(t)
	d := resolve(t, n)
	records := func(name, want string) {
		t.Helper()
		if got := d.records(name, dns.TypeA); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	records("web.virtual.consul.", "NXDOMAIN")
	sidecar := `{"Name": "web", "Ports": [{"Name": "grpc", "Port": 9090}], "Connect": {"SidecarService": {"Port": 20000}}}`
	p.Put(t, "/v1/agent/service/register", sidecar)
	shown := func() string {
		t.Helper()
		var instances []struct {
			Service struct {
				TaggedAddresses map[string]catalog.ServiceAddress
				ModifyIndex     uint64
			}
		}
		p.Get(t, "/v1/health/connect/web").JSON(t, &instances)
		return fmt.Sprint(instances)
	}
	before := shown()
	if !strings.Contains(before, "consul-virtual:{240.0.0.1 20000}") {
		t.Fatalf("the sidecar is %s", before)
	}
	if body := p.Get(t, "/v1/catalog/service/web").Body; strings.Contains(body, "consul-virtual") {
		t.Errorf("the service itself shows it: %s", body)
	}
	if body := p.Get(t, "/v1/agent/service/web-sidecar-proxy").Body; strings.Contains(body, "consul-virtual") {
		t.Errorf("the agent shows it: %s", body)
	}
	records("web.virtual.consul.", "NOERROR 0 240.0.0.1")
	records("grpc.web.virtual.consul.", "NOERROR 0 240.0.0.1")
	records("http.web.virtual.consul.", "NXDOMAIN")
	records("a.grpc.web.virtual.consul.", "NXDOMAIN")

	assign := func(body, want string) {
		t.Helper()
		if got := p.Do(t, "PUT", "/v1/internal/service-virtual-ip", body).Want(t, http.StatusOK).Body; got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	p.Put(t, "/v1/config", `{"Kind": "service-resolver", "Name": "api"}`)
	assign(`{"Service": "none", "ManualVIPs": ["10.1.1.1"]}`, `{"Found":false,"UnassignedFrom":null}`)
	assign(`{"Service": "api", "ManualVIPs": ["10.1.1.1"]}`, `{"Found":true,"UnassignedFrom":null}`)
	assign(`{"Service": "web", "ManualVIPs": ["10.1.1.1", "10.1.1.2"]}`, `{"Found":true,"UnassignedFrom":[{"ServiceName":{"Name":"api"},"Peer":""}]}`)
	for _, bad := range []string{"", "{", `{"ManualVIPs": []}`, `{"Service": "web", "ManualVIPs": ["web"]}`, `{"Service": "web", "ManualVIPs": ["240.0.0.9"]}`, `{"Service": "web", "ManualVIPs": "10.1.1.1"}`} {
		if r := p.Do(t, "PUT", "/v1/internal/service-virtual-ip", bad); r.Status < 400 {
			t.Errorf("%s: status %d %s", bad, r.Status, r.Body)
		}
	}
	chain := func(service, want string) {
		t.Helper()
		var reply struct{ Chain catalog.DiscoveryChain }
		p.Get(t, "/v1/discovery-chain/"+service).JSON(t, &reply)
		if got := fmt.Sprint(reply.Chain.AutoVirtualIPs, reply.Chain.ManualVirtualIPs); got != want {
			t.Errorf("chain of %s: %s, want %s", service, got, want)
		}
	}
	p.Kill(t)
	*p = *n.Spawn(t)
	d = resolve(t, n)
	chain("web", "[240.0.0.1] [10.1.1.1 10.1.1.2]")
	chain("api", "[240.0.0.2] []")
	records("web.virtual.consul.", "NOERROR 0 240.0.0.1")
	if after := shown(); after != before {
		t.Errorf("after a restart %s, before %s", after, before)
	}
	p.Put(t, "/v1/agent/service/deregister/web", "")
	records("web.virtual.consul.", "NXDOMAIN")
	chain("web", "[] []")
}

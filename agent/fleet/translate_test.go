package fleet_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

// TestTranslateWANAddresses: with translate_wan_addrs nodes and services of another datacenter are named by their WAN
// addresses, over HTTP and DNS; their own datacenter, and an agent without the setting, name them by the others.
func TestTranslateWANAddresses(t *testing.T) {
	one, two := datacenters(t, testkit.Settings{"translate_wan_addrs": true})
	plain := one.Join(t, "c1", testkit.Settings{"datacenter": "dc1", "translate_wan_addrs": false}).Spawn(t)
	two.Put(t, "/v1/catalog/register", `{"Node": "far", "Address": "10.9.9.9", "TaggedAddresses": {"lan": "10.9.9.9", "wan": "198.51.100.9"},
		"Service": {"Service": "web", "Port": 80, "Address": "10.9.9.8", "TaggedAddresses": {"wan": {"Address": "198.51.100.8", "Port": 8080}}}}`).Want(t, http.StatusOK)
	two.Put(t, "/v1/catalog/register", `{"Node": "far", "Address": "10.9.9.9", "TaggedAddresses": {"lan": "10.9.9.9", "wan": "198.51.100.9"}, "Service": {"Service": "bare", "Port": 81}}`).Want(t, http.StatusOK)
	one.Do(t, "POST", "/v1/query", `{"Name": "web", "Service": {"Service": "web", "Failover": {"Datacenters": ["dc2"]}}}`).Want(t, http.StatusOK)

	const wanNode, wanService, lanNode, lanService = `"Address":"198.51.100.9"`, `Address":"198.51.100.8"`, `"Address":"10.9.9.9"`, `Address":"10.9.9.8"`
	f := func(c testkit.Client, path string, want ...string) {
		t.Helper()
		body := c.Get(t, path).Want(t, http.StatusOK).Body
		for _, text := range want {
			if !strings.Contains(body, text) {
				t.Errorf("%s has no %s: %s", path, text, body)
			}
		}
		if want[0] == wanNode && (strings.Contains(body, lanNode) || strings.Contains(body, lanService)) {
			t.Errorf("%s has an address that is not to be used here: %s", path, body)
		}
	}
	f(one.Client, "/v1/catalog/nodes?dc=dc2&filter=Node==far", wanNode)
	f(one.Client, "/v1/catalog/node/far?dc=dc2", wanNode, wanService, `"Port":8080`)
	f(one.Client, "/v1/catalog/node-services/far?dc=dc2", wanNode, wanService)
	f(one.Client, "/v1/catalog/service/web?dc=dc2", wanNode, `Service`+wanService, `"ServicePort":8080`)
	f(one.Client, "/v1/health/service/web?dc=dc2", wanNode, wanService, `"Port":8080`)
	f(one.Client, "/v1/catalog/service/bare?dc=dc2", wanNode, `"ServiceAddress":""`, `"ServicePort":81`)
	f(one.Client, "/v1/query/web/execute", wanNode, wanService)
	f(two.Client, "/v1/health/service/web", lanNode, lanService, `"Port":80`)
	f(plain.Client, "/v1/health/service/web?dc=dc2", lanNode, lanService, `"Port":80`)
	if one.Get(t, "/v1/health/service/web").Header.Get("X-Consul-Translate-Addresses") != "true" || plain.Get(t, "/v1/health/service/web").Header.Get("X-Consul-Translate-Addresses") != "" {
		t.Error("who translates addresses does not say so, or who does not does")
	}
	for name, want := range map[string]string{"web.service.dc2.consul.": "198.51.100.8", "bare.service.dc2.consul.": "198.51.100.9", "far.node.dc2.consul.": "198.51.100.9"} {
		if m := resolve(t, one.Node, name, dns.TypeA); len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), want) {
			t.Errorf("%s: %v, want %s", name, m.Answer, want)
		}
	}
	if m := resolve(t, plain.Node, "web.service.dc2.consul.", dns.TypeA); len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "10.9.9.8") {
		t.Errorf("%v", m.Answer)
	}
}

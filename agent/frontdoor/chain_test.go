package frontdoor_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
)

// What would break a chain is refused with a word of which and why, and nothing of it is stored.
func TestBrokenChainsAreRefused(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	stored := func() string { return n.Get(t, "/v1/config/").Body }
	ok := func(entry string) {
		t.Helper()
		n.Put(t, "/v1/config", entry).Want(t, http.StatusOK)
	}
	refused := func(method, path, body string, words ...string) {
		t.Helper()
		before := stored()
		r := n.Do(t, method, path, body)
		if r.Status < 400 {
			t.Errorf("%s %s %s: status %d %s", method, path, body, r.Status, r.Body)
		}
		for _, w := range words {
			if !strings.Contains(r.Body, w) {
				t.Errorf("%s %s %s: %q says nothing of %q", method, path, body, r.Body, w)
			}
		}
		if after := stored(); after != before {
			t.Errorf("%s %s %s: stored\n%s\nwas\n%s", method, path, body, after, before)
		}
	}
	refused("PUT", "/v1/config", `{"Kind": "service-router", "Name": "web"}`, "service-router/web", "tcp", "service-defaults/web")
	ok(`{"Kind": "service-defaults", "Name": "web", "Protocol": "http"}`)
	ok(`{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}`)
	ok(`{"Kind": "service-router", "Name": "web", "Routes": [{"Match": {"HTTP": {"PathPrefix": "/api"}}, "Destination": {"Service": "api"}}]}`)
	refused("PUT", "/v1/config", `{"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100, "Service": "api", "ServiceSubset": "v1"}]}`, "service-splitter/web", "api", "v1")
	refused("PUT", "/v1/config", `{"Kind": "service-defaults", "Name": "api", "Protocol": "grpc"}`, "chain of service", "web", "grpc")
	refused("DELETE", "/v1/config/service-defaults/api", "", "chain of service", "web")
	refused("DELETE", "/v1/config/service-defaults/web", "", "service-router/web")
	refused("PUT", "/v1/config", `{"Kind": "service-resolver", "Name": "api", "Failover": {"*": {"Service": "api"}}}`, "Failover[*]")
	ok(`{"Kind": "service-resolver", "Name": "a", "Redirect": {"Service": "b"}}`)
	refused("PUT", "/v1/config", `{"Kind": "service-resolver", "Name": "b", "Redirect": {"Service": "a"}}`, "circle", "a → b → a")
	ok(`{"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}`)
	n.Do(t, "DELETE", "/v1/config/service-defaults/web", "").Want(t, http.StatusOK)
	refused("DELETE", "/v1/config/proxy-defaults/global", "", "web")
}

// The chain over HTTP: overrides, datacenters, and a blocking query that wakes for its own entries only.
func TestChain(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	var reply struct{ Chain *catalog.DiscoveryChain }
	at := n.Get(t, "/v1/discovery-chain/web?compile-dc=dc2")
	if at.JSON(t, &reply); reply.Chain.StartNode != "resolver:web.default.default.dc2" || !reply.Chain.Default {
		t.Errorf("the default chain is %s", at.Body)
	}
	for _, body := range []string{`{"OverrideConnectTimeout": "7s"}`, `{"OverrideConnectTimeout": 7000000000}`} {
		r := n.Do(t, "POST", "/v1/discovery-chain/web", body).Want(t, http.StatusOK)
		if r.JSON(t, &reply); reply.Chain.Targets["web.default.default.dc1"].ConnectTimeout.String() != "7s" {
			t.Errorf("%s: %s", body, r.Body)
		}
	}
	for _, body := range []string{"", "{", "[]", `{"OverrideConnectTimeout": "soon"}`, `{"Override": 1}`} {
		n.Do(t, "POST", "/v1/discovery-chain/web", body).Want(t, http.StatusBadRequest)
	}
	for _, body := range []string{`{"OverrideConnectTimeout": "-1s"}`, `{"OverrideMeshGateway": {"Mode": "far"}}`} {
		if r := n.Do(t, "POST", "/v1/discovery-chain/web", body); r.Status < 400 || !strings.Contains(r.Body, "Override") {
			t.Errorf("%s: status %d %s", body, r.Status, r.Body)
		}
	}
	first := n.Get(t, "/v1/discovery-chain/web")
	woken := make(chan testkit.Reply)
	go func() {
		woken <- n.Get(t, "/v1/discovery-chain/web?wait=30s&index="+first.Header.Get("X-Consul-Index"))
	}()
	n.Put(t, "/v1/config", `{"Kind": "service-resolver", "Name": "other", "ConnectTimeout": "3s"}`).Want(t, http.StatusOK)
	n.Put(t, "/v1/config", `{"Kind": "service-resolver", "Name": "web", "ConnectTimeout": "4s"}`).Want(t, http.StatusOK)
	r := <-woken
	if r.JSON(t, &reply); reply.Chain.Targets["web.default.default.dc1"].ConnectTimeout.String() != "4s" {
		t.Errorf("woken for %s", r.Body)
	}
}

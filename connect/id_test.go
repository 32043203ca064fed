package connect_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

const domain = "11111111-2222-3333-4444-555555555555.consul"

func TestParseID(t *testing.T) {
	f := func(uri string, want connect.ID) {
		t.Helper()
		got, err := connect.ParseID(uri)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", uri, got, err, want)
		}
	}
	f("spiffe://"+domain, connect.ID{Kind: connect.KindTrustDomain, TrustDomain: domain})
	f("spiffe://"+domain+"/ns/default/dc/dc1/svc/web", connect.Service(domain, "dc1", "web"))
	f("spiffe://"+domain+"/ns/default/dc/dc_1/svc/web%20shop", connect.Service(domain, "dc_1", "web shop"))
	f("spiffe://"+domain+"/ns/default/dc/dc1/svc/a%2Fb", connect.Service(domain, "dc1", "a/b"))
	f("spiffe://"+domain+"/agent/client/dc/dc1/id/n1", connect.ID{Kind: connect.KindAgent, TrustDomain: domain, Datacenter: "dc1", Name: "n1"})
	f("spiffe://"+domain+"/agent/server/dc/dc1", connect.ID{Kind: connect.KindServer, TrustDomain: domain, Datacenter: "dc1"})
	f("spiffe://"+domain+"/gateway/mesh/dc/dc1", connect.ID{Kind: connect.KindMeshGateway, TrustDomain: domain, Datacenter: "dc1"})
}

func TestParseIDRefuses(t *testing.T) {
	f := func(uri string) {
		t.Helper()
		if id, err := connect.ParseID(uri); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%q: got %+v, %v", uri, id, err)
		}
	}
	service := "/ns/default/dc/dc1/svc/web"
	f("")
	f("spiffe:")
	f("spiffe://")
	f("spiffe://" + service)
	f("https://" + domain + service)
	f("SPIFFE://" + domain + service)
	f("spiffe://" + strings.ToUpper(domain[:36]) + "A.consul" + service)
	f("spiffe://" + domain + ":443" + service)
	f("spiffe://user@" + domain + service)
	f("spiffe://" + strings.Repeat("a", 256) + service)
	f("spiffe://" + domain + "/")
	f("spiffe://" + domain + service + "/")
	f("spiffe://" + domain + service + "?a=b")
	f("spiffe://" + domain + service + "#a")
	f("spiffe://" + domain + "/ns/other/dc/dc1/svc/web")
	f("spiffe://" + domain + "/ap/default" + service)
	f("spiffe://" + domain + "/ns/default/dc/DC1/svc/web")
	f("spiffe://" + domain + "/ns/default/dc//svc/web")
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/")
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/..")
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/%2e%2e")
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/%77eb") // web, in another form
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/we%0ab")
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/%2A") // every service, which is none
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/%ff")
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/%zz")
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/a b")
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/a/b")
	f("spiffe://" + domain + "/ns/default/dc/dc1/svc/" + strings.Repeat("x", 2048))
	f("spiffe://" + domain + "/agent/other/dc/dc1")
	f("spiffe://" + domain + "/gateway/mesh/dc/dc1/id/x")
}

// TestIDForms: what has a valid form is read back as the same identity.
func TestIDForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := connect.Service(rapid.StringMatching(`[a-z0-9._-]{1,40}`).Draw(t, "domain"), rapid.StringMatching(`[a-z0-9_-]{1,20}`).Draw(t, "dc"), rapid.String().Draw(t, "name"))
		if id.Validate() != nil {
			return
		}
		if got, err := connect.ParseID(id.String()); err != nil || got != id {
			t.Fatalf("%s: got %+v, %v", id, got, err)
		}
		if got, err := connect.ParseID(id.URL().String()); err != nil || got != id {
			t.Fatalf("as a URL %s: got %+v, %v", id.URL(), got, err)
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add("spiffe://" + domain)
	f.Add("spiffe://" + domain + "/ns/default/dc/dc1/svc/web")
	f.Add("spiffe://" + domain + "/agent/client/dc/dc1/id/n%201")
	f.Add("spiffe://a/agent/server/dc/dc1")
	f.Add("spiffe://a/gateway/mesh/dc/dc1")
	f.Fuzz(func(t *testing.T, uri string) {
		if id, err := connect.ParseID(uri); err == nil && id.String() != uri {
			t.Errorf("%q is taken for %q", uri, id)
		}
	})
}

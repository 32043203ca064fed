package sidecar_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
)

// apart are two clusters with authorities of their own, each in this process.
func apart(t *testing.T) (north, south *testkit.Agent) {
	t.Helper()
	cluster := func(name string) *testkit.Agent {
		return testkit.New(t, testkit.Settings{"node_name": name + "-1", "datacenter": name, "peering": testkit.Settings{"enabled": true}}).Start(t)
	}
	return cluster("north"), cluster("south")
}

// peered are two such clusters that are peers: north has made the token.
func peered(t *testing.T) (north, south *testkit.Agent) {
	t.Helper()
	north, south = apart(t)
	var token struct{ PeeringToken string }
	north.Do(t, "POST", "/v1/peering/token", `{"PeerName":"south"}`).Want(t, http.StatusOK).JSON(t, &token)
	south.Do(t, "POST", "/v1/peering/establish", fmt.Sprintf(`{"PeerName":"north","PeeringToken":%q}`, token.PeeringToken)).Want(t, http.StatusOK)
	return north, south
}

// exported has north serve api, which it exports to south, at the SerfLAN of the ports, and vault, which it keeps, at the SerfWAN.
func exported(t *testing.T, north, south *testkit.Agent) testkit.Ports {
	t.Helper()
	ports := testkit.FreePorts(t)
	for _, c := range []*testkit.Agent{north, south} {
		c.Put(t, "/v1/config", `{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}`)
	}
	north.Put(t, "/v1/agent/service/register", meshed("api", app(t, "north"), ports.SerfLAN, nil))
	north.Put(t, "/v1/agent/service/register", meshed("vault", app(t, "vault"), ports.SerfWAN, nil))
	north.Put(t, "/v1/config", `{"Kind":"exported-services","Name":"default","Services":[{"Name":"api","Consumers":[{"Peer":"south"}]}]}`)
	return ports
}

// refusal is what a service of another cluster hears from a sidecar that it connects to by itself.
func refusal(t *testing.T, as *testkit.Agent, service string, port int) error {
	t.Helper()
	leaf := &catalog.IssuedCert{}
	as.Get(t, "/v1/agent/connect/ca/leaf/"+service).JSON(t, leaf)
	pair, err := tls.X509KeyPair([]byte(leaf.CertPEM), []byte(leaf.PrivateKeyPEM))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	_, err = conn.Read(make([]byte, 1))
	return err
}

// A service of a peer is an upstream, by name and as what stands in for one at home. Who is who is known on both sides, and
// what is not exported lets no peer in, whatever intentions say.
func TestUpstreamsOfPeers(t *testing.T) {
	north, south := peered(t)
	there, here := exported(t, north, south), testkit.FreePorts(t)
	south.Put(t, "/v1/agent/service/register", meshed("api", app(t, "south"), here.SerfLAN, nil))
	south.Put(t, "/v1/config", `{"Kind": "service-resolver", "Name": "api", "Failover": {"*": {"Targets": [{"Peer": "north"}]}}}`)
	web := meshed("web", app(t, "web"), here.SerfWAN, map[string]int{"api": here.DNS})
	web = strings.Replace(web, `"Upstreams":[`, fmt.Sprintf(`"Upstreams":[{"DestinationName":"api","DestinationPeer":"north","LocalBindPort":%d,"Config":{"protocol":"http"}},`, here.HTTP), 1)
	south.Put(t, "/v1/agent/service/register", web)
	opened(t, north.Client, "api-sidecar-proxy/inbound")
	opened(t, south.Client, "web-sidecar-proxy/api.north")
	usual, always := fmt.Sprintf("http://127.0.0.1:%d/", here.DNS), fmt.Sprintf("http://127.0.0.1:%d/", here.HTTP)
	within(t, patience, always, "north /")
	within(t, patience, usual, "south /")
	if _, r := once(always); r == nil || !strings.Contains(r.Header.Get("X-Client"), "dc/south/svc/web") {
		t.Error("the application is not told who is calling from the other cluster")
	}
	sick(t, south, "api")
	within(t, patience, usual, "north /")
	well(t, south, "api")
	within(t, patience, usual, "south /")

	if err := refusal(t, south, "web", there.SerfLAN); err != nil {
		t.Errorf("what is exported: %v", err)
	}
	if err := refusal(t, south, "web", there.SerfWAN); err == nil {
		t.Error("a service that is not exported let a peer in")
	}
	// Intentions tell a service of a peer from one of the same name at home.
	north.Put(t, "/v1/config", `{"Kind":"service-intentions","Name":"api","Sources":[{"Name":"web","Peer":"south","Action":"deny"},{"Name":"web","Action":"allow"}]}`)
	denied(t, always, "north /")
	north.Put(t, "/v1/config", `{"Kind":"service-intentions","Name":"api","Sources":[{"Name":"web","Peer":"south","Action":"allow"},{"Name":"*","Action":"deny"}]}`)
	within(t, patience, always, "north /")
	// The end of the export is the end of the trust.
	north.Put(t, "/v1/config", `{"Kind":"exported-services","Name":"default","Services":[]}`)
	denied(t, always, "north /")
}

// Mesh gateways carry what goes to a peer, as the mode says: without one those of the peer, if it has some. A gateway knows what
// is exported to whom, by names that are of no use to anybody else.
func TestPeersThroughGateways(t *testing.T) {
	north, south := peered(t)
	there, here := exported(t, north, south), testkit.FreePorts(t)
	north.Put(t, "/v1/agent/service/register", gatewayAt(there.Server))
	south.Put(t, "/v1/agent/service/register", gatewayAt(here.Server))
	south.Put(t, "/v1/config", `{"Kind": "service-resolver", "Name": "api", "Redirect": {"Peer": "north"}}`)
	roots := &catalog.Roots{}
	north.Get(t, "/v1/agent/connect/ca/roots").JSON(t, roots)
	far := "*.default.south.external." + roots.TrustDomain
	inUse(t, north.Client, `"Exports"`)
	inUse(t, south.Client, far, fmt.Sprint("127.0.0.1:", there.Server))
	for _, mode := range []struct {
		name          string
		there, beside uint64 // connections through the gateway there, and through the own one before it
	}{{"", 1, 0}, {"remote", 1, 0}, {"local", 1, 1}, {"none", 0, 0}} {
		t.Run("mode "+mode.name, func(t *testing.T) {
			ports := testkit.FreePorts(t)
			for i, upstream := range []string{`"DestinationName":"api","DestinationPeer":"north","Config":{"protocol":"http"}`, `"DestinationName":"api"`} {
				was, before := passed(t, north.Client, "api.south"), passed(t, south.Client, far)
				name := fmt.Sprint("web", mode.name, i)
				port := []int{ports.DNS, ports.HTTP}[i]
				web := meshed(name, app(t, "web"), []int{ports.SerfLAN, ports.SerfWAN}[i], map[string]int{"api": port})
				web = strings.Replace(web, `"DestinationName":"api"`, fmt.Sprintf(`"MeshGateway":{"Mode":%q},%s`, mode.name, upstream), 1)
				south.Put(t, "/v1/agent/service/register", web).Want(t, http.StatusOK)
				opened(t, south.Client, name+"-sidecar-proxy/api")
				within(t, patience, fmt.Sprintf("http://127.0.0.1:%d/", port), "north /")
				if there, beside := passed(t, north.Client, "api.south")-was, passed(t, south.Client, far)-before; there != mode.there || beside != mode.beside {
					t.Errorf("upstream %d: the gateway there passed on %d connections, the own one %d, want %d and %d", i, there, beside, mode.there, mode.beside)
				}
			}
		})
	}
	gate := fmt.Sprint("127.0.0.1:", there.Server)
	refused := func(name string) {
		t.Helper()
		if _, err := tls.Dial("tcp", gate, &tls.Config{ServerName: name + roots.TrustDomain, InsecureSkipVerify: true}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"vault.default.default.south.external.", "api.default.default.west.external.", "api.default.default.north.external."} {
		refused(name)
	}
	// The end of the export is the end of the name.
	north.Put(t, "/v1/config", `{"Kind":"exported-services","Name":"default","Services":[]}`)
	north.Until(t, "/v1/agent/connect/proxy/config", func(r testkit.Reply) bool { return !strings.Contains(r.Body, `"Exports"`) })
	refused("api.default.default.south.external.")
}

// denied asks until the answer is not what it was.
func denied(t *testing.T, url, was string) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < patience; {
		if got, _ := once(url); got != was {
			return
		}
	}
	t.Errorf("%s goes on answering %q", url, was)
}

package sidecar_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/connect"
)

// trustDomain is that of the datacenters in tests.
const (
	clusterID   = "11111111-2222-3333-4444-555555555555"
	trustDomain = clusterID + ".consul"
)

// oneCA are settings for servers of several datacenters that share a root.
func oneCA(t testing.TB) testkit.Settings {
	t.Helper()
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "one root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs: []*url.URL{(&connect.ID{Kind: connect.KindTrustDomain, TrustDomain: trustDomain}).URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := connect.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Settings{"connect": testkit.Settings{"ca_config": testkit.Settings{
		"cluster_id": clusterID, "private_key": secret, "root_cert": connect.EncodeCertificate(der),
	}}}
}

// datacenters starts a server in each, all in this process: each has joined the first, and all know all.
func datacenters(t *testing.T, names ...string) []*testkit.Agent {
	t.Helper()
	shared := oneCA(t)
	var all []*testkit.Agent
	for _, name := range names {
		s := testkit.Settings{"node_name": name + "-1", "datacenter": name, "connect": shared["connect"]}
		if len(all) > 0 {
			s["retry_join_wan"] = []string{fmt.Sprintf("127.0.0.1:%d", all[0].SerfWAN)}
		}
		all = append(all, testkit.New(t, s).Start(t))
	}
	for i, a := range all {
		for k, name := range names {
			if line := "another datacenter is known: datacenter=" + name; k != i && !strings.Contains(a.Log.String(), line) {
				a.Log.Wait(t, line)
			}
		}
	}
	return all
}

// sick makes an instance critical, and its sidecar with it; well takes that back.
func sick(t testing.TB, a *testkit.Agent, id string) {
	t.Helper()
	a.Put(t, "/v1/agent/service/maintenance/"+id+"?enable=true", "").Want(t, http.StatusOK)
}

func well(t testing.TB, a *testkit.Agent, id string) {
	t.Helper()
	a.Put(t, "/v1/agent/service/maintenance/"+id+"?enable=false", "").Want(t, http.StatusOK)
}

// within asks until the answer is as wanted, and fails when that takes longer.
func within(t testing.TB, most time.Duration, addr, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begun, last := time.Now(), ""
	for ctx.Err() == nil {
		if last, _ = once(addr); last == want {
			if took := time.Since(begun); took > most {
				t.Errorf("%s answers as wanted after %v, at most %v is allowed", addr, took, most)
			}
			return
		}
	}
	t.Fatalf("%s answers %q, want %q", addr, last, want)
}

// failover is how soon new requests go elsewhere after a change of health.
const failover = time.Second

// Services of another datacenter are reached as upstreams of their own and where those at home fail, by their sidecars
// directly, who prove to be of their datacenter.
func TestUpstreamsElsewhere(t *testing.T) {
	dcs := datacenters(t, "dc1", "dc2")
	one, two := dcs[0], dcs[1]
	here, there := testkit.FreePorts(t), testkit.FreePorts(t)
	for _, dc := range dcs {
		dc.Put(t, "/v1/config", `{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}`)
	}
	two.Put(t, "/v1/agent/service/register", meshed("api", app(t, "far"), there.SerfLAN, nil))
	one.Put(t, "/v1/agent/service/register", meshed("api", app(t, "near"), here.SerfLAN, nil))
	one.Put(t, "/v1/config", `{"Kind": "service-resolver", "Name": "api", "Failover": {"*": {"Datacenters": ["dc2"]}}}`)
	web := meshed("web", app(t, "web"), here.SerfWAN, map[string]int{"api": here.DNS})
	web = strings.Replace(web, `"Upstreams":[`, fmt.Sprintf(`"Upstreams":[{"DestinationName":"api","Datacenter":"dc2","LocalBindPort":%d},`, here.HTTP), 1)
	one.Put(t, "/v1/agent/service/register", web)
	opened(t, two.Client, "api-sidecar-proxy/inbound")
	opened(t, one.Client, "api-sidecar-proxy/inbound")
	opened(t, one.Client, "web-sidecar-proxy/api.dc2")
	inUse(t, one.Client, fmt.Sprint("127.0.0.1:", there.SerfLAN), fmt.Sprint("127.0.0.1:", here.SerfLAN))
	usual, always := fmt.Sprintf("http://127.0.0.1:%d/", here.DNS), fmt.Sprintf("http://127.0.0.1:%d/", here.HTTP)
	within(t, patience, always, "far /")
	within(t, patience, usual, "near /")
	if _, r := once(always); r == nil || !strings.Contains(r.Header.Get("X-Client"), "dc/dc1/svc/web") {
		t.Error("the application elsewhere is not told who is calling")
	}
	sick(t, one, "api")
	within(t, failover, usual, "far /")
	well(t, one, "api")
	within(t, failover, usual, "near /")
}

package fleet_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// federation runs a primary datacenter, dc1, and a secondary one, dc2.
func federation(t *testing.T, s testkit.Settings) (one, two *testkit.Process) {
	t.Helper()
	s = merged(testkit.Settings{"primary_datacenter": "dc1"}, s)
	return datacenters(t, s)
}

// ruled waits until a server signs by the primary's root.
func ruled(t *testing.T, p *testkit.Process) {
	t.Helper()
	p.Log.Wait(t, "an intermediate of the primary datacenter signs the mesh's certificates")
}

func roots(t *testing.T, p *testkit.Process) *catalog.Roots {
	t.Helper()
	found := &catalog.Roots{}
	p.Get(t, "/v1/agent/connect/ca/roots").Want(t, http.StatusOK).JSON(t, found)
	return found
}

// leaf is the certificate of a service, with those that lead from it to a root.
func leaf(t *testing.T, p *testkit.Process, service string) []*x509.Certificate {
	t.Helper()
	var issued catalog.IssuedCert
	p.Get(t, "/v1/agent/connect/ca/leaf/"+service).Want(t, http.StatusOK).JSON(t, &issued)
	chain, err := connect.ParseCertificates(issued.CertPEM)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// believes verifies a certificate as a peer at the process does, and returns whose it is.
func believes(t *testing.T, p *testkit.Process, chain []*x509.Certificate) (connect.ID, error) {
	t.Helper()
	known := roots(t, p)
	var texts []string
	for _, r := range known.Roots {
		texts = append(texts, r.RootCert)
	}
	trust, err := connect.NewTrust(known.TrustDomain, texts...)
	if err != nil {
		t.Fatal(err)
	}
	return trust.Verify(chain, x509.ExtKeyUsageClientAuth)
}

// TestOneTrustDomain: certificates of a secondary datacenter are good in the primary one and the other way round, also
// after the primary has another root, and while it is away.
func TestOneTrustDomain(t *testing.T) {
	one, two := federation(t, nil)
	ruled(t, two)
	both := func() {
		t.Helper()
		for _, from := range []*testkit.Process{one, two} {
			chain := leaf(t, from, "web")
			for _, at := range []*testkit.Process{one, two} {
				id, err := believes(t, at, chain)
				if dc := map[*testkit.Process]string{one: "dc1", two: "dc2"}[from]; err != nil || id.Datacenter != dc || id.Name != "web" {
					t.Errorf("from %s: %v %v", dc, id, err)
				}
			}
		}
	}
	both()
	before := roots(t, two)
	if mine := roots(t, one); mine.TrustDomain != before.TrustDomain || mine.ActiveRootID != before.ActiveRootID {
		t.Errorf("the primary has %s %s, the secondary %s %s", mine.TrustDomain, mine.ActiveRootID, before.TrustDomain, before.ActiveRootID)
	}
	if r := two.Do(t, "PUT", "/v1/connect/ca/configuration", `{"Provider":"consul","Config":{"PrivateKey":"x","RootCert":"y"}}`); r.Status == http.StatusOK || !strings.Contains(r.Body, "primary datacenter dc1") {
		t.Errorf("%d %s", r.Status, r.Body)
	}

	one.Put(t, "/v1/connect/ca/configuration", `{"Provider":"consul","Config":{"PrivateKeyType":"ec","PrivateKeyBits":384}}`).Want(t, http.StatusOK)
	ruled(t, two)
	if after := roots(t, two); after.ActiveRootID == before.ActiveRootID || after.ActiveRootID != roots(t, one).ActiveRootID || len(after.Roots) != 2 {
		t.Errorf("the secondary has %+v", after)
	}
	both()

	one.Kill(t)
	if id, err := believes(t, two, leaf(t, two, "later")); err != nil || id.Datacenter != "dc2" {
		t.Errorf("while the primary is away: %v %v", id, err)
	}
}

// TestSecondaryOfSecondary: a datacenter whose primary is none is told by whom, and which side must change.
func TestSecondaryOfSecondary(t *testing.T) {
	one, two := federation(t, nil)
	ruled(t, two)
	three := testkit.New(t, testkit.Settings{
		"node_name": "c1", "datacenter": "dc3", "primary_datacenter": "dc2", "retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", one.SerfWAN)},
	}).Spawn(t)
	three.Log.Wait(t, "datacenter dc2 is no primary")
	if !strings.Contains(three.Log.String(), "set primary_datacenter to that on the servers of dc3") {
		t.Error(three.Log.Tail())
	}
	if text, err := json.Marshal(roots(t, three)); err != nil || strings.Contains(string(text), "BEGIN") {
		t.Errorf("%s %v", text, err)
	}
}

package frontdoor_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// TestA19_RequestsForMoreThanAnIdentity sends requests for certificates to the servers' port, as a client
// agent does whose node has been taken over: none but the honest one is signed, and nothing is stored.
func TestA19_RequestsForMoreThanAnIdentity(t *testing.T) {
	p := testkit.NewDev(t, nil).Spawn(t)
	certified(t, p.Node)
	pool := rpc.NewPool(rpc.PoolOptions{Decode: server.DecodeError})
	t.Cleanup(func() { pool.Close() })
	leader := pool.To(fmt.Sprintf("127.0.0.1:%d", p.Server))
	roots, _, err := api.CARoots.Call(t.Context(), leader, rpc.Header{Datacenter: "dc1"}, &api.Nothing{})
	if err != nil {
		t.Fatal(err)
	}
	domain := roots.TrustDomain
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	web := connect.Service(domain, "dc1", "web").URL()
	ask := func(key crypto.Signer, uris []*url.URL, change func(*x509.CertificateRequest)) error {
		t.Helper()
		template := &x509.CertificateRequest{URIs: uris}
		if change != nil {
			change(template)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
		if err != nil {
			t.Fatal(err)
		}
		csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		cert, _, err := api.ConnectSign.Call(t.Context(), leader, rpc.Header{Datacenter: "dc1"}, &api.SignRequest{CSR: csr})
		if err == nil && cert.ServiceURI != web.String() {
			t.Errorf("a certificate for %q was signed", cert.ServiceURI)
		}
		return err
	}
	if err := ask(key, []*url.URL{web}, nil); err != nil {
		t.Fatalf("the honest request: %v", err)
	}
	of := func(id connect.ID) []*url.URL { return []*url.URL{id.URL()} }
	for _, c := range []struct {
		code   catalog.Code
		why    string
		key    crypto.Signer
		uris   []*url.URL
		change func(*x509.CertificateRequest)
	}{
		{catalog.Invalid, "1024 bits", weak, []*url.URL{web}, nil},
		{catalog.Invalid, "trust domain", key, of(connect.Service("99999999-2222-3333-4444-555555555555.consul", "dc1", "web")), nil},
		{catalog.Invalid, "datacenter", key, of(connect.Service(domain, "dc2", "web")), nil},
		{catalog.Denied, "identity of a server", key, of(connect.ID{Kind: connect.KindServer, TrustDomain: domain, Datacenter: "dc1"}), nil},
		{catalog.Invalid, "2 alternative names", key, []*url.URL{web, connect.Service(domain, "dc1", "db").URL()}, nil},
		{catalog.Invalid, "2 alternative names", key, []*url.URL{web}, func(r *x509.CertificateRequest) { r.DNSNames = []string{"server.dc1.consul"} }},
		{catalog.Invalid, "2 alternative names", key, []*url.URL{web}, func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }},
		{catalog.Invalid, "1 alternative names", key, nil, func(r *x509.CertificateRequest) { r.DNSNames = []string{"web"} }},
		{catalog.Invalid, "names no identity", key, nil, nil},
	} {
		err := ask(c.key, c.uris, c.change)
		if catalog.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v: want %s %q, got %v", c.uris, c.code, c.why, err)
		}
	}
	after, _, err := api.CARoots.Call(t.Context(), leader, rpc.Header{Datacenter: "dc1"}, &api.Nothing{})
	if err != nil || len(after.Roots) != 1 || after.Roots[0].ModifyIndex != roots.Roots[0].ModifyIndex {
		t.Errorf("the roots are others now: %+v, %v", after, err)
	}
}

// TestA20_CertificatesOfOthers: who may be one service gets no certificate of another, by the API or from the servers.
func TestA20_CertificatesOfOthers(t *testing.T) {
	m := secured(t, nil)
	token := m.token(`service "web" { policy = "write" } service "db" { policy = "read" }`)
	for name, want := range map[string]int{"web": 200, "db": 403, "webs": 403, "we": 403, "WEB/../db": 403} {
		if r := m.Do(t, "GET", "/v1/agent/connect/ca/leaf/"+url.PathEscape(name), "", as(token)...); r.Status != want || want == 403 && !strings.Contains(r.Body, "service:write") {
			t.Errorf("%s: %d %.200s", name, r.Status, r.Body)
		}
	}
	pool := rpc.NewPool(rpc.PoolOptions{Decode: server.DecodeError})
	t.Cleanup(func() { pool.Close() })
	leader := pool.To(fmt.Sprintf("127.0.0.1:%d", m.Ports.Server))
	roots, _, err := api.CARoots.Call(t.Context(), leader, rpc.Header{}, &api.Nothing{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{connect.Service(roots.TrustDomain, "dc1", "db").URL()}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := &api.SignRequest{CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
	for _, secret := range []string{token, ""} {
		if _, _, err := api.ConnectSign.Call(t.Context(), leader, rpc.Header{Token: secret}, csr); catalog.CodeOf(err) != catalog.Denied {
			t.Errorf("token %q: %v", secret, err)
		}
	}
}

// certified waits until a cluster has its certificate authority, and so its trust domain.
func certified(t *testing.T, n *testkit.Node) {
	t.Helper()
	n.Until(t, "/v1/connect/ca/roots", func(r testkit.Reply) bool { return strings.Contains(r.Body, "RootCert") })
}

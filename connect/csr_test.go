package connect_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

var web = connect.Service(domain, "dc1", "web")

func newKey(t testing.TB, spec connect.KeySpec) crypto.Signer {
	t.Helper()
	key, err := connect.GenerateKey(spec)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// request makes a request that NewCSR would not.
func request(t testing.TB, key any, template *x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func TestCSR(t *testing.T) {
	for _, spec := range []connect.KeySpec{{Type: "ec", Bits: 256}, {Type: "ec", Bits: 384}, {Type: "ec", Bits: 521}, {Type: "rsa", Bits: 2048}} {
		key := newKey(t, spec)
		text, err := connect.NewCSR(key, web)
		if err != nil {
			t.Fatal(err)
		}
		csr, id, err := connect.ParseCSR(text)
		if err != nil || id != web {
			t.Errorf("%v: got %v, %v", spec, id, err)
			continue
		}
		if got, err := connect.SpecOf(csr.PublicKey); err != nil || got != spec {
			t.Errorf("%v: key is %v, %v", spec, got, err)
		}
	}
}

// TestCSRRefuses is row A19 of the bad inputs: whatever would make a certificate more than that of one
// identity.
func TestCSRRefuses(t *testing.T) {
	key := newKey(t, connect.DefaultKey)
	uri, other := web.URL(), connect.Service(domain, "dc1", "db").URL()
	f := func(why, text string) {
		t.Helper()
		_, _, err := connect.ParseCSR(text)
		if catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(err.Error(), why) {
			t.Errorf("want %q, got %v", why, err)
		}
	}
	extension := func(critical bool, oid asn1.ObjectIdentifier, value any) pkix.Extension {
		der, err := asn1.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return pkix.Extension{Id: oid, Critical: critical, Value: der}
	}
	basic := asn1.ObjectIdentifier{2, 5, 29, 19}
	altName := asn1.ObjectIdentifier{2, 5, 29, 17}
	name := func(tag int, text string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(text)}
	}
	f("2 alternative names", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{uri, other}}))
	f("2 alternative names", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{uri}, DNSNames: []string{"web.example.com"}}))
	f("2 alternative names", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{uri}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}))
	f("2 alternative names", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{uri}, EmailAddresses: []string{"a@example.com"}}))
	f("1 alternative names", request(t, key, &x509.CertificateRequest{DNSNames: []string{"web.example.com"}}))
	f("2 alternative names", request(t, key, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{ // a registered id, which Go does not read
		extension(false, altName, []asn1.RawValue{name(6, uri.String()), name(8, "\x2a\x03")})}}))
	f("names no identity", request(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "web"}}))
	f("CA:TRUE", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{uri}, ExtraExtensions: []pkix.Extension{
		extension(true, basic, struct{ CA bool }{true})}}))
	f("basic constraints are malformed", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{uri}, ExtraExtensions: []pkix.Extension{
		{Id: basic, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff, 0x00}}}}))
	f("trust domain", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{{Scheme: "spiffe", Host: "UPPER.consul", Path: uri.Path}}}))
	f("does not begin with spiffe", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{{Scheme: "https", Host: domain, Path: uri.Path}}}))

	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	f("want an EC or RSA key", request(t, edwards, &x509.CertificateRequest{URIs: []*url.URL{uri}}))
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	f("224 bits", request(t, p224, &x509.CertificateRequest{URIs: []*url.URL{uri}}))
	odd, err := rsa.GenerateKey(rand.Reader, 2056)
	if err != nil {
		t.Fatal(err)
	}
	f("2056 bits", request(t, odd, &x509.CertificateRequest{URIs: []*url.URL{uri}}))

	good := request(t, key, &x509.CertificateRequest{URIs: []*url.URL{uri}})
	f("want one PEM block", "")
	f("want one PEM block", good+good)
	f("want one PEM block", strings.ReplaceAll(good, "CERTIFICATE REQUEST", "CERTIFICATE"))
	f("at most 16384", good+strings.Repeat("\n", 16<<10))
	block, _ := pem.Decode([]byte(good))
	block.Bytes[len(block.Bytes)-1] ^= 1
	f("certificate request", string(pem.EncodeToMemory(block)))
}

func FuzzParseCSR(f *testing.F) {
	key := newKey(f, connect.DefaultKey)
	for _, template := range []*x509.CertificateRequest{
		{URIs: []*url.URL{web.URL()}},
		{URIs: []*url.URL{web.URL(), web.URL()}},
		{URIs: []*url.URL{web.URL()}, DNSNames: []string{"a"}},
	} {
		block, _ := pem.Decode([]byte(request(f, key, template)))
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		csr, id, err := connect.ParseCSR(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
		if err != nil {
			return
		}
		if id.Validate() != nil || len(csr.URIs) != 1 || len(csr.DNSNames)+len(csr.IPAddresses)+len(csr.EmailAddresses) > 0 {
			t.Errorf("%v was taken from a request with %v %v %v %v", id, csr.URIs, csr.DNSNames, csr.IPAddresses, csr.EmailAddresses)
		}
	})
}

func TestKeys(t *testing.T) {
	for _, spec := range []connect.KeySpec{{Type: "ec", Bits: 256}, {Type: "ec", Bits: 384}, {Type: "ec", Bits: 521}, {Type: "rsa", Bits: 2048}} {
		key := newKey(t, spec)
		text, err := connect.EncodeKey(key)
		if err != nil {
			t.Fatal(err)
		}
		again, err := connect.ParseKey(text)
		if err != nil {
			t.Fatalf("%v: %v", spec, err)
		}
		a, _ := connect.SubjectKeyID(key.Public())
		b, _ := connect.SubjectKeyID(again.Public())
		if string(a) != string(b) {
			t.Errorf("%v: another key came back", spec)
		}
	}
	for _, spec := range []connect.KeySpec{{Type: "ec", Bits: 224}, {Type: "rsa", Bits: 1024}, {Type: "ed25519", Bits: 256}, {}} {
		if _, err := connect.GenerateKey(spec); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%v: got %v", spec, err)
		}
	}
	for _, text := range []string{"", "canary", "-----BEGIN EC PRIVATE KEY-----\nY2FuYXJ5\n-----END EC PRIVATE KEY-----\n"} {
		if _, err := connect.ParseKey(text); catalog.CodeOf(err) != catalog.Invalid || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// TestAgentCSR: an agent may have hosts and addresses beside its identity, and no name of a server, none that stands for
// others, and none of another kind.
func TestAgentCSR(t *testing.T) {
	key := newKey(t, connect.DefaultKey)
	id := connect.ID{Kind: connect.KindAgent, TrustDomain: domain, Datacenter: "dc1", Name: "n1"}
	text, err := connect.NewAgentCSR(key, id, []string{"localhost", "n1.example", "server.example"}, []net.IP{net.IPv4(10, 0, 0, 1), net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	csr, got, err := connect.ParseAgentCSR(text, "consul")
	if err != nil || got != id || len(csr.DNSNames) != 3 || len(csr.IPAddresses) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, _, err := connect.ParseCSR(text); catalog.CodeOf(err) != catalog.Invalid {
		t.Errorf("a request with hosts was taken for a service's: %v", err)
	}
	refused := func(why, text string) {
		t.Helper()
		if _, _, err := connect.ParseAgentCSR(text, "consul"); catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(err.Error(), why) {
			t.Errorf("want %q, got %v", why, err)
		}
	}
	for _, name := range []string{"server.dc1.consul", "SERVER.dc1.Consul", "server.consul", "server.dc1.consul."} {
		text, err := connect.NewAgentCSR(key, id, []string{name}, nil)
		if err != nil {
			t.Fatal(err)
		}
		refused("DNS name", text)
	}
	for _, name := range []string{"*.dc1.consul", "*", "a b", "", "a..b", strings.Repeat("a", 64), strings.Repeat("a.", 130) + "a"} {
		refused("", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}, DNSNames: []string{name}}))
	}
	refused("which is no agent", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{web.URL()}}))
	refused("no URI, DNS name or IP", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}, EmailAddresses: []string{"a@b.c"}}))
	refused("2 URIs", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{id.URL(), web.URL()}}))
	refused("at most", request(t, key, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}, DNSNames: slices.Repeat([]string{"a"}, 40)}))
}

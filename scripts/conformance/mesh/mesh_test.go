package mesh

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/proxy"
)

const domain = "11111111-2222-3333-4444-555555555555.consul"

// identity is what a service shows and believes.
type identity struct {
	leaf  *tls.Certificate
	trust *connect.Trust
}

func (i *identity) Certificate() (*tls.Certificate, error) { return i.leaf, nil }
func (i *identity) Trust() (*connect.Trust, error)         { return i.trust, nil }
func (i *identity) Generation() uint64                     { return 1 }

// mesh is two sidecars before an application: addresses at which it is reached through one of them, or both.
type mesh struct {
	outbound, inbound, both string
	certFile, keyFile       string // that a caller of inbound shows
}

func service(name string) connect.ID { return connect.Service(domain, "dc1", name) }

// identities signs certificates of services with one authority.
func identities(t *testing.T, names ...string) []*identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	trust := &connect.Trust{Domain: domain, Roots: x509.NewCertPool()}
	trust.Roots.AddCert(root)
	var all []*identity
	for i, name := range names {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			URIs: []*url.URL{service(name).URL()},
		}, root, own.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &identity{&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}, trust})
	}
	return all
}

// files writes a certificate and its key for those who read files.
func (i *identity) files(t *testing.T) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: i.leaf.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// start runs the sidecars of an application until the test ends.
func start(t *testing.T, app string, http2 bool) *mesh {
	t.Helper()
	ids := identities(t, "api", "web")
	entry := &catalog.ServiceIntentions{}
	entry.Kind, entry.Name = catalog.EntryServiceIntentions, "api"
	entry.Normalize()
	allow, err := connect.NewPolicy(entry, nil, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	local := func() *proxy.Target {
		return &proxy.Target{Name: "app", Endpoints: []proxy.Endpoint{{Network: "tcp", Address: app}}, HTTP2: http2}
	}
	in := run(t, &proxy.Listener{Name: "inbound", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, Certs: ids[0], Policy: allow, Routes: proxy.Direct(local())})
	plain := run(t, &proxy.Listener{Name: "plain", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, Routes: proxy.Direct(local())})
	inbound := in.Addr("inbound").String()
	api := &proxy.Target{
		Name: "api", Endpoints: []proxy.Endpoint{{Network: "tcp", Address: inbound}}, Certs: ids[1],
		Identities: []connect.ID{service("api")}, ServerName: "api.default.dc1.internal." + domain,
	}
	out := run(t, &proxy.Listener{Name: "outbound", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, Routes: proxy.Direct(api)})
	m := &mesh{outbound: plain.Addr("plain").String(), inbound: inbound, both: out.Addr("outbound").String()}
	m.certFile, m.keyFile = ids[1].files(t)
	return m
}

func run(t *testing.T, listeners ...*proxy.Listener) *proxy.Proxy {
	t.Helper()
	p := proxy.New(proxy.Options{DrainTime: time.Second})
	if err := p.Update(&proxy.Snapshot{Listeners: listeners}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }() // ends with the test
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return p
}

package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates for tests.
type Authority struct {
	// File holds its certificate, and KeyFile its key.
	File, KeyFile string
	Pool          *x509.CertPool

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{dir: t.TempDir(), Pool: x509.NewCertPool()}
	a.File, a.KeyFile = filepath.Join(a.dir, "ca.pem"), filepath.Join(a.dir, "ca-key.pem")
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.Pool.AddCert(a.cert)
	keyDER, err := x509.MarshalECPrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.File, "CERTIFICATE", der)
	writePEM(t, a.KeyFile, "EC PRIVATE KEY", keyDER)
	return a
}

// Certificate is a certificate on disk.
type Certificate struct {
	File, KeyFile string
	// Pair is the same in memory.
	Pair tls.Certificate
}

// Issue signs a certificate for both ends of a connection, with these DNS names, that lasts an hour. What change does
// to it, which may be nil, counts.
func (a *Authority) Issue(t testing.TB, change func(*x509.Certificate), names ...string) *Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if len(names) > 0 {
		template.Subject.CommonName = names[0]
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp(a.dir, "*.pem")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	c := &Certificate{File: f.Name(), KeyFile: f.Name() + ".key"}
	writePEM(t, c.File, "CERTIFICATE", der)
	writePEM(t, c.KeyFile, "EC PRIVATE KEY", keyDER)
	if c.Pair, err = tls.LoadX509KeyPair(c.File, c.KeyFile); err != nil {
		t.Fatal(err)
	}
	return c
}

// SPIFFE makes a certificate that of an identity in the mesh.
func SPIFFE(uri string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		u, err := url.Parse(uri)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
}

// TLS is the settings of connections between agents that show c, believe a, and demand all there is to demand.
func (a *Authority) TLS(c *Certificate) Settings {
	return Settings{"internal_rpc": Settings{
		"ca_file": a.File, "cert_file": c.File, "key_file": c.KeyFile, "verify_incoming": true, "verify_outgoing": true, "verify_server_hostname": true,
	}}
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

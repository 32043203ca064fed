package ca_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/ca"
)

const domain = "11111111-2222-3333-4444-555555555555.consul"

var web, db = connect.Service(domain, "dc1", "web"), connect.Service(domain, "dc1", "db")

// params are those of a built-in provider with some settings.
func params(t *testing.T, raw map[string]any) ca.Params {
	t.Helper()
	open, secrets, err := ca.Split(ca.BuiltIn, raw)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ca.Parse(ca.BuiltIn, open)
	if err != nil {
		t.Fatal(err)
	}
	return ca.Params{Config: cfg, Secrets: secrets, TrustDomain: domain, Datacenter: "dc1", Serial: 7}
}

func open(t *testing.T, p ca.Params) ca.Provider {
	t.Helper()
	provider, err := ca.Open(t.Context(), ca.BuiltIn, p)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// issued is a leaf with its key, as one side of a connection has it.
type issued struct {
	chain []*x509.Certificate
	key   crypto.Signer
	trust *connect.Trust
}

func (i *issued) Certificate() (*tls.Certificate, error) {
	pair := &tls.Certificate{PrivateKey: i.key}
	for _, c := range i.chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}

func (i *issued) Trust() (*connect.Trust, error) { return i.trust, nil }

func issue(t *testing.T, p ca.Provider, id connect.ID, roots ...string) *issued {
	t.Helper()
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := connect.NewCSR(key, id)
	if err != nil {
		t.Fatal(err)
	}
	csr, _, err := connect.ParseCSR(text)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := p.SignLeaf(t.Context(), csr, id)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := connect.ParseCertificates(signed)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := connect.NewTrust(domain, append(roots, p.Root())...)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{chain, key, trust}
}

// handshake connects a client to a server that it wants, and returns both sides' errors and who the
// server saw.
func handshake(client, server connect.Source, want connect.ID) (seen connect.ID, clientErr, serverErr error) {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { // ends with the pipe
		conn := tls.Server(far, connect.ServerTLS(server))
		err := conn.Handshake()
		if err == nil {
			if seen, err = connect.PeerID(conn.ConnectionState()); err == nil {
				_, err = conn.Write([]byte("x"))
			}
		}
		far.Close()
		served <- err
	}()
	conn := tls.Client(near, connect.ClientTLS(client, want))
	_, clientErr = conn.Read(make([]byte, 1)) // in TLS 1.3 a refusal of the client's certificate comes after the handshake
	near.Close()
	return seen, clientErr, <-served
}

func TestBuiltIn(t *testing.T) {
	for _, raw := range []map[string]any{
		nil, {"private_key_type": "ec", "private_key_bits": 384.0}, {"PrivateKeyBits": 521}, {"PrivateKeyType": "rsa", "PrivateKeyBits": "2048"},
	} {
		p := params(t, raw)
		provider := open(t, p)
		root, err := connect.ParseCertificate(provider.Root())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := connect.SpecOf(root.PublicKey); err != nil || got != p.Config.Key {
			t.Errorf("%v: root's key is %v, %v", raw, got, err)
		}
		if root.SerialNumber.Uint64() != 7 || root.NotAfter.Sub(root.NotBefore) != 87600*time.Hour+time.Minute {
			t.Errorf("root is %v, from %v to %v", root.SerialNumber, root.NotBefore, root.NotAfter)
		}
		leaf := issue(t, provider, web)
		cert := leaf.chain[0]
		keyID, _ := connect.SubjectKeyID(leaf.key.Public())
		switch {
		case len(leaf.chain) != 1, cert.IsCA, !cert.BasicConstraintsValid, cert.KeyUsage != x509.KeyUsageDigitalSignature:
			t.Errorf("leaf: %d certificates, CA %v, usage %v", len(leaf.chain), cert.IsCA, cert.KeyUsage)
		case string(cert.SubjectKeyId) != string(keyID), string(cert.AuthorityKeyId) != string(root.SubjectKeyId):
			t.Error("leaf: the key identifiers are wrong")
		case cert.SerialNumber.Sign() <= 0 || cert.SerialNumber.BitLen() > 159:
			t.Errorf("leaf: serial %v", cert.SerialNumber)
		case cert.NotAfter.Sub(cert.NotBefore) != 72*time.Hour+time.Minute:
			t.Errorf("leaf: from %v to %v", cert.NotBefore, cert.NotAfter)
		}
		again := p
		again.Root, again.Secrets = provider.Root(), provider.Secrets()
		if same := open(t, again); same.Root() != provider.Root() {
			t.Error("the provider has another root when it is opened again")
		}
	}
}

func TestLeafNeverOutlivesItsIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider := open(t, params(t, map[string]any{"LeafCertTTL": "10h", "IntermediateCertTTL": "20h", "RootCertTTL": "24h"}))
		root, _ := connect.ParseCertificate(provider.Root())
		time.Sleep(20 * time.Hour)
		if end := issue(t, provider, web).chain[0].NotAfter; !end.Equal(root.NotAfter) {
			t.Errorf("leaf ends %v, root %v", end, root.NotAfter)
		}
		time.Sleep(5 * time.Hour)
		key, _ := connect.GenerateKey(connect.DefaultKey)
		text, _ := connect.NewCSR(key, web)
		csr, _, _ := connect.ParseCSR(text)
		if _, err := provider.SignLeaf(t.Context(), csr, web); catalog.CodeOf(err) != catalog.Unavailable || !strings.Contains(err.Error(), "expired") {
			t.Errorf("an expired root signs: %v", err)
		}
	})
}

func TestHandshake(t *testing.T) {
	provider := open(t, params(t, nil))
	client, server := issue(t, provider, web), issue(t, provider, db)
	if seen, a, b := handshake(client, server, db); seen != web || a != nil || b != nil {
		t.Errorf("got %v, %v, %v", seen, a, b)
	}
}

// TestHandshakeRefuses has rows A17 and A18 of the bad inputs.
func TestHandshakeRefuses(t *testing.T) {
	provider, stranger := open(t, params(t, nil)), open(t, params(t, nil))
	client, server := issue(t, provider, web), issue(t, provider, db)
	f := func(why string, client, server connect.Source, want connect.ID) {
		t.Helper()
		_, a, b := handshake(client, server, want)
		if err := errors.Join(a, b); a == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("want %q, got %v and %v", why, a, b)
		}
	}
	f("wanted", client, server, web) // A18: db's certificate on a connection meant for web
	elsewhere := connect.Service("99999999-2222-3333-4444-555555555555.consul", "dc1", "db")
	f("no identity of trust domain", client, issue(t, provider, elsewhere), elsewhere) // A17: our key, another domain
	f("no identity of trust domain", issue(t, provider, elsewhere), server, db)
	f("unknown authority", client, issue(t, stranger, db), db)
	f("unknown authority", issue(t, stranger, web, provider.Root()), server, db)
	none := &issued{trust: client.trust}
	f("certificate", none, server, db)
	authority := &issued{trust: client.trust}
	root, _ := connect.ParseCertificate(provider.Root())
	authority.chain = []*x509.Certificate{root}
	authority.key, _ = connect.ParseKey(provider.Secrets()["PrivateKey"].Reveal())
	f("certificate of an authority", client, authority, db)
}

// TestExpired: what has ended is refused by the other side.
func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider := open(t, params(t, map[string]any{"LeafCertTTL": "1h"}))
		client := issue(t, provider, web)
		time.Sleep(time.Hour + time.Second)
		if _, a, b := handshake(client, issue(t, provider, db), db); a == nil || b == nil || !strings.Contains(b.Error(), "expired") {
			t.Errorf("got %v, %v", a, b)
		}
	})
}

// TestClocks: what the clock of one side lets count and that of the other does not is refused with both times, and with which clocks to
// set.
func TestClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider := open(t, params(t, map[string]any{"LeafCertTTL": "2h"}))
		leaf := issue(t, provider, web)
		signer, err := connect.ParseKey(provider.Secrets()["PrivateKey"].Reveal())
		if err != nil {
			t.Fatal(err)
		}
		root, err := connect.ParseCertificate(provider.Root())
		if err != nil {
			t.Fatal(err)
		}
		f := func(by time.Duration, want ...string) {
			t.Helper()
			c := *leaf.chain[0]
			c.NotBefore, c.NotAfter = c.NotBefore.Add(by), c.NotAfter.Add(by)
			der, err := x509.CreateCertificate(rand.Reader, &c, root, c.PublicKey, signer)
			if err != nil {
				t.Fatal(err)
			}
			shown, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			_, err = leaf.trust.Verify([]*x509.Certificate{shown}, x509.ExtKeyUsageServerAuth)
			late := (*connect.OutOfTime)(nil)
			if errors.As(err, &late) != (len(want) > 0) {
				t.Errorf("%v: %v", by, err)
			}
			for _, text := range want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%v: %v, want %q", by, err, text)
				}
			}
		}
		f(0)
		f(-time.Hour)
		f(time.Hour, web.String(), "begins on 2000-01-01T00:59:00Z, and by the clock of whoever checks it, it is 2000-01-01T00:00:00Z", "of the machine that checks it or of the servers that signed it")
		f(-3*time.Hour, web.String(), "has ended on 1999-12-31T23:00:00Z", "of the machine that checks it or of the servers that signed it")
	})
}

// TestCrossSign: who knows only the old root believes what the new one has signed, if it comes with the
// certificate by which the old one vouches for it.
func TestCrossSign(t *testing.T) {
	old, next := open(t, params(t, nil)), open(t, params(t, nil))
	root, _ := connect.ParseCertificate(next.Root())
	text, err := old.CrossSign(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	cross, err := connect.ParseCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	client, server := issue(t, old, web), issue(t, next, db, old.Root())
	if _, a, _ := handshake(client, server, db); a == nil {
		t.Error("the new root is believed without a word of the old one")
	}
	server.chain = append(server.chain, cross)
	if _, a, b := handshake(client, server, db); a != nil || b != nil {
		t.Errorf("got %v, %v", a, b)
	}
	if cross.NotAfter.After(root.NotAfter) {
		t.Error("the cross-signed certificate outlives the root")
	}
}

func TestSignIntermediate(t *testing.T) {
	provider := open(t, params(t, nil))
	key, _ := connect.GenerateKey(connect.DefaultKey)
	text, _ := connect.NewCSR(key, connect.ID{Kind: connect.KindTrustDomain, TrustDomain: domain})
	csr, _, err := connect.ParseCSR(text)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := provider.SignIntermediate(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := connect.ParseCertificate(signed)
	if !cert.IsCA || !cert.MaxPathLenZero || cert.NotAfter.Sub(cert.NotBefore) != 8760*time.Hour+time.Minute {
		t.Errorf("CA %v, path length %v, from %v to %v", cert.IsCA, cert.MaxPathLen, cert.NotBefore, cert.NotAfter)
	}
}

// TestOwnRoot: a key and a root that the operator brings.
func TestOwnRoot(t *testing.T) {
	key, _ := connect.GenerateKey(connect.DefaultKey)
	other, _ := connect.GenerateKey(connect.DefaultKey)
	keyText, _ := connect.EncodeKey(key)
	otherText, _ := connect.EncodeKey(other)
	make := func(change func(*x509.Certificate)) string {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{{Scheme: "spiffe", Host: domain}},
		}
		change(template)
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return connect.EncodeCertificate(der)
	}
	good := make(func(*x509.Certificate) {})
	provider := open(t, params(t, map[string]any{"PrivateKey": keyText, "RootCert": good}))
	if provider.Root() != good {
		t.Error("the root is not the one that was given")
	}
	issue(t, provider, web)
	if generated := open(t, params(t, map[string]any{"PrivateKey": keyText})); generated.Secrets()["PrivateKey"].Reveal() != keyText {
		t.Error("the key is not the one that was given")
	}
	refuses := func(why string, raw map[string]any) {
		t.Helper()
		if _, err := ca.Open(t.Context(), ca.BuiltIn, params(t, raw)); catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(err.Error(), why) {
			t.Errorf("want %q, got %v", why, err)
		}
	}
	refuses("needs both", map[string]any{"RootCert": good})
	refuses("not the key of", map[string]any{"RootCert": good, "PrivateKey": otherText})
	refuses("private key", map[string]any{"PrivateKey": "canary"})
	refuses("may not sign", map[string]any{"PrivateKey": keyText, "RootCert": make(func(c *x509.Certificate) { c.IsCA = false })})
	refuses("expired", map[string]any{"PrivateKey": keyText, "RootCert": make(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })})
	refuses("spiffe://"+domain, map[string]any{"PrivateKey": keyText, "RootCert": make(func(c *x509.Certificate) { c.URIs[0].Host = "other.consul" })})
	refuses("spiffe://"+domain, map[string]any{"PrivateKey": keyText, "RootCert": make(func(c *x509.Certificate) { c.URIs = nil })})
}

func TestSettings(t *testing.T) {
	f := func(why, provider string, raw map[string]any) {
		t.Helper()
		open, _, err := ca.Split(provider, raw)
		if err == nil {
			_, err = ca.Parse(provider, open)
		}
		if catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(err.Error(), why) {
			t.Errorf("%v: want %q, got %v", raw, why, err)
		}
	}
	f("unknown CA provider", "paper", nil)
	f("not supported yet", "aws-pca", nil)
	f("no setting", ca.BuiltIn, map[string]any{"LeafTTL": "2h"})
	f("no setting", ca.BuiltIn, map[string]any{"Token": "x"})
	f("not between", ca.BuiltIn, map[string]any{"LeafCertTTL": "1s"})
	f("not between", ca.BuiltIn, map[string]any{"LeafCertTTL": "8761h"})
	f("not between", ca.BuiltIn, map[string]any{"leaf_cert_ttl": -1.0})
	f("no duration", ca.BuiltIn, map[string]any{"LeafCertTTL": "soon"})
	f("want a number", ca.BuiltIn, map[string]any{"LeafCertTTL": true})
	f("nanoseconds", ca.BuiltIn, map[string]any{"LeafCertTTL": 1e30})
	f("shorter than LeafCertTTL", ca.BuiltIn, map[string]any{"IntermediateCertTTL": "1h"})
	f("shorter than IntermediateCertTTL", ca.BuiltIn, map[string]any{"RootCertTTL": "100h"})
	f("bits", ca.BuiltIn, map[string]any{"PrivateKeyType": "rsa"})
	f("below zero", ca.BuiltIn, map[string]any{"CSRMaxPerSecond": -1})
	f("below zero", ca.BuiltIn, map[string]any{"CSRMaxConcurrent": -1})
	f("out of range", ca.BuiltIn, map[string]any{"PrivateKeyBits": 1e12})
	f("Address", ca.Vault, map[string]any{"Token": "x"})
	f("RootPKIPath", ca.Vault, map[string]any{"Address": "http://127.0.0.1:1", "IntermediatePKIPath": "b", "RootPKIPath": "a?b"})

	open, secrets, err := ca.Split(ca.BuiltIn, map[string]any{"leaf_cert_ttl": "2h", "PrivateKey": "canary", "csr_max_per_second": 2})
	if err != nil || !maps.Equal(open, map[string]any{"LeafCertTTL": "2h", "CSRMaxPerSecond": 2}) || secrets["PrivateKey"].Reveal() != "canary" {
		t.Errorf("got %v, %v, %v", open, secrets, err)
	}
	cfg, err := ca.Parse(ca.BuiltIn, open)
	if err != nil || cfg.LeafTTL != 2*time.Hour || cfg.CSRMaxPerSecond != 2 || cfg.RootTTL != 87600*time.Hour {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

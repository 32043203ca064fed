package ca_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/ca"
)

// engine is a PKI engine of the fake Vault.
type engine struct {
	cert *x509.Certificate
	key  crypto.Signer
	next crypto.Signer // of an intermediate that is not signed yet
	role map[string]any
}

// fakeVault answers the endpoints of Vault that a CA needs, in Vault's shapes.
type fakeVault struct {
	t  *testing.T
	mu sync.Mutex
	// engines by their paths.
	engines map[string]*engine
	token   string
	logins  int
	sudo    bool                    // whether the token may cross-sign
	forge   func(*x509.Certificate) // changes leaves before they are signed
	calls   []string
}

func newFakeVault(t *testing.T) (*fakeVault, string) {
	v := &fakeVault{t: t, engines: map[string]*engine{}, token: "canary", sudo: true}
	s := httptest.NewServer(v)
	t.Cleanup(s.Close)
	return v, s.URL
}

func (v *fakeVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	v.calls = append(v.calls, r.Method+" "+path)
	var body map[string]any
	json.NewDecoder(r.Body).Decode(&body)
	status, part, data := v.answer(r.Method, path, r.Header.Get("X-Vault-Token"), body)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status >= 400 {
		json.NewEncoder(w).Encode(map[string]any{"errors": []string{"refused"}})
	} else if data != nil {
		json.NewEncoder(w).Encode(map[string]any{"request_id": "x", part: data})
	}
}

func (v *fakeVault) answer(method, path, token string, body map[string]any) (status int, part string, data map[string]any) {
	if path == "auth/approle/login" && body["role_id"] == "me" {
		v.logins++
		return 200, "auth", map[string]any{"client_token": v.token, "lease_duration": 3600}
	}
	if token != v.token {
		return 403, "", nil
	}
	if mount, ok := strings.CutPrefix(path, "sys/mounts/"); ok {
		switch {
		case method == http.MethodDelete:
			delete(v.engines, mount)
		case v.engines[mount] != nil:
			return 400, "", nil
		default:
			v.engines[mount] = &engine{}
		}
		return 204, "", nil
	}
	name, rest, _ := strings.Cut(path, "/")
	e := v.engines[name]
	if e == nil {
		return 404, "", nil
	}
	switch rest {
	case "cert/ca":
		if e.cert == nil {
			return 500, "", nil
		}
		return 200, "data", map[string]any{"certificate": strings.TrimSpace(connect.EncodeCertificate(e.cert.Raw))}
	case "root/generate/internal":
		e.key = newSigner(v.t)
		e.cert = v.sign(authorityOf(body["uri_sans"].(string)), nil, e.key.Public(), e.key)
		return 200, "data", map[string]any{"certificate": strings.TrimSpace(connect.EncodeCertificate(e.cert.Raw))}
	case "intermediate/generate/internal":
		e.next = newSigner(v.t)
		u, _ := neturl.Parse(body["uri_sans"].(string))
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "between"}, URIs: []*neturl.URL{u}}, e.next)
		if err != nil {
			v.t.Error(err)
		}
		return 200, "data", map[string]any{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
	case "root/sign-intermediate":
		csr := v.request(body)
		template := authorityOf(csr.URIs[0].String())
		template.Subject = csr.Subject
		return 200, "data", map[string]any{"certificate": strings.TrimSpace(connect.EncodeCertificate(v.sign(template, e.cert, csr.PublicKey, e.key).Raw))}
	case "intermediate/set-signed":
		cert, err := connect.ParseCertificate(body["certificate"].(string))
		if err != nil {
			v.t.Error(err)
		}
		e.cert, e.key = cert, e.next
		return 200, "data", map[string]any{}
	case "roles/leaf-cert":
		e.role = body
		return 204, "", nil
	case "sign/leaf-cert":
		csr := v.request(body)
		ttl, err := time.ParseDuration(body["ttl"].(string))
		if err != nil || e.role == nil {
			return 400, "", nil
		}
		leaf := &x509.Certificate{URIs: csr.URIs, NotAfter: time.Now().Add(ttl), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
		if v.forge != nil {
			v.forge(leaf)
		}
		return 200, "data", map[string]any{"certificate": strings.TrimSpace(connect.EncodeCertificate(v.sign(leaf, e.cert, csr.PublicKey, e.key).Raw))}
	case "root/sign-self-issued":
		if !v.sudo {
			return 403, "", nil
		}
		cert, err := connect.ParseCertificate(body["certificate"].(string))
		if err != nil {
			return 400, "", nil
		}
		template := *cert
		return 200, "data", map[string]any{"certificate": strings.TrimSpace(connect.EncodeCertificate(v.sign(&template, e.cert, cert.PublicKey, e.key).Raw))}
	}
	return 404, "", nil
}

func (v *fakeVault) request(body map[string]any) *x509.CertificateRequest {
	block, _ := pem.Decode([]byte(body["csr"].(string)))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		v.t.Error(err)
	}
	return csr
}

func authorityOf(uri string) *x509.Certificate {
	u, _ := neturl.Parse(uri)
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: "root"}, URIs: []*neturl.URL{u}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotAfter: time.Now().Add(1000 * time.Hour),
	}
}

func (v *fakeVault) sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	template.NotBefore = time.Now().Add(-time.Minute)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		v.t.Error(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		v.t.Error(err)
	}
	return cert
}

func newSigner(t *testing.T) crypto.Signer {
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		t.Error(err)
	}
	return key
}

func vaultParams(t *testing.T, raw map[string]any) ca.Params {
	t.Helper()
	open, secrets, err := ca.Split(ca.Vault, raw)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ca.Parse(ca.Vault, open)
	if err != nil {
		t.Fatal(err)
	}
	return ca.Params{Config: cfg, Secrets: secrets, TrustDomain: domain, Datacenter: "dc1"}
}

func openVault(t *testing.T, p ca.Params) ca.Provider {
	t.Helper()
	provider, err := ca.Open(t.Context(), ca.Vault, p)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

func TestVault(t *testing.T) {
	v, url := newFakeVault(t)
	raw := map[string]any{"address": url, "token": "canary", "root_pki_path": "roots/", "IntermediatePKIPath": "between"}
	p := vaultParams(t, raw)
	provider := openVault(t, p)
	client, server := issue(t, provider, web), issue(t, provider, db)
	if len(client.chain) != 2 || !client.chain[1].IsCA {
		t.Fatalf("a leaf comes with %d certificates", len(client.chain))
	}
	if seen, a, b := handshake(client, server, db); seen != web || a != nil || b != nil {
		t.Errorf("got %v, %v, %v", seen, a, b)
	}
	if err := provider.Maintain(t.Context()); err != nil {
		t.Error(err)
	}
	if signer := provider.Signer(); signer == nil || !signer.Equal(client.chain[1]) {
		t.Errorf("the signer is %v", signer)
	}
	if v.engines["between"].role["allowed_uri_sans"] != "spiffe://"+domain+"/*" {
		t.Errorf("role is %v", v.engines["between"].role)
	}

	// Opened again, it goes on with what is there.
	p.Root = provider.Root()
	again := openVault(t, p)
	if same := issue(t, again, web).chain[1]; !same.Equal(client.chain[1]) {
		t.Error("another intermediate was made")
	}

	// From the built-in provider to Vault and back, each vouches for the next.
	own := open(t, params(t, nil))
	for _, c := range []struct{ from, to ca.Provider }{{own, provider}, {provider, own}} {
		root, _ := connect.ParseCertificate(c.to.Root())
		text, err := c.from.CrossSign(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		cross, err := connect.ParseCertificate(text)
		if err != nil {
			t.Fatal(err)
		}
		late := issue(t, c.to, db, c.from.Root())
		late.chain = append(late.chain, cross)
		if _, a, b := handshake(issue(t, c.from, web), late, db); a != nil || b != nil {
			t.Errorf("got %v, %v", a, b)
		}
	}
	v.sudo = false
	root, _ := connect.ParseCertificate(own.Root())
	if _, err := provider.CrossSign(t.Context(), root); catalog.CodeOf(err) != catalog.Conflict {
		t.Errorf("got %v", err)
	}

	if err := provider.Cleanup(t.Context(), again); err != nil || v.engines["between"] == nil {
		t.Errorf("the engine of the next provider is gone: %v", err)
	}
	if err := provider.Cleanup(t.Context(), own); err != nil || v.engines["between"] != nil || v.engines["roots"] == nil {
		t.Errorf("what is left: %v, %v", v.engines, err)
	}
}

// TestVaultLies: what Vault signs of its own mind is not handed out.
func TestVaultLies(t *testing.T) {
	v, url := newFakeVault(t)
	provider := openVault(t, vaultParams(t, map[string]any{"Address": url, "Token": "canary", "RootPKIPath": "roots", "IntermediatePKIPath": "between"}))
	issue(t, provider, web)
	text, _ := connect.NewCSR(newSigner(t), web)
	csr, _, _ := connect.ParseCSR(text)
	f := func(forge func(*x509.Certificate)) {
		t.Helper()
		v.forge = forge
		if cert, err := provider.SignLeaf(t.Context(), csr, web); catalog.CodeOf(err) != catalog.Unavailable {
			t.Errorf("got %q, %v", cert, err)
		}
	}
	f(func(c *x509.Certificate) { c.URIs = []*neturl.URL{db.URL()} })
	f(func(c *x509.Certificate) { c.URIs = append(c.URIs, db.URL()) })
	f(func(c *x509.Certificate) { c.URIs = nil })
	f(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	v.forge = nil
	v.engines["between"].cert, v.engines["between"].key = nil, nil
	v.engines["between"].key = newSigner(t)
	v.engines["between"].cert = v.sign(authorityOf("spiffe://"+domain), nil, v.engines["between"].key.Public(), v.engines["between"].key)
	if _, err := provider.SignLeaf(t.Context(), csr, web); catalog.CodeOf(err) != catalog.Unavailable {
		t.Errorf("another intermediate: %v", err)
	}
	if _, err := provider.SignLeaf(t.Context(), csr, web); err != nil { // it made one of its own root's
		t.Error(err)
	}
}

func TestVaultLogin(t *testing.T) {
	v, url := newFakeVault(t)
	method := map[string]any{"Type": "approle", "Params": map[string]any{"role_id": "me"}}
	provider := openVault(t, vaultParams(t, map[string]any{"Address": url, "AuthMethod": method, "RootPKIPath": "roots", "IntermediatePKIPath": "between"}))
	issue(t, provider, web)
	if v.logins != 1 {
		t.Errorf("%d logins", v.logins)
	}
	v.mu.Lock()
	v.token = "another"
	v.mu.Unlock()
	issue(t, provider, web)
	if v.logins != 2 {
		t.Errorf("%d logins after the token was revoked", v.logins)
	}
}

func TestVaultAway(t *testing.T) {
	_, url := newFakeVault(t)
	for _, raw := range []map[string]any{
		{"Address": "http://127.0.0.1:1", "Token": "canary"}, {"Address": url, "Token": "canary2"},
	} {
		raw["RootPKIPath"], raw["IntermediatePKIPath"] = "roots", "between"
		_, err := ca.Open(t.Context(), ca.Vault, vaultParams(t, raw))
		if catalog.CodeOf(err) != catalog.Unavailable || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v", err)
		}
	}
	p := vaultParams(t, map[string]any{"Address": url, "RootPKIPath": "roots", "IntermediatePKIPath": "between"})
	if _, err := ca.Open(t.Context(), ca.Vault, p); catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(err.Error(), "AuthMethod") {
		t.Errorf("got %v", err)
	}
}

package fleet_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/curia-mesh/curia/agent/enroll"
	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/connect/jwt/jwttest"
)

// told waits for a line that may be in the log already.
func told(t *testing.T, l *testkit.Log, text string) {
	t.Helper()
	if !strings.Contains(l.String(), text) {
		l.Wait(t, text)
	}
}

// keptBy is what an agent keeps of what it has from the servers, in a file that nobody else reads.
func keptBy(t *testing.T, n *testkit.Node) *enroll.Kept {
	t.Helper()
	path := filepath.Join(n.Data(), "enrolled.json")
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.FileMode(0o600) {
		t.Errorf("%s has mode %v", path, info.Mode())
	}
	kept, err := enroll.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

// leafOf is the certificate that is kept.
func leafOf(t *testing.T, k *enroll.Kept) *x509.Certificate {
	t.Helper()
	pair, err := k.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// nodeToken makes the token of a node's agent.
func nodeToken(t *testing.T, s *testkit.Node, node string) string {
	t.Helper()
	made := struct{ SecretID string }{}
	s.Do(t, http.MethodPut, "/v1/acl/token", fmt.Sprintf(`{"NodeIdentities":[{"NodeName":%q,"Datacenter":"dc1"}]}`, node), "X-Consul-Token", boss).Want(t, http.StatusOK).JSON(t, &made)
	return made.SecretID
}

func securedServer(t *testing.T, ca *testkit.Authority, more testkit.Settings) *testkit.Node {
	settings := testkit.Settings{
		"tls": ca.TLS(ca.Issue(t, nil, "server.dc1.consul")), "connect": testkit.Settings{"test_ca_leaf_root_change_spread": "1ms"},
		"acl": testkit.Settings{"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"initial_management": boss, "agent": boss}},
	}
	for key, value := range more {
		settings[key] = value
	}
	return testkit.New(t, settings)
}

// TestAutoEncrypt: a client agent that has the CA of the servers and a token gets its certificate from them, keeps it, is
// there with it while no server is, and has another one when another root signs. Nobody gets one for a node that the token
// does not allow, or for a server's name, and what the mesh's authority has signed for services lets nobody in.
func TestAutoEncrypt(t *testing.T) {
	ca := testkit.NewAuthority(t)
	n := securedServer(t, ca, testkit.Settings{"auto_encrypt": testkit.Settings{"allow_tls": true}})
	s := n.Spawn(t)
	trusting := testkit.Settings{"internal_rpc": testkit.Settings{"ca_file": ca.File, "verify_server_hostname": true}, "https": testkit.Settings{"use_auto_cert": true}}
	https := testkit.FreePorts(t).HTTP
	client := func(name, token string, auto testkit.Settings) *testkit.Node {
		return n.Join(t, name, testkit.Settings{
			"tls": trusting, "auto_encrypt": auto, "ports": testkit.Settings{"serf_wan": -1, "server": n.Server, "https": https}, "connect": testkit.Settings{"test_ca_leaf_root_change_spread": "1ms"},
			"acl": testkit.Settings{"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"agent": token}},
		})
	}
	token := nodeToken(t, n, "c1")
	c := client("c1", token, testkit.Settings{"tls": true, "dns_san": []string{"c1.example"}, "ip_san": []string{"10.1.2.3"}})
	p := c.Spawn(t)
	first := leafOf(t, keptBy(t, c))
	if len(first.URIs) != 1 || !strings.HasSuffix(first.URIs[0].String(), "/agent/client/dc/dc1/id/c1") || first.VerifyHostname("c1.example") != nil || first.VerifyHostname("10.1.2.3") != nil {
		t.Errorf("the certificate is for %v, %v, %v", first.URIs, first.DNSNames, first.IPAddresses)
	}
	c.Do(t, http.MethodPut, "/v1/kv/k", "v", "X-Consul-Token", boss).Want(t, http.StatusOK)
	shows := func(cert *x509.Certificate) {
		t.Helper()
		roots := x509.NewCertPool()
		roots.AddCert(root(t, n))
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", https), &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if !conn.ConnectionState().PeerCertificates[0].Equal(cert) {
			t.Error("HTTPS shows another certificate than the agent has")
		}
	}
	shows(first)

	// The server and the agent are started anew, the agent first.
	p.Kill(t)
	s.Kill(t)
	p = c.Begin(t, c.Command())
	p.Log.Wait(t, "no address of the LAN pool answers")
	n.Spawn(t)
	p.Log.Wait(t, "agent: ready: ")
	if strings.Contains(p.Log.String(), "asking the servers for") {
		t.Error("the certificate on disk was not used")
	}

	c.Do(t, http.MethodPut, "/v1/connect/ca/configuration", `{"Provider":"consul","Config":{"PrivateKeyType":"ec","PrivateKeyBits":384}}`, "X-Consul-Token", boss).Want(t, http.StatusOK)
	p.Log.Wait(t, "this agent has another certificate")
	second := leafOf(t, keptBy(t, c))
	if second.CheckSignatureFrom(root(t, n)) != nil || second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Error("the certificate is not of the present root")
	}
	shows(second)
	c.Do(t, http.MethodGet, "/v1/kv/k?raw", "", "X-Consul-Token", boss).Want(t, http.StatusOK)

	refused := func(name, token string, auto testkit.Settings, why string) {
		t.Helper()
		place := client(name, token, auto)
		p := place.Begin(t, place.Command())
		if line := p.Log.Wait(t, "no server gives this agent its certificate"); !strings.Contains(line, why) {
			t.Errorf("%s: %s", name, line)
		}
		p.Kill(t)
		if _, err := os.Lstat(filepath.Join(place.Data(), "enrolled.json")); err == nil {
			t.Errorf("%s has something from the servers", name)
		}
	}
	on := testkit.Settings{"tls": true}
	refused("c2", token, on, "node:write")
	refused("c3", "", on, "node:write")
	refused("c1", token, testkit.Settings{"tls": true, "dns_san": []string{"server.dc1.consul"}}, "one of servers")
	refused("c1", token, testkit.Settings{"tls": true, "dns_san": []string{"*.dc1.consul"}}, "whole name of a host")

	// The certificate of a service is of the same root, and none of an agent.
	leaf := struct{ CertPEM, PrivateKeyPEM string }{}
	c.Do(t, http.MethodGet, "/v1/agent/connect/ca/leaf/web", "", "X-Consul-Token", boss).Want(t, http.StatusOK).JSON(t, &leaf)
	dial := func(certPEM, keyPEM string) error {
		pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", n.Server), &tls.Config{RootCAs: ca.Pool, ServerName: "server.dc1.consul", NextProtos: []string{"curia-rpc"}, Certificates: []tls.Certificate{pair}})
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, err = conn.Read(make([]byte, 1)) // what TLS 1.3 has to say of a certificate comes here
		return err
	}
	if err := dial(leaf.CertPEM, leaf.PrivateKeyPEM); err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("a service was let in as an agent: %v", err)
	}
	kept := keptBy(t, c)
	if err := dial(kept.Certificate, kept.Key); err == nil || !os.IsTimeout(err) {
		t.Errorf("the agent was not let in: %v", err)
	}
	if log := p.Log.String(); strings.Contains(log, token) || strings.Contains(log, "PRIVATE KEY") {
		t.Error("a log has a secret")
	}
}

// root is the mesh's present root.
func root(t *testing.T, n *testkit.Node) *x509.Certificate {
	t.Helper()
	roots := struct {
		Roots []struct {
			Active   bool
			RootCert string
		}
	}{}
	n.Do(t, http.MethodGet, "/v1/connect/ca/roots", "", "X-Consul-Token", boss).Want(t, http.StatusOK).JSON(t, &roots)
	for _, r := range roots.Roots {
		if r.Active {
			block, _ := pem.Decode([]byte(r.RootCert))
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			return cert
		}
	}
	t.Fatal("no root")
	return nil
}

// TestAutoConfig: a client agent with the CA of the servers and a JWT gets all it needs from them: gossip key, ACLs, its
// token, its certificate. It is the same after a restart without the JWT. JWTs that are not good for this let nobody in.
func TestAutoConfig(t *testing.T) {
	ca := testkit.NewAuthority(t)
	signer, other := jwttest.New(t, ""), jwttest.New(t, "")
	der, err := x509.MarshalPKIXPublicKey(signer.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	const gossipKey = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="
	n := securedServer(t, ca, testkit.Settings{"encrypt": gossipKey, "auto_config": testkit.Settings{"authorization": testkit.Settings{"enabled": true, "static": testkit.Settings{
		"jwt_validation_pub_keys": []string{public}, "jwt_supported_algs": []string{"ES256"}, "bound_issuer": "ci", "bound_audiences": []string{"curia"},
		"claim_mappings": testkit.Settings{"sub": "node_name"}, "claim_assertions": []string{`value.node_name == "${node}"`},
	}}}})
	s := n.Spawn(t)
	some := jwttest.Claims{"iss": "ci", "aud": "curia", "sub": "c2", "exp": time.Now().Add(time.Hour).Unix()}
	client := func(name, jwt string) (*testkit.Node, string) {
		dir := t.TempDir()
		file := filepath.Join(dir, "jwt")
		if err := os.WriteFile(file, []byte(jwt+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return n.Join(t, name, testkit.Settings{
			"retry_join": nil, "log_level": "trace", "tls": testkit.Settings{"defaults": testkit.Settings{"ca_file": ca.File, "verify_server_hostname": true}},
			"auto_config": testkit.Settings{"enabled": true, "intro_token_file": file, "server_addresses": []string{fmt.Sprintf("127.0.0.1:%d", n.Server)}},
		}), file
	}
	good := signer.Sign(t, some, jwttest.Claims{"sub": "c1"})
	c, file := client("c1", good)
	p := c.Spawn(t)
	kept := keptBy(t, c)
	if kept.Settings == nil || kept.Settings.Encrypt != gossipKey || kept.Settings.ACL.Tokens.Agent == "" {
		t.Fatalf("the agent has no settings from the servers: %v", kept.Settings)
	}
	works := func() {
		t.Helper()
		c.Do(t, http.MethodPut, "/v1/kv/k", "v").Want(t, http.StatusForbidden)
		c.Do(t, http.MethodPut, "/v1/kv/k", "v", "X-Consul-Token", boss).Want(t, http.StatusOK)
		n.Do(t, http.MethodGet, "/v1/catalog/node/c1", "", "X-Consul-Token", kept.Settings.ACL.Tokens.Agent).Want(t, http.StatusOK)
		self := c.Do(t, http.MethodGet, "/v1/agent/self", "", "X-Consul-Token", boss).Want(t, http.StatusOK)
		for _, secret := range []string{good, gossipKey, kept.Settings.ACL.Tokens.Agent} {
			if strings.Contains(p.Log.String(), secret) || strings.Contains(s.Log.String(), secret) || strings.Contains(self.Body, secret) {
				t.Error("a log or an answer has a secret")
			}
		}
	}
	works()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.Kill(t)
	p = c.Spawn(t)
	works()

	// It was away until its certificate had ended: its token gets it another one.
	p.Kill(t)
	pair, err := kept.Pair()
	if err != nil {
		t.Fatal(err)
	}
	over := *pair.Leaf
	over.NotBefore, over.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	der, err = x509.CreateCertificate(rand.Reader, &over, &over, pair.Leaf.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	ended := *kept
	ended.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err := ended.Write(filepath.Join(c.Data(), "enrolled.json")); err != nil {
		t.Fatal(err)
	}
	p = c.Spawn(t)
	works()
	if now := keptBy(t, c); !leafOf(t, now).NotAfter.After(time.Now()) || now.Settings == nil {
		t.Error("it is there with a certificate that has ended, or without settings")
	}

	none := strings.Join([]string{"eyJhbGciOiJub25lIn0", strings.Split(signer.Sign(t, some, nil), ".")[1], ""}, ".")
	for why, jwt := range map[string]string{
		"does not hold":       good,
		"has expired":         signer.Sign(t, some, jwttest.Claims{"exp": time.Now().Add(-time.Hour).Unix()}),
		"has signed the":      other.Sign(t, some, nil),
		"of issuer":           signer.Sign(t, some, jwttest.Claims{"iss": "other"}),
		"for the audience":    signer.Sign(t, some, jwttest.Claims{"aud": "other"}),
		"is no JWT that":      none,
		"is signed by one of": jwttest.With(t, jose.SigningKey{Algorithm: jose.HS256, Key: []byte(public)}, some),
	} {
		place, _ := client("c2", jwt)
		p := place.Begin(t, place.Command())
		if line := p.Log.Wait(t, "no server gives this agent its certificate"); !strings.Contains(line, why) || strings.Contains(line, jwt) {
			t.Errorf("%s: %s", why, line)
		}
		p.Kill(t)
	}
	var tokens []struct{ Description string }
	n.Do(t, http.MethodGet, "/v1/acl/tokens", "", "X-Consul-Token", boss).Want(t, http.StatusOK).JSON(t, &tokens)
	for _, made := range tokens {
		if strings.Contains(made.Description, "c2") {
			t.Errorf("a token was made for who was refused: %v", made)
		}
	}
}

// TestRenewJoined: agents whose certificates are about to end have others, under load and without a restart; one that may
// not is told so, and goes on with what it has.
func TestRenewJoined(t *testing.T) {
	ca := testkit.NewAuthority(t)
	old := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-10*time.Hour), time.Now().Add(10*time.Minute)
	}
	secured := func(role string, join testkit.Settings) (testkit.Settings, *testkit.Certificate) {
		c := ca.Issue(t, old, role+".dc1.consul")
		return testkit.Settings{"tls": ca.TLS(c), "join": join}, c
	}
	acl := func(token string) testkit.Settings {
		return testkit.Settings{"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"initial_management": boss, "agent": token}}
	}
	settings, server := secured("server", testkit.Settings{"ca_file": ca.File, "ca_key_file": ca.KeyFile, "renew": true})
	settings["acl"] = acl(boss)
	n := testkit.New(t, settings)
	s := n.Start(t)
	renewed := func(c *testkit.Certificate) {
		t.Helper()
		pair, err := tls.LoadX509KeyPair(c.File, c.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(c.File)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", c.File, info.Mode(), err)
		}
		key, ok := pair.PrivateKey.(crypto.Signer).Public().(*ecdsa.PublicKey)
		if left := time.Until(pair.Leaf.NotAfter); left < 20*time.Hour || !ok || !key.Equal(c.Pair.Leaf.PublicKey) || pair.Leaf.Subject.CommonName != c.Pair.Leaf.Subject.CommonName {
			t.Errorf("the certificate of %s ends in %s", pair.Leaf.Subject, left)
		}
	}
	told(t, s.Log, "this agent has another certificate")
	renewed(server)
	settings, client := secured("client", testkit.Settings{"renew": true})
	settings["acl"] = acl(nodeToken(t, n, "c1"))
	c := n.Join(t, "c1", settings).Start(t)
	told(t, c.Log, "this agent has another certificate")
	renewed(client)
	c.Do(t, http.MethodPut, "/v1/kv/k", "v", "X-Consul-Token", boss).Want(t, http.StatusOK)
	self := c.Do(t, http.MethodGet, "/v1/agent/metrics", "", "X-Consul-Token", boss).Want(t, http.StatusOK)
	metrics := struct{ Counters []struct{ Name string } }{}
	if err := json.Unmarshal([]byte(self.Body), &metrics); err != nil {
		t.Fatal(err)
	}

	settings, client = secured("client", testkit.Settings{"renew": true})
	settings["acl"] = acl(nodeToken(t, n, "c1")) // which is none of c2's
	d := n.Join(t, "c2", settings).Start(t)
	told(t, d.Log, "could not be renewed")
	d.Log.Wait(t, "node:write")
	d.Do(t, http.MethodPut, "/v1/kv/k", "v", "X-Consul-Token", boss).Want(t, http.StatusOK)
	counted := d.Do(t, http.MethodGet, "/v1/agent/metrics", "", "X-Consul-Token", boss).Want(t, http.StatusOK)
	if !strings.Contains(counted.Body, "agent.tls.cert.renewal_failed") {
		t.Error("the failures are not counted")
	}
	if pair, err := tls.LoadX509KeyPair(client.File, client.KeyFile); err != nil || !pair.Leaf.Equal(client.Pair.Leaf) {
		t.Errorf("the certificate of who may not have another is replaced: %v", err)
	}
}

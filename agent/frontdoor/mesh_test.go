package frontdoor_test

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// rootsOf waits until there is a root.
func rootsOf(t testing.TB, c testkit.Client) *catalog.Roots {
	t.Helper()
	rep := &catalog.Roots{}
	c.Until(t, "/v1/agent/connect/ca/roots", func(r testkit.Reply) bool {
		return r.Status == http.StatusOK && json.Unmarshal([]byte(r.Body), rep) == nil && rep.ActiveRootID != ""
	})
	return rep
}

func leafOf(t testing.TB, c testkit.Client, service string) *catalog.IssuedCert {
	t.Helper()
	cert := &catalog.IssuedCert{}
	c.Get(t, "/v1/agent/connect/ca/leaf/"+service).JSON(t, cert)
	return cert
}

// TestMeshRestart: roots, configuration and certificates are the same after a restart and after a kill.
func TestMeshRestart(t *testing.T) {
	n := testkit.New(t, testkit.Settings{"connect": testkit.Settings{"ca_config": testkit.Settings{
		"cluster_id": "11111111-2222-3333-4444-555555555555", "leaf_cert_ttl": "2h",
	}}})
	p := n.Spawn(t)
	roots, leaf := rootsOf(t, p.Client), leafOf(t, p.Client, "web")
	if roots.TrustDomain != "11111111-2222-3333-4444-555555555555.consul" {
		t.Errorf("trust domain %s", roots.TrustDomain)
	}
	chain, err := connect.ParseCertificates(leaf.CertPEM)
	if err != nil || connect.Hex(chain[0].AuthorityKeyId) != roots.Roots[0].SigningKeyID {
		t.Errorf("leaf of another root: %v", err)
	}
	config := p.Get(t, "/v1/connect/ca/configuration").Body
	for _, end := range []func(testing.TB){p.Stop, p.Kill} {
		end(t)
		*p = *n.Spawn(t)
		if again := rootsOf(t, p.Client); again.ActiveRootID != roots.ActiveRootID || len(again.Roots) != 1 {
			t.Errorf("roots after a restart: %+v", again)
		}
		if again := p.Get(t, "/v1/connect/ca/configuration").Body; again != config {
			t.Errorf("configuration was %s and is %s", config, again)
		}
		if again := leafOf(t, p.Client, "web"); again.SerialNumber != leaf.SerialNumber || again.PrivateKeyPEM != leaf.PrivateKeyPEM {
			t.Error("another certificate after a restart")
		}
	}
	for name, mode := range modes(t, filepath.Join(n.Data(), "leaf")) {
		if want := fs.FileMode(0o600); name != "." && mode != want || name == "." && mode != 0o700 {
			t.Errorf("leaf/%s has mode %v", name, mode)
		}
	}
}

// TestMeshSnapshot: the CA comes back with a snapshot, into another cluster too, whose certificates are then
// of the snapshot's roots.
func TestMeshSnapshot(t *testing.T) {
	from, to := testkit.New(t, nil).Spawn(t), testkit.New(t, nil).Spawn(t)
	rootsOf(t, from.Client)
	from.Put(t, "/v1/connect/ca/configuration", `{"Provider": "consul", "Config": {"PrivateKeyBits": 384}}`)
	want, before := rootsOf(t, from.Client), rootsOf(t, to.Client)
	old := leafOf(t, to.Client, "web")
	archive := from.Get(t, "/v1/snapshot").Body
	to.Do(t, http.MethodPut, "/v1/snapshot", archive).Want(t, http.StatusOK)
	to.Until(t, "/v1/agent/connect/ca/roots", func(r testkit.Reply) bool { return strings.Contains(r.Body, want.ActiveRootID) })
	if got := rootsOf(t, to.Client); got.TrustDomain != want.TrustDomain || got.TrustDomain == before.TrustDomain || len(got.Roots) != 2 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	to.Until(t, "/v1/agent/connect/ca/leaf/web", func(r testkit.Reply) bool {
		return r.Status == http.StatusOK && !strings.Contains(r.Body, old.SerialNumber)
	})
	if leaf := leafOf(t, to.Client, "web"); leaf.ServiceURI != "spiffe://"+want.TrustDomain+"/ns/default/dc/dc1/svc/web" {
		t.Errorf("leaf is of %s", leaf.ServiceURI)
	}
}

// TestMeshSecrets: a private key of the CA is in no answer and in no line of the log, whatever is asked and
// whatever fails.
func TestMeshSecrets(t *testing.T) {
	n := testkit.New(t, testkit.Settings{"log_level": "trace"})
	p := n.Spawn(t)
	rootsOf(t, p.Client)
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := connect.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Split(text, "\n")[1]
	body := func(key string) string {
		b, _ := json.Marshal(map[string]any{"Provider": "consul", "Config": map[string]any{"PrivateKey": key}})
		return string(b)
	}
	p.Put(t, "/v1/connect/ca/configuration", body(text))
	bad := p.Do(t, http.MethodPut, "/v1/connect/ca/configuration", body(text+text)).Body
	bad += p.Do(t, http.MethodPut, "/v1/connect/ca/configuration", body(strings.Replace(text, "MHc", "MHd", 1))).Body
	out, code := n.Run(t, "connect", "ca", "get-config", "-http-addr="+p.Addr())
	if code != 0 || strings.Contains(out, "PrivateKey") {
		t.Errorf("exit code %d: %s", code, out)
	}
	rotated := rootsOf(t, p.Client)
	file := filepath.Join(n.Dir, "ca.json") // what was read can be written back
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := n.Run(t, "connect", "ca", "set-config", "-http-addr="+p.Addr(), "-config-file="+file); code != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if again := rootsOf(t, p.Client); again.ActiveRootID != rotated.ActiveRootID || len(again.Roots) != 2 {
		t.Errorf("roots are %+v", again)
	}
	for _, path := range []string{"/v1/connect/ca/configuration", "/v1/connect/ca/roots", "/v1/agent/connect/ca/roots", "/v1/agent/self", "/v1/agent/connect/ca/leaf/web"} {
		out += p.Get(t, path).Body
	}
	archive := filepath.Join(n.Dir, "backup.snap")
	if err := os.WriteFile(archive, []byte(p.Get(t, "/v1/snapshot").Body), 0o600); err != nil {
		t.Fatal(err)
	}
	decoded, code := n.Run(t, "snapshot", "decode", archive)
	if code != 0 || !strings.Contains(decoded, "(hidden)") {
		t.Errorf("exit code %d: %s", code, decoded)
	}
	inspected, code := n.Run(t, "snapshot", "inspect", archive)
	if code != 0 || !strings.Contains(inspected, "Roots") {
		t.Errorf("exit code %d: %s", code, inspected)
	}
	p.Stop(t)
	if strings.Contains(out+bad+decoded+inspected+p.Log.Tail(), secret) {
		t.Error("the key is shown")
	}
}

func TestMeshOff(t *testing.T) {
	p := testkit.New(t, testkit.Settings{"connect": testkit.Settings{"enabled": false}}).Spawn(t)
	for _, path := range []string{"/v1/connect/ca/roots", "/v1/connect/ca/configuration", "/v1/agent/connect/ca/roots"} {
		if r := p.Do(t, http.MethodGet, path, ""); r.Status != http.StatusInternalServerError || !strings.Contains(r.Body, "Connect must be enabled") {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
}

func TestAuthorize(t *testing.T) {
	p := testkit.NewDev(t, nil).Spawn(t)
	domain := rootsOf(t, p.Client).TrustDomain
	f := func(status int, want, body string) {
		t.Helper()
		if r := p.Do(t, http.MethodPost, "/v1/agent/connect/authorize", body); r.Status != status || !strings.Contains(r.Body, want) {
			t.Errorf("%s: %d %s, want %d %s", body, r.Status, r.Body, status, want)
		}
	}
	f(200, `{"Authorized":true,"Reason":"Default behavior configured by ACLs"}`, `{"Target":"db","ClientCertURI":"spiffe://`+domain+`/ns/default/dc/dc1/svc/web","ClientCertSerial":"x"}`)
	web := `{"Target":"db","ClientCertURI":"spiffe://` + domain + `/ns/default/dc/dc1/svc/web"}`
	p.Put(t, "/v1/connect/intentions/exact?source=web&destination=db", `{"Action": "deny"}`)
	f(200, `{"Authorized":false,"Reason":"Matched intention: web =\u003e db"}`, web)
	p.Put(t, "/v1/connect/intentions/exact?source=web&destination=db", `{"Action": "allow"}`)
	f(200, `{"Authorized":true,"Reason":"Matched intention: web =\u003e db"}`, web)
	p.Put(t, "/v1/config", `{"Kind": "service-intentions", "Name": "*", "Sources": [{"Name": "*", "Action": "deny"}]}`)
	f(200, `{"Authorized":true,"Reason":"Matched intention: web =\u003e db"}`, web)
	f(200, `{"Authorized":false,"Reason":"Matched intention: * =\u003e *"}`, strings.Replace(web, "svc/web", "svc/api", 1))
	f(200, `"Authorized":false`, `{"Target":"db","ClientCertURI":"spiffe://99999999-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web"}`)
	f(400, "Target", `{"ClientCertURI":"spiffe://`+domain+`/ns/default/dc/dc1/svc/web"}`)
	f(400, "want a service", `{"Target":"db","ClientCertURI":"spiffe://`+domain+`/agent/server/dc/dc1"}`)
	f(400, "ClientCertURI", `{"Target":"db","ClientCertURI":"web"}`)
	f(400, "no body", ``)
}

package frontdoor_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// modes returns the modes of all that is below a directory, by its relative path.
func modes(t testing.TB, dir string) map[string]fs.FileMode {
	t.Helper()
	all := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		all[name] = info.Mode().Perm()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func gossipKey(fill string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32)[:32]))
}

func TestA35_Modes(t *testing.T) {
	n := testkit.New(t, testkit.Settings{"encrypt": gossipKey("k"), "acl": testkit.Settings{"enable_token_persistence": true}})
	shell := n.Command()
	shell.Args = append([]string{"sh", "-c", `umask 0; exec "$@"`, "sh"}, shell.Args...)
	shell.Path = "/bin/sh"
	p := n.Begin(t, shell)
	p.Log.Wait(t, "agent: ready: ")
	p.Put(t, "/v1/agent/service/register", `{"Name": "web", "Token": "secret", "Check": {"TTL": "1m"}}`)
	p.Put(t, "/v1/agent/token/default", `{"Token": "secret"}`)
	p.Get(t, "/v1/snapshot") // makes Raft take one
	p.Stop(t)
	seen := modes(t, n.Data())
	for name, mode := range seen {
		top := !strings.Contains(name, "/") // what a directory closes needs no closing itself
		if want := fs.FileMode(0o600); top && mode&^0o700 != 0 || strings.Contains(name, "keyring") && mode != want || strings.Contains(name, "journal") && mode != want {
			t.Errorf("%s has mode %v", name, mode)
		}
	}
	if len(seen) < 10 {
		t.Fatalf("only %d files", len(seen))
	}
	for _, name := range []string{".", "serf/local.keyring", "services"} {
		path := filepath.Join(n.Data(), name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, info.Mode().Perm()|0o055); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(n.Dir, "key.pem")
	if err := os.WriteFile(key, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n.Configure(t, testkit.Settings{"tls": testkit.Settings{"https": testkit.Settings{"cert_file": key, "key_file": key}}})
	p = n.Spawn(t)
	for _, path := range []string{n.Data(), filepath.Join(n.Data(), "serf/local.keyring"), filepath.Join(n.Data(), "services"), key} {
		if !warns(p.Log.String(), path) {
			t.Errorf("no warning about the mode of %s:\n%s", path, p.Log)
		}
	}
}

// warns reports whether a log has a warning that ends with this path or has a field with it.
func warns(log, path string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "[WARN]") && (strings.Contains(line, "path="+path+" ") || strings.Contains(line, "path="+path+"\n")) {
			return true
		}
	}
	return false
}

func TestA36_SecretsStaySecret(t *testing.T) {
	const canary = "c4na2y"
	secret := func(where string) string { return canary + "-" + where }
	key, flagKey := gossipKey(canary+"-file"), gossipKey(canary+"-flag")
	n := testkit.New(t, testkit.Settings{
		"log_level": "trace", "enable_debug": true, "telemetry": testkit.Settings{"prometheus_retention_time": "1m"}, "encrypt": key,
		"acl": testkit.Settings{"tokens": testkit.Settings{
			"default": secret("default"), "agent": secret("agent"), "agent_recovery": secret("recovery"), "replication": secret("replication"),
			"dns": secret("dns"), "initial_management": secret("management"), "config_file_service_registration": secret("registration"),
		}},
		"services":   []any{testkit.Settings{"name": "configured", "token": secret("service"), "check": testkit.Settings{"ttl": "1m"}}},
		"retry_join": []string{"provider=aws tag_key=a secret_access_key=" + secret("cloud")},
		"recursors":  []string{"127.0.0.1:1"},
	})
	p := n.Spawn(t, "-encrypt="+flagKey, "-hcl", fmt.Sprintf("acl { tokens { agent = %q } }", secret("flag")))
	var answers strings.Builder
	note := func(r testkit.Reply) { fmt.Fprintln(&answers, r.Status, r.Header, r.Body) }
	for _, path := range []string{
		"/v1/kv/x", "/v1/nope", "/v1/catalog/nodes", "/v1/catalog/nodes?filter=((", "/v1/kv/x?index=y", "/v1/catalog/nodes?dc=other", "/v1/session/info/none",
		"/v1/agent/service/none", "/v1/acl/tokens", "/v1/catalog/nodes?consistent", "/v1/agent/members?wan=perhaps",
	} {
		query := "?"
		if strings.Contains(path, "?") {
			query = "&"
		}
		for _, method := range []string{"GET", "PUT", "DELETE", "POST"} {
			note(p.Do(t, method, path+query+"token="+secret("query"), "body"))
			note(p.Do(t, method, path, "body", "X-Consul-Token", secret("header")))
			note(p.Do(t, method, path, "body", "Authorization", "Bearer "+secret("bearer")))
		}
	}
	for _, request := range []string{
		"GET /v1/kv/x?token=" + secret("query") + "&%zz HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /v1/kv/x HTTP/1.1\r\nHost: a\r\nX-Consul-Token: " + secret("header") + "\r\nBad Header: x\r\n\r\n",
		"GET /v1/kv/x HTTP/1.1\r\nHost: a\r\nX-Consul-Token: " + secret("header") + "\x00\r\n\r\n",
		"GET /v1/kv/x?token=" + secret("query") + " HTTP/9.9\r\nHost: a\r\n\r\n",
	} {
		_, header, body := say(t, p.Addr(), request)
		fmt.Fprintln(&answers, header, body)
	}
	for path, body := range map[string]string{
		"/v1/agent/service/register":  `{"Name": "a", "Token": "` + secret("service") + `", "Checks": [{"TTL": "1m"}, {"Interval": "1s", "Status": "passing", "HTTP": "http://u:` + secret("url") + `@127.0.0.1:1/", "Header": {"Authorization": ["` + secret("check") + `"]}}]}`,
		"/v1/agent/service/register?": `{"Name": "a", "Tokn": "` + secret("service") + `"}`,
		"/v1/agent/check/register":    `{"Name": "c", "TTL": "1m", "Token": "` + secret("check") + `"}`,
		"/v1/agent/check/register?":   `{"Name": "c", "HTTP": "http://u:` + secret("url") + `@%zz/", "Interval": "1s", "Token": "` + secret("check") + `"}`,
		"/v1/agent/token/agent":       `{"Token": "` + secret("body") + `"}`,
		"/v1/agent/token/agent?":      `{"Token": "` + secret("body") + `"`,
		"/v1/agent/token/agent?x":     `"` + secret("body") + `"`,
		"/v1/agent/token/other":       `{"Token": "` + secret("body") + `"}`,
		"/v1/session/create":          `{"Name": {"Token": "` + secret("body") + `"}}`,
		"/v1/txn":                     `[{"Token": "` + secret("body") + `"}]`,
	} {
		note(p.Do(t, http.MethodPut, path, body))
	}
	// The check of the URL with a password has run and failed when its output is there.
	p.Until(t, "/v1/health/checks/a", func(r testkit.Reply) bool { return strings.Contains(r.Body, "refused") })
	for _, path := range []string{
		"/v1/agent/self", "/v1/agent/metrics", "/v1/agent/metrics?format=prometheus", "/v1/agent/host", "/v1/agent/members", "/v1/agent/services",
		"/v1/agent/service/a", "/v1/catalog/node/n1", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1",
	} {
		note(p.Get(t, path))
	}
	state := p.Get(t, "/v1/snapshot")
	for _, line := range unpack(t, state.Body) {
		answers.WriteString(line)
	}
	out, _ := n.Run(t, "info", "-token="+secret("cli"))
	answers.WriteString(out)
	out, _ = n.Run(t, "kv", "get", "-token="+secret("cli"), "-http-addr=127.0.0.1:1", "x")
	answers.WriteString(out)
	p.Signal(t, os.Interrupt)
	p.Exit(t)
	for what, text := range map[string]string{"log": p.Log.String(), "answers": answers.String()} {
		for _, hidden := range []string{canary, key, flagKey, key[:20], base64.StdEncoding.EncodeToString([]byte(canary))} {
			if at := strings.Index(text, hidden); at >= 0 {
				t.Errorf("a secret in the %s: …%s…", what, text[max(0, at-200):min(len(text), at+60)])
			}
		}
	}
}

// unpack returns the contents of the files of a snapshot.
func unpack(t testing.TB, archive string) map[string]string {
	t.Helper()
	compressed, err := gzip.NewReader(strings.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for in := tar.NewReader(compressed); ; {
		h, err := in.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		if _, err := content.ReadFrom(in); err != nil {
			t.Fatal(err)
		}
		files[h.Name] = content.String()
	}
}

// TestA36_SecretsOfACLs: at trace level, with tokens checked, what is made, shown and refused of secrets is in no log of a
// server: secrets of tokens, what people log in with, what auth methods and the CA's providers know, keys of gossip, and
// tokens to join. Answers to who may not see them have none either.
func TestA36_SecretsOfACLs(t *testing.T) {
	const canary = "c4na2y"
	secret := func(where string) string { return canary + "-" + where }
	ca := testkit.NewAuthority(t)
	key := gossipKey(canary + "-file")
	tls := ca.TLS(ca.Issue(t, nil, "server.dc1.consul"))
	n := testkit.New(t, testkit.Settings{
		"log_level": "trace", "enable_debug": true, "encrypt": key, "tls": tls, "join": testkit.Settings{"ca_file": ca.File, "ca_key_file": ca.KeyFile},
		"acl": testkit.Settings{"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"initial_management": bossToken, "agent": bossToken}},
	})
	p := n.Spawn(t)
	hidden := []string{canary, key, bossToken}
	var denied strings.Builder // what those got who may not
	boss := func(method, path, body string) testkit.Reply {
		t.Helper()
		fmt.Fprintln(&denied, p.Do(t, method, path, body).Body)
		fmt.Fprintln(&denied, p.Do(t, method, path, body, "X-Consul-Token", secret("none")).Body)
		return p.Do(t, method, path, body, "X-Consul-Token", bossToken)
	}
	made := struct{ SecretID, AccessorID string }{}
	boss("PUT", "/v1/acl/token", `{"NodeIdentities":[{"NodeName":"n1","Datacenter":"dc1"}]}`).Want(t, http.StatusOK).JSON(t, &made)
	hidden = append(hidden, made.SecretID)
	p.Do(t, "GET", "/v1/acl/token/self", "", "X-Consul-Token", made.SecretID).Want(t, http.StatusOK)
	fmt.Fprintln(&denied, p.Do(t, "PUT", "/v1/kv/x", "", "X-Consul-Token", made.SecretID).Want(t, http.StatusForbidden).Body)
	boss("PUT", "/v1/acl/token/"+made.AccessorID, `{"Description":"changed"}`).Want(t, http.StatusOK)
	boss("PUT", "/v1/acl/token", `{"SecretID":"`+secret("chosen")+`"}`)
	joins := struct{ Text string }{}
	boss("PUT", "/v1/operator/join-token", `{"Role":"client","Uses":1,"TTL":"1h"}`).Want(t, http.StatusOK).JSON(t, &joins)
	hidden = append(hidden, joins.Text)
	for _, body := range []string{
		`{"Name":"web","Type":"oidc","Config":{"OIDCDiscoveryURL":"http://127.0.0.1:1","OIDCClientID":"id","OIDCClientSecret":"` + secret("oidc") + `","AllowedRedirectURIs":["http://127.0.0.1:1/"]}}`,
		`{"Name":"pods","Type":"kubernetes","Config":{"Host":"https://127.0.0.1:1","CACert":"x","ServiceAccountJWT":"` + secret("account") + `"}}`,
		`{"Name":"ci","Type":"jwt","Config":{"JWKSURL":"http://127.0.0.1:1/keys"}}`,
	} {
		boss("PUT", "/v1/acl/auth-method", body)
	}
	for _, method := range []string{"ci", "pods", "web", "none"} {
		fmt.Fprintln(&denied, p.Do(t, "POST", "/v1/acl/login", `{"AuthMethod":"`+method+`","BearerToken":"`+secret("bearer")+`"}`).Body)
		fmt.Fprintln(&denied, p.Do(t, "POST", "/v1/acl/oidc/callback", `{"AuthMethod":"`+method+`","State":"`+secret("state")+`","Code":"`+secret("code")+`"}`).Body)
	}
	fmt.Fprintln(&denied, p.Do(t, "PUT", "/v1/acl/bootstrap", `{"BootstrapSecret":"`+secret("bootstrap")+`"}`).Body)
	boss("PUT", "/v1/connect/ca/configuration", `{"Provider":"vault","Config":{"Address":"http://127.0.0.1:1","Token":"`+secret("vault")+`","RootPKIPath":"r","IntermediatePKIPath":"i"}}`)
	boss("PUT", "/v1/connect/ca/configuration", `{"Provider":"consul","Config":{"PrivateKey":"`+secret("private")+`"}}`)
	next := gossipKey(canary + "-next")
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		boss(method, "/v1/operator/keyring", `{"Key":"`+next+`"}`)
	}
	hidden = append(hidden, next)
	boss("PUT", "/v1/agent/token/default", `{"Token":"`+secret("set")+`"}`).Want(t, http.StatusOK)
	p.Do(t, "GET", "/v1/agent/self", "", "X-Consul-Token", bossToken).Want(t, http.StatusOK)
	p.Signal(t, os.Interrupt)
	p.Exit(t)
	for what, text := range map[string]string{"log": p.Log.String(), "answers to who may not": denied.String()} {
		for _, s := range hidden {
			if at := strings.Index(text, s); at >= 0 {
				t.Errorf("a secret in the %s: …%s…", what, text[max(0, at-200):min(len(text), at+60)])
			}
		}
	}
}

package conformance

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// The API over a unix socket, with its mode, and over TCP at once.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "c") // short enough for a socket's name
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "http.sock")
	a := prepare(t, settings{"unix_sockets": settings{"mode": "0600"}})
	a.write("socket.json", asJSON(settings{"addresses": settings{"http": "unix://" + socket + " " + a.host}}))
	a.start()
	client, err := api.NewClient(&api.Config{Address: "unix://" + socket})
	must(t, err)
	name, err := client.Agent().NodeName()
	must(t, err)
	equal(t, "node behind the socket", name, a.name)
	_, err = client.KV().Put(&api.KVPair{Key: "through/socket"}, nil)
	must(t, err)
	info, err := os.Stat(socket)
	must(t, err)
	equal(t, "mode of the socket", info.Mode().Perm(), os.FileMode(0o600))
	a.stop()
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket outlives the agent (%v)", err)
	}
}

// The API over TLS, first without a certificate, then with one from a reload, then for known clients only.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{{"tls", "ca", "create"}, {"tls", "cert", "create", "-server", "-dc=dc1"}, {"tls", "cert", "create", "-client"}} {
		cmd := exec.CommandContext(t.Context(), product, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	ca, cert, key := file("consul-agent-ca.pem"), file("dc1-server-consul-0.pem"), file("dc1-server-consul-0-key.pem")
	a := prepare(t, nil)
	l, err := net.Listen("tcp", net.JoinHostPort(a.host, "0"))
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	a.write("port.json", asJSON(settings{"ports": settings{"https": port}}))
	a.start()
	name := func(config api.TLSConfig) (string, error) {
		t.Helper()
		config.Address, config.CAFile = "server.dc1.consul", ca
		client, err := api.NewClient(&api.Config{Address: net.JoinHostPort(a.host, strconv.Itoa(port)), Scheme: "https", TLSConfig: config})
		must(t, err)
		return client.Agent().NodeName()
	}
	if _, err := name(api.TLSConfig{}); err == nil {
		t.Error("TLS without a certificate")
	}
	a.write("tls.json", asJSON(settings{"tls": settings{"https": settings{"ca_file": ca, "cert_file": cert, "key_file": key}}}))
	must(t, a.Agent().Reload())
	got, err := name(api.TLSConfig{})
	must(t, err)
	equal(t, "node behind TLS", got, a.name)
	a.write("tls.json", asJSON(settings{"tls": settings{"https": settings{"ca_file": ca, "cert_file": cert, "key_file": key, "verify_incoming": true}}}))
	must(t, a.Agent().Reload())
	if _, err := name(api.TLSConfig{}); err == nil {
		t.Error("a client without a certificate is let in")
	}
	// Under TLS 1.3 a client may have sent its request, and lose the alert, before it hears of the refusal.
	conn, err := tls.Dial("tcp", net.JoinHostPort(a.host, strconv.Itoa(port)), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	var alert *net.OpError
	if !errors.As(err, &alert) || alert.Op != "remote error" {
		t.Errorf("a client without a certificate: connection %v, error %v, want a TLS alert", conn, err)
	}
	got, err = name(api.TLSConfig{CertFile: file("dc1-client-consul-0.pem"), KeyFile: file("dc1-client-consul-0-key.pem")})
	must(t, err)
	equal(t, "node behind TLS for known clients", got, a.name)
}

// What an operator can say about the API.
func TestHTTPConfig(t *testing.T) {
	t.Parallel()
	a := start(t, settings{"http_config": settings{
		"response_headers": settings{"Access-Control-Allow-Origin": "*"}, "block_endpoints": []string{"/v1/agent/self"}, "allow_write_http_from": []string{"10.0.0.0/8"},
	}})
	if got := a.status(200, "GET", "/v1/status/leader", ""); got.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("headers: %v", got.header)
	}
	_, err := a.Agent().Self()
	refused(t, "a blocked endpoint", err, 403)
	_, err = a.KV().Put(&api.KVPair{Key: "x"}, nil)
	refused(t, "a write from elsewhere", err, 403)
	_, err = a.KV().Delete("x", nil)
	refused(t, "a deletion from elsewhere", err, 403)
	_, _, err = a.KV().Get("x", nil)
	must(t, err)
}

// The methods a path takes, and paths that are none.
func TestMethods(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	for request, allow := range map[string]string{
		"POST /v1/agent/self": "OPTIONS,GET", "DELETE /v1/catalog/register": "OPTIONS,PUT", "PATCH /v1/kv/x": "OPTIONS,GET,PUT,DELETE",
		"HEAD /v1/status/leader": "OPTIONS,GET", "PUT /v1/operator/raft/transfer-leader": "OPTIONS,POST", "GET /v1/event/fire/x": "OPTIONS,PUT",
		"GET /v1/session/create": "OPTIONS,PUT", "POST /v1/snapshot": "OPTIONS,GET,PUT", "GET /v1/agent/check/pass/x": "OPTIONS,PUT",
	} {
		method, path, _ := strings.Cut(request, " ")
		got := a.status(http.StatusMethodNotAllowed, method, path, "")
		equal(t, "methods of "+path, got.header.Get("Allow"), allow)
		got = a.status(200, http.MethodOptions, path, "")
		equal(t, "methods of "+path+" when asked", got.header.Get("Allow"), allow)
	}
	for _, path := range []string{"/v1/nothing", "/v1/", "/v2/agent/self", "/v1/namespaces"} {
		if got := a.status(404, "GET", path, ""); got.body == "" {
			t.Errorf("%s: no message", path)
		}
	}
}

// What was acknowledged survives that the agent is killed; leaving ends it well.
func TestProcess(t *testing.T) {
	t.Parallel()
	a := prepare(t, nil)
	a.dev = false
	a.start()
	for i := range 50 {
		_, err := a.KV().Put(&api.KVPair{Key: "k/" + strconv.Itoa(i)}, nil)
		must(t, err)
	}
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Port: 80, Check: &api.AgentServiceCheck{CheckID: "c", TTL: "1h", Status: api.HealthPassing}}))
	id := session(t, a)
	must(t, a.cmd.Process.Kill())
	a.waitExit()
	a.start()
	keys, _, err := a.KV().Keys("k/", "", nil)
	must(t, err)
	equal(t, "keys after the kill", len(keys), 50)
	kept, _, err := a.Session().Info(id, nil)
	must(t, err)
	if kept == nil {
		t.Error("the session is gone")
	}
	service, _, err := a.Agent().Service("web", nil)
	must(t, err)
	checks, err := a.Agent().Checks()
	must(t, err)
	if service.Port != 80 || checks["c"] == nil || checks["c"].Status != api.HealthPassing {
		t.Errorf("after the kill: %s, %s", asJSON(service), asJSON(checks))
	}
	must(t, a.Agent().Leave())
	a.waitExit()
	equal(t, "exit status after leaving", a.cmd.ProcessState.ExitCode(), 0)
}

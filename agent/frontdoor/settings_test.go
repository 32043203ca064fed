package frontdoor_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
)

// identity is a certificate with its CA, as files and loaded.
type identity struct {
	settings testkit.Settings
	pair     tls.Certificate
	roots    *x509.CertPool
}

func newIdentity(t *testing.T) identity {
	t.Helper()
	t.Chdir(t.TempDir())
	n := testkit.NewDev(t, nil)
	for _, line := range []string{"tls ca create", "tls cert create -server"} {
		if out, code := n.Run(t, strings.Fields(line)...); code != 0 {
			t.Fatalf("%s: exit code %d: %s", line, code, out)
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	ca, cert := filepath.Join(dir, "consul-agent-ca.pem"), filepath.Join(dir, "dc1-server-consul-0")
	id := identity{settings: testkit.Settings{"ca_file": ca, "cert_file": cert + ".pem", "key_file": cert + "-key.pem"}, roots: x509.NewCertPool()}
	if id.pair, err = tls.LoadX509KeyPair(cert+".pem", cert+"-key.pem"); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil || !id.roots.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	return id
}

// Checks show the agent's certificate, and trust its CA, where they are told to.
func TestAgentTLSForChecks(t *testing.T) {
	id := newIdentity(t)
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	target.Config.ErrorLog = log.New(io.Discard, "", 0)
	target.TLS = &tls.Config{Certificates: []tls.Certificate{id.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: id.roots}
	target.StartTLS()
	defer target.Close()
	for on, want := range map[bool]string{true: "passing", false: "critical"} {
		n := testkit.NewDev(t, testkit.Settings{"enable_agent_tls_for_checks": on, "check_update_interval": "0s", "tls": testkit.Settings{"defaults": id.settings}})
		a := n.Start(t)
		n.Put(t, "/v1/agent/check/register", fmt.Sprintf(`{"CheckID": "c", "Name": "c", "HTTP": %q, "Interval": "1s", "Timeout": "10s"}`, target.URL))
		found := n.Until(t, "/v1/health/node/n1?filter=CheckID==c", func(r testkit.Reply) bool {
			return strings.Contains(r.Body, "HTTP GET") || strings.Contains(r.Body, "certificate")
		})
		if !strings.Contains(found.Body, `"Status":"`+want+`"`) {
			t.Errorf("enable_agent_tls_for_checks = %v: %s", on, found.Body)
		}
		a.Stop(t)
	}
}

// Operators see in time when certificates end: the mesh's root, what signs with it, and the agent's own.
func TestCertificateExpiry(t *testing.T) {
	id := newIdentity(t)
	n := testkit.NewDev(t, testkit.Settings{
		"ports": testkit.Settings{"https": testkit.FreePorts(t).HTTP}, "tls": testkit.Settings{"https": id.settings}, "telemetry": testkit.Settings{"disable_hostname": true},
	})
	p := n.Spawn(t)
	rootsOf(t, p.Client)
	resp, err := http.Get(p.URL("/v1/agent/metrics/stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	want, got := map[string]float64{"mesh.active-root-ca": 3650, "mesh.active-signing-ca": 3650, "agent.tls.cert": 365}, map[string]float64{}
	for intervals := json.NewDecoder(resp.Body); len(got) < len(want); { // of ten seconds
		var interval struct {
			Gauges []struct {
				Name  string
				Value float64
			}
		}
		if err := intervals.Decode(&interval); err != nil {
			t.Fatal(err)
		}
		for _, g := range interval.Gauges {
			name := strings.TrimSuffix(strings.TrimPrefix(g.Name, "consul."), ".expiry")
			if want[name] > 0 {
				got[name] = math.Ceil(g.Value / 86400)
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("certificates end in %v days, want %v", got, want)
	}
}

// Who connects to the HTTPS port and says nothing is let go in the time that the limit says.
func TestHTTPSHandshakeTimeout(t *testing.T) {
	id := newIdentity(t)
	port := testkit.FreePorts(t).HTTP
	n := testkit.NewDev(t, testkit.Settings{
		"ports": testkit.Settings{"https": port}, "tls": testkit.Settings{"https": id.settings}, "limits": testkit.Settings{"https_handshake_timeout": "1s"},
	})
	n.Start(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	start := time.Now()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(start.Add(patience))
	if _, err := io.ReadAll(conn); err != nil || time.Since(start) < time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: id.roots}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + addr + "/v1/status/leader")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		t.Errorf("%s %s", resp.Proto, resp.Status)
	}
}

// A server that was away for too long starts only when somebody has said that it may.
func TestServerThatWasAway(t *testing.T) {
	n := testkit.New(t, testkit.Settings{"server_rejoin_age_max": "6h"})
	path := filepath.Join(n.Data(), "server_metadata.json")
	n.Spawn(t).Stop(t)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{fmt.Sprintf(`{"last_seen_unix": %d}`, time.Now().Add(-7*time.Hour).Unix()), `{"last_seen`} {
		write(text)
		if out, code := n.Run(t, "agent", "-config-file="+n.Config()); code != 1 || !strings.Contains(out, path) {
			t.Errorf("with %s: exit code %d: %s", text, code, out)
		}
	}
	write(fmt.Sprintf(`{"last_seen_unix": %d}`, time.Now().Add(-5*time.Hour).Unix()))
	n.Spawn(t).Stop(t)
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), fmt.Sprint(time.Now().Add(-5*time.Hour).Unix()/100)) {
		t.Errorf("it is not noted that the server runs: %s %v", text, err)
	}
	write(`{"last_seen_unix": 1}`)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	n.Spawn(t)
}

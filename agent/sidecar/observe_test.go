package sidecar_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
)

// What proxy-defaults say of metrics and traces takes effect while traffic runs.
func TestObservation(t *testing.T) {
	spans := make(chan string, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		select {
		case spans <- string(b):
		default:
		}
	}))
	defer collector.Close()
	m := newMesh(t, nil)
	at := testkit.FreePorts(t).HTTP
	m.server.Put(t, "/v1/config", fmt.Sprintf(`{"Kind": "proxy-defaults", "Name": "global", "AccessLogs": {"Enabled": true, "Type": "file", "Path": "access.json"}, "Config": {"protocol": "http",
		"envoy_prometheus_bind_addr": "127.0.0.1:%d", "tracing": {"url": "%s", "format": "zipkin", "percent": 100}}}`, at, collector.URL))
	inUse(t, m.server.Client, `"protocol":"http"`)
	inUse(t, m.node.Client, `"protocol":"http"`)
	if body, _ := once(m.url + "/x"); body != "api /x" {
		t.Fatal(body)
	}
	late := time.After(patience)
	for seen := ""; !strings.Contains(seen, `"CLIENT"`) || !strings.Contains(seen, `"SERVER"`); {
		select {
		case s := <-spans:
			seen += s
		case <-late:
			t.Fatalf("not all spans came: %s", seen)
		}
	}
	var line string
	for begun := time.Now(); line == ""; runtime.Gosched() {
		text, _ := os.ReadFile(filepath.Join(m.server.Data(), "proxy", "logs", "access.json"))
		if line, _, _ = strings.Cut(string(text), "\n"); time.Since(begun) > patience {
			t.Fatal("nothing is in the access log")
		}
	}
	if !strings.Contains(line, `"method":"GET"`) || !strings.Contains(line, `"path":"/x"`) || !strings.Contains(line, `"response_code":200`) {
		t.Errorf("the access log says %s", line)
	}
	body, r := once(fmt.Sprintf("http://127.0.0.1:%d/metrics", at))
	if r == nil || !strings.Contains(body, "\ncuria_proxy_requests_total{listener=") && !strings.Contains(body, "curia_proxy_endpoints{listener=") {
		t.Errorf("metrics are %.300q", body)
	}
	m.server.Put(t, "/v1/config", `{"Kind": "proxy-defaults", "Name": "global", "AccessLogs": {"Enabled": true, "Type": "file", "Path": "../x"}, "Config": {"protocol": "http"}}`)
	inUse(t, m.server.Client, `"Path":"../x"`)
	if _, err := os.Stat(filepath.Join(m.server.Data(), "proxy", "x")); err == nil {
		t.Error("a config entry has had a file written where it wanted")
	}
}

package frontdoor_test

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
)

// What lies deep does not become two hundred times as long because somebody wants it pretty.
func TestPrettyIsBounded(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	deep := strings.Repeat("[", 80) + strings.TrimSuffix(strings.Repeat("1,", 200_000), ",") + strings.Repeat("]", 80)
	n.Put(t, "/v1/catalog/register", `{"Node": "x", "Address": "1.1.1.1", "Service": {"Service": "deep", "Proxy": {"Config": {"a": `+deep+`}}}}`)
	plain := n.Get(t, "/v1/catalog/service/deep")
	if pretty := n.Get(t, "/v1/catalog/service/deep?pretty"); len(pretty.Body) > 5*len(plain.Body)+1<<20 || !strings.Contains(pretty.Body, "deep") {
		t.Errorf("%d bytes became %d", len(plain.Body), len(pretty.Body))
	}
	if pretty := n.Get(t, "/v1/catalog/service/consul?pretty"); !strings.HasPrefix(pretty.Body, "[\n    {\n        \"ID\"") {
		t.Errorf("not pretty: %.200s", pretty.Body)
	}
}

// A web page of another origin writes nothing, also where a browser does not ask first.
func TestOtherOriginsDoNotWrite(t *testing.T) {
	allowing := testkit.Settings{"http_config": testkit.Settings{"response_headers": testkit.Settings{"access-control-allow-origin": "*"}}}
	for what, settings := range map[string]testkit.Settings{"default": nil, "allowed": allowing} {
		n := testkit.NewDev(t, settings)
		a := n.Start(t)
		for _, c := range []struct {
			method, path string
			headers      []string
			foreign      bool
		}{
			{"PUT", "/v1/kv/x", []string{"Origin", "https://elsewhere.example"}, true},
			{"PUT", "/v1/kv/x", []string{"Origin", "null"}, true},
			{"PUT", "/v1/kv/x", []string{"Sec-Fetch-Site", "cross-site"}, true},
			{"DELETE", "/v1/kv/x", []string{"Sec-Fetch-Site", "same-site"}, true},
			{"POST", "/v1/acl/login", []string{"Origin", "https://elsewhere.example", "Content-Type", "text/plain"}, true},
			{"PUT", "/v1/kv/x", []string{"Origin", "http://" + n.Addr()}, false},
			{"PUT", "/v1/kv/x", []string{"Sec-Fetch-Site", "same-origin"}, false},
			{"PUT", "/v1/kv/x", nil, false},
			{"GET", "/v1/kv/x", []string{"Origin", "https://elsewhere.example"}, false},
		} {
			got := n.Do(t, c.method, c.path, "x", c.headers...)
			if refused := got.Status == http.StatusForbidden; refused != (c.foreign && settings == nil) {
				t.Errorf("%s: %s %s with %q: status %d %s", what, c.method, c.path, c.headers, got.Status, got.Body)
			}
		}
		a.Stop(t)
	}
}

// Blocked paths are blocked however they are written, the profiler's too.
func TestBlockedEndpoints(t *testing.T) {
	n := testkit.NewDev(t, testkit.Settings{"http_config": testkit.Settings{"block_endpoints": []string{"/v1/agent", "/debug"}}})
	a := n.Begin(t, n.Command())
	a.Log.Wait(t, "agent: ready: ")
	for _, path := range []string{"/v1/agent/self", "/v1/%61gent/self", "/v1/agent/%73elf", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/%70prof/trace"} {
		if got := n.Do(t, "GET", path, ""); got.Status != http.StatusForbidden {
			t.Errorf("%s: status %d %.100s", path, got.Status, got.Body)
		}
	}
	for _, path := range []string{"//v1/agent/self", "/v1//agent/self", "/v1/./agent/self", "/v1/x/../agent/self", "/v1/kv/../agent/self", "/v1\\agent\\self", "/V1/AGENT/SELF"} {
		if status, _, body := say(t, n.Addr(), "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); status == 200 {
			t.Errorf("%s: status %d %.100s", path, status, body)
		}
	}
}

// An HTTP/2 connection has few requests at once: connections are counted for each client, and all may wait.
func TestStreamsAreFew(t *testing.T) {
	id := newIdentity(t)
	port := testkit.FreePorts(t).HTTP
	testkit.NewDev(t, testkit.Settings{"ports": testkit.Settings{"https": port}, "tls": testkit.Settings{"https": id.settings}}).Start(t)
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{RootCAs: id.roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // and empty settings
	head := make([]byte, 9)
	if _, err := io.ReadFull(conn, head); err != nil || head[3] != 4 {
		t.Fatalf("frame %x: %v", head, err)
	}
	settings := make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
	if _, err := io.ReadFull(conn, settings); err != nil {
		t.Fatal(err)
	}
	const maxConcurrentStreams = 3 // RFC 9113, 6.5.2
	for ; len(settings) >= 6; settings = settings[6:] {
		if binary.BigEndian.Uint16(settings) == maxConcurrentStreams {
			if most := binary.BigEndian.Uint32(settings[2:]); most > 64 {
				t.Errorf("%d streams", most)
			}
			return
		}
	}
	t.Error("as many streams as the client likes")
}

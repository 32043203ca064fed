package frontdoor_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
)

// HTTPS speaks the version that the client names, HTTP/1.1 where it names none. Each waits for changes, on a connection
// that goes on.
func TestHTTPSVersions(t *testing.T) {
	id := newIdentity(t)
	port := testkit.FreePorts(t).HTTP
	n := testkit.NewDev(t, testkit.Settings{"ports": testkit.Settings{"https": port}, "tls": testkit.Settings{"https": id.settings}})
	n.Start(t)
	n.Put(t, "/v1/kv/k", "0")
	dial := func(names ...string) *tls.Conn {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{RootCAs: id.roots, NextProtos: names})
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		return conn
	}
	for _, names := range [][]string{nil, {"http/1.1"}} {
		conn := dial(names...)
		defer conn.Close()
		in := bufio.NewReader(conn)
		read := func(want string) {
			t.Helper()
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(r.Body); string(body) != want || err != nil || r.Close {
				t.Errorf("%q: %q, want %q: %v", names, body, want, err)
			}
		}
		for round := range 3 {
			index := n.Get(t, "/v1/kv/k").Index()
			fmt.Fprintf(conn, "GET /v1/kv/k?raw&index=%d HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/kv/k?keys HTTP/1.1\r\nHost: a\r\n\r\n", index)
			value := fmt.Sprint(names, round)
			n.Put(t, "/v1/kv/k", value)
			read(value)
			read(`["k"]`)
		}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: id.roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for range 2 {
		r, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/v1/kv/k?keys", port))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r.Body); string(body) != `["k"]` || err != nil || r.ProtoMajor != 2 {
			t.Errorf("%s: %s %v", r.Proto, body, err)
		}
		r.Body.Close()
	}
}

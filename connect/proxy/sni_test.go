package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/connect/proxy"
)

// secure serves HTTPS until the test ends: what it answers is its name. It returns its address.
func secure(t *testing.T, name string) string {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name+" for "+r.TLS.ServerName) }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// named asks for a name at an address, and returns the answer or why there is none.
func named(addr, name string) string {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{ServerName: name, InsecureSkipVerify: true},
	}}
	r, err := c.Get("https://" + addr)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	return string(body)
}

// Connections of TLS go where their names say, as they are; others are refused, and counted by the reason.
func TestSNI(t *testing.T) {
	web, far := secure(t, "web"), secure(t, "far")
	patient := target("sick")
	patient.Patience = -1
	l := &proxy.Listener{
		Name: "gateway", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.SNI, HeadTime: 300 * time.Millisecond,
		Routes: proxy.ByName(map[string]*proxy.Target{"web.dc1": target("web", web), "*.dc2": target("far", far), "sick.dc1": patient}),
	}
	narrow := &proxy.Listener{Name: "narrow", Network: "tcp", Address: "localhost:0", Protocol: proxy.SNI, PerCaller: 3, Routes: proxy.ByName(map[string]*proxy.Target{})}
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l, narrow}}, proxy.Options{})
	addr := p.Addr("gateway").String()
	f := func(name, want string) {
		t.Helper()
		if got := named(addr, name); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	f("web.dc1", "web for web.dc1")
	f("WEB.dc1", "web for")
	f("any.thing.dc2", "far for any.thing.dc2")
	f("dc2", "unrecognized name")
	f("other.dc1", "unrecognized name")
	f("sick.dc1", "reset by peer")
	f("", "unrecognized name")
	if got := say(t, addr, "GET / HTTP/1.1\r\n\r\n"); got != "" {
		t.Errorf("what is no TLS is told %q", got)
	}
	late := dial(t, addr)
	io.WriteString(late, "\x16\x03")
	io.ReadAll(late) // until it is closed
	cut := dial(t, addr)
	io.WriteString(cut, "\x16\x03\x01")
	cut.CloseWrite()
	io.ReadAll(cut)

	var open []*net.TCPConn // one address has so many connections, and no more
	for range 3 {
		open = append(open, dial(t, p.Addr("narrow").String()))
	}
	if n, err := dial(t, p.Addr("narrow").String()).Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("one above the limit is taken")
	}
	for _, c := range open {
		c.Close()
	}
	settle(t, p)
	var text bytes.Buffer
	if err := p.WriteMetrics(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`connections_total{listener="gateway",target="web"} 2`, `connections_total{listener="gateway",target="far"} 1`,
		`names_refused_total{listener="gateway",reason="unknown_name"} 2`, `reason="no_name"} 1`, `reason="not_tls"} 1`, `reason="too_late"} 1`, `connections_refused_total{listener="narrow"} 1`,
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("metrics have no %s", want)
		}
	}
}

// A listener that routes by name and one that does not are not mixed up.
func TestSNIRoutes(t *testing.T) {
	p := proxy.New(proxy.Options{})
	for _, l := range []*proxy.Listener{
		{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.SNI, Routes: proxy.Direct(target("a"))},
		{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.TCP, Routes: proxy.ByName(map[string]*proxy.Target{"a": target("a")})},
	} {
		if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{l}}); err == nil {
			t.Error("accepted")
		}
	}
}

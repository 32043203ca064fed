package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/connect/proxy"
)

// destined runs a hop all of whose requests go to web at app by a route; other services are where
// others say.
func destined(t *testing.T, app string, others map[string]string, d *catalog.ServiceRouteDestination) *proxy.Proxy {
	t.Helper()
	set := []catalog.ConfigEntry{
		&catalog.ProxyDefaults{EntryHead: head(catalog.EntryProxyDefaults, catalog.GlobalName), Config: map[string]any{"protocol": "http"}},
		&catalog.ServiceRouter{EntryHead: head(catalog.EntryServiceRouter, "web"), Routes: []catalog.ServiceRoute{{
			Match: &catalog.ServiceRouteMatch{HTTP: &catalog.HTTPRequestMatch{PathPrefix: "/on"}}, Destination: d,
		}}},
	}
	for _, e := range set {
		e.Normalize()
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := chain.Compile(chain.Request{Service: "web", Datacenter: "dc1", TrustDomain: domain}, chain.SetOf(set...))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]*proxy.Target{}
	for id, to := range c.Targets {
		at := others[to.Service]
		if to.Service == "web" {
			at = app
		}
		targets[id] = target(id, at)
	}
	routes, err := proxy.NewRoutes(c, targets)
	if err != nil {
		t.Fatal(err)
	}
	return hop(t, "", func(l *proxy.Listener, _ *proxy.Target) { l.Routes = routes })
}

// sampled holds a metric of a proxy against what is wanted.
func sampled(t *testing.T, p *proxy.Proxy, line string) {
	t.Helper()
	var text strings.Builder
	if err := p.WriteMetrics(&text); err != nil || !strings.Contains(text.String(), line+"\n") {
		t.Errorf("%q is not among the metrics: %v, %s", line, err, text.String())
	}
}

// A copy says what its request said, but for its host, and nobody gets the answer to it; bodies that are too long, upgrades
// and requests that another route takes are not copied.
func TestMirror(t *testing.T) {
	app := answering(t, echo)
	got := make(chan string, 100)
	shadow := answering(t, func(r *http.Request, body string) string {
		if len(body) > 20 {
			body = fmt.Sprint(len(body), " bytes")
		}
		got <- fmt.Sprintf("%s %s %s %s %q", r.Method, r.Host, r.RequestURI, r.Header.Get("X-Env"), body)
		return "HTTP/1.1 500 No\r\nContent-Length: 2\r\nX-Secret: 1\r\n\r\nno"
	})
	p := destined(t, app.addr, map[string]string{"shadow": shadow.addr}, &catalog.ServiceRouteDestination{
		RequestHeaders: &catalog.HeaderModifiers{Set: map[string]string{"X-Env": "route"}}, PrefixRewrite: "/new", Mirror: &catalog.RouteMirror{Service: "shadow", Percentage: 100},
	})
	addr := p.Addr("l").String()
	long := strings.Repeat("a", 70<<10)
	for _, c := range []struct{ request, want string }{
		{"GET /on?q=1 HTTP/1.1\r\nHost: web\r\nX-Env: mine\r\n\r\n", `GET web-shadow /new?q=1 mine ""`},
		{"POST /on/x HTTP/1.1\r\nHost: web:80\r\nContent-Length: 5\r\n\r\nhello", `POST web-shadow:80 /new/x  "hello"`},
		{"POST /on HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", `POST [::1]-shadow:80 /new  "hello"`},
		{"POST /on HTTP/1.1\r\nHost: web\r\nContent-Length: 50000\r\n\r\n" + long[:50000], `POST web-shadow /new  "50000 bytes"`},
		{"POST /on HTTP/1.1\r\nHost: web\r\nContent-Length: 71680\r\n\r\n" + long, ""},
		{"POST /on HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n11800\r\n" + long + "\r\n0\r\n\r\n", ""},
		{"GET /other HTTP/1.1\r\nHost: web\r\n\r\n", ""},
		{"GET /on/last HTTP/1.1\r\nHost: web\r\n\r\n", `GET web-shadow /new/last  ""`},
	} {
		c0 := dial(t, addr)
		io.WriteString(c0, c.request)
		r, err := http.ReadResponse(bufio.NewReader(c0), nil)
		if err != nil || r.StatusCode != 200 || r.Header.Get("X-Secret") != "" {
			t.Fatalf("%.60q: %+v, %v", c.request, r, err)
		}
		io.Copy(io.Discard, r.Body)
		c0.Close()
		if c.want == "" {
			continue
		}
		select {
		case copied := <-got:
			if copied != c.want {
				t.Errorf("%.60q is copied as %s, want %s", c.request, copied, c.want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%.60q is not copied", c.request)
		}
	}
}

// A service that copies go to and that does not answer, or is not there, costs the requests nothing: copies beyond those
// that there is room for are dropped, and those under way end with the proxy.
func TestMirrorThatHangs(t *testing.T) {
	app := answering(t, echo)
	hang := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	p := destined(t, app.addr, map[string]string{"shadow": hang}, &catalog.ServiceRouteDestination{Mirror: &catalog.RouteMirror{Service: "shadow", Percentage: 100}})
	c := dial(t, p.Addr("l").String())
	in := bufio.NewReader(c)
	begun := time.Now()
	for range 300 {
		io.WriteString(c, "GET /on HTTP/1.1\r\nHost: web\r\n\r\n")
		r, err := http.ReadResponse(in, nil)
		if err != nil || r.StatusCode != 200 {
			t.Fatal(r, err)
		}
		io.Copy(io.Discard, r.Body)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("300 requests took %v", took)
	}
	sampled(t, p, `curia_proxy_mirrored_total{result="dropped"} 108`) // 64 are under way and 128 wait
}

// Copies are as many as the percentage says, within 3 points.
func TestMirrorShare(t *testing.T) {
	app, shadow := answering(t, echo), answering(t, echo)
	p := destined(t, app.addr, map[string]string{"shadow": shadow.addr}, &catalog.ServiceRouteDestination{Mirror: &catalog.RouteMirror{Service: "shadow", Percentage: 25}})
	c := dial(t, p.Addr("l").String())
	in := bufio.NewReader(c)
	for range 4000 {
		io.WriteString(c, "GET /on HTTP/1.1\r\nHost: web\r\n\r\n")
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, r.Body)
	}
	var text strings.Builder
	p.WriteMetrics(&text)
	var sent, dropped int
	for line := range strings.Lines(text.String()) {
		fmt.Sscanf(line, `curia_proxy_mirrored_total{result="sent"} %d`, &sent)
		fmt.Sscanf(line, `curia_proxy_mirrored_total{result="dropped"} %d`, &dropped)
	}
	if n := sent + dropped; n < 870 || n > 1130 { // and those that wait still, of which there may be a few
		t.Errorf("%d of 4000 requests were copied, want a quarter", n)
	}
}

package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/proxy"
)

func from(permissions ...*catalog.IntentionPermission) *catalog.SourceIntention {
	return &catalog.SourceIntention{Name: "web", Type: "consul", Permissions: permissions}
}

func permission(action catalog.IntentionAction, http catalog.IntentionHTTPPermission) *catalog.IntentionPermission {
	return &catalog.IntentionPermission{Action: action, HTTP: &http}
}

// guarded runs a mesh whose requests are decided by permissions.
func guarded(t *testing.T, app string, allow bool, permissions ...*catalog.IntentionPermission) *pair {
	return mesh(t, proxy.HTTP, app, func(p *pair) {
		p.incoming.Policy = policy(t, allow, from(permissions...))
		p.incoming.Explain = true
	})
}

// Traps 17, A21 and A22: nobody gets around an intention by writing its path in another way, and what is passed on is
// what was decided by.
func TestPathsOfIntentions(t *testing.T) {
	app := answering(t, echo)
	addr := guarded(t, app.addr, true, permission(catalog.IntentionDeny, catalog.IntentionHTTPPermission{PathExact: "/admin"})).addr
	for _, path := range []string{
		"/admin", "//admin", "/./admin", "/x/../admin", "/%61dmin", "/admin/", "/admin;a=b", "/admin/;x", "/admin;", "/%2e/admin",
		"/x/%2e%2e/admin", "/admin?x", "/admin/.", "/admin/x/..", "http://api/admin", "http://api//admin?x",
	} {
		r, body := ask(t, addr, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if r.StatusCode != 403 || !strings.Contains(r.Header.Get("X-Curia-Denied-By"), "deny by intention web => api, precedence") {
			t.Errorf("%s: %s, %q, %v", path, r.Status, body, r.Header)
		}
	}
	for _, path := range []string{"/admin%2f", "/%2fadmin", "/x%5c..%5cadmin", `/x\..\admin`, "/x/..;/admin", "/admin%00", "/%zz"} {
		if r, _ := ask(t, addr, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); r.StatusCode != 400 {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	if seen := app.seen(); seen != "" {
		t.Errorf("the application was sent %q", seen)
	}
	other := guarded(t, app.addr, true, permission(catalog.IntentionDeny, catalog.IntentionHTTPPermission{PathPrefix: "//%61dmin/./x/../"})).addr
	if r, _ := ask(t, other, "GET /admin/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); r.StatusCode != 403 {
		t.Errorf("an intention that is written in another way than paths are passed on: %s", r.Status)
	}
	for path, want := range map[string]string{"/Admin": "/Admin", "/a//b/../c%2d": "/a/c-", "http://other/x?y=//": "/x?y=//", "/%c3%a9?a=%2F": "/%C3%A9?a=%2F", "http://other": "/", "http://other?q": "/?q"} {
		if _, body := ask(t, addr, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); body != "GET "+want+" " {
			t.Errorf("%s is passed on as %q, want %s", path, body, want)
		}
	}
	if seen := app.seen(); strings.Count(seen, "Host: other\r\n") != 3 || strings.Contains(seen, "http://") {
		t.Errorf("the host of an absolute target is not the one that is passed on: %q", seen)
	}
}

// A23: what is denied by one permission is not allowed by there being one, and other methods and headers are judged.
func TestIntentionsOfRequests(t *testing.T) {
	app := answering(t, echo)
	addr := guarded(t, app.addr, false,
		permission(catalog.IntentionDeny, catalog.IntentionHTTPPermission{PathPrefix: "/api/secret"}),
		permission(catalog.IntentionAllow, catalog.IntentionHTTPPermission{PathPrefix: "/api/", Methods: []string{"GET"}}),
		permission(catalog.IntentionAllow, catalog.IntentionHTTPPermission{PathExact: "/key", Header: []catalog.IntentionHeaderFilter{{Name: "x-key", Exact: "right"}}}),
	).addr
	for text, want := range map[string]int{
		"GET /api/x":                           200,
		"GET /api/secret":                      403,
		"GET /api/x/../secret/y":               403,
		"POST /api/x":                          403,
		"GET /":                                403,
		"GET /key":                             403,
		"GET /key\nX-Key: right":               200,
		"GET /key\nx-kEY:   right  ":           200,
		"GET /key\nX-Key: wrong":               403,
		"GET /key\nX-Key: right\nX-Key: wrong": 403, // A24
		"GET /key\nX-Key: right, wrong":        403,
	} {
		line, fields, _ := strings.Cut(text, "\n")
		if fields != "" {
			fields = strings.ReplaceAll(fields, "\n", "\r\n") + "\r\n"
		}
		if r, _ := ask(t, addr, line+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+fields+"\r\n"); r.StatusCode != want {
			t.Errorf("%q: %s, want %d", text, r.Status, want)
		}
	}
}

// What an intention only tries out to deny is let through, counted, and said with who it was.
func TestAudit(t *testing.T) {
	app := answering(t, echo)
	log := newLines()
	p := mesh(t, proxy.HTTP, app.addr, func(p *pair) {
		p.incoming.Policy = policy(t, false, from(
			permission(catalog.IntentionAudit, catalog.IntentionHTTPPermission{PathPrefix: "/admin"}),
			permission(catalog.IntentionAllow, catalog.IntentionHTTPPermission{PathPrefix: "/open"})))
		p.options.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	for path, want := range map[string]int{"/admin": 200, "/open": 200, "/open/../admin/": 200, "/x": 403} {
		if r, _ := ask(t, p.addr, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); r.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, r.Status, want)
		}
	}
	var metrics strings.Builder
	if err := p.in.WriteMetrics(&metrics); err != nil {
		t.Fatal(err)
	}
	if want := `curia_proxy_audited_total{listener="public"} 2` + "\n"; !strings.Contains(metrics.String(), want) {
		t.Errorf("metrics do not hold %q: %s", want, metrics.String())
	}
	log.wait(t, "only tries out", "from=web", "audit by intention web => api, precedence 9, permission 1")
}

// An intention that only tries out whom it denies lets bytes through, too.
func TestAuditOfBytes(t *testing.T) {
	app := answering(t, echo)
	p := mesh(t, proxy.TCP, app.addr, func(p *pair) {
		p.incoming.Policy = policy(t, false, &catalog.SourceIntention{Name: "*", Type: "consul", Action: catalog.IntentionAudit})
	})
	c := dial(t, p.addr)
	io.WriteString(c, get)
	if said, err := readUntil(c, "200 OK"); err != nil {
		t.Errorf("%q, %v", said, err)
	}
	var metrics strings.Builder
	if err := p.in.WriteMetrics(&metrics); err != nil || !strings.Contains(metrics.String(), `curia_proxy_audited_total{listener="public"} 1`) {
		t.Errorf("%v, %s", err, metrics.String())
	}
}

// Intentions about requests cannot be kept where there are none: bytes are refused.
func TestIntentionsOfRequestsWithoutRequests(t *testing.T) {
	app := answering(t, echo)
	p := mesh(t, proxy.TCP, app.addr, func(p *pair) {
		p.incoming.Policy = policy(t, true, from(permission(catalog.IntentionAllow, catalog.IntentionHTTPPermission{PathPrefix: "/"})))
	})
	if said := say(t, p.addr, get); said != "" {
		t.Errorf("%q", said)
	}
}

// Trap 23: a response that goes on for long is cut when its caller is denied.
func TestDeniedStreamsAreCut(t *testing.T) {
	app := listen(t, func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		io.Copy(io.Discard, c)
	})
	p := mesh(t, proxy.HTTP, app, nil)
	c := dial(t, p.addr)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, err := readUntil(c, "hello"); err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	next := *p.incoming
	next.Policy = policy(t, true, &catalog.SourceIntention{Name: "web", Action: catalog.IntentionDeny, Type: "consul"})
	if err := p.in.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); strings.Contains(string(rest), "0\r\n\r\n") || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the response ended in order, or not at all: %q, %v", rest, err)
	}
}

// Whoever makes requests and may make none hears why for each, from the beginning and after a change.
func TestDeniedCallersHearWhy(t *testing.T) {
	app := answering(t, func(*http.Request, string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" })
	none := policy(t, true, &catalog.SourceIntention{Name: "web", Action: catalog.IntentionDeny, Type: "consul"})
	p := mesh(t, proxy.HTTP, app.addr, func(p *pair) { p.incoming.Policy, p.incoming.Explain = none, true })
	denied := func(when string) {
		t.Helper()
		if said := say(t, p.addr, get); !strings.HasPrefix(said, "HTTP/1.1 403 ") || !strings.Contains(strings.ToLower(said), "x-curia-denied-by: ") {
			t.Errorf("%s: %q", when, said)
		}
	}
	denied("from the beginning")
	next := *p.incoming
	next.Policy = policy(t, true)
	if err := p.in.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
		t.Fatal(err)
	}
	if said := say(t, p.addr, get); !strings.HasPrefix(said, "HTTP/1.1 200 ") {
		t.Errorf("allowed now: %q", said)
	}
	if err := p.in.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{p.incoming}}); err != nil {
		t.Fatal(err)
	}
	denied("again")
}

// A request that was allowed and has reached nobody yet is judged once more when another policy has come meanwhile.
func TestPolicyOvertakesRequest(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	var shows *certs
	app := listen(t, func(c net.Conn) {
		close(asked)
		<-answer
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*shows.leaf}})
		if _, err := readUntil(s, "\r\n\r\n"); err == nil {
			io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		}
	})
	p := mesh(t, proxy.HTTP, app, func(p *pair) {
		shows = p.ca.certs(t, "local")
		to := target("local", app)
		to.Certs, to.Identities, to.ServerName = p.ca.certs(t, "api"), []connect.ID{service("local")}, "local"
		p.incoming.Routes = proxy.Direct(to)
	})
	c := tls.Client(dial(t, p.in.Addr("public").String()), &tls.Config{Certificates: []tls.Certificate{*p.ca.certs(t, "web").leaf}, InsecureSkipVerify: true})
	io.WriteString(c, get)
	<-asked // it was allowed, and a connection is being made
	next := *p.incoming
	next.Policy = policy(t, true, &catalog.SourceIntention{Name: "web", Action: catalog.IntentionDeny, Type: "consul"})
	if err := p.in.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
		t.Fatal(err)
	}
	close(answer)
	if got, err := io.ReadAll(c); strings.Contains(string(got), "200 OK") || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q, %v", got, err)
	}
}

// readUntil reads until what was read ends with some text.
func readUntil(c net.Conn, text string) (string, error) {
	var all []byte
	b := make([]byte, 1)
	for !strings.HasSuffix(string(all), text) {
		if _, err := c.Read(b); err != nil {
			return string(all), err
		}
		all = append(all, b[0])
	}
	return string(all), nil
}

// Trap 27: what a caller that is not trusted says about whom it acts for is replaced; never are there both.
func TestForwarded(t *testing.T) {
	const lies = "GET /a HTTP/1.1\r\nHost: api\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-host: evil\r\nX-FORWARDED-PROTO: https\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Client-Cert: URI=spiffe://evil\r\nConnection: close\r\n\r\n"
	app := answering(t, echo)
	ask(t, single(t, app.addr, func(l *proxy.Listener, _ *proxy.Target) { l.TrustForwarded = false }), lies)
	if want := "GET /a HTTP/1.1\r\nHost: api\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: api\r\n\r\n"; app.seen() != want {
		t.Errorf("%q, want %q", app.seen(), want)
	}
	app = answering(t, echo)
	ask(t, mesh(t, proxy.HTTP, app.addr, func(p *pair) { p.incoming.TrustForwarded = false }).addr, lies)
	if seen := app.seen(); strings.Contains(seen, "6.6.6.6") || strings.Contains(seen, "evil") || strings.Count(seen, "X-Forwarded-Client-Cert:") != 1 || !strings.Contains(seen, "X-Forwarded-Proto: https\r\n") {
		t.Errorf("%q", seen)
	}
	app = answering(t, echo)
	ask(t, mesh(t, proxy.HTTP, app.addr, nil).addr, lies)
	if seen := app.seen(); !strings.Contains(strings.ToLower(seen), "x-forwarded-for: 6.6.6.6\r\n") || strings.Contains(seen, "spiffe://evil") {
		t.Errorf("trusted: %q", seen)
	}
}

// The PROXY protocol says who called, to the proxy and from it.
func TestProxyProtocol(t *testing.T) {
	app := answering(t, echo)
	for version := 1; version <= 2; version++ {
		first := single(t, single(t, app.addr, func(l *proxy.Listener, _ *proxy.Target) { l.TakesProxy, l.TrustForwarded = true, false }),
			func(_ *proxy.Listener, to *proxy.Target) { to.SendProxy = version })
		if r, _ := ask(t, first, get); r.StatusCode != 200 {
			t.Errorf("version %d: %s", version, r.Status)
		}
	}
	addr := single(t, app.addr, func(l *proxy.Listener, _ *proxy.Target) { l.TakesProxy, l.TrustForwarded = true, false })
	ask(t, addr, "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n"+get)
	if seen := app.seen(); !strings.Contains(seen, "X-Forwarded-For: 192.0.2.7\r\n") || strings.Contains(seen, "PROXY") {
		t.Errorf("%q", seen)
	}
	if said := say(t, addr, get); said != "" {
		t.Errorf("without the header: %q", said)
	}
}

// Exchanges are counted and told of.
func TestAccounts(t *testing.T) {
	app := answering(t, echo)
	records := make(chan string, 10)
	log := proxy.NewAccessLog(10, func(r *proxy.Record) {
		records <- fmt.Sprintf("%s %s %s %s %d %s %d %d", r.Listener, r.Target, r.Method, r.Path, r.Status, r.Flag, r.There, r.Back)
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }() // ends with the test
	defer func() { stop(); <-ended }()
	to := target("app", app.addr)
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, Routes: proxy.Direct(to)}}}, proxy.Options{Access: log})
	addr := p.Addr("l").String()
	ask(t, addr, "POST /a//b?c HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
	if got := <-records; got != "l app POST /a/b 200  3 15" {
		t.Errorf("%q", got)
	}
	ask(t, addr, "GET /%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if got := <-records; !strings.HasPrefix(got, "l  GET ") || !strings.HasSuffix(got, "400 malformed 0 0") {
		t.Errorf("%q", got)
	}
	for _, e := range p.Edges() {
		var took uint64
		for _, n := range e.Buckets {
			took += n
		}
		want := [6]uint64{2: 1}
		if e.Target == "" {
			want = [6]uint64{4: 1}
		}
		if e.Classes != want || e.Requests != 1 || took != 1 {
			t.Errorf("%+v", e)
		}
	}
	settle(t, p)
}

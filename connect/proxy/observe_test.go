package proxy_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/proxy"
)

// Metrics are lines that Prometheus can read, and nothing that callers send makes there be more of them.
func TestMetrics(t *testing.T) {
	app := answering(t, func(r *http.Request, _ string) string {
		if r.URL.Path == "/bad" {
			return "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
		}
		return ok("hello")
	})
	to := target(`app "1"`, app.addr)
	p := retrying(t, to, catalog.ServiceRouteDestination{})
	addr := p.Addr("l").String()
	write := func() string {
		t.Helper()
		settle(t, p)
		var b strings.Builder
		if err := p.WriteMetrics(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for range 3 {
		ask(t, addr, "GET /good HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	}
	ask(t, addr, "GET /bad HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	text := write()
	for _, want := range []string{
		`curia_proxy_requests_total{listener="l",target="app \"1\"",status="2xx"} 3`,
		`curia_proxy_requests_total{listener="l",target="app \"1\"",status="5xx"} 1`,
		`curia_proxy_route_requests_total{listener="l",route="/*",status="2xx"} 3`,
		`curia_proxy_request_duration_seconds_bucket{listener="l",target="app \"1\"",le="+Inf"} 4`,
		`curia_proxy_request_duration_seconds_count{listener="l",target="app \"1\""} 4`,
		`curia_proxy_sent_bytes_total{listener="l",target="app \"1\""} 15`,
		`curia_proxy_endpoints{listener="l",target="app \"1\"",state="in service"} 1`,
		"# TYPE go_goroutines gauge",
		`curia_proxy_panic{listener="l",target="app \"1\""} 0`,
		`curia_proxy_requests_active{listener="l",target="app \"1\""} 0`,
		`curia_proxy_connections_refused_total{listener="l"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	line := regexp.MustCompile(`^[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)*\})? [0-9.]+$`)
	types := map[string]int{}
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if name, found := strings.CutPrefix(l, "# TYPE "); found {
			types[name]++
		} else if !strings.HasPrefix(l, "# HELP ") && !line.MatchString(l) {
			t.Errorf("no sample: %s", l)
		}
	}
	for name, n := range types {
		if n != 1 {
			t.Errorf("%s is declared %d times", name, n)
		}
	}
	for _, path := range []string{"/x", "/y?z", "/%2e%2e/w", "/%00"} {
		ask(t, addr, "GET "+path+" HTTP/1.1\r\nHost: "+path[1:2]+"\r\nConnection: close\r\n\r\n")
	}
	if before, after := strings.Count(text, "\n"), strings.Count(write(), "\n"); after > before+30 { // of a listener's own edge
		t.Errorf("%d lines became %d", before, after)
	}
}

// What was counted of a target goes with it, and comes back from nothing.
func TestForgottenMetrics(t *testing.T) {
	app := answering(t, echo)
	l := direct(target("first", app.addr))
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l}}, proxy.Options{})
	count := func(name string) (requests uint64, found bool) {
		settle(t, p)
		for _, e := range p.Edges() {
			if e.Target == name {
				return e.Requests, true
			}
		}
		return 0, false
	}
	ask(t, p.Addr("l").String(), get)
	for _, name := range []string{"second", "first"} {
		next := *l
		next.Routes = proxy.Direct(target(name, app.addr))
		if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
			t.Fatal(err)
		}
		ask(t, p.Addr("l").String(), get)
		if n, found := count(name); n != 1 || !found {
			t.Errorf("%s had %d requests", name, n)
		}
	}
	if _, found := count("second"); found {
		t.Error("a target that is gone is still counted")
	}
}

// Records are lines of text and of JSON, as an operator wants them, whatever a caller sends.
func TestAccessLogFormats(t *testing.T) {
	compile := func(f *proxy.Format, err error) *proxy.Format {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	text, object := compile(proxy.NewText(proxy.DefaultText)), compile(proxy.NewJSON(proxy.DefaultJSON))
	own := compile(proxy.NewJSON(`{"a":"%RESPONSE_CODE%","b":"x\" %RESPONSE_CODE% %REQ(USER-AGENT)%"}`))
	lines := make(chan [3]string, 10)
	log := proxy.NewAccessLog(10, func(r *proxy.Record) {
		lines <- [3]string{string(text.Append(nil, r)), string(object.Append(nil, r)), string(own.Append(nil, r))}
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }() // ends with the test
	defer func() { stop(); <-ended }()
	app := answering(t, echo)
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{direct(target("app", app.addr))}}, proxy.Options{Access: log})
	ask(t, p.Addr("l").String(), "GET /a?b=\"c HTTP/1.1\r\nHost: api\r\nUser-Agent: m\"y\\\xff\r\nX-Request-Id: 7\r\nConnection: close\r\n\r\n")
	got := <-lines
	if want := `\[20..-..-..T..:..:..\.\d\d\dZ\] "GET /a\?b=\\"c HTTP/1.1" 200 - 0 12 \d+ "-" "m\\"y\\\\\\u00ff" "7" "api" "` + regexp.QuoteMeta(app.addr) + `"\n`; !regexp.MustCompile("^" + want + "$").MatchString(got[0]) {
		t.Errorf("%s", got[0])
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(got[1]), &fields); err != nil {
		t.Fatalf("%s: %v", got[1], err)
	}
	for name, want := range map[string]any{"method": "GET", "path": `/a?b="c`, "response_code": 200.0, "upstream_attempts": 1.0, "user_agent": "m\"y\\\u00ff", "upstream_cluster": "app", "response_flags": "-", "listener": "l"} {
		if fields[name] != want {
			t.Errorf("%s is %#v, want %#v", name, fields[name], want)
		}
	}
	if want := `{"a":200,"b":"x\" 200 m\"y\\\u00ff"}` + "\n"; got[2] != want {
		t.Errorf("%s, want %s", got[2], want)
	}
	dead := target("app", nowhere(t))
	for want, change := range map[string]func(l *proxy.Listener){
		"503 UF": func(l *proxy.Listener) { l.Routes = proxy.Direct(dead) },
		"503 UH": func(l *proxy.Listener) { l.Routes = proxy.Direct(target("app")) },
		"503 UO": func(l *proxy.Listener) {
			to := target("app", app.addr)
			to.Limits.Requests = -1
			l.Routes = proxy.Direct(to)
		},
	} {
		next := direct(target("app", app.addr))
		change(next)
		p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{next}}, proxy.Options{Access: log})
		ask(t, p.Addr("l").String(), get)
		if got := <-lines; !strings.Contains(got[0], " "+want+" ") {
			t.Errorf("%s: %s", want, got[0])
		}
	}
	for _, bad := range []string{"%START_TIME", "%NO_SUCH%", "%REQ(X-OTHER)%"} {
		if _, err := proxy.NewText(bad); err == nil {
			t.Errorf("%s is a format", bad)
		}
	}
	for _, bad := range []string{"[]", `{"a":1}`, `{"a":"%NO%"}`} {
		if _, err := proxy.NewJSON(bad); err == nil {
			t.Errorf("%s is a format", bad)
		}
	}
}

// A trace goes on through two hops, in the form that the caller writes it, and each hop's span reaches the collector.
func TestTraces(t *testing.T) {
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	fields := make(chan http.Header, 1)
	app := answering(t, func(r *http.Request, _ string) string {
		fields <- r.Header
		return ok("")
	})
	bodies := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies <- r.URL.Path + " " + string(b)
	}))
	defer collector.Close()
	traced := func(url string, f proxy.TraceFormat, percent float64) (addr string, end func()) {
		tracer := proxy.NewTracer()
		tracer.Set(&proxy.TracerConfig{URL: url, Format: f, Percent: percent})
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- tracer.Run(ctx) }() // ends with end
		l := direct(target("app", app.addr))
		l.Service = "web"
		p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l}}, proxy.Options{Tracer: tracer})
		return p.Addr("l").String(), func() { settle(t, p); stop(); <-ended }
	}
	addr, end := traced(collector.URL+"/v1/traces", proxy.OTLP, 0)
	send := func(more string) http.Header {
		t.Helper()
		ask(t, addr, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+more+"\r\n")
		return <-fields
	}
	got := send("traceparent: 00-" + trace + "-" + parent + "-01\r\ntracestate: a=b\r\n").Get("traceparent")
	m := regexp.MustCompile("^00-" + trace + "-([0-9a-f]{16})-01$").FindStringSubmatch(got)
	if m == nil || m[1] == parent {
		t.Fatalf("passed on as %q", got)
	}
	end()
	body := <-bodies
	var sent struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct {
					TraceID, SpanID, ParentSpanID, Name string
					Kind                                int
				}
			}
		}
	}
	path, text, _ := strings.Cut(body, " ")
	if err := json.Unmarshal([]byte(text), &sent); err != nil || path != "/v1/traces" || len(sent.ResourceSpans) != 1 {
		t.Fatalf("%s: %v", body, err)
	}
	if s := sent.ResourceSpans[0].ScopeSpans[0].Spans; len(s) != 1 || s[0].TraceID != trace || s[0].SpanID != m[1] || s[0].ParentSpanID != parent || s[0].Kind != 3 || s[0].Name != "GET" {
		t.Errorf("%+v", s)
	}

	addr, end = traced(collector.URL+"/api/v2/spans", proxy.Zipkin, 0)
	if got := send("b3: " + trace + "-" + parent + "-1\r\n").Get("b3"); !regexp.MustCompile("^" + trace + "-[0-9a-f]{16}-1-" + parent + "$").MatchString(got) {
		t.Errorf("b3 is passed on as %q", got)
	}
	h := send("X-B3-TraceId: " + trace[16:] + "\r\nX-B3-SpanId: " + parent + "\r\nX-B3-Sampled: 0\r\n")
	if h.Get("X-B3-TraceId") != strings.Repeat("0", 16)+trace[16:] || h.Get("X-B3-ParentSpanId") != parent || h.Get("X-B3-Sampled") != "0" || h.Get("X-B3-SpanId") == parent {
		t.Errorf("%v", h)
	}
	for _, bad := range []string{"traceparent: 00-" + strings.Repeat("0", 32) + "-" + parent + "-01\r\n", "traceparent: x\r\n", "traceparent: ff-" + trace + "-" + parent + "-01\r\n", "b3: 1\r\n", ""} {
		if got := send(bad)["Traceparent"]; len(got) != 1 || !strings.HasSuffix(got[0], "-00") || strings.Contains(got[0], trace) || len(got[0]) != 55 {
			t.Errorf("%q is passed on as %q", bad, got)
		}
	}
	end()
	body = <-bodies
	var spans []struct {
		TraceID, ParentID, Kind, Name string
		LocalEndpoint                 struct{ ServiceName string }
		Tags                          map[string]string
	}
	path, text, _ = strings.Cut(body, " ")
	if err := json.Unmarshal([]byte(text), &spans); err != nil || path != "/api/v2/spans" || len(spans) != 1 {
		t.Fatalf("%s: %v", body, err)
	}
	if s := spans[0]; s.TraceID != trace || s.ParentID != parent || s.Kind != "CLIENT" || s.LocalEndpoint.ServiceName != "web" || s.Tags["http.response.status_code"] != "200" {
		t.Errorf("%+v", s)
	}

	tracer := proxy.NewTracer()
	tracer.Set(&proxy.TracerConfig{URL: "http://" + nowhere(t) + "/", Percent: 100})
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{direct(target("app", app.addr))}}, proxy.Options{Tracer: tracer})
	addr = p.Addr("l").String()
	if got := send("").Get("traceparent"); !strings.HasSuffix(got, "-01") {
		t.Errorf("one of all: %q", got)
	}
	settle(t, p)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := tracer.Run(ctx); err != nil || tracer.Failed.Load() != 1 || tracer.Sent.Load() != 0 {
		t.Errorf("%v, %d failed", err, tracer.Failed.Load())
	}
}

// The access log tells the versions of HTTP apart.
func TestAccessLogProtocol(t *testing.T) {
	protocols := make(chan string, 10)
	log := proxy.NewAccessLog(10, func(r *proxy.Record) { protocols <- r.Protocol })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }() // ends with the test
	defer func() { stop(); <-ended }()
	app := answering(t, echo)
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{direct(target("app", app.addr))}}, proxy.Options{Access: log})
	addr := p.Addr("l").String()
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	defer h2.CloseIdleConnections()
	for _, want := range []struct {
		protocol string
		ask      func()
	}{
		{"HTTP/2", func() {
			r, err := (&http.Client{Transport: h2}).Get("http://" + addr + "/")
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
		}},
		{"HTTP/1.0", func() { ask(t, addr, "GET / HTTP/1.0\r\n\r\n") }},
		{"HTTP/1.1", func() { ask(t, addr, get) }},
	} {
		want.ask()
		if got := <-protocols; got != want.protocol {
			t.Errorf("%s, want %s", got, want.protocol)
		}
	}
}

package proxy_test

import (
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/connect/proxy"
)

// routed runs a hop whose routes are those that entries make for web; every service answers with its name and what it
// was asked.
func routed(t *testing.T, entries ...catalog.ConfigEntry) string {
	t.Helper()
	all := append([]catalog.ConfigEntry{&catalog.ProxyDefaults{EntryHead: catalog.EntryHead{Kind: catalog.EntryProxyDefaults, Name: catalog.GlobalName}, Config: map[string]any{"protocol": "http"}}}, entries...)
	for _, e := range all {
		e.Normalize()
	}
	c, err := chain.Compile(chain.Request{Service: "web", Datacenter: "dc1", TrustDomain: domain}, chain.SetOf(all...))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]*proxy.Target{}
	for id, to := range c.Targets {
		app := answering(t, func(r *http.Request, _ string) string {
			return "HTTP/1.1 200 OK\r\nX-Old: 1\r\nX-Kept: 1\r\nContent-Length: 0\r\nX-Asked: " + to.Service + " " + r.RequestURI + " " + strings.Join(r.Header["X-Env"], "+") + "\r\n\r\n"
		})
		targets[id] = target(id, app.addr)
	}
	routes, err := proxy.NewRoutes(c, targets)
	if err != nil {
		t.Fatal(err)
	}
	return single(t, "", func(l *proxy.Listener, _ *proxy.Target) { l.Routes = routes })
}

func head(kind catalog.EntryKind, name string) catalog.EntryHead {
	return catalog.EntryHead{Kind: kind, Name: name}
}

func TestRoutes(t *testing.T) {
	to := func(service string, m catalog.HTTPRequestMatch, change func(*catalog.ServiceRouteDestination)) catalog.ServiceRoute {
		d := &catalog.ServiceRouteDestination{Service: service}
		if change != nil {
			change(d)
		}
		return catalog.ServiceRoute{Match: &catalog.ServiceRouteMatch{HTTP: &m}, Destination: d}
	}
	addr := routed(t, &catalog.ServiceRouter{EntryHead: head(catalog.EntryServiceRouter, "web"), Routes: []catalog.ServiceRoute{
		to("exact", catalog.HTTPRequestMatch{PathExact: "/exact"}, nil),
		to("api", catalog.HTTPRequestMatch{PathPrefix: "/api/", CaseInsensitive: true}, func(d *catalog.ServiceRouteDestination) {
			d.PrefixRewrite = "/v2/"
			d.RequestHeaders = &catalog.HeaderModifiers{Set: map[string]string{"X-Env": "set"}, Add: map[string]string{"x-env": "added"}}
			d.ResponseHeaders = &catalog.HeaderModifiers{Remove: []string{"x-old"}, Add: map[string]string{"X-New": "1", "Content-Length": "7"}}
		}),
		to("regex", catalog.HTTPRequestMatch{PathRegex: "/[0-9]+/x"}, nil),
		to("methods", catalog.HTTPRequestMatch{Methods: []string{"PUT", "DELETE"}}, nil),
		to("beta", catalog.HTTPRequestMatch{Header: []catalog.HeaderMatch{{Name: "X-Beta", Present: true}, {Name: "X-No", Present: true, Invert: true}}}, nil),
		to("query", catalog.HTTPRequestMatch{QueryParam: []catalog.QueryParamMatch{{Name: "q", Exact: "1"}}}, nil),
	}})
	for text, want := range map[string]string{
		"GET /exact":               "exact /exact ",
		"GET /./exact":             "exact /exact ",
		"GET /exact/":              "web /exact/ ",
		"GET /api/x?y":             "api /v2/x?y set+added",
		"GET /API//x":              "api /v2/x set+added",
		"GET /42/x":                "regex /42/x ",
		"GET /42/xy":               "web /42/xy ",
		"DELETE /":                 "methods / ",
		"GET /\nX-Beta: 1":         "beta / ",
		"GET /\nX-Beta: 1\nX-No: ": "web / ",
		"GET /?a&q=1":              "query /?a&q=1 ",
		"GET /?q=2":                "web /?q=2 ",
	} {
		line, fields, _ := strings.Cut(text, "\n")
		if fields != "" {
			fields = strings.ReplaceAll(fields, "\n", "\r\n") + "\r\n"
		}
		r, _ := ask(t, addr, line+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+fields+"X-Env: mine\r\n\r\n")
		if got := r.Header.Get("X-Asked"); got != strings.TrimRight(strings.Replace(want+"mine", "addedmine", "added", 1), " ") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if api := strings.HasPrefix(want, "api"); (r.Header.Get("X-Old") == "") != api || (r.Header.Get("X-New") == "1") != api || r.Header.Get("X-Kept") == "" || r.ContentLength != 0 {
			t.Errorf("%q: %v", text, r.Header)
		}
	}
}

// Requests are spread by weight, within 1.5 points.
func TestSplits(t *testing.T) {
	addr := routed(t, &catalog.ServiceSplitter{EntryHead: head(catalog.EntryServiceSplitter, "web"), Splits: []catalog.ServiceSplit{
		{Weight: 70}, {Weight: 29.5, Service: "other"}, {Weight: 0.5, Service: "rare"},
	}})
	c := dial(t, addr)
	const n = 10_000
	counts := map[string]int{}
	for range n {
		c.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
		text, err := readHead(c)
		if err != nil {
			t.Fatal(err)
		}
		_, asked, _ := strings.Cut(text, "X-Asked: ")
		name, _, _ := strings.Cut(asked, " ")
		counts[name]++
	}
	for name, want := range map[string]float64{"web": 70, "other": 29.5, "rare": 0.5} {
		if got := float64(counts[name]) * 100 / n; math.Abs(got-want) > 1.5 {
			t.Errorf("%s has %.2f of 100, want %.1f", name, got, want)
		}
	}
}

// A chain and targets that do not fit are no routes.
func TestRoutesRefused(t *testing.T) {
	c, err := chain.Compile(chain.Request{Service: "web", Datacenter: "dc1", TrustDomain: domain}, chain.SetOf())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proxy.NewRoutes(c, nil); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Error(err)
	}
}

// hashed runs a hop whose requests are placed by a header.
func hashed(t *testing.T, to *proxy.Target) string {
	t.Helper()
	return hashedBy(t, to, catalog.HashPolicy{Field: "header", FieldValue: "X-User"})
}

// hashedBy runs a hop whose requests are placed by parts of them.
func hashedBy(t *testing.T, to *proxy.Target, by ...catalog.HashPolicy) string {
	t.Helper()
	r := &catalog.ServiceResolver{EntryHead: head(catalog.EntryServiceResolver, "web"), LoadBalancer: &catalog.LoadBalancer{HashPolicies: by}}
	c, err := chain.Compile(chain.Request{Service: "web", Datacenter: "dc1", TrustDomain: domain}, chain.SetOf(
		&catalog.ProxyDefaults{EntryHead: head(catalog.EntryProxyDefaults, catalog.GlobalName), Config: map[string]any{"protocol": "http"}}, r))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]*proxy.Target{}
	for id := range c.Targets {
		targets[id] = to
	}
	routes, err := proxy.NewRoutes(c, targets)
	if err != nil {
		t.Fatal(err)
	}
	return single(t, "", func(l *proxy.Listener, _ *proxy.Target) { l.Routes = routes })
}

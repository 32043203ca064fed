package proxy_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/proxy"
)

// ENV-9: a listener takes so many requests a second, of some paths others, and says when there is room again. A new
// snapshot with the same limits forgives nothing.
func TestENV9_Rates(t *testing.T) {
	app := answering(t, echo)
	from := catalog.RateLimits{InstanceLevel: catalog.InstanceRateLimits{RequestsPerSecond: 1, RequestsMaxBurst: 5, Routes: []catalog.RouteRateLimit{
		{PathExact: "/%6cogin", RequestsPerSecond: 1, RequestsMaxBurst: 2},
		{PathPrefix: "/free/", RequestsPerSecond: 1000},
	}}}
	rates := func() *proxy.Rates {
		r, err := proxy.NewRates(&from)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	l := direct(target("app", app.addr))
	l.Rates = rates()
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l}}, proxy.Options{})
	passed := func(path string, n int) (passed int) {
		t.Helper()
		for range n {
			r, body := ask(t, p.Addr("l").String(), "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			switch r.StatusCode {
			case http.StatusOK:
				passed++
			case http.StatusTooManyRequests:
				if after, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || after < 1 || r.Header.Get("X-RateLimit-Limit") != "1" || r.Header.Get("X-RateLimit-Remaining") != "0" || body == "" {
					t.Errorf("%v, %q", r.Header, body)
				}
			default:
				t.Error(r.Status)
			}
		}
		return passed
	}
	f := func(what, path string, n, least, most int) {
		t.Helper()
		if got := passed(path, n); got < least || got > most {
			t.Errorf("%s: %d of %d passed, want %d to %d", what, got, n, least, most)
		}
	}
	f("the instance's", "/", 10, 5, 7)
	f("of a route", "/./login", 5, 2, 4)
	f("of another", "/free/x", 100, 100, 100)
	next := *l
	next.Rates = rates()
	if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
		t.Fatal(err)
	}
	f("after a snapshot", "/", 5, 0, 3)
	from.InstanceLevel.RequestsMaxBurst = 6
	next.Rates = rates()
	if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
		t.Fatal(err)
	}
	f("another limit", "/", 8, 6, 8)
}

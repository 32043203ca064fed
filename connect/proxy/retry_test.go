package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/connect/proxy"
)

// retrying runs a hop to a target whose only route has a destination.
func retrying(t *testing.T, to *proxy.Target, d catalog.ServiceRouteDestination, methods ...string) *proxy.Proxy {
	t.Helper()
	c, err := chain.Compile(chain.Request{Service: "web", Datacenter: "dc1", TrustDomain: domain}, chain.SetOf(
		&catalog.ProxyDefaults{EntryHead: head(catalog.EntryProxyDefaults, catalog.GlobalName), Config: map[string]any{"protocol": "http"}},
		&catalog.ServiceRouter{EntryHead: head(catalog.EntryServiceRouter, "web"), Routes: []catalog.ServiceRoute{
			{Match: &catalog.ServiceRouteMatch{HTTP: &catalog.HTTPRequestMatch{PathPrefix: "/", Methods: methods}}, Destination: &d},
		}}))
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
	return hop(t, "", func(l *proxy.Listener, _ *proxy.Target) { l.Routes = routes })
}

// never takes nobody out of service.
var never = balance.Policy{Method: balance.RoundRobin, Outliers: balance.Outliers{Disabled: true}}

// Trap 21: an application that is killed between taking a request and answering it, thousands of times, gets no POST
// twice; what is safe to repeat is repeated at another endpoint.
func TestKilledBetweenAcceptAndReply(t *testing.T) {
	const n = 3000
	var mu sync.Mutex
	seen := map[string]int{}
	kill := func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			seen[r.Method+r.URL.Path+string(body)]++
			die := rand.IntN(3) == 0
			mu.Unlock()
			if die {
				return
			}
			io.WriteString(c, ok(r.URL.Path))
		}
	}
	to := target("app", listen(t, kill), listen(t, kill))
	to.Balance = never
	p := retrying(t, to, catalog.ServiceRouteDestination{NumRetries: 3, RetryOn: []string{"5xx", "gateway-error", "reset", "connect-failure"}})
	addr := p.Addr("l").String()
	lost := map[string]int{}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for i := range n {
		method := []string{"GET", "POST"}[i%2]
		r, _ := http.NewRequest(method, fmt.Sprintf("http://%s/%d", addr, i), strings.NewReader(strconv.Itoa(i)))
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 200 || string(body) != fmt.Sprintf("/%d", i) {
			lost[method]++
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for what, times := range seen {
		if strings.HasPrefix(what, "POST") && times != 1 {
			t.Errorf("%s arrived %d times", what, times)
		}
	}
	if lost["POST"] < n/12 || lost["GET"] > n/20 {
		t.Errorf("of %d requests of each kind %d POST and %d GET had no answer", n/2, lost["POST"], lost["GET"])
	}
	settle(t, p)
}

// Statuses that the route names are answered by another endpoint, as long as the body is at hand, but not for methods
// that change things, unless the route names them.
func TestRetriesOfStatus(t *testing.T) {
	var asked atomic.Int64
	bad := answering(t, func(_ *http.Request, body string) string {
		asked.Add(1)
		return "HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nbad"
	})
	good := answering(t, func(r *http.Request, body string) string { return ok(fmt.Sprint(r.Method, len(body))) })
	f := func(what, method string, size int, d catalog.ServiceRouteDestination, want int, methods ...string) {
		t.Helper()
		to := target("app", bad.addr, good.addr)
		to.Balance = never
		addr := retrying(t, to, d, methods...).Addr("l").String()
		asked.Store(0)
		for range 4 {
			r, body := ask(t, addr, fmt.Sprintf("%s / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", method, size, strings.Repeat("x", size)))
			if r.StatusCode == 200 && body != fmt.Sprint(method, size) || r.StatusCode == 503 && body != "bad" {
				t.Errorf("%s: %s, %q", what, r.Status, body)
			}
			if r.StatusCode != want && want == 200 {
				t.Errorf("%s: %s", what, r.Status)
			}
			if r.StatusCode == 503 {
				want--
			}
		}
		if want != 200 && want != 0 {
			t.Errorf("%s: the endpoint that says no was passed over: %d", what, want)
		}
		if n := asked.Load(); n < 2 {
			t.Errorf("%s: it was asked %d times", what, n)
		}
	}
	codes := catalog.ServiceRouteDestination{NumRetries: 2, RetryOnStatusCodes: []uint32{503}}
	f("GET", "GET", 0, codes, 200)
	f("PUT with a body", "PUT", 64<<10, codes, 200)
	f("PUT with a body that is not kept", "PUT", 64<<10+1, codes, 2)
	f("POST", "POST", 10, codes, 2)
	f("POST that the route names", "POST", 10, codes, 200, "POST")
	f("another status", "GET", 0, catalog.ServiceRouteDestination{NumRetries: 2, RetryOnStatusCodes: []uint32{502}}, 2)
	f("5xx", "GET", 0, catalog.ServiceRouteDestination{RetryOn: []string{"5xx"}}, 200)
	f("gateway-error", "GET", 0, catalog.ServiceRouteDestination{RetryOn: []string{"gateway-error"}}, 200)
	f("connections only", "GET", 0, catalog.ServiceRouteDestination{RetryOnConnectFailure: true, NumRetries: 5}, 2)
}

// L5D-1: of requests that all fail a fifth is sent again, and ten a second beside.
func TestL5D1_RetryBudget(t *testing.T) {
	var asked atomic.Int64
	app := answering(t, func(*http.Request, string) string {
		asked.Add(1)
		return "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
	})
	to := target("app", app.addr, answering(t, func(*http.Request, string) string {
		asked.Add(1)
		return "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
	}).addr)
	to.Balance = never
	p := retrying(t, to, catalog.ServiceRouteDestination{NumRetries: 1, RetryOn: []string{"5xx"}})
	c := dial(t, p.Addr("l").String())
	const n = 2000
	for range n {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := readHead(c); err != nil {
			t.Fatal(err)
		}
	}
	if retries := asked.Load() - n; retries < n/5 || retries > n/5+10*10+n/100 {
		t.Errorf("%d requests were sent %d times again", n, retries)
	}
	if p.Clusters()[0].Unbudgeted == 0 {
		t.Error("what the budget forbids is not counted")
	}
}

// ENV-8: an attempt has a time of its own, and another endpoint is asked when it is over.
func TestTryTimeout(t *testing.T) {
	hang := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	good := answering(t, echo)
	to := target("app", hang, good.addr)
	to.Balance, to.TryTimeout = never, 100*time.Millisecond
	addr := retrying(t, to, catalog.ServiceRouteDestination{RetryOn: []string{"reset"}, RequestTimeout: catalog.Duration(20 * time.Second)}).Addr("l").String()
	for range 4 {
		begun := time.Now()
		if r, _ := ask(t, addr, get); r.StatusCode != 200 || time.Since(begun) > 5*time.Second {
			t.Errorf("%s after %v", r.Status, time.Since(begun))
		}
	}
	if r, _ := ask(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"); r.StatusCode != 504 && r.StatusCode != 200 {
		t.Error(r.Status)
	}
}

// Trap 12: a hop passes on how long the caller waits, less what it took itself, never more than it may take.
func TestDeadlines(t *testing.T) {
	fields := make(chan http.Header, 1)
	app := answering(t, func(r *http.Request, _ string) string {
		fields <- r.Header
		return ok("")
	})
	left := func(addr, name, more string) time.Duration {
		t.Helper()
		ask(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+more+"\r\n")
		h := <-fields
		if len(h[http.CanonicalHeaderKey(name)]) != 1 {
			t.Fatalf("%q: %v", more, h)
		}
		v := h.Get(name)
		n, err := strconv.Atoi(v[:len(v)-1])
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(n) * map[byte]time.Duration{'n': 1, 'u': time.Microsecond, 'm': time.Millisecond, 'S': time.Second}[v[len(v)-1]]
	}
	within := func(what string, got, want time.Duration) {
		t.Helper()
		if got > want || got < want-5*time.Second {
			t.Errorf("%s: %v, want a little less than %v", what, got, want)
		}
	}
	bounded := single(t, app.addr, func(_ *proxy.Listener, to *proxy.Target) { to.RequestTimeout = 30 * time.Second })
	within("from the target", left(bounded, "X-Curia-Timeout", ""), 30*time.Second)
	within("lowered", left(bounded, "X-Curia-Timeout", "x-curia-timeout: 20S\r\n"), 20*time.Second)
	within("not raised", left(bounded, "X-Curia-Timeout", "x-curia-timeout: 20M\r\n"), 30*time.Second)
	within("the least of two", left(bounded, "X-Curia-Timeout", "x-curia-timeout: 20M\r\ngrpc-timeout: 25000m\r\n"), 25*time.Second)
	within("gRPC", left(bounded, "grpc-timeout", "content-type: application/grpc+proto\r\ngrpc-timeout: 99999999m\r\n"), 30*time.Second)
	open := single(t, app.addr, nil)
	within("the caller's alone", left(open, "X-Curia-Timeout", "x-curia-timeout: 20S\r\n"), 20*time.Second)
	for _, more := range []string{"", "x-curia-timeout: soon\r\n", "x-curia-timeout: -1S\r\n", "x-curia-timeout: 1234567890S\r\n"} {
		ask(t, open, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+more+"\r\n")
		if h := <-fields; h.Get("X-Curia-Timeout") != "" {
			t.Errorf("%q: %v", more, h)
		}
	}
	if r, _ := ask(t, open, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-curia-timeout: 0m\r\n\r\n"); r.StatusCode != 504 {
		t.Errorf("no time is left: %s", r.Status)
	}
}

// Who waits for too little does not have an endpoint taken out of service.
func TestImpatientCallers(t *testing.T) {
	hang := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	p := hop(t, "", func(l *proxy.Listener, _ *proxy.Target) { l.Routes = proxy.Direct(target("app", hang)) })
	for range 12 {
		if r, _ := ask(t, p.Addr("l").String(), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-curia-timeout: 20m\r\n\r\n"); r.StatusCode != 504 {
			t.Error(r.Status)
		}
	}
	if c := p.Clusters()[0]; c.Ejections != 0 {
		t.Errorf("%+v", c)
	}
}

// Failover: targets stand in for one another in their order, when one has too few endpoints in service and when none of
// them can be reached, and for a request that is made again when all of them have failed it.
func TestFailover(t *testing.T) {
	name := func(n string) string {
		return answering(t, func(*http.Request, string) string { return ok(n) }).addr
	}
	failing := func(first *proxy.Target) string {
		t.Helper()
		c, err := chain.Compile(chain.Request{Service: "web", Datacenter: "dc1", TrustDomain: domain}, chain.SetOf(
			&catalog.ProxyDefaults{EntryHead: head(catalog.EntryProxyDefaults, catalog.GlobalName), Config: map[string]any{"protocol": "http"}},
			&catalog.ServiceResolver{EntryHead: head(catalog.EntryServiceResolver, "web"), Failover: map[string]*catalog.ServiceFailover{"*": {Targets: []catalog.FailoverTarget{{Service: "second"}, {Service: "third"}}}}},
			&catalog.ServiceRouter{EntryHead: head(catalog.EntryServiceRouter, "web"), Routes: []catalog.ServiceRoute{{Destination: &catalog.ServiceRouteDestination{NumRetries: 2, RetryOnStatusCodes: []uint32{503}}}}}))
		if err != nil {
			t.Fatal(err)
		}
		targets := map[string]*proxy.Target{}
		for id, to := range c.Targets {
			targets[id] = target(id, name(to.Service))
			if to.Service == "web" {
				first.Name = id
				targets[id] = first
			}
		}
		routes, err := proxy.NewRoutes(c, targets)
		if err != nil {
			t.Fatal(err)
		}
		r, body := ask(t, single(t, "", func(l *proxy.Listener, _ *proxy.Target) { l.Routes = routes }), get)
		if r.StatusCode != 200 {
			t.Errorf("%s, %q", r.Status, body)
		}
		return body
	}
	sick := target("", name("web"), name("web"))
	for i := range sick.Endpoints {
		sick.Endpoints[i].Unhealthy = true
	}
	down := func() string {
		return answering(t, func(*http.Request, string) string { return "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n" }).addr
	}
	for what, to := range map[string]struct {
		first *proxy.Target
		want  string
	}{
		"all of it fail":   {target("", down(), down()), "second"},
		"one of it fails":  {target("", down(), name("web")), "web"},
		"none can be had":  {target("", nowhere(t), nowhere(t)), "second"},
		"it is there":      {target("", name("web")), "web"},
		"it cannot be had": {target("", nowhere(t)), "second"},
		"it has nobody":    {target(""), "second"},
		"it is sick":       {sick, "second"},
	} {
		if got := failing(to.first); got != to.want {
			t.Errorf("%s: %s answers, want %s", what, got, to.want)
		}
	}
}

// failover is a listener whose targets stand in for one another, first and second, and its address.
func failover(t *testing.T, protocol proxy.Protocol, first, second *proxy.Target) (*proxy.Proxy, *proxy.Listener) {
	t.Helper()
	l := direct(first)
	l.Protocol, l.Routes = protocol, standIn(t, first, second)
	return run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l}}, proxy.Options{}), l
}

// standIn are routes to first, for which second stands in.
func standIn(t *testing.T, first, second *proxy.Target) *proxy.Routes {
	t.Helper()
	routes, err := proxy.NewRoutes(&catalog.DiscoveryChain{ServiceName: "web", StartNode: "r", Nodes: map[string]*catalog.ChainNode{
		"r": {Type: catalog.ChainResolver, Resolver: &catalog.ChainTerminal{Target: first.Name, Failover: &catalog.ChainFailover{Targets: []string{second.Name}}}},
	}}, map[string]*proxy.Target{first.Name: first, second.Name: second})
	if err != nil {
		t.Fatal(err)
	}
	return routes
}

// forever is longer than any test waits.
const forever = time.Hour

// No target is waited for while another has an endpoint, however that one does; while none has, the first that gets one
// is waited for, whichever it is.
func TestFailoverWaitsForNone(t *testing.T) {
	app := listen(t, func(c net.Conn) { // who passes on bytes sees the end of the connection only
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			fmt.Fprint(c, ok("second"))
		}
	})
	empty := func(name string) *proxy.Target {
		to := target(name)
		to.Patience = forever
		return to
	}
	sick := target("second", app, nowhere(t), nowhere(t)) // with so few in service all get traffic
	for i := range sick.Endpoints {
		sick.Endpoints[i].Unhealthy = i > 0
	}
	all := target("second", app)
	all.Endpoints[0].Unhealthy = true
	for what, to := range map[string]*proxy.Target{"it is well": target("second", app), "most of it is sick": sick, "all of it is sick": all} {
		for _, protocol := range []proxy.Protocol{proxy.HTTP, proxy.TCP} {
			p, _ := failover(t, protocol, empty("first"), to)
			if r, body := ask(t, p.Addr("l").String(), get); r.StatusCode != 200 || body != "second" {
				t.Errorf("%s: %s, %q", what, r.Status, body)
			}
		}
	}
	p, _ := failover(t, proxy.HTTP, empty("first"), target("second", nowhere(t)))
	if r, body := ask(t, p.Addr("l").String(), get); r.StatusCode != 503 || !strings.Contains(body, "first has no endpoints; no connection to an endpoint of second could be made") {
		t.Errorf("it cannot be had: %s, %q", r.Status, body)
	}
	for i, name := range []string{"first", "second"} {
		p, l := failover(t, proxy.HTTP, empty("first"), empty("second"))
		got := make(chan string, 1)
		go func() { // ends with the answer
			r, _ := ask(t, p.Addr("l").String(), get)
			got <- r.Status
		}()
		pending(t, p)
		next, targets := *l, []*proxy.Target{empty("first"), empty("second")}
		targets[i] = target(name, app)
		targets[i].Patience = forever
		next.Routes = standIn(t, targets[0], targets[1])
		if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != "200 OK" {
			t.Errorf("%s gets an endpoint: %s", name, s)
		}
	}
}

// A target whose endpoints were taken out of service gets its traffic back from the one that stands in when their time is over.
func TestFailoverFallsBack(t *testing.T) {
	var fails atomic.Bool
	fails.Store(true)
	app := func() string {
		return answering(t, func(*http.Request, string) string {
			if fails.Load() {
				return "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
			}
			return ok("first")
		}).addr
	}
	first := target("first", app(), app()) // a lone one is never taken out
	first.Balance.Outliers = balance.Outliers{Consecutive: 1, Base: 50 * time.Millisecond, MaxPercent: 100}
	p, _ := failover(t, proxy.HTTP, first, target("second", answering(t, func(*http.Request, string) string { return ok("second") }).addr))
	until := func(want string) {
		t.Helper()
		for begun := time.Now(); ; {
			if _, body := ask(t, p.Addr("l").String(), get); body == want {
				return
			}
			if time.Since(begun) > 20*time.Second {
				t.Fatalf("%s never answers", want)
			}
		}
	}
	until("second")
	fails.Store(false)
	until("first")
}

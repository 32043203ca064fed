package proxy_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/curia-mesh/curia/connect/proxy"
)

// A sidecar whose application is gone has not sent the request to anybody: it goes to another instance, whatever it is.
// An application cannot say so itself, and callers do not see that it was said.
func TestUnsent(t *testing.T) {
	var seen atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/forged" {
			w.Header().Set("X-Curia-Unsent", "true")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer app.Close()
	var other *proxy.Proxy
	m := mesh(t, proxy.HTTP, app.Listener.Addr().String(), func(p *pair) {
		gone := *p.incoming
		gone.Routes = proxy.Direct(target("local", nowhere(t)))
		other = run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{&gone}}, p.options)
		p.in = run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{p.incoming}}, p.options)
		to := p.target(t)
		to.Balance = never
		to.Endpoints = append(to.Endpoints, proxy.Endpoint{Network: "tcp", Address: other.Addr("public").String()})
		p.outgoing.Routes = proxy.Direct(to)
	})
	post := func(path string) *http.Response {
		w, err := http.Post("http://"+m.addr+path, "text/plain", strings.NewReader("once"))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		io.Copy(io.Discard, w.Body)
		if w.Header.Get("X-Curia-Unsent") != "" {
			t.Errorf("%s: the caller sees %v", path, w.Header)
		}
		return w
	}
	const n = 20
	for range n {
		if w := post("/"); w.StatusCode != http.StatusOK {
			t.Fatal(w.Status)
		}
	}
	if got := seen.Load(); got != n {
		t.Errorf("%d requests were seen, of %d", got, n)
	}
	for range n {
		if w := post("/forged"); w.StatusCode != http.StatusServiceUnavailable {
			t.Fatal(w.Status)
		}
	}
	if got := seen.Load(); got != 2*n {
		t.Errorf("an application had %d of %d requests sent again", got-2*n, n)
	}
}

// An application may go with a request that it was sent over a connection of before. What can be sent again goes to another
// instance all the same, though the first one may have seen it.
func TestUnsentAfterAll(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{})
	go func() { // ends with the listener or the connection
		defer close(left)
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := readHead(c); err != nil {
			return
		}
		l.Close()
		io.WriteString(c, ok("first"))
		readHead(c)
	}()
	t.Cleanup(func() {
		l.Close()
		<-left
	})
	other := answering(t, func(*http.Request, string) string { return ok("other") })
	m := mesh(t, proxy.HTTP, other.addr, func(p *pair) {
		first := *p.incoming
		first.Routes = proxy.Direct(target("local", l.Addr().String()))
		gone := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{&first}}, p.options)
		p.in = run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{p.incoming}}, p.options)
		to := p.target(t)
		to.Balance = never
		to.Endpoints = append(to.Endpoints, proxy.Endpoint{Network: "tcp", Address: gone.Addr("public").String()})
		p.outgoing.Routes = proxy.Direct(to)
	})
	var from []string
	for range 6 {
		r, body := ask(t, m.addr, get)
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s %q", r.Status, body)
		}
		from = append(from, body)
	}
	<-left
	if n := strings.Count(strings.Join(from, " "), "first"); n != 1 {
		t.Errorf("answers are of %q", from)
	}
}

// Where every application is gone the caller hears why, of a sidecar that knows.
func TestUnsentEverywhere(t *testing.T) {
	m := mesh(t, proxy.HTTP, nowhere(t), nil)
	w, err := http.Get("http://" + m.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	text, _ := io.ReadAll(w.Body)
	if w.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "no connection to an endpoint of local could be made") || w.Header.Get("X-Curia-Unsent") != "" {
		t.Errorf("%d %q %v", w.StatusCode, text, w.Header)
	}
}

// Of instances that refuse connections no request fails while there are others, however many would have to be tried again.
func TestRefusedCostsNoBudget(t *testing.T) {
	app := answering(t, func(*http.Request, string) string { return ok("") })
	to := target("app", app.addr, nowhere(t), nowhere(t), nowhere(t))
	to.Balance = never
	p := hop(t, "", func(l *proxy.Listener, _ *proxy.Target) { l.Routes = proxy.Direct(to) })
	c := dial(t, p.Addr("l").String())
	for i := range 500 {
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
		if head, err := readHead(c); err != nil || !strings.HasPrefix(head, "HTTP/1.1 200") {
			t.Fatalf("request %d: %v %s", i, err, head)
		}
	}
	if n := p.Clusters()[0].Unbudgeted; n > 0 {
		t.Errorf("the budget forbade %d", n)
	}
}

// Of connections of bytes none can be sent again once it is made. So a sidecar whose application refuses them ends the next one
// before the handshake, and the caller's goes to another instance; until the application is back.
func TestRefusedBytes(t *testing.T) {
	answer := func(who string) func(net.Conn) {
		return func(c net.Conn) { io.WriteString(c, who) }
	}
	before, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	left := before.Addr().String()
	before.Close()
	m := mesh(t, proxy.TCP, listen(t, answer("other")), func(p *pair) {
		first := *p.incoming
		first.Routes = proxy.Direct(target("local", left))
		gone := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{&first}}, p.options)
		p.in = run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{p.incoming}}, p.options)
		to := p.target(t)
		to.Balance = never
		to.Endpoints = append(to.Endpoints, proxy.Endpoint{Network: "tcp", Address: gone.Addr("public").String()})
		p.outgoing.Routes = proxy.Direct(to)
	})
	hear := func() string {
		c, err := net.Dial("tcp", m.addr)
		if err != nil {
			return "" // it was broken off before it was known to be there
		}
		defer c.Close()
		said, _ := io.ReadAll(c)
		return string(said)
	}
	lost := 0
	for range 50 { // more than the budget of retries would be for
		switch got := hear(); got {
		case "other":
		case "":
			lost++
		default:
			t.Fatalf("%q", got)
		}
	}
	if lost != 1 {
		t.Errorf("%d connections were lost to an application that is gone, want the first one", lost)
	}
	back, err := net.Listen("tcp", left)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { // ends with the listener
		defer close(served)
		for {
			c, err := back.Accept()
			if err != nil {
				return
			}
			answer("first")(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		back.Close()
		<-served
	})
	seen := map[string]int{}
	for range 4 {
		seen[hear()]++
	}
	if seen["first"] != 2 || seen["other"] != 2 {
		t.Errorf("when it is back connections go to %v, want 2 to each", seen)
	}
}

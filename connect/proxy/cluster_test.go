package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/connect/proxy"
)

// nowhere is an address at which nobody listens, nor comes to while the test runs: a connection to elsewhere holds it.
func nowhere(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().String()
}

// lines is a log whose lines can be waited for.
type lines struct {
	mu    sync.Mutex
	grown *sync.Cond
	text  bytes.Buffer
}

func newLines() *lines {
	l := new(lines)
	l.grown = sync.NewCond(&l.mu)
	return l
}

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.grown.Broadcast()
	return l.text.Write(b)
}

// wait waits until all of some texts were written.
func (l *lines) wait(t *testing.T, texts ...string) {
	t.Helper()
	late := time.AfterFunc(20*time.Second, l.grown.Broadcast)
	defer late.Stop()
	begun := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range texts {
		for !strings.Contains(l.text.String(), text) {
			if time.Since(begun) > 20*time.Second {
				t.Fatalf("%q is not in the log: %s", text, l.text.String())
			}
			l.grown.Wait()
		}
	}
}

// listener is one that sends all to targets by weight of nothing: to the first.
func direct(to *proxy.Target) *proxy.Listener {
	return &proxy.Listener{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, TrustForwarded: true, Routes: proxy.Direct(to)}
}

// An endpoint that fails is taken out, with its reason in log and status, and stays out when the snapshot is replaced.
// Who is not there is never asked for an answer.
func TestEjection(t *testing.T) {
	var bad atomic.Int64
	good := answering(t, echo)
	broken := answering(t, func(*http.Request, string) string {
		bad.Add(1)
		return "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
	})
	make := func() *proxy.Target {
		to := target("app", good.addr, broken.addr)
		to.Balance = balance.Policy{Method: balance.RoundRobin, Panic: -1, Outliers: balance.Outliers{Base: time.Hour, Most: time.Hour}}
		return to
	}
	log := newLines()
	l := direct(make())
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l}}, proxy.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	addr := p.Addr("l").String()
	for range 20 {
		ask(t, addr, get)
	}
	if n := bad.Load(); n != 5 {
		t.Errorf("%d requests went to the endpoint that fails, want 5", n)
	}
	log.wait(t, "endpoint taken out of service", "endpoint="+broken.addr, `reason="5 failures in a row"`)
	for range 5 {
		next := *l
		next.Routes = proxy.Direct(make())
		if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
			t.Fatal(err)
		}
		ask(t, addr, get)
	}
	if n := bad.Load(); n != 5 {
		t.Errorf("%d requests went to it in the end", n)
	}
	st := p.Clusters()
	if len(st) != 1 || st[0].Ejections != 1 || st[0].Endpoints[1].State != "ejected" || st[0].Endpoints[1].Reason != "5 failures in a row" || st[0].Endpoints[0].State != "in service" {
		t.Errorf("%+v", st)
	}
	settle(t, p)
}

// Of several endpoints the one that answers 429 gets little: it is quick, and wants less.
func TestL5D6_TooManyRequests(t *testing.T) {
	var limited atomic.Int64
	full := answering(t, func(*http.Request, string) string {
		limited.Add(1)
		return "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
	})
	addrs := []string{full.addr}
	for range 4 {
		addrs = append(addrs, answering(t, echo).addr)
	}
	addr := hop(t, "", func(l *proxy.Listener, _ *proxy.Target) { l.Routes = proxy.Direct(target("app", addrs...)) }).Addr("l").String()
	c := dial(t, addr)
	in := bufio.NewReader(c)
	const n = 500
	for range n {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, r.Body)
	}
	if got := limited.Load(); got > n/20 {
		t.Errorf("%d of %d requests went to the endpoint that has too many", got, n)
	}
}

// ENV-4: what is above the limit of requests is answered at once, what finds no connection waits for one, and no more
// than may wait.
func TestENV4_Overflow(t *testing.T) {
	came, answer := make(chan struct{}, 10), make(chan struct{})
	app := answering(t, func(*http.Request, string) string {
		came <- struct{}{}
		<-answer
		return ok("done")
	})
	limited := func(limits proxy.Limits) (*proxy.Proxy, func() chan int) {
		p := hop(t, app.addr, func(_ *proxy.Listener, to *proxy.Target) { to.Limits = limits })
		return p, func() chan int {
			got := make(chan int, 1)
			go func() { // ends with the answer
				r, _ := ask(t, p.Addr("l").String(), get)
				got <- r.StatusCode
			}()
			return got
		}
	}
	p, send := limited(proxy.Limits{Requests: 1})
	first := send()
	<-came
	if r, body := ask(t, p.Addr("l").String(), get); r.StatusCode != 503 || body != "503 Service Unavailable: app has its limit of requests at a time\n" {
		t.Errorf("above the limit: %s, %q", r.Status, body)
	}
	answer <- struct{}{}
	if got := <-first; got != 200 {
		t.Errorf("below it: %d", got)
	}
	p, send = limited(proxy.Limits{Connections: 1, Pending: 1})
	first = send()
	<-came
	second := send()
	pending(t, p)
	if r, _ := ask(t, p.Addr("l").String(), get); r.StatusCode != 503 {
		t.Errorf("who need not wait: %s", r.Status)
	}
	answer <- struct{}{}
	<-came
	answer <- struct{}{}
	if a, b := <-first, <-second; a != 200 || b != 200 {
		t.Errorf("in turn: %d, %d", a, b)
	}
	settle(t, p)
	if s := p.Clusters()[0]; s.Overflows != 1 {
		t.Errorf("%+v", s)
	}
}

// pending returns when a request waits.
func pending(t *testing.T, p *proxy.Proxy) {
	t.Helper()
	for begun := time.Now(); p.Clusters()[0].Pending == 0; {
		if time.Since(begun) > 20*time.Second {
			t.Fatal("no request waits")
		}
	}
}

// L5D-7: a target that has just lost its endpoints is waited for, and who comes when it had none for long fails at once,
// with the cause.
func TestL5D7_FailFast(t *testing.T) {
	app := answering(t, echo)
	l := direct(&proxy.Target{Name: "app", Patience: 300 * time.Millisecond})
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l}}, proxy.Options{})
	addr := p.Addr("l").String()
	begun := time.Now()
	if r, _ := ask(t, addr, get); r.StatusCode != 503 {
		t.Errorf("never an endpoint: %s", r.Status)
	}
	first := time.Since(begun)
	begun = time.Now()
	if r, body := ask(t, addr, get); r.StatusCode != 503 || !strings.Contains(body, "app has no endpoints") {
		t.Errorf("still none: %s, %q", r.Status, body)
	}
	if again := time.Since(begun); first < 200*time.Millisecond || again > first {
		t.Errorf("waited %v, and then %v", first, again)
	}
	next := *l
	next.Routes = proxy.Direct(target("app", app.addr))
	if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
		t.Fatal(err)
	}
	if r, _ := ask(t, addr, get); r.StatusCode != 200 {
		t.Errorf("with an endpoint: %s", r.Status)
	}
}

// A request waits for the endpoint that comes.
func TestPatience(t *testing.T) {
	app := answering(t, echo)
	l := direct(&proxy.Target{Name: "app", Patience: 20 * time.Second})
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l}}, proxy.Options{})
	got := make(chan string, 1)
	go func() { // ends with the answer
		r, _ := ask(t, p.Addr("l").String(), get)
		got <- r.Status
	}()
	pending(t, p)
	next := *l
	next.Routes = proxy.Direct(target("app", app.addr))
	if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "200 OK" {
		t.Error(s)
	}
}

// L5D-5, HYS-1: a breaker that half of the requests failed at stops the others, and lets one try.
func TestL5D5_Breaker(t *testing.T) {
	var fails atomic.Bool
	var n atomic.Int64
	fails.Store(true)
	app := answering(t, func(r *http.Request, _ string) string {
		n.Add(1)
		if fails.Load() {
			return "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
		}
		return ok("")
	})
	log := newLines()
	to := target("app", app.addr)
	to.Breaker = &balance.BreakerPolicy{Volume: 10, Sleep: 100 * time.Millisecond}
	p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{direct(to)}}, proxy.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	addr := p.Addr("l").String()
	for range 10 {
		ask(t, addr, get)
	}
	st := p.Clusters()[0]
	if !st.BreakerOpen || st.BreakerReason != "10 of 10 requests had failed" {
		t.Errorf("%+v", st)
	}
	log.wait(t, "circuit breaker opened", `reason="10 of 10 requests had failed"`)
	fails.Store(false)
	for begun := time.Now(); ; {
		r, body := ask(t, addr, get)
		if r.StatusCode == 200 {
			break
		}
		if r.StatusCode != 503 || !strings.Contains(body, "app: the circuit breaker is open") || time.Since(begun) > 20*time.Second {
			t.Fatalf("%s, %q", r.Status, body)
		}
	}
	if n.Load() != 11 {
		t.Errorf("the application got %d requests, want 11", n.Load())
	}
	log.wait(t, "circuit breaker closed")
}

// Who has a hash is sent to one endpoint, in every snapshot.
func TestRingHash(t *testing.T) {
	for _, m := range []balance.Method{balance.RingHash, balance.Maglev} {
		var addrs []string
		for i := range 5 {
			addrs = append(addrs, answering(t, func(*http.Request, string) string { return ok(fmt.Sprint(i)) }).addr)
		}
		to := target("web", addrs...)
		to.Balance.Method = m
		addr := hashed(t, to)
		seen := map[string]string{}
		for i := range 60 {
			user := fmt.Sprintf("user-%d", i%20)
			_, body := ask(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-User: "+user+"\r\n\r\n")
			if old, found := seen[user]; found && old != body {
				t.Errorf("%s was sent to %s and to %s", user, old, body)
			}
			seen[user] = body
		}
		places := map[string]bool{}
		for _, at := range seen {
			places[at] = true
		}
		if len(places) < 3 {
			t.Errorf("20 users are at %d of 5 endpoints", len(places))
		}
	}
}

// Who has no cookie gets one, and is sent where it leads from then on; who has one gets no other.
func TestCookies(t *testing.T) {
	var addrs []string
	for i := range 5 {
		addrs = append(addrs, answering(t, func(*http.Request, string) string { return ok(fmt.Sprint(i)) }).addr)
	}
	for _, c := range []struct {
		config catalog.CookieConfig
		want   string // behind the value; empty for no cookie
	}{
		{catalog.CookieConfig{Session: true}, "; Path=/; HttpOnly"},
		{catalog.CookieConfig{TTL: 90 * time.Minute, Path: "/shop"}, "; Path=/shop; Max-Age=5400; HttpOnly"},
		{catalog.CookieConfig{TTL: time.Millisecond}, "; Path=/; Max-Age=1; HttpOnly"},
		{catalog.CookieConfig{Path: "/"}, ""},
	} {
		to := target("web", addrs...)
		to.Balance.Method = balance.RingHash
		addr := hashedBy(t, to, catalog.HashPolicy{Field: "cookie", FieldValue: "at", CookieConfig: &c.config, Terminal: true}, catalog.HashPolicy{SourceIP: true})
		places := map[string]bool{}
		for range 30 {
			r, body := ask(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: other=1\r\n\r\n")
			places[body] = true
			given, rest, _ := strings.Cut(r.Header.Get("Set-Cookie"), ";")
			if c.want == "" {
				if given != "" {
					t.Errorf("%+v: %q is given", c.config, given)
				}
				continue
			}
			if len(given) != len("at=")+16 || !strings.HasPrefix(given, "at=") || ";"+rest != c.want {
				t.Fatalf("%+v: %q is given, want at=… %q", c.config, r.Header.Get("Set-Cookie"), c.want)
			}
			again, at := ask(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: other=1; "+given+"\r\n\r\n")
			if at != body || again.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s is sent to %s, and then to %s with %q", given, body, at, again.Header)
			}
		}
		if many := len(places) >= 3; many != (c.want != "") {
			t.Errorf("%+v: 30 callers are at %d of 5 endpoints", c.config, len(places))
		}
	}
}

// Where all others refuse connections, who is out of service is asked: it may be well again.
func TestLastResort(t *testing.T) {
	for _, kind := range []proxy.Protocol{proxy.HTTP, proxy.TCP} {
		var ill atomic.Bool
		app := answering(t, func(*http.Request, string) string {
			if ill.Load() {
				return "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
			}
			return ok("")
		})
		other := answering(t, func(*http.Request, string) string { return ok("") })
		to := func(addrs ...string) *proxy.Routes {
			to := target("app", addrs...)
			to.Balance = balance.Policy{Method: balance.RoundRobin, Outliers: balance.Outliers{Base: time.Hour, Most: time.Hour}}
			return proxy.Direct(to)
		}
		l := direct(target("app"))
		l.Routes = to(app.addr, other.addr)
		p := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l}}, proxy.Options{})
		addr := p.Addr("l").String()
		ill.Store(true)
		for p.Clusters()[0].Ejections == 0 {
			ask(t, addr, get)
		}
		ill.Store(false)
		next := *l
		next.Protocol, next.Routes = kind, to(app.addr, nowhere(t))
		if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			c := dial(t, addr)
			io.WriteString(c, get)
			if head, err := readHead(c); err != nil || !strings.HasPrefix(head, "HTTP/1.1 200") {
				t.Fatalf("%v: %v %s: %+v", kind, err, head, p.Clusters())
			}
			c.Close()
		}
	}
}

// Requests that wait for a connection while their target goes are carried out all the same, however many they are.
func TestTargetGoesMeanwhile(t *testing.T) {
	app := answering(t, echo)
	open := make(chan struct{})
	var inside string
	p := mesh(t, proxy.HTTP, app.addr, func(p *pair) {
		p.in = run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{p.incoming}}, p.options)
		inside = p.in.Addr("public").String()
		to := p.target(t)
		to.Endpoints[0].Address = listen(t, func(c net.Conn) {
			<-open
			other, err := net.Dial("tcp", inside)
			if err != nil {
				t.Error(err)
				return
			}
			defer other.Close()
			up := other.(*net.TCPConn)
			go func() { // ends with either connection
				io.Copy(up, c)
				up.CloseWrite()
			}()
			io.Copy(c, up)
		})
		p.outgoing.Routes = proxy.Direct(to)
	})
	const n = 30
	answers := make(chan string, n)
	for range n {
		go func() { // ends with the answer
			w, err := http.Get("http://" + p.addr + "/")
			if err != nil {
				answers <- err.Error()
				return
			}
			w.Body.Close()
			answers <- w.Status
		}()
	}
	until(t, p.out, func() bool { return p.out.Clusters()[0].Requests >= n })
	next := *p.outgoing
	next.Routes = proxy.Direct(target("other", inside))
	if err := p.out.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
		t.Fatal(err)
	}
	close(open)
	for range n {
		if status := <-answers; status != "200 OK" {
			t.Error(status)
		}
	}
}

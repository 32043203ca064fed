package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/connect/proxy"
)

// Trap 21: an application that closes kept connections at the worst moment is asked again where that is safe, over a new
// connection; no POST arrives twice.
func TestStaleConnections(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	app := listen(t, func(c net.Conn) { // each connection answers once, and takes the next request with it
		in := bufio.NewReader(c)
		for i := range 2 {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			mu.Lock()
			seen[r.Method+r.URL.Path]++
			mu.Unlock()
			if i == 0 {
				io.WriteString(c, ok(r.URL.Path))
			}
		}
	})
	p := hop(t, app, nil)
	addr := p.Addr("l").String()
	for i := range 300 {
		method := []string{"GET", "POST"}[i%2]
		r, body := ask(t, addr, fmt.Sprintf("%s /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method, i))
		if good := r.StatusCode == 200 && body == fmt.Sprintf("/%d", i); !good && (method == "GET" || r.StatusCode != 502) {
			t.Errorf("%s %d: %s, %q", method, i, r.Status, body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for what, n := range seen {
		if strings.HasPrefix(what, "POST") && n != 1 {
			t.Errorf("%s arrived %d times", what, n)
		}
	}
	settle(t, p)
}

// An endpoint that cannot be reached is passed over, for another and for another target; when there is none the caller
// is told so.
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	app := answering(t, echo)
	both := single(t, dead, func(l *proxy.Listener, _ *proxy.Target) { l.Routes = proxy.Direct(target("both", dead, app.addr)) })
	for range 4 {
		if r, _ := ask(t, both, get); r.StatusCode != 200 {
			t.Errorf("one of two endpoints is dead: %s", r.Status)
		}
	}
	if r, body := ask(t, single(t, dead, nil), get); r.StatusCode != 503 || !strings.Contains(body, "endpoint of app") {
		t.Errorf("the only endpoint is dead: %s, %q", r.Status, body)
	}
	empty := single(t, dead, func(l *proxy.Listener, _ *proxy.Target) { l.Routes = proxy.Direct(target("nobody")) })
	if r, body := ask(t, empty, get); r.StatusCode != 503 || !strings.Contains(body, "nobody has no endpoints") {
		t.Errorf("no endpoint: %s, %q", r.Status, body)
	}
}

// Trap 28: what is in time passes, what is not is answered in time and not before.
func TestTimeouts(t *testing.T) {
	const limit = time.Second
	app := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			switch r.URL.Path {
			case "/intime":
				time.Sleep(limit * 3 / 4)
			case "/late":
				io.Copy(io.Discard, in)
				return
			case "/slow":
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegin")
				io.Copy(io.Discard, in)
				return
			}
			io.WriteString(c, ok("good"))
		}
	})
	addr := single(t, app, func(_ *proxy.Listener, to *proxy.Target) { to.RequestTimeout = limit })
	if r, _ := ask(t, addr, "GET /intime HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); r.StatusCode != 200 {
		t.Errorf("in time: %s", r.Status)
	}
	begun := time.Now()
	if r, _ := ask(t, addr, "GET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); r.StatusCode != 504 {
		t.Errorf("late: %s", r.Status)
	}
	if took := time.Since(begun); took < limit || took > limit+5*time.Second {
		t.Errorf("the answer came after %s", took)
	}
	said := say(t, addr, "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if !strings.HasSuffix(said, "begin") {
		t.Errorf("%q", said)
	}
}

// Trap 26: who sends a head or a body too slowly is not waited for.
func TestSlowClients(t *testing.T) {
	app := answering(t, echo)
	addr := single(t, app.addr, func(l *proxy.Listener, _ *proxy.Target) {
		l.HeadTime, l.IdleTime, l.PartTime = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
	})
	for what, begin := range map[string]string{
		"nothing":    "",
		"a head":     "GET / HTTP/1.1\r\nHost: a\r\nX",
		"a body":     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
		"after one":  "GET /a HTTP/1.1\r\nHost: api\r\n\r\n",
		"small body": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
	} {
		c := dial(t, addr)
		begun := time.Now()
		io.WriteString(c, begin)
		dripped := make(chan struct{})
		go func() { // ends with the connection
			defer close(dripped)
			for range 100 {
				if what == "nothing" || what == "after one" {
					return
				}
				time.Sleep(50 * time.Millisecond)
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		io.Copy(io.Discard, c)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s: waited for %s", what, took)
		}
		c.Close()
		<-dripped
	}
}

// A caller that goes away ends what is done for it.
func TestCallerGone(t *testing.T) {
	gone := make(chan time.Time, 1)
	came := make(chan struct{})
	app := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		http.ReadRequest(in)
		close(came)
		io.Copy(io.Discard, in)
		gone <- time.Now()
	})
	addr := single(t, app, nil)
	c := dial(t, addr)
	io.WriteString(c, get)
	<-came
	left := time.Now()
	c.Close()
	select {
	case at := <-gone:
		if took := at.Sub(left); took > 5*time.Second {
			t.Errorf("the application was told after %s", took)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the application is never told")
	}
}

// Trap 22: a proxy that ends answers what it was asked before, says that the connection ends, and takes no more.
func TestDrainOfRequests(t *testing.T) {
	came, answer := make(chan struct{}), make(chan struct{})
	app := answering(t, func(*http.Request, string) string {
		close(came)
		<-answer
		return ok("done")
	})
	p := proxy.New(proxy.Options{DrainTime: 10 * time.Second})
	if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, Routes: proxy.Direct(target("app", app.addr))}}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }() // ends with stop
	addr := p.Addr("l").String()
	idle, busy := dial(t, addr), dial(t, addr)
	io.WriteString(busy, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
	<-came
	stop()
	if n, err := idle.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a connection without a request goes on")
	}
	close(answer)
	r, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil || r.StatusCode != 200 || !r.Close {
		t.Fatalf("%v, %v", r, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("a connection is taken after the end")
	}
}

// answers is an application that says the same to whatever comes.
func answers(t testing.TB, answer []byte) string {
	return listen(t, func(c net.Conn) {
		b := make([]byte, 4096)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

// A connection that has had an exchange and rests takes no more than 10 KiB. Most of that is the stack of who waits at it, which
// can be twice as large when some frame on it has grown.
func TestMemoryAtRest(t *testing.T) {
	if raced {
		t.Skip("the race detector makes frames larger")
	}
	const conns = 200
	p := mesh(t, proxy.HTTP, answers(t, []byte(ok("ok"))), nil)
	rest := func(n int) int {
		for range n {
			c := dial(t, p.addr)
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: api\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil); err != nil {
				t.Fatal(err)
			}
		}
		settle(t, p.out)
		settle(t, p.in)
		runtime.GC()
		runtime.GC() // what is pooled outlives one
		now := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(now)
		return int(now[0].Value.Uint64() + now[1].Value.Uint64())
	}
	before := rest(conns)
	if each := (rest(conns) - before) / conns; each > 10<<10 {
		t.Errorf("%d bytes for each", each)
	} else {
		t.Logf("%d bytes for each", each)
	}
}

// What passes takes no memory of the proxy's. Through TLS it is package tls that takes some.
func TestAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	answer := []byte(ok(strings.Repeat("x", 1024)))
	app := answers(t, answer)
	request := []byte("GET /v1/some/thing?a=b HTTP/1.1\r\nHost: api\r\nUser-Agent: test\r\nAccept: */*\r\nX-Request-Id: 1234\r\n\r\n")
	f := func(what, addr string, most float64) {
		t.Helper()
		c := dial(t, addr)
		b := make([]byte, 4096)
		exchange := func() {
			c.Write(request)
			for n := 0; n < len(answer); {
				k, err := c.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				n += k
			}
		}
		for range 50 {
			exchange()
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const n = 2000
		for range n {
			exchange()
		}
		runtime.ReadMemStats(&after)
		if each := float64(after.Mallocs-before.Mallocs) / n; each > most {
			t.Errorf("%s: %.2f allocations for each request, want %.1f at most", what, each, most)
		} else {
			t.Logf("%s: %.2f allocations for each request", what, each)
		}
	}
	f("one hop", single(t, app, nil), 0.5)
	f("two hops", mesh(t, proxy.HTTP, app, nil).addr, 4) // a record each way and hop
}

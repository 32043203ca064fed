package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/connect/proxy"
)

// wireApp is an application that keeps what it is sent, byte for byte, and answers each request as do wants it.
type wireApp struct {
	addr string
	mu   sync.Mutex
	raw  bytes.Buffer
	n    int // connections
}

// Write keeps bytes.
func (a *wireApp) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.raw.Write(b)
}

func (a *wireApp) seen() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.raw.String()
}

func (a *wireApp) conns() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

// answering serves requests with text that do makes of them, and reads their bodies first. When it makes none the
// connection ends.
func answering(t testing.TB, do func(r *http.Request, body string) string) *wireApp {
	t.Helper()
	a := new(wireApp)
	a.addr = listen(t, func(c net.Conn) {
		a.mu.Lock()
		a.n++
		a.mu.Unlock()
		in := bufio.NewReader(io.TeeReader(c, a))
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			answer := do(r, string(body))
			if answer == "" {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	return a
}

func ok(body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

func echo(r *http.Request, body string) string { return ok(r.Method + " " + r.RequestURI + " " + body) }

// single runs a proxy with one hop to an application, as change wants it, and returns its address.
func single(t testing.TB, app string, change func(l *proxy.Listener, to *proxy.Target)) string {
	t.Helper()
	return hop(t, app, change).Addr("l").String()
}

// hop runs a proxy with one hop to an application, as change wants it. Its listener is l.
func hop(t testing.TB, app string, change func(l *proxy.Listener, to *proxy.Target)) *proxy.Proxy {
	t.Helper()
	to := target("app", app)
	l := &proxy.Listener{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, TrustForwarded: true, Routes: proxy.Direct(to)}
	if change != nil {
		change(l, to)
	}
	return run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{l}}, proxy.Options{})
}

// ask sends a request that ends its connection and returns the response with its body.
func ask(t testing.TB, addr, text string) (*http.Response, string) {
	t.Helper()
	method, _, _ := strings.Cut(text, " ")
	said := say(t, addr, text)
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(said)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.60q: %q is no response: %v", text, said, err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Errorf("%.60q: body of %q: %v", text, said, err)
	}
	return r, string(body)
}

const get = "GET /a HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n"

// Requests of net/http pass two hops and reach an application of net/http, with bodies of all framings and sizes.
func TestTwoHops(t *testing.T) {
	app := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Who", r.Header.Get("X-Forwarded-Client-Cert"))
		w.Header().Set("Trailer", "X-Sum")
		if r.URL.Query().Get("flush") != "" {
			w.(http.Flusher).Flush()
		}
		w.Write(body)
		w.Header().Set("X-Sum", strconv.Itoa(len(body))+r.Trailer.Get("X-Up"))
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Serve(l) }() // ends with the test
	t.Cleanup(func() { app.Close(); <-ended })
	p := mesh(t, proxy.HTTP, l.Addr().String(), nil)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, size := range []int{0, 1, 1000, 16 << 10, 17 << 10, 100_000, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			for _, query := range []string{"", "?flush=1"} {
				sent := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
				var body io.Reader = bytes.NewReader(sent)
				if chunked {
					body = io.MultiReader(body) // whose length nobody knows
				}
				r, _ := http.NewRequest("POST", "http://"+p.addr+"/up"+query, body)
				if chunked {
					r.Trailer = http.Header{"X-Up": {"y"}}
				}
				res, err := client.Do(r)
				if err != nil {
					t.Fatalf("%d bytes, chunked %v: %v", size, chunked, err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || !bytes.Equal(got, sent) {
					t.Errorf("%d bytes, chunked %v%s: got %d back, %v", size, chunked, query, len(got), err)
				}
				if who := res.Header.Get("X-Who"); !strings.Contains(who, "URI="+service("web").String()) || !strings.HasPrefix(who, "By="+service("api").String()+";Hash=") {
					t.Errorf("the application is told %q", who)
				}
				want := strconv.Itoa(size)
				if chunked {
					want += "y"
				}
				if sum := res.Trailer.Get("X-Sum"); (query != "" || size > 4096) && sum != want {
					t.Errorf("%d bytes, chunked %v%s: the trailer is %q, want %q", size, chunked, query, sum, want)
				}
			}
		}
	}
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

// Traps 1 to 4 and A25: what could be read in two ways is refused, and the application does not hear of it.
func TestMalformedRequests(t *testing.T) {
	app := answering(t, echo)
	addr := single(t, app.addr, nil)
	post := func(fields, body string) string {
		return "POST /p HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n\r\n" + body
	}
	for text, status := range map[string]int{
		post("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"):      400, // 1
		post("Content-Length: 4\r\nContent-Length: 5", "xxxx"):                    400,
		post("Content-Length: +4", "xxxx"):                                        400,
		post("Content-Length: 0x4", "xxxx"):                                       400,
		post("Content-Length: 4,4", "xxxx"):                                       400,
		post("Content-Length:", "xxxx"):                                           400,
		post("Content-Length: 99999999999999999999", "xxxx"):                      400,
		post("Transfer-Encoding: xchunked", "0\r\n\r\n"):                          501, // 2
		post("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"):                  501,
		post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"):                     501,
		post("Transfer-Encoding: \rchunked", "0\r\n\r\n"):                         400,
		post("Transfer-Encoding\t: chunked", "0\r\n\r\n"):                         400,
		post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"):                       501,
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":          400,
		post("Transfer-Encoding: chunked", "\r\n"+smuggled):                       400, // 3
		post("Transfer-Encoding: chunked", "-1\r\n"+smuggled):                     400,
		post("Transfer-Encoding: chunked", "0x1\r\na\r\n0\r\n\r\n"):               400,
		post("Transfer-Encoding: chunked", "00000000000000001\r\na\r\n0\r\n\r\n"): 400,
		post("Transfer-Encoding: chunked", "1\na\r\n0\r\n\r\n"):                   400,
		post("Transfer-Encoding: chunked", "1 \r\na\r\n0\r\n\r\n"):                400,
		post("Transfer-Encoding: chunked", "1\r\nab\r\n0\r\n\r\n"):                400,
		post("X : y", ""):                              400, // 4
		post("X\x00: y", ""):                           400,
		post("X\xe9: y", ""):                           400,
		post("X: y\r z", ""):                           400,
		post("X: y\n z", ""):                           400,
		post(" X: y", ""):                              400,
		"\r\n\r\n" + get:                               400,
		"GET / HTTP/0.9\r\n\r\n":                       505, // 18
		"GET /\r\n\r\n":                                400,
		"GET / HTTP/1.1\r\n\r\n":                       400,
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": 400,
		"GET a HTTP/1.1\r\nHost: a\r\n\r\n":            400, // 17
		"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n":     400,
		"GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n":  400,
		"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n":     400,
		"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n":          400,
		"GET /%2f HTTP/1.1\r\nHost: a\r\n\r\n":         400,
		"GET * HTTP/1.1\r\nHost: a\r\n\r\n":            400,
		"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n":  501,
		"GET /" + strings.Repeat("x", 70<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n":     431, // 26
		"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 300) + "\r\n": 431,
	} {
		said := say(t, addr, text)
		if !strings.HasPrefix(said, fmt.Sprintf("HTTP/1.1 %d ", status)) || strings.Count(said, "HTTP/1.1") != 1 {
			t.Errorf("%.80q: %q, want one answer with status %d", text, said, status)
		}
	}
	if seen := app.seen(); seen != "" {
		t.Errorf("the application was sent %q", seen)
	}
}

// Trap 3: a body that turns out malformed when part of it was passed on does not look complete to the application.
func TestMalformedChunkLater(t *testing.T) {
	failed, underway := make(chan error, 1), make(chan struct{})
	addr := single(t, listen(t, func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			io.ReadFull(r.Body, make([]byte, 3))
			underway <- struct{}{}
			_, err = io.ReadAll(r.Body)
		}
		failed <- err
	}), nil)
	for _, rest := range []string{"zz\r\n", "1;" + strings.Repeat("x", 17<<10) + "\r\na\r\n0\r\n\r\n", "0\r\nContent-Length : 1\r\n\r\n"} {
		c := dial(t, addr)
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		<-underway
		io.WriteString(c, rest)
		if err := <-failed; err == nil {
			t.Errorf("%.20q: the application takes the body for complete", rest)
		}
		if said, _ := io.ReadAll(c); !strings.HasPrefix(string(said), "HTTP/1.1 400 ") {
			t.Errorf("%.20q: the caller is told %q", rest, said)
		}
	}
}

// Trap 5: what an endpoint says beyond its response is not taken for the next one.
func TestResponsesBeyond(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for what, c := range map[string]struct{ method, answer string }{
		"a second response":     {"GET", ok("good") + evil},
		"bytes":                 {"GET", ok("good") + "x"},
		"HEAD with a body":      {"HEAD", ok("good")},
		"204 with a body":       {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\ngood"},
		"304 with a body":       {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n" + evil},
		"chunks and more":       {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n" + evil},
		"until it closes":       {"GET", "HTTP/1.0 200 OK\r\n\r\ngood"},
		"length and coding":     {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + evil},
		"a switch of protocols": {"GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + evil},
		"garbage":               {"GET", "SSH-2.0-x\r\n\r\n" + evil},
	} {
		var n int
		app := answering(t, func(r *http.Request, _ string) string {
			if n++; n == 1 {
				return c.answer
			}
			return ok("next")
		})
		if what == "until it closes" {
			addr := listen(t, func(conn net.Conn) {
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, c.answer)
			})
			if _, body := ask(t, single(t, addr, nil), get); body != "good" {
				t.Errorf("%s: %q", what, body)
			}
			continue
		}
		addr := single(t, app.addr, nil)
		first := say(t, addr, c.method+" /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if strings.Contains(first, "evil") {
			t.Errorf("%s: the caller is told %q", what, first)
		}
		if _, body := ask(t, addr, get); body != "next" {
			t.Errorf("%s: the next request is answered with %q", what, body)
		}
		if app.conns() != 2 {
			t.Errorf("%s: %d connections, want a new one for the next request", what, app.conns())
		}
	}
}

// Trap 5: what comes over a connection while it is idle is not taken for a response either, through TLS and without.
func TestUnsolicited(t *testing.T) {
	var n int
	said, idle := make(chan struct{}, 1), make(chan struct{})
	app := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			if n++; n > 1 {
				io.WriteString(c, ok("good"))
				continue
			}
			io.WriteString(c, ok("good"))
			<-idle
			io.WriteString(c, ok("evil"))
			said <- struct{}{}
		}
	})
	p := hop(t, app, nil)
	addr := p.Addr("l").String()
	ask(t, addr, get)
	settle(t, p)
	idle <- struct{}{}
	<-said
	if _, body := ask(t, addr, get); body != "good" {
		t.Errorf("answered with %q", body)
	}
}

// A response that ends early does not look complete to the caller.
func TestCutResponse(t *testing.T) {
	for _, head := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
		addr := single(t, listen(t, func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head+"\r\n\r\n4\r\nab")
		}), nil)
		r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(say(t, addr, get))), nil)
		if err != nil {
			continue // nothing came: that is no complete response either
		}
		if body, err := io.ReadAll(r.Body); err == nil {
			t.Errorf("%s: %q is complete", head, body)
		}
	}
}

// Traps 6, 7 and 16: fields keep their order, case and number; those for one hop go, in requests, interim and final
// responses; what Connection names goes, but for what nobody may take away.
func TestFields(t *testing.T) {
	app := answering(t, func(r *http.Request, _ string) string {
		return "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 3\r\n\r\n" +
			"HTTP/1.1 200 Fine, thanks\r\nsEt-CooKie: a=1\r\nX-Empty:\r\nSet-Cookie: b=2\r\nConnection: x-hop, keep-alive\r\nKeep-Alive: timeout=5\r\nx-hop: 2\r\nUpgrade: h2c\r\nTrailer: x\r\ncontent-length: 2\r\nServer: s\r\n\r\nhi"
	})
	addr := single(t, app.addr, nil)
	said := say(t, addr, "GET /a?b=%2F#x HTTP/1.1\r\nHost: a\r\n\r\n")
	if !strings.HasPrefix(said, "HTTP/1.1 400 ") {
		t.Errorf("a fragment: %q", said)
	}
	said = say(t, addr, "GET /a?b=%2F HTTP/1.1\r\nhOst: api\r\nX-b:  2 \r\nx-A: 1\r\nX-Empty:\r\nX-b: 3\r\nCookie: c\r\nCookie: d\r\n"+
		"Connection: close, X-Hop, host, Cookie,x-forwarded-for, upgrade, http2-settings\r\nX-Hop: 1\r\nX-Forwarded-For: 1.2.3.4\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip, trailers\r\n"+
		"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nProxy-Authorization: p\r\nX-Forwarded-Client-Cert: By=me\r\nTrailer: x\r\nLast: one\r\n\r\n")
	if want := "GET /a?b=%2F HTTP/1.1\r\nhOst: api\r\nX-b:  2 \r\nx-A: 1\r\nX-Empty:\r\nX-b: 3\r\nCookie: c\r\nCookie: d\r\nX-Forwarded-For: 1.2.3.4\r\nLast: one\r\n" +
		"Connection: TE\r\nTE: trailers\r\n\r\n"; app.seen() != want {
		t.Errorf("the application was sent\n%q, want\n%q", app.seen(), want)
	}
	if want := "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" +
		"HTTP/1.1 200 Fine, thanks\r\nsEt-CooKie: a=1\r\nX-Empty:\r\nSet-Cookie: b=2\r\nServer: s\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"; said != want {
		t.Errorf("the caller was told\n%q, want\n%q", said, want)
	}
}

// Trap 8: the head goes first, and the body only when it is asked for; who says no gets none.
func TestExpectContinue(t *testing.T) {
	got := make(chan string, 1)
	app := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.Header.Get("Expect") != "100-continue" && r.ProtoMinor == 1 && r.URL.Path != "/old" {
			t.Error("the application is not told that the caller waits")
		}
		if r.URL.Path == "/no" {
			io.WriteString(c, "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			rest, _ := io.ReadAll(in)
			got <- string(rest)
			return
		}
		if r.URL.Path == "/yes" {
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		body, _ := io.ReadAll(r.Body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"+string(body))
	})
	addr := mesh(t, proxy.HTTP, app, nil).addr
	c := dial(t, addr)
	io.WriteString(c, "POST /yes HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	in.ReadString('\n')
	io.WriteString(c, "body")
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(r.Body); string(body) != "body" {
		t.Errorf("%q", body)
	}

	c = dial(t, addr)
	io.WriteString(c, "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
	if r, err = http.ReadResponse(bufio.NewReader(c), nil); err != nil || r.StatusCode != 413 {
		t.Errorf("%v, %v", r, err)
	}
	if body := <-got; body != "" {
		t.Errorf("the application that said no was sent %q", body)
	}
	if _, body := ask(t, addr, "POST /old HTTP/1.0\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody"); body != "body" {
		t.Errorf("HTTP/1.0: %q", body)
	}
	if r, _ := ask(t, addr, "POST /odd HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: magic\r\n\r\nbody"); r.StatusCode != 417 {
		t.Errorf("another expectation: %s", r.Status)
	}
}

// Trap 9: a response that comes while the body is still being sent arrives, and neither connection is used again.
func TestEarlyResponse(t *testing.T) {
	arrived := make(chan struct{})
	app := listen(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReaderSize(c, 16))
		io.WriteString(c, "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nno!")
		<-arrived // what closes with unread bytes takes back what it said
	})
	for _, addr := range []string{single(t, app, nil), mesh(t, proxy.HTTP, app, nil).addr} {
		c := dial(t, addr)
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
		written := make(chan struct{})
		go func() { // ends when the connection does
			defer close(written)
			io.CopyN(c, endless{}, 50_000_000)
		}()
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r.Body); r.StatusCode != 413 || string(body) != "no!" || err != nil || !r.Close {
			t.Errorf("%s, %q, %v, close %v", r.Status, body, err, r.Close)
		}
		arrived <- struct{}{}
		c.Close()
		<-written
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// Trap 18: HTTP/1.0 gets no chunks, and keeps its connection only where it asks to.
func TestHTTP10(t *testing.T) {
	app := answering(t, func(r *http.Request, _ string) string {
		if r.URL.Path == "/chunks" {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n"
		}
		return ok("hi")
	})
	addr := single(t, app.addr, nil)
	for text, want := range map[string]string{
		"GET /chunks HTTP/1.0\r\n\r\n":                                                        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi",
		"GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n":                              "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi",
		"GET /a HTTP/1.0\r\n\r\n":                                                             "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
		"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /a HTTP/1.0\r\nHost: b\r\n\r\n": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi" + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
	} {
		if said := say(t, addr, text); said != want {
			t.Errorf("%q:\n%q, want\n%q", text, said, want)
		}
	}
}

// Trap 19: requests that are sent at once are answered in their order, with bodies between them.
func TestPipelining(t *testing.T) {
	addr := mesh(t, proxy.HTTP, answering(t, echo).addr, nil).addr
	var text strings.Builder
	const n = 50
	for i := range n {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&text, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		case 1:
			fmt.Fprintf(&text, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", i)
		case 2:
			fmt.Fprintf(&text, "PUT /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", i)
		}
	}
	said := say(t, addr, text.String()+get)
	in := bufio.NewReader(strings.NewReader(said))
	for i := range n {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("response %d: %v", i, err)
		}
		body, _ := io.ReadAll(r.Body)
		want := []string{"GET /%d ", "POST /%d abc", "PUT /%d abcdef"}[i%3]
		if string(body) != fmt.Sprintf(want, i) {
			t.Fatalf("response %d: %q", i, body)
		}
	}
}

// Connections are used again, by whoever asks next.
func TestReuse(t *testing.T) {
	app := answering(t, echo)
	p := mesh(t, proxy.HTTP, app.addr, nil)
	for range 20 {
		if _, body := ask(t, p.addr, get); body != "GET /a " {
			t.Fatal(body)
		}
		settle(t, p.in) // the caller has its response a moment before the connection is kept
	}
	if app.conns() != 1 {
		t.Errorf("%d connections for one request after the other", app.conns())
	}
}

// Upgrades to websocket pass, with what is sent behind them at once; others are not asked for.
func TestUpgrade(t *testing.T) {
	app := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(c, ok("no upgrade"))
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nwelcome ")
		io.Copy(c, in)
		io.WriteString(c, " bye")
		c.(*net.TCPConn).CloseWrite()
	})
	addr := mesh(t, proxy.HTTP, app, nil).addr
	c := dial(t, addr)
	io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\nhello")
	first, err := readUntil(c, "hello")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, " there")
	c.CloseWrite()
	rest, err := io.ReadAll(c)
	said := first + string(rest)
	if want := "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome hello there bye"; said != want || err != nil {
		t.Errorf("%q, %v", said, err)
	}
	for _, other := range []string{"h2c", "TLS/1.0", "websocket, h2c"} {
		if _, body := ask(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: "+other+"\r\nConnection: Upgrade, close\r\n\r\n"); body != "no upgrade" {
			t.Errorf("%s: %q", other, body)
		}
	}
}

package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/proxy"
	"github.com/curia-mesh/curia/rpc/http2"
)

func unencrypted() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// modern is a client of HTTP/2 over plain connections.
func modern(t testing.TB) *http.Transport {
	tr := &http.Transport{Protocols: unencrypted()}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// app2 runs an application of net/http that speaks nothing but HTTP/2.
func app2(t testing.TB, do http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(do)
	s.Config.Protocols = unencrypted()
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func speaksHTTP2(l *proxy.Listener, to *proxy.Target) { to.HTTP2 = true }

// echoing answers with the body, its method in a field and its trailer in a trailer.
func echoing(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Rear")
	w.Header().Set("X-Proto", r.Proto)
	body, _ := io.ReadAll(r.Body)
	if r.ProtoMajor == 2 && len(body) > 1 { // which may have trailers then too
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	w.Write(body)
	w.Header().Set("X-Rear", r.Trailer.Get("X-Front"))
}

// Trap 10: bodies and trailers come through between all versions of HTTP, and over two hops.
func TestVersions(t *testing.T) {
	old := httptest.NewServer(http.HandlerFunc(echoing))
	t.Cleanup(old.Close)
	apps := map[string]string{"HTTP/1.1": old.Listener.Addr().String(), "HTTP/2.0": app2(t, echoing)}
	clients := map[string]*http.Transport{"HTTP/1.1": {}, "HTTP/2.0": modern(t)}
	t.Cleanup(clients["HTTP/1.1"].CloseIdleConnections)
	for to, app := range apps {
		change := func(p *pair) {}
		if to == "HTTP/2.0" {
			change = func(p *pair) {
				local := target("local", app)
				local.HTTP2 = true
				p.incoming.Routes = proxy.Direct(local)
			}
		}
		addr := mesh(t, proxy.HTTP, app, change).addr
		for from, c := range clients {
			for _, size := range []int{0, 1, 1000, 100_000, 3_000_000} {
				body := strings.Repeat("x", size)
				r, err := http.NewRequest("POST", "http://"+addr+"/", io.NopCloser(strings.NewReader(body)))
				if err != nil {
					t.Fatal(err)
				}
				r.Trailer = http.Header{"X-Front": {"end"}}
				answer, err := c.RoundTrip(r)
				if err != nil {
					t.Fatalf("%s to %s, %d bytes: %v", from, to, size, err)
				}
				got, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || string(got) != body || answer.Trailer.Get("X-Rear") != "end" || answer.Header.Get("X-Proto") != to {
					t.Errorf("%s to %s: %d of %d bytes, %v, trailer %v, %v", from, to, len(got), size, answer.Header, answer.Trailer, err)
				}
			}
		}
	}
}

// Trap 13: a listener understands both versions, however the first bytes are cut.
func TestPreface(t *testing.T) {
	app := answering(t, echo)
	addr := single(t, app.addr, nil)
	for _, size := range []int{1, 3, 23, 24, 25} {
		c := dial(t, addr)
		hello := http2.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		for rest := hello; len(rest) > 0; {
			n := min(size, len(rest))
			io.WriteString(c, rest[:n])
			rest = rest[n:]
			time.Sleep(time.Millisecond) // so that it is read in such pieces; what comes of it is the same either way
		}
		b := make([]byte, 9)
		if _, err := io.ReadFull(c, b); err != nil || b[3] != 4 {
			t.Errorf("%d bytes at a time: %q, %v", size, b, err)
		}
	}
	for _, text := range []string{"P", "PRI", "PRI * HTTP/2.0\r\n\r\n", "PUT /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "PRI /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"} {
		c := dial(t, addr)
		for i := range text {
			io.WriteString(c, text[i:i+1])
		}
		c.CloseWrite()
		said, err := io.ReadAll(c)
		if want := strings.Contains(text, "/1.1"); err != nil || strings.HasPrefix(string(said), "HTTP/1.1 200 OK\r\n") != want {
			t.Errorf("%q: %q, %v", text, said, err)
		}
	}
}

// Trap 12: what the proxy itself answers to gRPC is in gRPC's own terms.
func TestGRPCErrors(t *testing.T) {
	tr := modern(t)
	call := func(addr string) *http.Response {
		t.Helper()
		r, err := http.NewRequest("POST", "http://"+addr+"/pkg.Service/Method", strings.NewReader("\x00\x00\x00\x00\x00"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/grpc+proto")
		r.Header.Set("Te", "trailers")
		answer, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		return answer
	}
	check := func(what, addr, code string) {
		t.Helper()
		r := call(addr)
		if r.StatusCode != 200 || r.Header.Get("Grpc-Status") != code || r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Grpc-Message") == "" {
			t.Errorf("%s: %s, %v, want grpc-status %s", what, r.Status, r.Header, code)
		}
	}
	check("no endpoint", single(t, "127.0.0.1:1", func(_ *proxy.Listener, to *proxy.Target) { to.Patience = -1 }), "14")
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	check("too late", single(t, silent, func(_ *proxy.Listener, to *proxy.Target) { to.HTTP2, to.RequestTimeout = true, 200*time.Millisecond }), "4")
	denied := mesh(t, proxy.HTTP, silent, func(p *pair) {
		p.incoming.Policy = policy(t, true, &catalog.SourceIntention{Name: "web", Type: "consul", Permissions: []*catalog.IntentionPermission{
			{Action: catalog.IntentionDeny, HTTP: &catalog.IntentionHTTPPermission{PathPrefix: "/pkg"}},
		}})
	})
	check("denied", denied.addr, "7")
	broken := app2(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	if r := call(single(t, broken, speaksHTTP2)); r.Trailer.Get("Grpc-Status") != "14" {
		t.Errorf("broken: %v, %v", r.Header, r.Trailer)
	}
}

// Trap 12: a deadline is lowered by a timeout that is configured, never raised, and told on.
func TestGRPCDeadlines(t *testing.T) {
	told := make(chan string, 1)
	app := app2(t, func(w http.ResponseWriter, r *http.Request) {
		told <- r.Header.Get("Grpc-Timeout")
		<-r.Context().Done()
	})
	addr := mesh(t, proxy.HTTP, app, func(p *pair) {
		local := target("local", app)
		local.HTTP2, local.RequestTimeout = true, 400*time.Millisecond
		p.incoming.Routes = proxy.Direct(local)
	}).addr
	tr := modern(t)
	for _, own := range []string{"20S", "100m"} {
		r, err := http.NewRequest("POST", "http://"+addr+"/pkg.Service/Method", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("Grpc-Timeout", own)
		answer, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if code := answer.Header.Get("Grpc-Status"); code != "4" {
			t.Errorf("%s: grpc-status %q", own, code)
		}
		said := <-told
		left, err := time.ParseDuration(strings.NewReplacer("n", "ns", "u", "us", "m", "ms", "S", "s").Replace(said))
		if most := map[string]time.Duration{"20S": 400 * time.Millisecond, "100m": 100 * time.Millisecond}[own]; err != nil || left > most {
			t.Errorf("%s: the application was told %s", own, said)
		}
	}
}

// Trap 11: much passes through a WebSocket both ways at once, through two hops, unchanged, and no memory grows with it. With
// CURIA_LONG it is a GiB.
func TestWebSocketMuch(t *testing.T) {
	much := int64(64 << 20)
	switch {
	case os.Getenv("CURIA_LONG") != "":
		much = 1 << 30
	case testing.Short() || raced:
		much = 16 << 20
	}
	app := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		io.Copy(c, in)
		c.(*net.TCPConn).CloseWrite()
	})
	c := dial(t, mesh(t, proxy.HTTP, app, nil).addr)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n")
	if _, err := readUntil(c, "\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	seed := [32]byte{1}
	go func() { // ends with what it says
		io.CopyN(c, rand.NewChaCha8(seed), much)
		c.CloseWrite()
	}()
	before := heap()
	var most uint64
	want, b, n := rand.NewChaCha8(seed), make([]byte, 64<<10), int64(0)
	for said := make([]byte, len(b)); ; {
		k, err := c.Read(b)
		want.Read(said[:k])
		if !bytes.Equal(b[:k], said[:k]) {
			t.Fatalf("others after %d bytes", n)
		}
		if n/(8<<20) != (n+int64(k))/(8<<20) {
			most = max(most, heap())
		}
		if n += int64(k); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%d of %d bytes, %v", n, much, err)
		}
	}
	if n != much || most > before+mostHeld {
		t.Errorf("%d of %d bytes; %d in memory before, up to %d meanwhile", n, much, before, most)
	}
}

// mostHeld is how much is in memory on the way of one WebSocket, all windows and buffers of both hops together, and what the
// collector has not found yet.
const mostHeld = 24 << 20

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Trap 12: who breaks off is heard of at the other end, at once, through two hops.
func TestCancellation(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan time.Time, 1)
	app := app2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/break" {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		begun <- struct{}{}
		<-r.Context().Done()
		ended <- time.Now()
	})
	flags := make(chan string, 10)
	log := proxy.NewAccessLog(10, func(r *proxy.Record) { flags <- r.Protocol + " " + r.Flag })
	logging, stop := context.WithCancel(context.Background())
	logged := make(chan error, 1)
	go func() { logged <- log.Run(logging) }() // ends with the test
	t.Cleanup(func() { stop(); <-logged })
	inner := target("inner", single(t, app, speaksHTTP2))
	inner.HTTP2 = true
	outer := &proxy.Listener{Name: "outer", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, Routes: proxy.Direct(inner)}
	addr := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{outer}}, proxy.Options{Access: log}).Addr("outer").String()
	tr := modern(t)
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { // ends with the request
		answer, err := tr.RoundTrip(r)
		if err == nil {
			answer.Body.Close()
		}
		done <- err
	}()
	<-begun
	cancelled := time.Now()
	cancel()
	if took := (<-ended).Sub(cancelled); took > time.Second {
		t.Errorf("the application heard of it after %s", took)
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	answer, err := tr.RoundTrip(httptest.NewRequest("GET", "http://"+addr+"/break", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if b, err := io.ReadAll(answer.Body); err == nil {
		t.Errorf("a response that broke ended in order: %q", b)
	}
	if got := map[string]bool{<-flags: true, <-flags: true}; !got["HTTP/2 caller_gone"] || !got["HTTP/2 endpoint_reset"] {
		t.Errorf("told of %v", got)
	}
}

// message is a head that a test sends.
type message [][2]string

// Encode implements http2.Fields.
func (m message) Encode(e *http2.Encoder) {
	for _, f := range m {
		e.Text(f[0], f[1])
	}
}

// connect2 makes a connection of HTTP/2 for as long as the test.
func connect2(t testing.TB, addr string) *http2.Conn {
	t.Helper()
	c := http2.New(dial(t, addr), nil, http2.Options{})
	ended := make(chan struct{})
	go func() { // ends with the connection
		defer close(ended)
		c.Run()
	}()
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
	return c
}

// Trap 11: a WebSocket of HTTP/2 is one of HTTP/1.1 for an application, with a key; and the other way with its answer.
func TestWebSocketVersions(t *testing.T) {
	app := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Key: "+r.Header.Get("Sec-WebSocket-Key")+"\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
		io.Copy(c, in)
		io.WriteString(c, " bye")
		c.(*net.TCPConn).CloseWrite()
	})
	c := connect2(t, mesh(t, proxy.HTTP, app, nil).addr)
	if !c.Connects(5 * time.Second) {
		t.Fatal("no extended CONNECT")
	}
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	ask := message{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", "/chat"}, {":authority", "a"}}
	if err := s.Send(ask, []byte("hello"), false, true); err != nil {
		t.Fatal(err)
	}
	head, err := s.Head(time.Now().Add(5 * time.Second))
	if err != nil || !strings.HasPrefix(string(head), "HTTP/1.1 200 \r\n") {
		t.Fatalf("%q, %v", head, err)
	}
	if _, key, _ := strings.Cut(string(head), "x-key: "); len(key) < 24 {
		t.Errorf("no key in %q", head)
	}
	s.End(nil)
	var said strings.Builder
	for {
		part, err := s.Next(time.Now().Add(5 * time.Second))
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		said.Write(part)
	}
	if said.String() != "hello bye" {
		t.Errorf("%q", said.String())
	}
}

// Trap 23: a new policy cuts the requests that it denies, and not the connection, nor the others.
func TestDeniedRequestsAreCut(t *testing.T) {
	app := app2(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		io.Copy(w, r.Body)
	})
	rules := func(path string) []*catalog.SourceIntention {
		return []*catalog.SourceIntention{{Name: "web", Type: "consul", Permissions: []*catalog.IntentionPermission{
			{Action: catalog.IntentionDeny, HTTP: &catalog.IntentionHTTPPermission{PathPrefix: path}},
			{Action: catalog.IntentionAllow, HTTP: &catalog.IntentionHTTPPermission{PathPrefix: "/"}},
		}}}
	}
	p := mesh(t, proxy.HTTP, app, func(p *pair) {
		local := target("local", app)
		local.HTTP2 = true
		p.incoming.Routes = proxy.Direct(local)
		p.incoming.Policy = policy(t, true, rules("/never")...)
	})
	tr := modern(t)
	open := func(path string) (*io.PipeWriter, *http.Response) {
		t.Helper()
		r, w := io.Pipe()
		req, err := http.NewRequest("POST", "http://"+p.addr+path, r)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { answer.Body.Close(); w.Close() })
		return w, answer
	}
	_, denied := open("/denied")
	kept, good := open("/good")
	next := *p.incoming
	next.Policy = policy(t, true, rules("/denied")...)
	if err := p.in.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(denied.Body); err == nil {
		t.Errorf("it ended in order: %q", b)
	}
	io.WriteString(kept, "still here")
	kept.Close()
	if b, err := io.ReadAll(good.Body); string(b) != "still here" || err != nil {
		t.Errorf("the other: %q, %v", b, err)
	}
}

// Who does not speak HTTP/2 is spoken to with HTTP/1.1, over connections that are kept.
func TestForeignSidecar(t *testing.T) {
	ca := newAuthority(t)
	var mu sync.Mutex
	conns := 0
	leaf := ca.leaf(t, service("api"), nil)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*leaf}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }), ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			mu.Lock()
			conns++
			mu.Unlock()
		}
	}}
	ended := make(chan struct{})
	go func() { // ends with the test
		defer close(ended)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	addr := single(t, l.Addr().String(), func(_ *proxy.Listener, to *proxy.Target) {
		to.Certs, to.Identities, to.ServerName = ca.certs(t, "web"), append(to.Identities, service("api")), "api"
	})
	for range 10 {
		if r, body := ask(t, addr, get); r.StatusCode != 200 || body != "HTTP/1.1" {
			t.Errorf("%s, %q", r.Status, body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if conns != 1 {
		t.Errorf("%d connections", conns)
	}
}

// Requests of many connections share one between sidecars.
func TestSharing(t *testing.T) {
	app := answering(t, echo)
	p := mesh(t, proxy.HTTP, app.addr, nil)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 5 {
				if r, _ := ask(t, p.addr, get); r.StatusCode != 200 {
					t.Error(r.Status)
				}
			}
		})
	}
	all.Wait()
	if n := app.conns(); n > 40 { // of 100 requests, twenty at a time; one more is made when the last response is still being accounted for
		t.Errorf("%d connections to the application", n)
	}
}

// Trap 22: sidecars end in order under load, one after the other, and no request fails.
func TestDrainUnderLoad(t *testing.T) {
	app := answering(t, echo)
	ca := newAuthority(t)
	web := ca.certs(t, "web")
	to := target("api")
	to.Certs, to.Identities, to.ServerName = web, append(to.Identities, service("api")), "api"
	var stops []func()
	certs := ca.certs(t, "api")
	grow := func() {
		p := proxy.New(proxy.Options{DrainTime: 5 * time.Second})
		if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{{
			Name: "public", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, Certs: certs, Policy: policy(t, true), Routes: proxy.Direct(target("local", app.addr)),
		}}}); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { // ends with stop
			defer close(ended)
			p.Run(ctx)
		}()
		stops = append(stops, func() { stop(); <-ended })
		to.Endpoints = append(to.Endpoints, proxy.Endpoint{Network: "tcp", Address: p.Addr("public").String()})
	}
	for range 4 {
		grow()
	}
	out := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{{Name: "upstream", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, Routes: proxy.Direct(to)}}}, proxy.Options{})
	more, stop := load(t, out.Addr("upstream").String())
	for _, end := range stops[:3] {
		more()
		end()
	}
	if asked, failed := stop(); failed > 0 || asked < 10 {
		t.Errorf("%d of %d requests failed", failed, asked)
	}
	stops[3]()
}

package sidecar_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/sidecar"
	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/rpc/socket"
)

// taken is a node whose agent is gone, and whose proxy is of another build.
type taken struct {
	*testkit.Node
	http, tcp string     // addresses of upstreams
	metrics   string     // where metrics are shown
	ended     chan error // of the proxy
}

// sock is where a node's proxy is spoken with.
func sock(n *testkit.Node) string { return filepath.Join(n.Data(), "proxy", "sock") }

// newTaken runs a node with sidecars of web, and of api and db that it reaches over HTTP and TCP, and leaves a proxy of another
// build that carries them.
func newTaken(t *testing.T) *taken {
	t.Helper()
	n := &taken{Node: testkit.New(t, nil)}
	p := n.Spawn(t)
	ports, more := testkit.FreePorts(t), testkit.FreePorts(t)
	p.Put(t, "/v1/config", `{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}`)
	n.metrics = fmt.Sprint("127.0.0.1:", more.SerfLAN)
	p.Put(t, "/v1/config", fmt.Sprintf(`{"Kind": "proxy-defaults", "Name": "global", "Config": {"envoy_prometheus_bind_addr": %q}}`, n.metrics))
	p.Put(t, "/v1/agent/service/register", meshed("api", app(t, "api"), ports.SerfLAN, nil))
	p.Put(t, "/v1/agent/service/register", meshed("db", app(t, "db"), ports.SerfWAN, nil))
	p.Put(t, "/v1/agent/service/register", meshed("web", app(t, "web"), ports.HTTP, map[string]int{"api": more.DNS, "db": more.HTTP}))
	for _, l := range []string{"api-sidecar-proxy/inbound", "db-sidecar-proxy/inbound", "web-sidecar-proxy/api", "web-sidecar-proxy/db"} {
		opened(t, p.Client, l)
	}
	inUse(t, p.Client, fmt.Sprint("127.0.0.1:", ports.SerfLAN), fmt.Sprint("127.0.0.1:", ports.SerfWAN), n.metrics)
	n.http, n.tcp = fmt.Sprint("127.0.0.1:", more.DNS), fmt.Sprint("127.0.0.1:", more.HTTP)
	p.Kill(t)
	n.ended = another(t, n.Node, true)
	n.works(t)
	return n
}

// another runs a proxy of another build for a node in this process, which may take over from one that runs. It ends when an agent
// says so, when its listeners have been taken, or with the test.
func another(t *testing.T, n *testkit.Node, takeOver bool) (ended chan error) {
	t.Helper()
	ready, done := make(chan struct{}), make(chan struct{})
	ended = make(chan error, 1)
	ctx, end := context.WithCancel(context.Background())
	go func() { // ends with it
		defer close(done)
		ended <- sidecar.RunProcess(ctx, sidecar.ProcessOptions{Dir: filepath.Dir(sock(n)), Build: "another", TakeOver: takeOver, Ready: func() { close(ready) }})
	}()
	t.Cleanup(func() {
		end()
		<-done
	})
	select {
	case <-ready:
	case <-done:
		t.Fatal(<-ended)
	}
	return ended
}

func (n *taken) works(t *testing.T) {
	t.Helper()
	for name, at := range map[string]string{"api": n.http, "db": n.tcp} {
		if body, _ := once("http://" + at + "/x"); body != name+" /x" {
			t.Errorf("%s: %q", name, body)
		}
	}
}

// load makes requests over HTTP and TCP, each on a connection of its own, until stop is called, which tells how many there were and
// what became of those that failed.
func (n *taken) load() (count *atomic.Int64, stop func() (failed []string)) {
	var all sync.WaitGroup
	var begun sync.Once
	first := make(chan struct{})
	var mu sync.Mutex
	var failed []string
	var over atomic.Bool
	count = new(atomic.Int64)
	for i := range 6 {
		want, at := "api /x", n.http
		if i%2 > 0 {
			want, at = "db /x", n.tcp
		}
		all.Go(func() { // ends with stop
			for !over.Load() {
				if body, _ := once("http://" + at + "/x"); body != want {
					mu.Lock()
					failed = append(failed, body)
					mu.Unlock()
				}
				count.Add(1)
				begun.Do(func() { close(first) })
			}
		})
	}
	<-first
	return count, func() []string {
		over.Store(true)
		all.Wait()
		return failed
	}
}

// conn is a connection that is open.
func (n *taken) conn(t *testing.T, at string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(c)
	spoken(t, c, in)
	return c, in
}

// A proxy of another build is taken over from while callers connect: none is refused, and none fails. What was open goes on.
func TestHandoverUnderLoad(t *testing.T) {
	n := newTaken(t)
	stream, fromStream := n.conn(t, n.tcp)
	kept, fromKept := n.conn(t, n.http)
	count, stop := n.load()
	before := count.Load()
	p := n.Begin(t, n.Command())
	p.Log.Wait(t, "another one takes its listeners")
	p.Log.Wait(t, "the node's proxy runs")
	during := count.Load() - before
	opened(t, p.Client, "web-sidecar-proxy/api")
	n.works(t)
	if failed := stop(); len(failed) > 0 {
		t.Errorf("%d of %d failed, as the first: %s", len(failed), count.Load(), failed[0])
	}
	t.Logf("%d requests until the new one had taken over, %d in all", during, count.Load())
	if during == 0 {
		t.Error("that tells nothing")
	}
	if body := spoken(t, stream, fromStream); body != "db /open" {
		t.Errorf("a connection that was open says %q", body)
	}
	if body := spoken(t, kept, fromKept); body != "api /open" {
		t.Errorf("a connection without a request says %q", body)
	}
	if _, err := fromKept.ReadByte(); err != io.EOF {
		t.Errorf("it goes on: %v", err)
	}
	kept.Close()
	if out, code := n.Run(t, "connect", "proxy", "status"); code != 0 || !strings.Contains(out, "of build 1.") {
		t.Errorf("exit code %d: %s", code, out)
	}
	stream.Close()
	if err := <-n.ended; err != nil {
		t.Errorf("the other one ended with %v", err)
	}
	n.works(t)
	if body, _ := once("http://" + n.metrics + "/metrics"); !strings.Contains(body, "curia_proxy_") {
		t.Errorf("metrics: %.200s", body)
	}
}

// Who asks for listeners in a way that is not agreed on, or goes away halfway, gets none, and the proxy goes on.
func TestHandoverRefused(t *testing.T) {
	n := newTaken(t)
	ask := func(protocol string) (*net.UnixConn, *http.Response, *bufio.Reader) {
		t.Helper()
		c, err := net.Dial("unix", sock(n.Node))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "POST /handover HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
		in := bufio.NewReader(c)
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.(*net.UnixConn), r, in
	}
	const protocol = "curia-handover/1"
	if _, r, _ := ask("curia-handover/2"); r.StatusCode != http.StatusUpgradeRequired || r.Header.Get("Upgrade") != protocol {
		t.Errorf("another version: status %d, %v", r.StatusCode, r.Header)
	}
	for _, says := range []string{"x", "sx", "s", ""} {
		c, r, in := ask(protocol)
		var offer struct {
			Sockets []struct{ Network, Address string }
		}
		line, err := in.ReadBytes('\n')
		if r.StatusCode != http.StatusSwitchingProtocols || err != nil || json.Unmarshal(line, &offer) != nil || len(offer.Sockets) != 6 {
			t.Fatalf("status %d, %s, %v", r.StatusCode, line, err)
		}
		if _, r, _ := ask(protocol); r.StatusCode != http.StatusConflict {
			t.Errorf("two at once: status %d", r.StatusCode)
		}
		io.WriteString(c, says)
		if strings.HasPrefix(says, "s") {
			for _, s := range offer.Sockets {
				l, err := socket.Take(c)
				if err != nil {
					t.Fatalf("%s: %v", s.Address, err)
				}
				l.Close()
			}
		}
		if c.CloseWrite(); says != "" {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("%q: it goes on", says)
			}
		}
		io.Copy(io.Discard, c) // until it has given up
		n.works(t)
	}
	c := &sidecar.Child{Dir: filepath.Dir(sock(n.Node))}
	c.Open()
	c.End(t.Context())
	if err := <-n.ended; err != nil {
		t.Error(err)
	}
}

// posing answers as the process that runs for a directory would, to one that wants to take its place.
func posing(t *testing.T, dir string, says func(c *net.UnixConn, in *bufio.Reader)) {
	t.Helper()
	l, err := socket.Private(filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		if _, err := http.ReadRequest(in); err == nil {
			says(c.(*net.UnixConn), in)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
}

// A process that is offered what it did not ask for takes nobody's place, and says what was wrong.
func TestTakesNothingMalformed(t *testing.T) {
	const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: curia-handover/1\r\n\r\n"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().String()
	offer := func(at ...string) string {
		var list []string
		for _, a := range at {
			list = append(list, fmt.Sprintf(`{"Network":"tcp","Address":"%s"}`, a))
		}
		return head + `{"Sockets":[` + strings.Join(list, ",") + "]}\n"
	}
	text := func(s string) func(*net.UnixConn, *bufio.Reader) {
		return func(c *net.UnixConn, _ *bufio.Reader) { io.WriteString(c, s) }
	}
	passing := func(offer string, n int, then string) func(*net.UnixConn, *bufio.Reader) {
		return func(c *net.UnixConn, in *bufio.Reader) {
			io.WriteString(c, offer)
			in.ReadByte() // send them
			for range n {
				socket.Pass(c, l)
			}
			if io.WriteString(c, then); then == "" {
				c.CloseWrite()
			}
			in.ReadByte() // I accept, or the end
		}
	}
	for name, c := range map[string]struct {
		says func(*net.UnixConn, *bufio.Reader)
		want string
	}{
		"a build that knows nothing of it": {text("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "status 404"},
		"another protocol":                 {text(strings.Replace(head, "/1\r\n\r\n", "/2\r\n\r\n", 1) + "{}\n"), `"curia-handover/2"`},
		"no HTTP":                          {text("here you are\n"), "malformed HTTP"},
		"no offer":                         {text(head + "everything\n"), "its offer"},
		"an offer without end":             {text(head + strings.Repeat("x", 5<<20)), "no end within"},
		"too many listeners":               {text(offer(make([]string, 1<<14+1)...)), "it offers 16385 listeners"},
		"more than an offer":               {text(offer(at) + "!"), "more than an offer"},
		"no listener":                      {passing(offer(at), 0, "0"), "0 files"},
		"the end":                          {passing(offer(at, at), 1, ""), "EOF"},
		"another listener":                 {passing(offer("127.0.0.1:1"), 1, ""), "it is at " + at},
		"a listener for a file":            {passing(strings.Replace(offer(at), `"tcp"`, `"unix"`, 1), 1, ""), "it is at tcp"},
		"one twice":                        {passing(offer(at, at), 2, ""), "there are two"},
		"no in the end":                    {passing(offer(at), 1, "n"), `it says 'n', want 'y'`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := sidecar.RunProcess(t.Context(), sidecar.ProcessOptions{Dir: dir, TakeOver: true}); err == nil {
				t.Fatal("it takes the place of nobody")
			}
			posing(t, dir, c.says)
			err := sidecar.RunProcess(t.Context(), sidecar.ProcessOptions{Dir: dir, TakeOver: true, Ready: func() { t.Error("it is ready") }})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A proxy of a build that hands nothing over makes room, and the log says what that means.
func TestHandsNothingOver(t *testing.T) {
	n := testkit.New(t, nil)
	p := n.Spawn(t)
	ports := testkit.FreePorts(t)
	p.Put(t, "/v1/agent/service/register", meshed("web", app(t, "web"), ports.HTTP, nil))
	opened(t, p.Client, "web-sidecar-proxy/inbound")
	p.Kill(t)
	n.KillProxy(t)
	l, err := socket.Private(sock(n))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	old := &http.Server{Handler: mux}
	mux.HandleFunc("GET /attach", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"Build":"old","Pid":1,"Version":1}`)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("POST /end", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		go old.Close() // ends Serve
	})
	ended := make(chan error, 1)
	go func() { ended <- old.Serve(l) }() // ends when it is told to
	p = n.Begin(t, n.Command())
	p.Log.Wait(t, "connections are refused for a moment")
	if err := <-ended; err != http.ErrServerClosed {
		t.Error(err)
	}
	p.Log.Wait(t, "the node's proxy runs")
	opened(t, p.Client, "web-sidecar-proxy/inbound")
}

package httpapi_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc/memnet"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/handler"
)

// alone is a host that leads and has applied everything, and an agent without a token.
type alone struct {
	endpoint.Host
	httpapi.Node
}

func (alone) Datacenter() string                                        { return "dc1" }
func (alone) Primary() string                                           { return "dc1" }
func (alone) Leading() bool                                             { return true }
func (alone) Leased() bool                                              { return true }
func (alone) Contact() (time.Duration, bool)                            { return 0, true }
func (alone) CaughtUp() bool                                            { return true }
func (alone) Applied() uint64                                           { return 1 << 40 }
func (alone) Authorize(context.Context, string) (acl.Authorizer, error) { return acl.AllowAll(), nil }
func (alone) DefaultToken() string                                      { return "" }

// kv is the API over a store of keys, on a network in a bubble.
type kv struct {
	store   *state.Store
	index   uint64
	network *memnet.Network
	stop    func()
	ended   chan error
}

func inBubble(t *testing.T, do func(t *testing.T, s *kv)) {
	synctest.Test(t, func(t *testing.T) {
		s := &kv{store: state.New(), index: 10, network: memnet.New(1), ended: make(chan error, 1)}
		r := endpoint.New(alone{}, s.store)
		handler.Register(r, handler.Deps{Datacenter: "dc1", Store: s.store})
		log := slog.New(slog.DiscardHandler)
		api := httpapi.New(httpapi.Config{}, httpapi.Deps{Caller: r, Node: alone{}}, log)
		l, err := s.network.Host("s").Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		s.stop = stop
		go func() { s.ended <- httpapi.Serve(ctx, l, api.Compressed(), 0, time.Second, log) }()
		s.set("k", "first")
		synctest.Wait()
		do(t, s)
		stop()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	})
}

func (s *kv) set(key, value string) {
	s.index++
	tx := s.store.Write(s.index)
	state.KVSet(tx, &catalog.KVPair{Key: key, Value: []byte(value)})
	tx.Commit()
}

// clients counts the connections that are parked and those that are served.
func clients() (parked, served int) {
	all := stacks()
	return strings.Count(all, "httpapi.(*parked).read("), strings.Count(all, "http1.(*Conn).serve(")
}

// stacks are those of all goroutines.
func stacks() string {
	all := make([]byte, 1<<20)
	return string(all[:runtime.Stack(all, true)])
}

// client is a connection on which a test says what it likes.
type client struct {
	net.Conn
	in *bufio.Reader
}

func (s *kv) dial(t *testing.T) *client {
	t.Helper()
	conn, err := s.network.Host("c").Dial(t.Context(), "tcp", "s:80")
	if err != nil {
		t.Fatal(err)
	}
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) send(path string, headers ...string) {
	fmt.Fprintf(c, "GET /v1/kv/%s HTTP/1.1\r\nHost: s\r\n%s\r\n", path, strings.Join(append(headers, ""), "\r\n"))
}

// reply reads an answer: its status, header without the date, and body.
func (c *client) reply(t *testing.T) (int, string, string) {
	t.Helper()
	r, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal("no answer:", err)
	}
	if _, err := http.ParseTime(r.Header.Get("Date")); err != nil {
		t.Error("date:", err)
	}
	r.Header.Del("Date")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return r.StatusCode, fmt.Sprint(r.Proto, r.Header, r.ContentLength, r.Close), string(body)
}

// A parked query is answered to the byte as one that did not have to wait, and the connection goes on.
func TestParkedAnswers(t *testing.T) {
	long := strings.Repeat("long ", 20000)
	for what, c := range map[string]struct {
		path, header, value string
		parked              bool
	}{
		"JSON":           {"k?x", "", "v", true},
		"pretty":         {"k?pretty", "", "v", true},
		"raw":            {"k?raw", "", "v", true},
		"raw and long":   {"k?raw", "", long, true},
		"long":           {"k?x", "", long, true},
		"gzip":           {"k?x", "Accept-Encoding: gzip", long, true},
		"gzip and short": {"k?x", "Accept-Encoding: gzip", "v", true},
		"list":           {"?recurse", "", "v", true},
		"to be closed":   {"k?x", "Connection: close", "v", false},
		"empty body":     {"k?x", "Content-Length: 0\r\nExpect: 100-continue", "v", true},
	} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *kv) {
				one, other := s.dial(t), s.dial(t)
				var headers []string
				if c.header != "" {
					headers = []string{c.header}
				}
				for round := range 3 {
					path := fmt.Sprintf("%s&index=%d", c.path, s.index)
					one.send(path, headers...)
					synctest.Wait()
					if parked, served := clients(); (parked == 1) != c.parked || parked+served != 2 {
						t.Errorf("round %d: %d connections are parked, %d are served", round, parked, served)
					}
					s.set("k", fmt.Sprint(c.value, round))
					status, head, body := one.reply(t)
					other.send(path, headers...)
					if wstatus, whead, wbody := other.reply(t); status != 200 || status != wstatus || head != whead || body != wbody {
						t.Errorf("round %d: %d %s\n%.200q\nwithout waiting: %d %s\n%.200q", round, status, head, body, wstatus, whead, wbody)
					}
					if !c.parked {
						break
					}
				}
				one.Close()
				other.Close()
				synctest.Wait()
				if parked, served := clients(); parked+served > 0 {
					t.Errorf("%d connections stay parked, %d served", parked, served)
				}
			})
		})
	}
}

// A client that sends its next requests before the answer gets all answers in order.
func TestParkedPipelines(t *testing.T) {
	inBubble(t, func(t *testing.T, s *kv) {
		s.set("other", "else")
		request := func(path string) string { return "GET /v1/kv/" + path + " HTTP/1.1\r\nHost: s\r\n\r\n" }
		blocks := func() string { return request(fmt.Sprintf("k?raw&index=%d", s.index)) }
		for what, parts := range map[string][]string{
			"together":           {blocks() + request("other?raw") + request("other?raw")},
			"while it waits":     {blocks(), request("other?raw"), request("other?raw")},
			"in pieces":          {blocks() + "G", "ET /v1/kv/other?raw HTTP/1.1\r\nHost:", " s\r\n\r\n" + request("other?raw")},
			"more than a buffer": {blocks() + "GET /v1/kv/other?raw&x=" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: s\r\n\r\n" + request("other?raw")},
		} {
			c := s.dial(t)
			for _, part := range parts {
				part = strings.Replace(part, "index=12", fmt.Sprint("index=", s.index), 1)
				fmt.Fprint(c, part)
				synctest.Wait()
			}
			if c.in.Buffered() > 0 {
				t.Errorf("%s: answered before anything changed", what)
			}
			s.set("k", what)
			for _, want := range []string{what, "else", "else"} {
				if status, _, body := c.reply(t); status != 200 || body != want {
					t.Errorf("%s: status %d %q, want %q", what, status, body, want)
				}
			}
			c.Close()
		}
	})
}

// A wait ends in time with what there is, and the connection with its idle time.
func TestParkedTimes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *kv) {
		c := s.dial(t)
		for range 2 {
			start := time.Now()
			c.send(fmt.Sprintf("k?raw&wait=160s&index=%d", s.index))
			status, _, body := c.reply(t)
			if took := time.Since(start); status != 200 || body != "first" || took < 160*time.Second || took > 171*time.Second {
				t.Errorf("after %v: status %d %q", took, status, body)
			}
		}
		start := time.Now()
		if _, err := c.in.ReadByte(); err != io.EOF || time.Since(start).Round(time.Second) != 2*time.Minute {
			t.Errorf("idle for %v: %v", time.Since(start), err)
		}
		c = s.dial(t)
		c.send(fmt.Sprintf("gone?index=%d", s.index))
		synctest.Wait()
		s.set("gone", "")
		if status, _, _ := c.reply(t); status != 200 {
			t.Errorf("a key that came: status %d", status)
		}
		c.Close()
	})
}

// Clients that go away while they wait leave nothing behind.
func TestParkedLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, s *kv) {
		for n := range 10 {
			c := s.dial(t)
			c.send(fmt.Sprintf("k?index=%d", s.index))
			synctest.Wait()
			if parked, _ := clients(); parked != 1 {
				t.Errorf("%d connections are parked after %d have left", parked, n)
			}
			c.Close()
			synctest.Wait()
		}
		if parked, served := clients(); parked+served > 0 {
			t.Errorf("%d connections stay parked, %d served", parked, served)
		}
	})
}

// A client that does not take what it waited for is let go.
func TestParkedSlowReaders(t *testing.T) {
	inBubble(t, func(t *testing.T, s *kv) {
		c := s.dial(t)
		c.send(fmt.Sprintf("k?raw&index=%d", s.index))
		synctest.Wait()
		s.set("k", strings.Repeat("long ", 100_000))
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if !strings.Contains(stacks(), "httpapi.(*parked).send(") {
			t.Error("the answer is not being sent")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if all := stacks(); strings.Contains(all, "httpapi.(*parked)") {
			t.Error("the answer is held for a client that does not read")
		}
		if r, err := http.ReadResponse(c.in, nil); err == nil {
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Error("the whole answer arrived")
			}
		}
	})
}

// Those who asked the same share an answer, and nobody else gets it; who does not take it holds nobody up.
func TestParkedTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, s *kv) {
		type asked struct{ path, header, want string }
		kinds := []asked{
			{"k?raw", "X: 1", "<html>"}, {"k?raw", "Accept-Encoding: gzip", "<html>"}, {"k?raw", "Connection: keep-alive", "<html>"},
			{"k?pretty", "X: 1", "[\n    {\n"}, {"k?keys", "X: 1", "[\"k\"]"}, {"k?recurse", "X: 1", "[{\"LockIndex"},
		}
		const each = 100
		conns := make([]*client, each*len(kinds))
		for i := range conns {
			kind := kinds[i%len(kinds)]
			conns[i] = s.dial(t)
			conns[i].send(fmt.Sprintf("%s&index=%d", kind.path, s.index), kind.header)
		}
		lazy := s.dial(t)
		lazy.send(fmt.Sprintf("k?raw&index=%d", s.index), "X: 1")
		synctest.Wait()
		if parked, _ := clients(); parked != len(conns)+1 {
			t.Fatalf("%d connections are parked", parked)
		}
		start := time.Now()
		s.set("k", "<html>"+strings.Repeat("long ", 100_000))
		for i, c := range conns {
			kind := kinds[i%len(kinds)]
			r, err := http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			var body io.Reader = r.Body
			if zipped := r.Header.Get("Content-Encoding") == "gzip"; zipped != (kind.header == "Accept-Encoding: gzip") {
				t.Errorf("%v: compressed: %v", kind, zipped)
			} else if zipped {
				if body, err = gzip.NewReader(body); err != nil {
					t.Fatal(err)
				}
			}
			if text, err := io.ReadAll(body); !strings.HasPrefix(string(text), kind.want) || err != nil {
				t.Errorf("%v: %.30q, %v", kind, text, err)
			}
			io.Copy(io.Discard, r.Body)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("the last was answered after %v", took)
		}
		for _, c := range conns {
			c.send("other") // the connections go on
			if status, _, _ := c.reply(t); status != 404 {
				t.Errorf("afterwards: status %d", status)
			}
			c.Close()
		}
		lazy.Close()
	})
}

// The end of the server ends what waits, with a word to the client.
func TestParkedShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T, s *kv) {
		waits, idles, begins := s.dial(t), s.dial(t), s.dial(t)
		for _, c := range []*client{idles, begins} {
			c.send(fmt.Sprintf("k?index=%d", s.index))
		}
		synctest.Wait()
		s.set("k", "second")
		idles.reply(t)
		begins.reply(t)
		waits.send(fmt.Sprintf("k?index=%d", s.index))
		fmt.Fprint(begins, "GET /v1")
		synctest.Wait()
		start := time.Now()
		s.stop()
		if err := <-s.ended; err != nil || time.Since(start) > 2*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		s.ended <- nil
		if status, head, body := waits.reply(t); status != 503 || !strings.Contains(head, "Retry-After:[1]") || !strings.HasSuffix(head, "true") || !strings.Contains(body, "ending") {
			t.Errorf("status %d %s %s", status, head, body)
		}
		for _, c := range []*client{waits, idles, begins} {
			if _, err := c.in.ReadByte(); err == nil {
				t.Error("a connection outlived the server")
			}
		}
	})
}

// A thousand clients of a real agent wait for one change after the other, on the same connections.
func TestManyParked(t *testing.T) {
	const clients = 1000
	a := testkit.NewDev(t, testkit.Settings{"limits": testkit.Settings{"http_max_conns_per_client": clients + 1}}).Start(t)
	a.Put(t, "/v1/kv/k", "0")
	index := a.Get(t, "/v1/kv/k").Index()
	conns := make([]*client, clients)
	for i := range conns {
		conn, err := net.Dial("tcp", a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = &client{conn, bufio.NewReader(conn)}
	}
	for round := range 3 {
		for _, c := range conns {
			c.send(fmt.Sprintf("k?index=%d", index))
		}
		a.Put(t, "/v1/kv/k", strings.Repeat("x", round+1))
		now := a.Get(t, "/v1/kv/k")
		index = now.Index()
		var wait sync.WaitGroup
		for _, c := range conns {
			wait.Go(func() {
				if r, err := http.ReadResponse(c.in, nil); err != nil {
					t.Error(err)
				} else if body, err := io.ReadAll(r.Body); string(body) != now.Body || r.Header.Get("X-Consul-Index") != fmt.Sprint(index) {
					t.Errorf("round %d: index %s, want %d: %s %v", round, r.Header.Get("X-Consul-Index"), index, body, err)
				}
			})
		}
		wait.Wait()
		if t.Failed() {
			return
		}
	}
	for _, c := range conns {
		c.send(fmt.Sprintf("k?index=%d", index))
	}
	conn, err := net.Dial("tcp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if r, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || r.StatusCode != 429 {
		t.Errorf("waiting clients do not count: %v, %v", r, err)
	}
}

package watch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/event"
	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// within gives what must happen in other processes its time.
const within = 30 * time.Second

func soon[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(within):
		t.Fatal("it did not happen")
	}
	return v
}

// shop answers each method with one value.
type shop struct {
	mu      sync.Mutex
	index   uint64
	values  map[string]any
	fails   error
	calls   []*rpc.Call
	called  chan struct{} // closed with the next call; nil when nobody waits for it
	changed chan struct{}
}

func newShop() *shop { return &shop{index: 10, values: map[string]any{}, changed: make(chan struct{})} }

func (s *shop) set(index uint64, method string, value any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index, s.values[method], s.fails = index, value, err
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *shop) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	if s.called != nil {
		close(s.called)
		s.called = nil
	}
	for s.index == call.Header.MinIndex && s.fails == nil {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return rpc.Answer{}, ctx.Err()
		}
	}
	return rpc.Answer{Meta: rpc.Meta{Index: s.index}, Body: rpc.NewBody(s.values[call.Method], nil)}, s.fails
}

// followed waits until somebody who has the answer of an index asks for the next one.
func (s *shop) followed(t *testing.T, index uint64) {
	t.Helper()
	for {
		s.mu.Lock()
		asked := slices.ContainsFunc(s.calls, func(c *rpc.Call) bool { return c.Header.MinIndex == index })
		if s.called == nil {
			s.called = make(chan struct{})
		}
		called := s.called
		s.mu.Unlock()
		if asked {
			return
		}
		soon(t, called)
	}
}

// first returns the last of a method's calls with which views begin.
func (s *shop) first(method string) (call *rpc.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.Method == method && c.Header.MinIndex == 0 {
			call = c
		}
	}
	return call
}

// lines is the log, line by line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func (l lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// runPlans runs plans over a shop until the test ends.
func runPlans(t *testing.T, d watch.Deps, s *shop) (*watch.Plans, lines) {
	ctx, cancel := context.WithCancel(t.Context())
	log := make(lines, 100)
	d.Log = log.logger()
	d.Cache = watch.New(watch.Options{Caller: s, Log: d.Log})
	plans := watch.NewPlans(d)
	var runs sync.WaitGroup
	for _, run := range []func(context.Context) error{d.Cache.Run, plans.Run} {
		runs.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(runs.Wait)
	t.Cleanup(cancel)
	return plans, log
}

type posted struct {
	method, path, host, body string
	header                   http.Header
}

// hook is an HTTP endpoint; each request is answered when it is taken.
func hook(t *testing.T, start func(http.Handler) *httptest.Server, answer http.HandlerFunc) (*httptest.Server, <-chan posted) {
	got := make(chan posted)
	server := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case got <- posted{r.Method, r.URL.Path, r.Host, string(body), r.Header}:
		case <-r.Context().Done():
		}
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server, got
}

// until makes an endpoint answer only when told so.
func until(told <-chan bool) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-told:
		case <-r.Context().Done():
		}
	}
}

func set(t *testing.T, p *watch.Plans, watches ...config.Watch) {
	t.Helper()
	if err := p.Set(watches); err != nil {
		t.Fatal(err)
	}
}

func TestWatchTypes(t *testing.T) {
	s := newShop()
	pair := &catalog.KVPair{Key: "k", Value: []byte("v"), ModifyIndex: 7}
	keyJSON := `{"LockIndex":0,"Key":"k","Flags":0,"Value":"dg==","CreateIndex":0,"ModifyIndex":7,"Session":""}`
	s.values["KV.Get"] = &[]*catalog.KVPair{pair}
	s.values["KV.List"] = &[]*catalog.KVPair{pair}
	s.values["Catalog.Services"] = &map[string][]string{"web": {}, "db": {"a"}}
	s.values["Catalog.Nodes"] = &[]*catalog.Node{{Node: "n"}}
	s.values["Health.ServiceInstances"] = &[]*catalog.Instance{}
	s.values["Health.ServiceChecks"] = &[]*catalog.Check{{CheckID: "c"}}
	s.values["Health.ChecksInState"] = &[]*catalog.Check{}
	plans, _ := runPlans(t, watch.Deps{Token: func() string { return "default" }}, s)
	server, got := hook(t, httptest.NewServer, nil)
	f := func(w config.Watch, method string, request any, want string) {
		t.Helper()
		w.HTTPHandler.Path = server.URL
		set(t, plans, w)
		p := soon(t, got)
		if want == "" {
			body, _ := json.Marshal(s.values[method])
			want = string(body)
		}
		if p.method != "POST" || p.body != want || p.header.Get("X-Consul-Index") != "10" || p.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %+v, want %s", w.Type, p, want)
		}
		call := s.first(method)
		data, _ := json.Marshal(call.Body)
		if asked, _ := json.Marshal(request); string(data) != string(asked) {
			t.Errorf("%s: asked %s %s, want %s", w.Type, call.Method, data, asked)
		}
		wantToken := w.Token
		if wantToken == "" {
			wantToken = "default"
		}
		if h := call.Header; h.Token != wantToken || h.Datacenter != w.Datacenter || h.Filter != w.Filter || w.Stale != (h.Consistency == rpc.Stale) {
			t.Errorf("%s: header %+v", w.Type, h)
		}
	}
	type m map[string]any
	noService := m{"Service": "", "Tags": nil, "NodeMeta": nil, "Near": "", "Passing": false, "Connect": false, "Ingress": false, "Address": ""}
	service := func(changes m) any {
		out := m{}
		for k, v := range noService {
			out[k] = v
		}
		for k, v := range changes {
			out[k] = v
		}
		var typed struct {
			Service                   string
			Tags                      []string
			NodeMeta                  map[string]string
			Near                      string
			Passing, Connect, Ingress bool
			Address, Peer             string
		}
		data, _ := json.Marshal(out)
		json.Unmarshal(data, &typed)
		return typed
	}
	f(config.Watch{Type: "key", Key: "k"}, "KV.Get", struct{ Key, Separator string }{"k", ""}, keyJSON)
	f(config.Watch{Type: "keyprefix", Prefix: "k/", Token: "own", Datacenter: "dc2"}, "KV.List", struct{ Key, Separator string }{"k/", ""}, "["+keyJSON+"]")
	f(config.Watch{Type: "services", Filter: "x"}, "Catalog.Services", service(nil), `{"db":["a"],"web":[]}`)
	f(config.Watch{Type: "nodes", Stale: true}, "Catalog.Nodes", struct {
		Node       string
		Meta       map[string]string
		Near, Peer string
	}{}, "")
	f(config.Watch{Type: "service", Service: "web", Tag: []string{"a", "b"}, PassingOnly: true}, "Health.ServiceInstances",
		service(m{"Service": "web", "Tags": []string{"a", "b"}, "Passing": true}), "[]")
	f(config.Watch{Type: "checks", Service: "web"}, "Health.ServiceChecks", service(m{"Service": "web"}), "")
	type state struct {
		Status     catalog.Status
		NodeMeta   map[string]string
		Near, Peer string
	}
	f(config.Watch{Type: "checks"}, "Health.ChecksInState", state{Status: "any"}, "[]")
	f(config.Watch{Type: "checks", State: "critical"}, "Health.ChecksInState", state{Status: "critical"}, "[]")
	s.set(10, "KV.Get", &[]*catalog.KVPair{}, nil)
	s.set(10, "KV.List", &[]*catalog.KVPair{}, nil)
	f(config.Watch{Type: "key", Key: "absent"}, "KV.Get", struct{ Key, Separator string }{"absent", ""}, "null")
	f(config.Watch{Type: "keyprefix", Prefix: "absent"}, "KV.List", struct{ Key, Separator string }{"absent", ""}, "[]")
}

func TestBadWatches(t *testing.T) {
	f := func(want string, w config.Watch) {
		t.Helper()
		plans := watch.NewPlans(watch.Deps{Cache: watch.New(watch.Options{Caller: newShop()})})
		err := plans.Set([]config.Watch{{Type: "nodes", Args: []string{"true"}}, w})
		if err == nil || !strings.Contains(err.Error(), "watches: watch 1: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v, want %s", w, err, want)
		}
	}
	args := []string{"true"}
	f(`unknown type of watch "weather"`, config.Watch{Type: "weather", Args: args})
	f(`"key" needs key`, config.Watch{Type: "key", Args: args})
	f(`"keyprefix" needs prefix`, config.Watch{Type: "keyprefix", Args: args})
	f(`"service" needs service`, config.Watch{Type: "service", Args: args})
	f("service or state", config.Watch{Type: "checks", Service: "web", State: "passing", Args: args})
	f("has no certificates", config.Watch{Type: "connect_leaf", Service: "web", Args: args})
	f("receives no events", config.Watch{Type: "event", Args: args})
	f("no services", config.Watch{Type: "agent_service", ServiceID: "web", Args: args})
	f("has 0 handlers", config.Watch{Type: "nodes"})
	f("has 2 handlers", config.Watch{Type: "nodes", Args: args, Handler: "true"})
	f("is no URL", config.Watch{Type: "nodes", HTTPHandler: config.WatchHTTPHandler{Path: "ftp://h/secret"}})
	f("is no URL", config.Watch{Type: "nodes", HTTPHandler: config.WatchHTTPHandler{Path: "://secret"}})
	f("no HTTP method", config.Watch{Type: "nodes", HTTPHandler: config.WatchHTTPHandler{Path: "http://h", Method: "a b"}})
}

// TestChanges has a handler that takes its time: it is called for changes only, once at a time, with the newest.
func TestChanges(t *testing.T) {
	s := newShop()
	nodes := func(index uint64, names ...string) {
		list := []*catalog.Node{}
		for _, n := range names {
			list = append(list, &catalog.Node{Node: n})
		}
		s.set(index, "Catalog.Nodes", &list, nil)
	}
	names := func(p posted) (names string) {
		var list []catalog.Node
		if err := json.Unmarshal([]byte(p.body), &list); err != nil {
			t.Error(err)
		}
		for _, n := range list {
			names += n.Node
		}
		return names
	}
	nodes(10, "a")
	plans, log := runPlans(t, watch.Deps{}, s)
	busy := make(chan bool)
	server, got := hook(t, httptest.NewServer, until(busy))
	w := config.Watch{Type: "nodes", HTTPHandler: config.WatchHTTPHandler{Path: server.URL}}
	set(t, plans, w)
	if p := soon(t, got); names(p) != "a" {
		t.Fatal(p)
	}
	nodes(11, "a", "b")
	nodes(12, "a", "b", "c")
	s.followed(t, 12)
	select {
	case <-got:
		t.Fatal("the handler runs twice at a time")
	case busy <- true:
	}
	if p := soon(t, got); names(p) != "abc" || p.header.Get("X-Consul-Index") != "12" {
		t.Fatal(p)
	}
	busy <- true
	soon(t, log)
	soon(t, log)
	s.set(13, "Catalog.Nodes", nil, absent)
	if line := soon(t, log); !strings.Contains(line, "level=WARN") || !strings.Contains(line, "no leader") {
		t.Fatal(line)
	}
	nodes(14, "d")
	if p := soon(t, got); names(p) != "d" {
		t.Fatal(p)
	}
	busy <- true

	other := w
	other.Filter = "x"
	set(t, plans, w, other, other) // the first goes on, the others begin
	for range 2 {
		if p := soon(t, got); names(p) != "d" {
			t.Fatal(p)
		}
		busy <- true
	}
	if err := plans.Set([]config.Watch{{Type: "weather"}}); err == nil {
		t.Fatal("accepted")
	}
	set(t, plans, w)
	nodes(15, "e") // told by the one that is left
	if p := soon(t, got); names(p) != "e" {
		t.Fatal(p)
	}
	busy <- true
	set(t, plans)
	nodes(16, "f")
	set(t, plans, w)
	p := soon(t, got)
	busy <- true
	if names(p) == "e" { // the view had not seen it yet
		p = soon(t, got)
		busy <- true
	}
	if names(p) != "f" {
		t.Fatal(p)
	}
}

// air carries events from one Fire to one ring.
type air struct {
	t    *testing.T
	ring *event.Ring
}

func (a air) UserEvent(name string, payload []byte, _ bool) error {
	_, err := a.ring.Receive(name, 1, payload)
	return err
}

func (air) NodeName() string                         { return "n" }
func (air) ServiceTags(func(string) bool) [][]string { return nil }

func TestEvents(t *testing.T) {
	ring := event.NewRing(air{})
	fire := func(name string) {
		if err := event.Fire(air{t, ring}, &catalog.Event{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	fire("deploy") // before anyone watches
	plans, _ := runPlans(t, watch.Deps{Events: ring}, newShop())
	busy := make(chan bool)
	server, got := hook(t, httptest.NewServer, until(busy))
	set(t, plans, config.Watch{Type: "event", Name: "deploy", HTTPHandler: config.WatchHTTPHandler{Path: server.URL}})
	f := func(want int) {
		t.Helper()
		p := soon(t, got)
		var list []catalog.Event
		if err := json.Unmarshal([]byte(p.body), &list); err != nil || len(list) != want || list[0].Name != "deploy" {
			t.Fatalf("%s, want %d events", p.body, want)
		}
		if _, index, _ := ring.List("deploy"); want == 1 && p.header.Get("X-Consul-Index") != fmt.Sprint(index) {
			t.Fatalf("index %s, want %d", p.header.Get("X-Consul-Index"), index)
		}
	}
	fire("other")
	fire("deploy")
	f(1)
	fire("deploy")
	fire("other")
	fire("deploy")
	busy <- true
	f(2)
	for range 300 { // more than the ring keeps
		fire("deploy")
	}
	busy <- true
	f(256)
	busy <- true
}

// shelf is a service of the agent.
type shelf struct {
	mu      sync.Mutex
	service any
	changed chan struct{}
}

func (s *shelf) Watch(string) (any, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.service, s.changed
}

func (s *shelf) put(service any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.service = service
	close(s.changed)
	s.changed = make(chan struct{})
}

func TestAgentService(t *testing.T) {
	s := &shelf{changed: make(chan struct{})}
	plans, _ := runPlans(t, watch.Deps{Services: s}, newShop())
	server, got := hook(t, httptest.NewServer, nil)
	set(t, plans, config.Watch{Type: "agent_service", ServiceID: "web", HTTPHandler: config.WatchHTTPHandler{Path: server.URL}})
	for _, step := range []any{1, 1, nil, 1, 2} { // it is told of 1 and of 2
		s.put(step)
		if step == 1 && s.service != nil {
			continue
		}
	}
	var bodies []string
	for len(bodies) == 0 || bodies[len(bodies)-1] != "2" {
		bodies = append(bodies, soon(t, got).body)
	}
	if !reflect.DeepEqual(bodies, []string{"2"}) && !reflect.DeepEqual(bodies, []string{"1", "2"}) {
		t.Fatal(bodies)
	}
}

func TestWatchThatCannotLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop()
		s.fails = catalog.Errorf(catalog.Denied, "permission denied")
		log := make(lines, 100)
		plan, err := watch.NewPlan(&config.Watch{Type: "nodes", Args: []string{"/absent"}}, watch.Deps{Cache: watch.New(watch.Options{Caller: s}), Log: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := plan.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(s.calls) < 60 || len(s.calls) > 260 || len(log) != 1 {
			t.Fatalf("%d calls and %d lines in an hour", len(s.calls), len(log))
		}
	})
}

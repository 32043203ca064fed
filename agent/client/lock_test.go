package client

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// agent is keys and sessions in memory, answering without a network so that time can be a bubble's.
type agent struct {
	mu       sync.Mutex
	index    uint64
	changed  chan struct{}
	keys     map[string]*catalog.KVPair
	sessions map[string]bool
	broken   bool
}

func newAgent() *agent {
	return &agent{index: 1, changed: make(chan struct{}), keys: map[string]*catalog.KVPair{}, sessions: map[string]bool{}}
}

func (a *agent) client() *Client {
	c, _ := New(Config{})
	c.http.Transport = a
	return c
}

// RoundTrip answers in place of a network.
func (a *agent) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	a.serve(w, r)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return w.Result(), nil
}

func (a *agent) touch() uint64 {
	a.index++
	close(a.changed)
	a.changed = make(chan struct{})
	return a.index
}

func (a *agent) fail(broken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken = broken
	a.touch()
}

func (a *agent) end(session string) {
	delete(a.sessions, session)
	for _, p := range a.keys {
		if p.Session == session {
			p.Session, p.ModifyIndex = "", a.touch()
		}
	}
}

func (a *agent) serve(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a.mu.Lock()
	if i, _ := strconv.ParseUint(q.Get("index"), 10, 64); i >= a.index {
		changed := a.changed
		a.mu.Unlock()
		wait, err := time.ParseDuration(q.Get("wait"))
		if err != nil {
			wait = 5 * time.Minute
		}
		select {
		case <-changed:
		case <-time.After(wait):
		case <-r.Context().Done():
			return
		}
		a.mu.Lock()
	}
	defer a.mu.Unlock()
	w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
	key, isKV := strings.CutPrefix(r.URL.Path, "/v1/kv/")
	p := a.keys[key]
	var answer any
	switch {
	case a.broken:
		w.WriteHeader(500)
		return
	case r.URL.Path == "/v1/session/create":
		id := fmt.Sprintf("session-%d", len(a.sessions)+int(a.touch()))
		a.sessions[id] = true
		answer = map[string]string{"ID": id}
	case strings.HasPrefix(r.URL.Path, "/v1/session/renew/") && !a.sessions[strings.TrimPrefix(r.URL.Path, "/v1/session/renew/")]:
		w.WriteHeader(404)
		return
	case strings.HasPrefix(r.URL.Path, "/v1/session/destroy/"):
		a.end(strings.TrimPrefix(r.URL.Path, "/v1/session/destroy/"))
		answer = true
	case isKV && r.Method == "GET":
		pairs := []*catalog.KVPair{}
		for k, p := range a.keys {
			if k == key || q.Has("recurse") && strings.HasPrefix(k, key) {
				pairs = append(pairs, p)
			}
		}
		if len(pairs) == 0 {
			w.WriteHeader(404)
			return
		}
		answer = pairs
	case isKV:
		answer = a.write(r, key, p)
	}
	json.NewEncoder(w).Encode(answer)
}

func (a *agent) write(r *http.Request, key string, p *catalog.KVPair) bool {
	q := r.URL.Query()
	if cas, err := strconv.ParseUint(q.Get("cas"), 10, 64); err == nil {
		if p == nil && cas != 0 || p != nil && p.ModifyIndex != cas {
			return false
		}
	}
	session := ""
	if p != nil {
		session = p.Session
	}
	if s := q.Get("acquire"); s != "" {
		if !a.sessions[s] || session != "" && session != s {
			return false
		}
		session = s
	}
	if s := q.Get("release"); s != "" {
		if session != s {
			return false
		}
		session = ""
	}
	index := a.touch()
	if r.Method == "DELETE" {
		delete(a.keys, key)
		return true
	}
	value, _ := io.ReadAll(r.Body)
	flags, _ := strconv.ParseUint(q.Get("flags"), 10, 64)
	a.keys[key] = &catalog.KVPair{Key: key, Value: value, Flags: flags, Session: session, ModifyIndex: index}
	return true
}

func TestHold(t *testing.T) {
	for _, limit := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAgent()
				var mu sync.Mutex
				now, most, times := 0, 0, 0
				var wg sync.WaitGroup
				for range 7 {
					wg.Go(func() {
						err := a.client().Hold(t.Context(), Lock{Prefix: "/l/", Limit: limit}, func(ctx context.Context) error {
							mu.Lock()
							now, times = now+1, times+1
							most = max(most, now)
							mu.Unlock()
							time.Sleep(time.Minute) // several renewals
							mu.Lock()
							now--
							mu.Unlock()
							return ctx.Err()
						})
						if err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if most != limit || times != 7 {
					t.Errorf("%d held it at once and %d in all, want %d and 7", most, times, limit)
				}
				if len(a.keys) != 0 || len(a.sessions) != 0 {
					t.Errorf("left behind: %v %v", a.keys, a.sessions)
				}
			})
		})
	}
}

func TestHoldIsLost(t *testing.T) {
	lose := map[string]func(*agent){
		"session ends": func(a *agent) {
			for s := range a.sessions {
				a.end(s)
			}
		},
		"key goes":    func(a *agent) { clear(a.keys); a.touch() },
		"agent fails": func(a *agent) { a.broken = true; a.touch() },
	}
	for name, f := range lose {
		for _, limit := range []int{1, 2} {
			t.Run(fmt.Sprint(name, limit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAgent()
					start := time.Now()
					err := a.client().Hold(t.Context(), Lock{Prefix: "l", Limit: limit, Retries: 3}, func(ctx context.Context) error {
						a.mu.Lock()
						f(a)
						a.mu.Unlock()
						<-ctx.Done()
						return context.Cause(ctx)
					})
					if !errors.Is(err, ErrLockLost) || time.Since(start) > lockTTL {
						t.Errorf("got %v after %s", err, time.Since(start))
					}
				})
			})
		}
	}
}

func TestHoldOutlivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent()
		err := a.client().Hold(t.Context(), Lock{Prefix: "l", Retries: 3}, func(ctx context.Context) error {
			for _, broken := range []bool{true, false} {
				a.fail(broken)
				time.Sleep(4 * time.Second)
			}
			return context.Cause(ctx)
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestHoldTriesAndRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent()
		never := func(context.Context) error { t.Error("held"); return nil }
		err := a.client().Hold(t.Context(), Lock{Prefix: "l"}, func(context.Context) error {
			start := time.Now()
			err := a.client().Hold(t.Context(), Lock{Prefix: "l", Try: 3 * time.Second}, never)
			if !errors.Is(err, ErrNotAcquired) || time.Since(start) != 3*time.Second {
				t.Errorf("got %v after %s", err, time.Since(start))
			}
			if err := a.client().Hold(t.Context(), Lock{Prefix: "l", Limit: 2}, never); catalog.CodeOf(err) != catalog.Conflict {
				t.Errorf("a semaphore where a lock is: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		err = a.client().Hold(t.Context(), Lock{Prefix: "s", Limit: 2}, func(context.Context) error {
			if err := a.client().Hold(t.Context(), Lock{Prefix: "s", Limit: 3}, never); catalog.CodeOf(err) != catalog.Conflict {
				t.Errorf("a semaphore of another size: %v", err)
			}
			return nil
		})
		if err != nil || len(a.keys) != 0 {
			t.Error(err, a.keys)
		}
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent()
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		w := &Watch{Type: "key", Key: "k"}
		done := make(chan error)
		missed := 0
		go func() {
			done <- w.Run(ctx, a.client(), func(_ context.Context, r Result) error {
				got = append(got, string(r.JSON))
				return nil
			}, func(error) { missed++ })
		}()
		put := func(key, value string) {
			if _, err := a.client().KV().Put(ctx, &catalog.KVPair{Key: key, Value: []byte(value)}, KVWrite{}, Query{}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		put("other", "x")
		put("k", "1")
		a.fail(true)
		time.Sleep(11 * time.Minute)
		a.fail(false)
		time.Sleep(2 * time.Minute)
		put("k", "2")
		cancel()
		if err := <-done; err != context.Canceled {
			t.Error(err)
		}
		want := []string{"null", `{"LockIndex":0,"Key":"k","Flags":0,"Value":"MQ==","CreateIndex":0,"ModifyIndex":3,"Session":""}`, `{"LockIndex":0,"Key":"k","Flags":0,"Value":"Mg==","CreateIndex":0,"ModifyIndex":6,"Session":""}`}
		if !slices.Equal(got, want) || missed == 0 || missed > 20 {
			t.Errorf("got %q after %d misses, want %q", got, missed, want)
		}
	})
}

func TestWatchShapes(t *testing.T) {
	f := func(w Watch, answer, path, want string) {
		t.Helper()
		if err := w.Validate(); err != nil {
			t.Fatal(err)
		}
		var asked string
		c := serve(t, Config{}, func(rw http.ResponseWriter, r *http.Request) { asked = r.RequestURI; io.WriteString(rw, answer) })
		r, err := w.Fetch(t.Context(), c, Result{})
		if err != nil || string(r.JSON) != want || asked != path {
			t.Errorf("%s: asked %s, got %s %v", w.Type, asked, r.JSON, err)
		}
	}
	f(Watch{Type: "keyprefix", Prefix: "a/"}, `[]`, "/v1/kv/a/?recurse=", `[]`)
	f(Watch{Type: "services"}, `{ "web": [] }`, "/v1/catalog/services", `{"web":[]}`)
	f(Watch{Type: "nodes", Filter: "x"}, `[]`, "/v1/catalog/nodes?filter=x", `[]`)
	f(Watch{Type: "service", Service: "w", Tags: []string{"t"}, PassingOnly: true},
		`[{"Service":{"ID":"w","PeerName":"","Proxy":{"Mode":"","Expose":{}}},"Checks":null}]`,
		"/v1/health/service/w?passing=1&tag=t", `[{"Checks":[],"Service":{"ID":"w","Proxy":{"Expose":{}}}}]`)
	f(Watch{Type: "service", Service: "w"}, `null`, "/v1/health/service/w", `[]`)
	f(Watch{Type: "checks"}, `[]`, "/v1/health/state/any", `[]`)
	f(Watch{Type: "checks", State: "critical"}, `[]`, "/v1/health/state/critical", `[]`)
	f(Watch{Type: "checks", Service: "w"}, `[]`, "/v1/health/checks/w", `[]`)
	f(Watch{Type: "event", Name: "n"}, `[]`, "/v1/event/list?name=n", `[]`)
	f(Watch{Type: "connect_roots"}, `{}`, "/v1/agent/connect/ca/roots", `{}`)
	f(Watch{Type: "connect_leaf", Service: "w"}, `{}`, "/v1/agent/connect/ca/leaf/w", `{}`)
	f(Watch{Type: "agent_service", ServiceID: "w"}, `{}`, "/v1/agent/service/w", `{}`)
	for _, w := range []Watch{{}, {Type: "odd"}, {Type: "key"}, {Type: "keyprefix"}, {Type: "service"}, {Type: "checks", Service: "a", State: "b"}} {
		if err := w.Validate(); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%+v: got %v", w, err)
		}
	}
}

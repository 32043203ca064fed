package httpapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/handler"
)

// writer is a host that applies what is proposed at once.
type writer struct {
	alone
	store    *state.Store
	registry *endpoint.Registry
	index    uint64
	commits  int
}

func (w *writer) Propose(_ context.Context, entry []byte) (any, error) {
	w.index++
	tx := w.store.Write(w.index)
	rep, err := w.registry.Apply(tx, entry)
	if err != nil {
		tx.Abort()
		return nil, err
	}
	tx.Commit()
	w.commits++
	return rep, nil
}

func (w *writer) Start(*catalog.Session) <-chan struct{} { return nil }
func (w *writer) Stop(string)                            {}
func (w *writer) NodeName() string                       { return "n1" }

// bodies are the requests that change what the servers hold, each with a body that is good.
var bodies = []struct{ method, path, body string }{
	{"PUT", "/v1/catalog/register", `{"Node":"n1","Address":"10.0.0.1","Service":{"Service":"web","Port":80},"Check":{"Name":"c","Status":"passing"}}`},
	{"PUT", "/v1/catalog/deregister", `{"Node":"n1","ServiceID":"web"}`},
	{"PUT", "/v1/kv/a?cas=0", "value"},
	{"PUT", "/v1/session/create", `{"Node":"n1","NodeChecks":[],"TTL":"10s","LockDelay":"1s"}`},
	{"PUT", "/v1/txn", `[{"KV":{"Verb":"set","Key":"a","Value":"YQ=="}},{"Node":{"Verb":"set","Node":{"Node":"n2","Address":"10.0.0.2"}}}]`},
	{"PUT", "/v1/config", `{"Kind":"service-resolver","Name":"web","Subsets":{"v1":{"Filter":"Service.Meta.v == 1"}},"ConnectTimeout":"1s"}`},
	{"PUT", "/v1/config?cas=1", `{"Kind":"service-splitter","Name":"web","Splits":[{"Weight":90},{"Weight":10,"Service":"api"}]}`},
	{"PUT", "/v1/connect/intentions/exact?source=web&destination=db", `{"Action":"allow"}`},
	{"POST", "/v1/connect/intentions", `{"SourceName":"web","DestinationName":"db","Action":"deny","Meta":{"a":"b"}}`},
	{"POST", "/v1/query", `{"Name":"q","Service":{"Service":"web","Tags":["!a"],"Failover":{"NearestN":1}},"DNS":{"TTL":"10s"}}`},
	{"POST", "/v1/discovery-chain/web", `{"OverrideProtocol":"http","OverrideConnectTimeout":"1s"}`},
	{"PUT", "/v1/coordinate/update", `{"Node":"n1","Coord":{"Vec":[0,0,0,0,0,0,0,0],"Error":1,"Adjustment":0,"Height":0.1}}`},
	{"PUT", "/v1/operator/autopilot/configuration", `{"CleanupDeadServers":true,"LastContactThreshold":"200ms"}`},
}

// FuzzBodies: whatever a body holds, the answer is one of HTTP, nothing panics, the store stays sound, and what is
// refused changes nothing.
func FuzzBodies(f *testing.F) {
	for i, b := range bodies {
		f.Add(i, []byte(b.body))
		f.Add(i, []byte(strings.Replace(b.body, ":", `:{"deep":`, 1)))
		f.Add(i, []byte(b.body[:len(b.body)/2]))
	}
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		w := &writer{store: state.New(), index: 10}
		w.registry = endpoint.New(w, w.store)
		handler.Register(w.registry, handler.Deps{Datacenter: "dc1", Store: w.store, Sessions: w})
		api := httpapi.New(httpapi.Config{}, httpapi.Deps{Caller: w.registry, Node: w}, log)
		send := func(method, path, body string) int {
			answer := httptest.NewRecorder()
			api.ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(body)))
			return answer.Code
		}
		if code := send(bodies[0].method, bodies[0].path, bodies[0].body); code != http.StatusOK {
			t.Fatalf("a good registration is answered %d", code)
		}
		b := bodies[uint(which)%uint(len(bodies))]
		before := w.commits
		code := send(b.method, b.path, string(body))
		if code < 200 || code > 599 {
			t.Errorf("%s %s: status %d", b.method, b.path, code)
		}
		if code >= 300 && w.commits != before {
			t.Errorf("%s %s: refused with %d, and changed something", b.method, b.path, code)
		}
		for _, err := range w.store.Check() {
			t.Error(err)
		}
	})
}

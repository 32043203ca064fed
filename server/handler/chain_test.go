package handler_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// put stores an entry as it is, or removes it when body is empty.
func (s *server) put(t testing.TB, kind catalog.EntryKind, name, body string) {
	t.Helper()
	tx := s.store.Write(s.index.Add(1))
	defer tx.Commit()
	if body == "" {
		state.EntryDelete(tx, kind, name)
		return
	}
	e := catalog.NewEntry(kind)
	if err := json.Unmarshal([]byte(body), e); err != nil {
		t.Fatal(err)
	}
	e.Head().Kind, e.Head().Name = kind, name
	e.Normalize()
	state.EntrySet(tx, e)
}

// TestChainDepends: the answer is overtaken by each change of what the chain is made of, of entries that were
// looked for in vain too, and its index counts nothing else, so that nobody wakes.
func TestChainDepends(t *testing.T) {
	s := newServer(state.New())
	ask := func() rpc.Answer {
		t.Helper()
		a, err := s.Call(t.Context(), &rpc.Call{Method: api.ChainGet.Name, Body: &api.ChainQuery{Service: "web"}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	now := ask()
	tx := s.store.Write(s.index.Add(1))
	state.SetCA(tx, &catalog.CAConfig{ClusterID: "1111"}, nil, nil)
	tx.Commit()
	if !now.Stale() {
		t.Error("nobody is told of the trust domain")
	}
	now = ask()
	if sni := now.Value().(*api.ChainReply).Chain.Targets["web.default.default.dc1"].SNI; sni != "web.default.dc1.internal.1111.consul" || now.Meta.Index != s.index.Load() {
		t.Errorf("SNI is %s at %d", sni, now.Meta.Index)
	}
	f := func(kind catalog.EntryKind, name, body string, wakes bool) {
		t.Helper()
		s.put(t, kind, name, body)
		if wakes && !now.Stale() {
			t.Errorf("%s/%s %s: the answer before is not overtaken", kind, name, body)
		}
		next := ask()
		if wakes && next.Meta.Index != s.index.Load() || !wakes && next.Meta.Index != now.Meta.Index {
			t.Errorf("%s/%s %s: the index went from %d to %d, the write was at %d", kind, name, body, now.Meta.Index, next.Meta.Index, s.index.Load())
		}
		now = next
	}
	f(catalog.EntryServiceResolver, "db", `{"ConnectTimeout": "1s"}`, false)
	f(catalog.EntryServiceDefaults, "api", `{"Protocol": "http"}`, false)
	f(catalog.EntryServiceIntentions, "web", `{}`, false)
	f(catalog.EntryServiceResolver, "web", `{"ConnectTimeout": "1s"}`, true)
	f(catalog.EntryServiceDefaults, "web", `{"Protocol": "http"}`, true)
	f(catalog.EntryServiceRouter, "web", `{"Routes": [{"Destination": {"Service": "api"}}]}`, true)
	f(catalog.EntryServiceResolver, "api", `{"ConnectTimeout": "1s"}`, true)
	f(catalog.EntryServiceRouter, "api", `{"Routes": []}`, false)
	f(catalog.EntryServiceResolver, "db", `{"ConnectTimeout": "2s"}`, false)
	f(catalog.EntryServiceRouter, "web", "", true)
	f(catalog.EntryServiceResolver, "api", "", false)
	f(catalog.EntryProxyDefaults, "global", `{"Config": {"protocol": "grpc"}}`, true)
}

func TestChainRequests(t *testing.T) {
	s := newServer(state.New())
	s.put(t, catalog.EntryServiceResolver, "web", `{"Redirect": {"Datacenter": "dc9"}}`)
	f := func(q api.ChainQuery, target string, code catalog.Code) {
		t.Helper()
		a, err := s.Call(t.Context(), &rpc.Call{Method: api.ChainGet.Name, Body: &q})
		if code != "" {
			if catalog.CodeOf(err) != code {
				t.Errorf("%+v: %v, want code %s", q, err, code)
			}
			return
		}
		if err != nil {
			t.Errorf("%+v: %v", q, err)
			return
		}
		if c := a.Value().(*api.ChainReply).Chain; c.Targets[target] == nil {
			t.Errorf("%+v: no target %s in %v", q, target, c.Targets)
		}
	}
	f(api.ChainQuery{Service: "api"}, "api.default.default.dc1", "")
	f(api.ChainQuery{Service: "api", EvaluateIn: "dc2"}, "api.default.default.dc2", "")
	f(api.ChainQuery{Service: "web", EvaluateIn: "dc2"}, "web.default.default.dc9", "")
	f(api.ChainQuery{}, "", catalog.Invalid)
	f(api.ChainQuery{Service: "web", OverrideConnectTimeout: -time.Second}, "", catalog.Invalid)
	f(api.ChainQuery{Service: "web", OverrideMeshGateway: catalog.MeshGateway{Mode: "far"}}, "", catalog.Invalid)
	s.put(t, catalog.EntryServiceSplitter, "tcp", `{"Splits": [{"Weight": 100}]}`)
	f(api.ChainQuery{Service: "tcp"}, "", catalog.Invalid)
	s.allowed = []string{"service:read api"}
	f(api.ChainQuery{Service: "api"}, "api.default.default.dc1", "")
	f(api.ChainQuery{Service: "web"}, "", catalog.Denied)
}

package handler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/handler"
)

// server is a registry with all verbs, whose log is the call of Propose.
type server struct {
	*endpoint.Registry
	store *state.Store
	index atomic.Uint64
	// allowed are the needs that a call may have, as "service:write web"; nil is all.
	allowed  []string
	proposed [][]byte // all log entries
	reset    uint64   // the index of the ACL bootstrap that the operator takes back
}

func newServer(store *state.Store) *server {
	s := &server{store: store}
	s.index.Store(1)
	s.Registry = endpoint.New(s, store)
	handler.Register(s.Registry, handler.Deps{Datacenter: "dc1", Store: store, Sessions: noTimers{}, ACL: handler.ACL{
		Enabled: true, Logins: gate{}, Reset: func() uint64 { return s.reset }, Bootstrapped: func(uint64) { s.reset = 0 },
	}})
	return s
}

type noTimers struct{}

func (noTimers) Start(*catalog.Session) <-chan struct{} { return nil }
func (noTimers) Stop(string)                            {}

func (s *server) Propose(_ context.Context, entry []byte) (any, error) {
	s.proposed = append(s.proposed, entry)
	tx := s.store.Write(s.index.Add(1))
	reply, err := s.Apply(tx, entry)
	if err != nil {
		tx.Abort()
		return nil, err
	}
	tx.Commit()
	return reply, nil
}

func (s *server) Primary() string                                          { return "dc1" }
func (s *server) Datacenter() string                                       { return "dc1" }
func (s *server) Leading() bool                                            { return true }
func (s *server) Leased() bool                                             { return true }
func (s *server) Leader() (rpc.Caller, error)                              { return nil, nil }
func (s *server) AwaitLeader(context.Context, rpc.Caller, time.Time) error { return nil }
func (s *server) Remote(string) (rpc.Caller, error)                        { return nil, nil }
func (s *server) Confirm(context.Context) error                            { return nil }
func (s *server) Contact() (time.Duration, bool)                           { return 0, true }
func (s *server) CaughtUp() bool                                           { return true }
func (s *server) Applied() uint64                                          { return s.index.Load() }

func (s *server) Authorize(context.Context, string) (acl.Authorizer, error) { return s, nil }

// Allows implements acl.Authorizer.
func (s *server) Allows(n acl.Need) bool {
	text := fmt.Sprintf("%s:%s %s", n.Resource, n.Access, n.Name)
	return s.allowed == nil || slices.Contains(s.allowed, text)
}

// View implements acl.Authorizer.
func (s *server) View() string {
	if s.allowed == nil {
		return ""
	}
	return fmt.Sprint(s.allowed)
}

func (s *server) do(t testing.TB, method string, req any) any {
	t.Helper()
	answer, err := s.Call(t.Context(), &rpc.Call{Method: method, Body: req})
	if err != nil {
		t.Fatal(method, err)
	}
	return answer.Value()
}

// questions are all verbs that read, about what there is and what there is not.
func questions() map[string]*rpc.Call {
	all := map[string]*rpc.Call{}
	add := func(method string, req any) {
		text, _ := json.Marshal(req)
		all[method+" "+string(text)] = &rpc.Call{Method: method, Body: req}
	}
	rack := map[string]string{"rack": "a"}
	for _, name := range []string{"n1", "N2", "none", ids[0], strings.ToUpper(ids[1])} {
		add(api.Nodes.Name, &api.NodeQuery{Node: name})
		add(api.NodeServiceMap.Name, &api.NodeQuery{Node: name})
		add(api.NodeServicesList.Name, &api.NodeQuery{Node: name})
		add(api.HealthNode.Name, &api.NodeQuery{Node: name})
		add(api.CoordinateNode.Name, &api.NodeQuery{Node: name})
		add(api.SessionNode.Name, &api.SessionQuery{Node: name})
	}
	for _, meta := range []map[string]string{nil, rack} {
		add(api.Nodes.Name, &api.NodeQuery{Meta: meta})
		add(api.Services.Name, &api.ServiceQuery{NodeMeta: meta})
		for _, status := range []catalog.Status{catalog.Any, catalog.Passing, catalog.Critical} {
			add(api.HealthState.Name, &api.StateQuery{Status: status, NodeMeta: meta})
		}
		for _, name := range []string{"web", "DB", "none"} {
			add(api.HealthChecks.Name, &api.ServiceQuery{Service: name, NodeMeta: meta})
			for _, tags := range [][]string{nil, {"V1"}} {
				for _, connect := range []bool{false, true} {
					add(api.ServiceInstances.Name, &api.ServiceQuery{Service: name, NodeMeta: meta, Tags: tags, Connect: connect})
					for _, passing := range []bool{false, true} {
						add(api.HealthService.Name, &api.ServiceQuery{Service: name, NodeMeta: meta, Tags: tags, Connect: connect, Passing: passing})
					}
				}
			}
		}
	}
	for _, filter := range []string{`ServiceTags contains "v1"`, `Address == "10.0.0.1" or ServiceID == i2`} {
		all["services with "+filter] = &rpc.Call{Method: api.Services.Name, Header: rpc.Header{Filter: filter}, Body: &api.ServiceQuery{}}
	}
	add(api.SessionList.Name, &api.SessionQuery{})
	add(api.SessionRead.Name, &api.SessionQuery{ID: "none"})
	for _, key := range []string{"", "a", "a/", "b"} {
		add(api.KVRead.Name, &api.KVQuery{Key: key})
		add(api.KVList.Name, &api.KVQuery{Key: key})
		add(api.KVKeys.Name, &api.KVQuery{Key: key, Separator: "/"})
	}
	for _, name := range []string{"", "n1", "none"} {
		add(api.NodeDump.Name, &api.NodeQuery{Node: name})
	}
	for _, name := range []string{"east", "west"} {
		add(api.ExportSetRead.Name, &api.Named{Name: name})
		add(api.PeeringRead.Name, &api.Named{Name: name})
		add(api.ExportedServices.Name, &api.Named{Name: name})
		add(api.FederationRead.Name, &api.Named{Name: name})
	}
	add(api.PeeringList.Name, &api.Nothing{})
	add(api.ExportSetList.Name, &api.Nothing{})
	add(api.ServiceDump.Name, &api.Nothing{})
	add(api.FederationList.Name, &api.Nothing{})
	add(api.FederationGateways.Name, &api.Nothing{})
	add(api.PeerServers.Name, &api.Named{Name: "web"})
	for _, name := range []string{"web", "DB", "none"} {
		add(api.ConfigGet.Name, &api.ConfigQuery{Kind: catalog.EntryServiceDefaults, Name: name})
	}
	add(api.ConfigList.Name, &api.ConfigQuery{Kind: catalog.EntryServiceDefaults})
	add(api.ConfigList.Name, &api.ConfigQuery{Kind: catalog.EntryMesh})
	add(api.ConfigListAll.Name, &api.ConfigQuery{})
	add(api.QueryList.Name, &api.Nothing{})
	for _, name := range []string{"find", "find-db", "FIND-web"} {
		add(api.QueryExplain.Name, &api.QueryRun{Name: name})
		add(api.QueryExecute.Name, &api.QueryRun{Name: name})
		add(api.QueryPlanned.Name, &api.QueryRun{Name: name})
	}
	add(api.CoordinateNodes.Name, &api.NodeQuery{})
	add(api.UsageRead.Name, &api.Nothing{})
	add(api.GatewayServices.Name, &api.ServiceQuery{Service: "web"})
	add(api.GatewayLinks.Name, &api.ServiceQuery{Service: "web"})
	add(api.GatewayIntentions.Name, &api.ServiceQuery{Service: "web"})
	add(api.ServiceTopology.Name, &api.TopologyQuery{Service: "web"})
	add(api.IntentionAuthorize.Name, &api.IntentionQuery{Source: "api", Destination: "web"})
	for _, name := range []string{"web", "db", "none"} {
		add(api.ChainGet.Name, &api.ChainQuery{Service: name})
	}
	return all
}

var ids = []string{"9e0e0bd1-0000-4000-8000-00000000000a", "9e0e0bd1-0000-4000-8000-00000000000b"}

// TestAnswers: an answer that differs from the one before has a higher index, and the one before knows
// that it is overtaken, for every verb that reads and whatever was written. Each time a registry that
// remembers nothing is asked.
func TestAnswers(t *testing.T) {
	all := questions()
	rapid.Check(t, func(t *rapid.T) {
		s := newServer(state.New())
		type answer struct {
			rpc.Answer
			text string
		}
		ask := func() map[string]answer {
			fresh := newServer(s.store)
			fresh.index.Store(s.index.Load())
			found := map[string]answer{}
			for name, call := range all {
				a, err := fresh.Call(context.Background(), call)
				if err != nil {
					t.Fatal(name, err)
				}
				text, _ := json.Marshal(sorted(a.Value()))
				found[name] = answer{a, string(text)}
			}
			return found
		}
		before := ask()
		for range rapid.IntRange(1, 15).Draw(t, "writes") {
			method, req := drawWrite(t)
			s.Call(context.Background(), &rpc.Call{Method: method, Body: req}) // some are refused
			for name, now := range ask() {
				was := before[name]
				switch {
				case now.Meta.Index < was.Meta.Index:
					t.Errorf("%s: the index went back from %d to %d", name, was.Meta.Index, now.Meta.Index)
				case now.text == was.text:
				case now.Meta.Index == was.Meta.Index:
					t.Errorf("%s: the index stayed %d while the answer went from\n%s to\n%s", name, was.Meta.Index, was.text, now.text)
				case !was.Stale():
					t.Errorf("%s: nobody is told that the answer went from\n%s to\n%s", name, was.text, now.text)
				}
				if now.text != was.text || was.Stale() {
					before[name] = now
				}
			}
		}
		for _, wrong := range s.store.Check() {
			t.Error("invariant:", wrong)
		}
	})
}

// sorted is a reply without the random order of what a prepared query finds.
func sorted(reply any) any {
	rep, ok := reply.(*api.QueryResult)
	if !ok {
		return reply
	}
	out := *rep
	out.Nodes = slices.Clone(rep.Nodes)
	slices.SortFunc(out.Nodes, func(a, b *catalog.Instance) int {
		return strings.Compare(a.Node.Node+" "+a.Service.ID, b.Node.Node+" "+b.Service.ID)
	})
	return &out
}

func drawWrite(t *rapid.T) (string, any) {
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	node := pick("node", "n1", "n1", "n2")
	service := &catalog.Service{ID: pick("id", "i1", "i2"), Service: pick("service", "web", "web", "db"), Port: 80, Tags: []string{pick("tag", "v1", "v2")}}
	if kind := pick("kind", "", "", "proxy", "native"); kind == "proxy" {
		service.Kind, service.Proxy = catalog.KindConnectProxy, &catalog.Proxy{DestinationServiceName: pick("destination", "web", "db")}
	} else if kind == "native" {
		service.Connect = &catalog.Connect{Native: true}
	}
	switch pick("write", "register", "register", "register", "deregister", "deregister", "kv", "coordinate", "session", "query", "peer", "unpeer", "export", "unexport", "federate", "reap", "config", "config", "config") {
	case "register":
		r := &api.RegisterRequest{Node: node, ID: pick("node id", "", "", ids[0], ids[1]), Address: pick("address", "10.0.0.1", "10.0.0.2"), SkipNodeUpdate: rapid.Bool().Draw(t, "skip")}
		if rack := pick("rack", "", "a", "b"); rack != "" {
			r.NodeMeta = map[string]string{"rack": rack}
		}
		if rapid.Bool().Draw(t, "with service") {
			r.Service = service
		}
		if rapid.Bool().Draw(t, "with check") {
			r.Check = &catalog.Check{CheckID: pick("check", "c1", "c2"), ServiceID: pick("of", "", service.ID), Status: catalog.Status(pick("status", "passing", "critical"))}
		}
		return api.Register.Name, r
	case "deregister":
		return api.Deregister.Name, &api.DeregisterRequest{Node: node, ServiceID: pick("service id", "", "i1", "i1", "i2"), CheckID: pick("check id", "", "c1", "c2")}
	case "kv":
		return api.KVApply.Name, &api.KVWrite{Op: api.KVOp(pick("op", "set", "set", "delete", "delete-tree")), Pair: catalog.KVPair{Key: pick("key", "a", "a/b", "a/b/c", "b"), Value: []byte(pick("value", "x", "y"))}}
	case "config":
		return api.ConfigApply.Name, &api.ConfigWrite{Op: api.ConfigOp(pick("op", "set", "set", "set", "delete")), Entry: *catalog.AnyOf(drawEntry(t))}
	case "session":
		return api.SessionApply.Name, &api.SessionWrite{Op: api.SessionCreate, Session: catalog.Session{Node: node}}
	case "query":
		q := catalog.PreparedQuery{Name: pick("query", "find", "find-"), Service: catalog.QueryService{Service: pick("finds", "web", "db", "${name.suffix}"), Tags: []string{pick("wants", "v1", "!v1")}}}
		if rapid.Bool().Draw(t, "template") {
			q.Template.Type = catalog.NamePrefixMatch
		}
		return api.QueryApply.Name, &api.QueryWrite{Op: api.QueryCreate, Query: q}
	case "peer":
		name := pick("peer", "east", "west")
		return api.PeeringStore.Name, &api.PeeringPut{Peering: catalog.Peering{
			ID: "id-" + name, Name: name, State: catalog.PeeringActive, PeerServerName: catalog.PeerServerName(pick("their dc", "east", "west"), "t.consul"), PeerServerAddresses: []string{"192.0.2.1:8503"},
			Secrets: &catalog.PeeringSecrets{Stream: catalog.NewSecret("s")},
		}}
	case "import":
		name := pick("service", "web", "db")
		return api.PeeringTake.Name, &api.PeeringImport{ID: "id-" + pick("peer", "east", "west"), Services: []*catalog.ImportedService{{Service: name}}, Whole: true, Keep: []string{name}}
	case "unpeer":
		return api.PeeringRemove.Name, &api.Named{Name: "id-" + pick("peer", "east", "west")}
	case "export":
		return api.ExportSetPut.Name, &catalog.ExportSet{Name: pick("set", "east", "west"), Services: []string{pick("exported", "web", "db")}, Consumers: []catalog.ServiceConsumer{{Peer: pick("to", "east", "west")}}}
	case "unexport":
		return api.ExportSetDelete.Name, &api.Named{Name: pick("set", "east", "west")}
	case "federate":
		return api.FederationApply.Name, &catalog.FederationState{Datacenter: pick("dc", "east", "west")}
	case "coordinate":
		return api.CoordinateSet.Name, &api.CoordinateUpdate{Updates: []*catalog.NodeCoordinate{{Node: node, Coord: &catalog.Coordinate{Vec: make([]float64, 8), Height: float64(rapid.IntRange(0, 2).Draw(t, "height"))}}}}
	}
	return api.GravesReap.Name, &api.Reap{Index: uint64(rapid.IntRange(0, 15).Draw(t, "up to"))}
}

// drawEntry draws an entry that chains are made of.
func drawEntry(t *rapid.T) catalog.ConfigEntry {
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	entry := func(kind catalog.EntryKind, name string, e catalog.ConfigEntry) catalog.ConfigEntry {
		e.Head().Kind, e.Head().Name = kind, name
		return e
	}
	name, other := pick("name", "web", "db"), pick("other", "web", "db", "none")
	switch kind := catalog.EntryKind(pick("entry", "proxy-defaults", "service-defaults", "service-router", "service-splitter", "service-resolver", "mesh", "mesh")); kind {
	case catalog.EntryMesh:
		return entry(kind, "", &catalog.Mesh{Peering: &catalog.MeshPeering{PeerThroughMeshGateways: rapid.Bool().Draw(t, "through")}})
	case catalog.EntryProxyDefaults:
		return entry(kind, catalog.GlobalName, &catalog.ProxyDefaults{Config: map[string]any{"protocol": pick("protocol", "http", "http", "tcp")}})
	case catalog.EntryServiceDefaults:
		return entry(kind, name, &catalog.ServiceDefaults{Protocol: pick("protocol", "http", "grpc", "")})
	case catalog.EntryServiceRouter:
		return entry(kind, name, &catalog.ServiceRouter{Routes: []catalog.ServiceRoute{{Destination: &catalog.ServiceRouteDestination{Service: other, NumRetries: 1}}}})
	case catalog.EntryServiceSplitter:
		return entry(kind, name, &catalog.ServiceSplitter{Splits: []catalog.ServiceSplit{{Weight: 50, ServiceSubset: pick("subset", "", "v1")}, {Weight: 50, Service: other}}})
	}
	r := &catalog.ServiceResolver{ConnectTimeout: catalog.Duration(time.Second)}
	switch pick("resolver", "subset", "redirect", "failover") {
	case "subset":
		r.Subsets = map[string]*catalog.ServiceSubset{"v1": {OnlyPassing: true}}
	case "redirect":
		r.Redirect, r.ConnectTimeout = &catalog.ServiceRedirect{Service: other}, 0
	case "failover":
		r.Failover = map[string]*catalog.ServiceFailover{"*": {Service: other}}
	}
	return entry(catalog.EntryServiceResolver, name, r)
}

// TestRefused: requests that would break the server, or the log, are refused before.
func TestRefused(t *testing.T) {
	s := newServer(state.New())
	for what, call := range map[string]*rpc.Call{
		"null service":         {Method: api.Register.Name, Body: &api.RegisterRequest{Node: "n", Address: "a", Services: []*catalog.Service{nil}}},
		"null check":           {Method: api.Register.Name, Body: &api.RegisterRequest{Node: "n", Address: "a", Checks: []*catalog.Check{nil}}},
		"null in sync":         {Method: api.Sync.Name, Body: &api.SyncRequest{Register: api.RegisterRequest{Node: "n", Address: "a", Checks: []*catalog.Check{nil}}}},
		"nameless in sync":     {Method: api.Sync.Name, Body: &api.SyncRequest{Register: api.RegisterRequest{Node: "n", Address: "a"}, Deregister: []api.DeregisterRequest{{}}}},
		"null coordinate":      {Method: api.CoordinateSet.Name, Body: &api.CoordinateUpdate{Updates: []*catalog.NodeCoordinate{nil}}},
		"no coordinate":        {Method: api.CoordinateSet.Name, Body: &api.CoordinateUpdate{Updates: []*catalog.NodeCoordinate{{Node: "n"}}}},
		"write that is read":   {Method: api.TxnRead.Name, Body: &api.TxnRequest{Ops: []api.TxnOp{{KV: &api.TxnKV{Verb: api.KVSet, Key: "k"}}}}},
		"session that is read": {Method: api.TxnRead.Name, Body: &api.TxnRequest{Ops: []api.TxnOp{{Session: &api.TxnSession{Verb: api.TxnDelete}}}}},
		"node without address": {Method: api.Register.Name, Body: &api.RegisterRequest{Node: "n", SkipNodeUpdate: true}},
		"another node's check": {Method: api.Register.Name, Body: &api.RegisterRequest{Node: "n", Address: "a", Check: &catalog.Check{Node: "m", CheckID: "c"}}},
		"no key":               {Method: api.KVApply.Name, Body: &api.KVWrite{Op: api.KVDelete}},
		"unknown KV operation": {Method: api.KVApply.Name, Body: &api.KVWrite{Op: "x", Pair: catalog.KVPair{Key: "k"}}},
		"no service":           {Method: api.HealthService.Name, Body: &api.ServiceQuery{}},
	} {
		if _, err := s.Call(t.Context(), call); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%s: %v, want code invalid", what, err)
		}
	}
	for _, method := range []string{api.TxnRead.Name, api.TxnApply.Name} {
		if _, err := s.Call(t.Context(), &rpc.Call{Method: method, Body: &api.TxnRequest{Ops: make([]api.TxnOp, api.MaxTxnOps+1)}}); catalog.CodeOf(err) != catalog.TooLarge {
			t.Errorf("%s of too many: %v, want code too_large", method, err)
		}
	}
	if nodes, _ := state.Nodes(s.store.Read(), nil, nil); len(nodes) != 0 {
		t.Errorf("refused requests left %v", nodes)
	}
}

// TestNeeds: what a write needs is told from what it really changes, whatever names it gives.
func TestNeeds(t *testing.T) {
	s := newServer(state.New())
	s.do(t, api.Register.Name, &api.RegisterRequest{
		Node: "n1", ID: ids[0], Address: "10.0.0.1", Service: &catalog.Service{ID: "i1", Service: "db"},
		Checks: []*catalog.Check{{CheckID: "mine", ServiceID: "i1"}, {CheckID: "whole"}},
	})
	session := func() string {
		return *s.do(t, api.SessionApply.Name, &api.SessionWrite{Op: api.SessionCreate, Session: catalog.Session{Node: "n1"}}).(*string)
	}
	denied := func(method string, req any) bool {
		answer, err := s.Call(t.Context(), &rpc.Call{Method: method, Body: req})
		if err != nil {
			return catalog.CodeOf(err) == catalog.Denied
		}
		rep, ok := answer.Value().(*api.TxnReply)
		return ok && len(rep.Errors) == 1 && rep.Errors[0].OpIndex == 0 && strings.HasPrefix(rep.Errors[0].What, "Permission denied: ")
	}
	f := func(what, method string, req any, want ...string) {
		t.Helper()
		for i := range want {
			s.allowed = slices.Delete(slices.Clone(want), i, i+1)
			if !denied(method, req) {
				t.Errorf("%s without %s is not denied", what, want[i])
			}
		}
		s.allowed = want
		if denied(method, req) {
			t.Errorf("%s with %q is denied", what, want)
		}
		s.allowed = nil
	}
	f("service on a node as it is", api.Register.Name, &api.RegisterRequest{Node: "n1", ID: ids[0], Address: "10.0.0.1", Service: &catalog.Service{ID: "i2", Service: "db"}}, "service:write db")
	f("service of a node that is changed", api.Register.Name, &api.RegisterRequest{Node: "n1", Address: "10.0.0.9", Service: &catalog.Service{ID: "i2", Service: "db"}}, "node:write n1", "service:write db")
	f("service of a node that is not there", api.Register.Name, &api.RegisterRequest{Node: "n9", SkipNodeUpdate: true, Service: &catalog.Service{Service: "db"}}, "node:write n9", "service:write db")
	f("renamed node", api.Register.Name, &api.RegisterRequest{Node: "mine", ID: ids[0], Address: "10.0.0.9"}, "node:write mine", "node:write n1")
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", ID: ids[0], Address: "10.0.0.1", Service: &catalog.Service{ID: "i1", Service: "db"}})
	f("service removed by who may write its node", api.Deregister.Name, &api.DeregisterRequest{Node: "n1", ServiceID: "i2"}, "node:write n1")
	f("service removed by who may write it", api.Deregister.Name, &api.DeregisterRequest{Node: "n1", ServiceID: "i1"}, "service:write db")
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", Address: "10.0.0.1", Service: &catalog.Service{ID: "i1", Service: "db"}, Checks: []*catalog.Check{{CheckID: "mine", ServiceID: "i1"}}})
	f("check removed by who may write its service", api.Deregister.Name, &api.DeregisterRequest{Node: "n1", CheckID: "mine"}, "service:write db")
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", Address: "10.0.0.1", Checks: []*catalog.Check{{CheckID: "mine", ServiceID: "i1"}}})
	f("session that is not there", api.SessionApply.Name, &api.SessionWrite{Op: api.SessionDestroy, Session: catalog.Session{ID: ids[1]}})
	txn := func(op api.TxnOp) *api.TxnRequest { return &api.TxnRequest{Ops: []api.TxnOp{op}} }
	f("service under another name", api.Register.Name, &api.RegisterRequest{Node: "n1", SkipNodeUpdate: true, Service: &catalog.Service{ID: "i1", Service: "web"}}, "service:write db", "service:write web")
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", SkipNodeUpdate: true, Service: &catalog.Service{ID: "i1", Service: "db"}})
	f("new node with services", api.Register.Name, &api.RegisterRequest{Node: "n2", Address: "10.0.0.2", Services: []*catalog.Service{{Service: "a"}}, Checks: []*catalog.Check{{CheckID: "c", ServiceID: "a"}}}, "node:write n2", "service:write a")
	f("check of a node", api.Register.Name, &api.RegisterRequest{Node: "n1", SkipNodeUpdate: true, Check: &catalog.Check{CheckID: "whole"}}, "node:write n1")
	f("check of a service", api.Register.Name, &api.RegisterRequest{Node: "n1", SkipNodeUpdate: true, Check: &catalog.Check{CheckID: "mine", ServiceID: "i1", ServiceName: "web"}}, "service:write db")
	f("check taken from a service", api.Register.Name, &api.RegisterRequest{Node: "n1", SkipNodeUpdate: true, Check: &catalog.Check{CheckID: "mine"}}, "service:write db", "node:write n1")
	f("deregistration", api.Deregister.Name, &api.DeregisterRequest{Node: "n1", ServiceID: "none"}, "node:write n1")
	f("service in a transaction", api.TxnApply.Name, txn(api.TxnOp{Service: &api.TxnService{Verb: api.TxnDelete, Node: "n1", Service: catalog.Service{ID: "i1", Service: "web"}}}), "service:write db", "service:write web")
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", SkipNodeUpdate: true, Service: &catalog.Service{ID: "i1", Service: "db"}})
	f("node by its id", api.TxnApply.Name, txn(api.TxnOp{Node: &api.TxnNode{Verb: api.TxnDelete, Node: catalog.Node{Node: "other", ID: ids[0]}}}), "node:write other", "node:write n1")
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", Address: "10.0.0.1", Service: &catalog.Service{ID: "i1", Service: "db"}})
	f("read in a transaction", api.TxnRead.Name, txn(api.TxnOp{Service: &api.TxnService{Verb: api.TxnGet, Node: "n1", Service: catalog.Service{ID: "i1"}}}), "service:read db")
	f("keys", api.TxnApply.Name, txn(api.TxnOp{KV: &api.TxnKV{Verb: api.KVDeleteTree, Key: "a/"}}), "key:write-prefix a/")
	f("session of another node", api.SessionApply.Name, &api.SessionWrite{Op: api.SessionDestroy, Session: catalog.Session{ID: session(), Node: "n2"}}, "session:write n1")
	f("session in a transaction", api.TxnApply.Name, txn(api.TxnOp{Session: &api.TxnSession{Verb: api.TxnDelete, Session: catalog.Session{ID: session(), Node: "n2"}}}), "session:write n1")
	f("renewal", api.SessionRenew.Name, &api.SessionQuery{ID: session()}, "session:write n1")
	f("new session with an id of another", api.SessionApply.Name, &api.SessionWrite{Op: api.SessionCreate, Session: catalog.Session{ID: session(), Node: "n2"}}, "session:write n2")
}

// TestOwners: reverse look-ups know who has left an address, though no index tells.
func TestOwners(t *testing.T) {
	s := newServer(state.New())
	for _, n := range []string{"n1", "n2"} {
		s.do(t, api.Register.Name, &api.RegisterRequest{Node: n, Address: "10.0.0.1", Service: &catalog.Service{Service: "web", Address: "10.0.0.9"}})
	}
	owners := func(address string) string {
		found := s.do(t, api.AddressOwners.Name, &api.AddressQuery{Address: address}).(*api.Owners)
		return fmt.Sprint(len(found.Nodes), len(found.Instances))
	}
	before := owners("10.0.0.1") + owners("10.0.0.9")
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", Address: "10.0.0.2"})
	s.do(t, api.Deregister.Name, &api.DeregisterRequest{Node: "n1", ServiceID: "web"})
	if after := owners("10.0.0.1") + owners("10.0.0.9"); before != "2 00 2" || after != "1 00 1" {
		t.Errorf("owners were %s, are %s", before, after)
	}
}

// TestFilteredServices: a filter of the list of services speaks of their instances.
func TestFilteredServices(t *testing.T) {
	s := newServer(state.New())
	for n, service := range map[string]*catalog.Service{
		"n1": {ID: "w1", Service: "web", Tags: []string{"v1", "eu"}, Port: 80, Meta: map[string]string{"owner": "a"}},
		"n2": {ID: "w2", Service: "web", Tags: []string{"v2"}, Port: 81},
		"n3": {ID: "d1", Service: "db", Tags: []string{}, Port: 5432},
	} {
		s.do(t, api.Register.Name, &api.RegisterRequest{Node: n, Address: "10.0.0.1", NodeMeta: map[string]string{"rack": n}, Service: service})
	}
	f := func(expression, want string, meta ...string) {
		t.Helper()
		q := &api.ServiceQuery{}
		if len(meta) > 0 {
			q.NodeMeta = map[string]string{"rack": meta[0]}
		}
		a, err := s.Call(t.Context(), &rpc.Call{Method: api.Services.Name, Header: rpc.Header{Filter: expression}, Body: q})
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			return
		}
		if got, _ := json.Marshal(a.Value()); string(got) != want {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
	f(`ServiceName == web`, `{"web":["v1","eu","v2"]}`)
	f(`v2 in ServiceTags`, `{"web":["v2"]}`)
	f(`ServicePort == 5432`, `{"db":[]}`)
	f(`ServiceMeta.owner == a`, `{"web":["v1","eu"]}`)
	f(`NodeMeta.rack == n3 or Node == n2`, `{"db":[],"web":["v2"]}`)
	f(`ServiceName == web`, `{"web":["v2"]}`, "n2")
	f(`ServiceName == nothing`, `{}`)
	for _, wrong := range []string{"Wheels == 4", "ServiceName ==", "(("} {
		if _, err := s.Call(t.Context(), &rpc.Call{Method: api.Services.Name, Header: rpc.Header{Filter: wrong}, Body: &api.ServiceQuery{}}); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%s: %v, want code invalid", wrong, err)
		}
	}
}

// TestTxnWords: clients know some errors of operations by their words, and a check keeps the name it has.
func TestTxnWords(t *testing.T) {
	s := newServer(state.New())
	s.do(t, api.Register.Name, &api.RegisterRequest{Node: "n1", Address: "10.0.0.1"})
	for _, verb := range []api.KVOp{api.KVLock, api.KVUnlock} {
		reply := s.do(t, api.TxnApply.Name, &api.TxnRequest{Ops: []api.TxnOp{{KV: &api.TxnKV{Verb: verb, Key: "k"}}}}).(*api.TxnReply)
		if len(reply.Errors) != 1 || !strings.Contains(reply.Errors[0].What, "missing session") {
			t.Errorf("%s without a session: %+v", verb, reply)
		}
	}
	reply := s.do(t, api.TxnApply.Name, &api.TxnRequest{Ops: []api.TxnOp{{Check: &api.TxnCheck{Verb: api.TxnSet, Check: catalog.Check{Node: "n1", CheckID: "c"}}}}}).(*api.TxnReply)
	if len(reply.Results) != 1 || reply.Results[0].Check.Name != "" || reply.Results[0].Check.CheckID != "c" {
		t.Errorf("check without a name: %+v", reply)
	}
}

package handler_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/handler"
)

// stage is a server with these instances, each "node/id", of service web:
//
//	n1/a  tag v1, passing           rack a, env prod   nearest to n1
//	n2/b  tags v1 and canary, warning
//	n3/c  tag v2, critical by check "flaky"            the farthest from n1
//	n1/p  a proxy of web, passing
func stage(t *testing.T) *server {
	s := newServer(state.New())
	register := func(node string, svc *catalog.Service, checks ...*catalog.Check) {
		s.do(t, api.Register.Name, &api.RegisterRequest{Node: node, Address: "10.0.0." + node[1:], NodeMeta: map[string]string{"rack": map[string]string{"n1": "a"}[node]}, Service: svc, Checks: checks})
	}
	register("n1", &catalog.Service{ID: "a", Service: "web", Tags: []string{"v1"}, Meta: map[string]string{"env": "prod"}})
	register("n2", &catalog.Service{ID: "b", Service: "web", Tags: []string{"v1", "canary"}}, &catalog.Check{CheckID: "w", ServiceID: "b", Status: catalog.Warning})
	register("n3", &catalog.Service{ID: "c", Service: "web", Tags: []string{"v2"}}, &catalog.Check{CheckID: "flaky", ServiceID: "c", Status: catalog.Critical})
	register("n1", &catalog.Service{ID: "p", Service: "web-proxy", Port: 21000, Kind: catalog.KindConnectProxy, Proxy: &catalog.Proxy{DestinationServiceName: "web"}})
	for i, node := range []string{"n1", "n2", "n3"} {
		vec := make([]float64, 8)
		vec[0] = float64(i) * 0.01
		s.do(t, api.CoordinateSet.Name, &api.CoordinateUpdate{Updates: []*catalog.NodeCoordinate{{Node: node, Coord: &catalog.Coordinate{Vec: vec}}}})
	}
	return s
}

func (s *server) create(t *testing.T, q catalog.PreparedQuery) string {
	t.Helper()
	return *s.do(t, api.QueryApply.Name, &api.QueryWrite{Op: api.QueryCreate, Query: q}).(*string)
}

// ran are the instances that a query finds, sorted unless they are in an order.
func ran(rep *api.QueryResult) string {
	var found []string
	for _, i := range rep.Nodes {
		found = append(found, i.Node.Node+"/"+i.Service.ID)
	}
	if !rep.Ordered {
		slices.Sort(found)
	}
	return strings.Join(found, " ")
}

// TestQueryRuns: what queries select, and in which order.
func TestQueryRuns(t *testing.T) {
	web := func(change func(*catalog.QueryService)) catalog.QueryService {
		s := catalog.QueryService{Service: "web"}
		change(&s)
		return s
	}
	for what, c := range map[string]struct {
		service catalog.QueryService
		run     api.QueryRun
		want    string
	}{
		"healthy":               {web(func(*catalog.QueryService) {}), api.QueryRun{}, "n1/a n2/b"},
		"name in other case":    {catalog.QueryService{Service: "WEB"}, api.QueryRun{}, "n1/a n2/b"},
		"only passing":          {web(func(s *catalog.QueryService) { s.OnlyPassing = true }), api.QueryRun{}, "n1/a"},
		"ignored check":         {web(func(s *catalog.QueryService) { s.IgnoreCheckIDs = []string{"flaky"} }), api.QueryRun{}, "n1/a n2/b n3/c"},
		"ignored warning":       {web(func(s *catalog.QueryService) { s.IgnoreCheckIDs, s.OnlyPassing = []string{"w"}, true }), api.QueryRun{}, "n1/a n2/b"},
		"other check ignored":   {web(func(s *catalog.QueryService) { s.IgnoreCheckIDs = []string{"x"} }), api.QueryRun{}, "n1/a n2/b"},
		"tag":                   {web(func(s *catalog.QueryService) { s.Tags = []string{"V1"} }), api.QueryRun{}, "n1/a n2/b"},
		"tag excluded":          {web(func(s *catalog.QueryService) { s.Tags = []string{"v1", "!Canary"} }), api.QueryRun{}, "n1/a"},
		"empty tag":             {web(func(s *catalog.QueryService) { s.Tags = []string{""} }), api.QueryRun{}, ""},
		"node meta":             {web(func(s *catalog.QueryService) { s.NodeMeta = map[string]string{"rack": "a"} }), api.QueryRun{}, "n1/a"},
		"service meta":          {web(func(s *catalog.QueryService) { s.ServiceMeta = map[string]string{"env": "prod"} }), api.QueryRun{}, "n1/a"},
		"missing meta":          {web(func(s *catalog.QueryService) { s.ServiceMeta = map[string]string{"env": ""} }), api.QueryRun{}, ""},
		"near a node":           {web(func(s *catalog.QueryService) { s.Near = "n3" }), api.QueryRun{}, "n2/b n1/a"},
		"near the agent":        {web(func(s *catalog.QueryService) { s.Near = "_agent" }), api.QueryRun{Agent: "n1"}, "n1/a n2/b"},
		"near the client":       {web(func(s *catalog.QueryService) { s.Near = "_ip" }), api.QueryRun{Client: "10.0.0.2"}, "n2/b n1/a"},
		"near, as it is run":    {web(func(s *catalog.QueryService) { s.Near = "n1" }), api.QueryRun{Near: "n2", Limit: 1}, "n2/b"},
		"limit":                 {web(func(s *catalog.QueryService) { s.Near = "n1" }), api.QueryRun{Limit: 1}, "n1/a"},
		"connect":               {web(func(s *catalog.QueryService) { s.Connect = true }), api.QueryRun{}, "n1/p"},
		"connect, as it is run": {web(func(*catalog.QueryService) {}), api.QueryRun{Connect: true}, "n1/p"},
		"unknown service":       {catalog.QueryService{Service: "none"}, api.QueryRun{}, ""},
		"unknown peer":          {web(func(s *catalog.QueryService) { s.Peer = "east" }), api.QueryRun{}, ""},
	} {
		s := stage(t)
		s.create(t, catalog.PreparedQuery{Name: "q", Service: c.service})
		c.run.Name = "Q"
		rep := s.do(t, api.QueryExecute.Name, &c.run).(*api.QueryResult)
		if got := ran(rep); got != c.want || !rep.Found || rep.Failovers != 0 || rep.Service != c.service.Service {
			t.Errorf("%s: found %q, want %q: %+v", what, got, c.want, rep)
		}
	}
}

// TestQueryNames: which query answers for a name, and what its variables stand for.
func TestQueryNames(t *testing.T) {
	s := stage(t)
	template := func(name, pattern, service string, tags ...string) string {
		return s.create(t, catalog.PreparedQuery{
			Name: name, Template: catalog.QueryTemplate{Type: catalog.NamePrefixMatch, Regexp: pattern, RemoveEmptyTags: true},
			Service: catalog.QueryService{Service: service, Tags: tags, NodeMeta: map[string]string{"segment": "${agent.segment}"}, Failover: catalog.QueryFailover{Datacenters: []string{"${ match( 2 ) }"}}},
		})
	}
	s.create(t, catalog.PreparedQuery{Name: "geo-db", Service: catalog.QueryService{Service: "${name.full}"}})
	template("", "", "${name.full}", "$${name.full}")
	template("geo-", "", "any${name.suffix}-of-${name.prefix}")
	template("geo-db-", `^geo-db-(.*?)-([^\-]+?)$`, "${match(1)}", "${match(2)}", "${match(7)}")
	for name, want := range map[string]string{
		"web":                                  "web [${name.full}]",
		"geo-db":                               "${name.full} []", // no template: it stays as it is
		"GEO-DB":                               "${name.full} []",
		"geo-x":                                "anyx-of-geo- []",
		"geo-db-customer-primary":              "customer [primary]",
		"geo-db-none":                          " []",
		"Geo-Db-a-b-c":                         " []", // the pattern minds the case
		strings.Repeat("a", 1024):              strings.Repeat("a", 1024) + " [${name.full}]",
		strings.Repeat("a", 1025):              "none",
		"geo-\x00":                             "any\x00-of-geo- []",
		"\xff\xfe":                             "\xff\xfe [${name.full}]",
		"11111111-0000-0000-0000-000000000000": "11111111-0000-0000-0000-000000000000 [${name.full}]",
	} {
		rep := s.do(t, api.QueryExplain.Name, &api.QueryRun{Name: name}).(*api.QueryExplained)
		got := "none"
		if rep.Query != nil {
			got = fmt.Sprintf("%s %s", rep.Query.Service.Service, rep.Query.Service.Tags)
		}
		if got != want {
			t.Errorf("%.40q is run for %.80q, want %.80q", name, got, want)
		}
	}
	if rep := s.do(t, api.QueryExplain.Name, &api.QueryRun{Name: "geo-db-a-b"}).(*api.QueryExplained); rep.Query.Service.Failover.Datacenters[0] != "b" || rep.Query.Service.NodeMeta["segment"] != "" {
		t.Errorf("not all strings are filled in: %+v", rep.Query.Service)
	}
	stored := s.do(t, api.QueryList.Name, &api.Nothing{}).(*[]*catalog.PreparedQuery)
	for _, q := range *stored {
		if q.Name == "geo-db-" && (q.Service.Tags[0] != "${match(2)}" || q.Service.Failover.Datacenters[0] != "${ match( 2 ) }") {
			t.Errorf("running a template changed it: %+v", q)
		}
	}
}

// TestQueryRefused: queries that make no sense are refused with a reason, and nothing is stored.
func TestQueryRefused(t *testing.T) {
	s := stage(t)
	id := s.create(t, catalog.PreparedQuery{Name: "taken", Service: catalog.QueryService{Service: "web"}})
	s.create(t, catalog.PreparedQuery{Name: "taken", Template: catalog.QueryTemplate{Type: catalog.NamePrefixMatch}, Service: catalog.QueryService{Service: "web"}})
	good := func(change func(*catalog.PreparedQuery)) *api.QueryWrite {
		q := catalog.PreparedQuery{Name: "new", Service: catalog.QueryService{Service: "web"}}
		change(&q)
		return &api.QueryWrite{Op: api.QueryCreate, Query: q}
	}
	templated := func(q *catalog.PreparedQuery) { q.Template.Type = catalog.NamePrefixMatch }
	for want, writes := range map[string][]*api.QueryWrite{
		"missing service":                    {good(func(q *catalog.PreparedQuery) { q.Service.Service = "" })},
		"neither a name":                     {good(func(q *catalog.PreparedQuery) { q.Name = "" })},
		"looks like an id":                   {good(func(q *catalog.PreparedQuery) { q.Name = id })},
		"at most 255":                        {good(func(q *catalog.PreparedQuery) { q.Name = strings.Repeat("n", 256) })},
		"characters that cannot be shown":    {good(func(q *catalog.PreparedQuery) { q.Name = "a\x00b" })},
		"no duration":                        {good(func(q *catalog.PreparedQuery) { q.DNS.TTL = "soon" }), good(func(q *catalog.PreparedQuery) { q.DNS.TTL = "5" })},
		"below zero":                         {good(func(q *catalog.PreparedQuery) { q.DNS.TTL = "-5s" }), good(func(q *catalog.PreparedQuery) { q.Service.Failover.NearestN = -1 })},
		"session":                            {good(func(q *catalog.PreparedQuery) { q.Session = ids[0] })},
		"the name is taken":                  {good(func(q *catalog.PreparedQuery) { q.Name = "Taken" }), good(func(q *catalog.PreparedQuery) { templated(q); q.Name = "TAKEN" })},
		"needs Template.Type":                {good(func(q *catalog.PreparedQuery) { q.Template.Regexp = "x" })},
		"is unknown: want":                   {good(func(q *catalog.PreparedQuery) { q.Template.Type = "regexp" })},
		"missing closing ]":                  {good(func(q *catalog.PreparedQuery) { templated(q); q.Template.Regexp = "[" })},
		"invalid or unsupported Perl syntax": {good(func(q *catalog.PreparedQuery) { templated(q); q.Template.Regexp = `(?=x)` })},
		"invalid repeat count":               {good(func(q *catalog.PreparedQuery) { templated(q); q.Template.Regexp = "((a{1000}){1000})" })},
		"unknown variable": {good(func(q *catalog.PreparedQuery) { templated(q); q.Service.Tags = []string{"${nam.full}"} }), good(func(q *catalog.PreparedQuery) {
			templated(q)
			q.Service.ServiceMeta = map[string]string{"a": "${match(x)}"}
		})},
		"has no } behind it": {good(func(q *catalog.PreparedQuery) { templated(q); q.Service.Near = "${name.full" })},
		"neither Peer nor":   {good(func(q *catalog.PreparedQuery) { q.Service.Failover.Targets = make([]catalog.QueryTarget, 1) })},
		"has both Peer": {good(func(q *catalog.PreparedQuery) {
			q.Service.Failover.Targets = []catalog.QueryTarget{{Peer: "p", Datacenter: "d"}}
		})},
		"two peers": {good(func(q *catalog.PreparedQuery) {
			q.Service.Failover.Targets = []catalog.QueryTarget{{Peer: "p", PeerName: "q"}}
		})},
		"cannot be combined": {good(func(q *catalog.PreparedQuery) {
			q.Service.Failover = catalog.QueryFailover{NearestN: 1, Targets: []catalog.QueryTarget{{Peer: "p"}}}
		}), good(func(q *catalog.PreparedQuery) { q.Service.SamenessGroup, q.Service.Peer = "g", "p" })},
		"there is only": {good(func(q *catalog.PreparedQuery) { q.Service.Namespace = "team" }), good(func(q *catalog.PreparedQuery) {
			q.Service.Failover.Targets = []catalog.QueryTarget{{Peer: "p", Partition: "x"}}
		})},
		"leave out the id":  {{Op: api.QueryCreate, Query: catalog.PreparedQuery{ID: id}}},
		"is no UUID":        {{Op: api.QueryUpdate, Query: catalog.PreparedQuery{ID: "x"}}, {Op: api.QueryDelete}},
		"does not exist":    {{Op: api.QueryUpdate, Query: catalog.PreparedQuery{ID: ids[0]}}, {Op: api.QueryDelete, Query: catalog.PreparedQuery{ID: ids[0]}}},
		"unknown operation": {{Op: "upsert"}},
	} {
		for _, w := range writes {
			_, err := s.Call(t.Context(), &rpc.Call{Method: api.QueryApply.Name, Body: w})
			if code := catalog.CodeOf(err); err == nil || code != catalog.Invalid && code != catalog.Conflict || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %+v: %v (%s), want an error with %q", w.Op, w.Query, err, code, want)
			}
		}
	}
	if all, _ := state.Queries(s.store.Read(), nil); len(all) != 2 {
		t.Errorf("%d queries are stored, want 2", len(all))
	}
	for _, run := range []*api.QueryRun{{}, {Name: "taken", Limit: -1}} {
		if _, err := s.Call(t.Context(), &rpc.Call{Method: api.QueryExecute.Name, Body: run}); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("running %+v: %v, want code invalid", run, err)
		}
	}
}

// TestQueryNeeds: rights to queries go by their names, before and after; tokens are for management, and a
// query is run with its own.
func TestQueryNeeds(t *testing.T) {
	s := stage(t)
	mine := catalog.PreparedQuery{Name: "mine", Token: "secret", Service: catalog.QueryService{Service: "web"}}
	mine.ID = s.create(t, mine)
	session := *s.do(t, api.SessionApply.Name, &api.SessionWrite{Op: api.SessionCreate, Session: catalog.Session{Node: "n1"}}).(*string)
	nameless := s.create(t, catalog.PreparedQuery{Session: session, Service: catalog.QueryService{Service: "web"}})
	denied := func(what string, w api.QueryWrite, allowed ...string) {
		t.Helper()
		s.allowed = append([]string{}, allowed...)
		if _, err := s.Call(t.Context(), &rpc.Call{Method: api.QueryApply.Name, Body: &w}); catalog.CodeOf(err) != catalog.Denied {
			t.Errorf("%s: %v, want code denied", what, err)
		}
	}
	yours := mine
	yours.Name = "yours"
	denied("create", api.QueryWrite{Op: api.QueryCreate, Query: catalog.PreparedQuery{Name: "new"}}, "query:write mine")
	denied("rename from", api.QueryWrite{Op: api.QueryUpdate, Query: yours}, "query:write yours")
	denied("rename to", api.QueryWrite{Op: api.QueryUpdate, Query: yours}, "query:write mine")
	denied("delete", api.QueryWrite{Op: api.QueryDelete, Query: catalog.PreparedQuery{ID: strings.ToUpper(mine.ID), Name: "yours"}}, "query:write yours")
	denied("catch-all", api.QueryWrite{Op: api.QueryCreate, Query: catalog.PreparedQuery{Template: catalog.QueryTemplate{Type: catalog.NamePrefixMatch}}}, "query:write mine")

	list := func(allowed ...string) string {
		s.allowed = append([]string{}, allowed...)
		seen := ""
		for _, q := range *s.do(t, api.QueryList.Name, &api.Nothing{}).(*[]*catalog.PreparedQuery) {
			seen += q.Name + "=" + q.Token + ";"
		}
		return seen
	}
	for want, allowed := range map[string][]string{"": nil, "mine=<hidden>;": {"query:read mine"}} {
		if got := list(allowed...); got != want {
			t.Errorf("with %q the list is %q, want %q", allowed, got, want)
		}
	}
	if got := list("acl:write "); !strings.Contains(got, "mine=secret;") || strings.Count(got, ";") != 2 {
		t.Errorf("management sees %q", got)
	}
	s.allowed = []string{}
	if found := *s.do(t, api.QueryRead.Name, &api.QueryID{ID: nameless}).(*[]*catalog.PreparedQuery); len(found) != 1 {
		t.Error("a nameless query is not seen by who knows its id")
	}
	if found := *s.do(t, api.QueryRead.Name, &api.QueryID{ID: mine.ID}).(*[]*catalog.PreparedQuery); len(found) != 0 {
		t.Errorf("%+v is seen without a right to it", found)
	}
	if rep := s.do(t, api.QueryExplain.Name, &api.QueryRun{Name: "mine"}).(*api.QueryExplained); rep.Query != nil {
		t.Errorf("%+v is explained without a right to it", rep.Query)
	}
	s.allowed = []string{"query:read mine"}
	if rep := s.do(t, api.QueryExplain.Name, &api.QueryRun{Name: "mine"}).(*api.QueryExplained); rep.Query == nil || rep.Query.Token != "<hidden>" {
		t.Errorf("explained with token: %+v", rep.Query)
	}
}

// tokens is a host on which a token may do what its name says.
type tokens struct{ *server }

func (h tokens) Authorize(_ context.Context, token string) (acl.Authorizer, error) {
	if token == "" {
		token = "nothing"
	}
	return rights(token), nil
}

type rights string

func (r rights) Allows(acl.Need) bool { return r == "all" }
func (r rights) View() string         { return string(r) }

// TestQueryToken: whoever runs a query with a token of its own sees what that may see.
func TestQueryToken(t *testing.T) {
	s := stage(t)
	s.create(t, catalog.PreparedQuery{Name: "open", Token: "all", Service: catalog.QueryService{Service: "web"}})
	s.create(t, catalog.PreparedQuery{Name: "closed", Service: catalog.QueryService{Service: "web"}})
	h := tokens{s}
	registry := endpoint.New(h, s.store)
	handler.Register(registry, handler.Deps{Datacenter: "dc1", Store: s.store, Sessions: noTimers{}})
	for _, index := range []uint64{0, 1} { // read by itself, and shared
		for _, c := range []struct{ query, token, want string }{{"open", "", "n1/a n2/b"}, {"closed", "", ""}, {"closed", "all", "n1/a n2/b"}} {
			rep, meta, err := api.QueryExecute.Call(t.Context(), registry, rpc.Header{Token: c.token, MinIndex: index}, &api.QueryRun{Name: c.query})
			if err != nil {
				t.Fatal(err)
			}
			if got := ran(rep); got != c.want || meta.Filtered != (c.want == "") {
				t.Errorf("%s with token %q finds %q, filtered %v, want %q", c.query, c.token, got, meta.Filtered, c.want)
			}
		}
	}
}

// abroad are datacenters that can be reached.
type abroad map[string]rpc.Caller

func (a abroad) to(datacenter string) (rpc.Caller, error) {
	if c, ok := a[datacenter]; ok {
		return c, nil
	}
	return nil, catalog.Errorf(catalog.NoPath, "no path to datacenter %q", datacenter)
}

// federated is dc1, which knows dc2, where nothing is, and nearest then dc4 and dc3, which are both far.
func federated(t *testing.T) (here, far *server) {
	far, here = stage(t), newServer(state.New())
	empty := newServer(state.New())
	here.Registry = endpoint.New(here, here.store)
	others := abroad{"dc2": elsewhere{empty.Registry}, "dc3": elsewhere{far.Registry}, "dc4": elsewhere{far.Registry}}
	handler.Register(here.Registry, handler.Deps{
		Datacenter: "dc1", Store: here.store, Sessions: noTimers{}, Remote: others.to, Abroad: func() []string { return []string{"dc2", "dc4", "dc3"} },
	})
	return here, far
}

// TestQueryPlans: what proxies follow of a query is where it leads, for who may know of its service, and what it selects in one of
// those places and in no other, with the checks that count, at once when that changes.
func TestQueryPlans(t *testing.T) {
	here, far := federated(t)
	q := catalog.PreparedQuery{Name: "q", Service: catalog.QueryService{Service: "web", IgnoreCheckIDs: []string{"late"}, Failover: catalog.QueryFailover{Datacenters: []string{"dc3"}}}}
	q.ID = here.create(t, q)
	plan := here.do(t, api.QueryPlanned.Name, &api.QueryRun{Name: "q"}).(*api.QueryPlan)
	if !plan.Found || plan.Service != "web" || plan.Datacenter != "dc1" || !slices.Equal(plan.Failover.Datacenters, []string{"dc3"}) || plan.Version == 0 {
		t.Errorf("%+v", plan)
	}
	at := func(dc string, index uint64) (string, rpc.Meta) {
		t.Helper()
		leg := &api.QueryLeg{Name: "q", Version: plan.Version}
		leg.Target.Datacenter = dc
		found, meta, err := api.QueryAt.Call(t.Context(), here.Registry, rpc.Header{MinIndex: index}, leg)
		if err != nil {
			return string(catalog.CodeOf(err)), meta
		}
		text := ""
		for _, i := range *found {
			text += fmt.Sprintf("%s/%s %s;", i.Node.Node, i.Service.ID, i.Status())
		}
		return text, meta
	}
	if got, _ := at("", 0); got != "" {
		t.Errorf("where it runs there is %q", got)
	}
	got, meta := at("dc3", 0)
	if got != "n1/p passing;" {
		t.Errorf("dc3 has %q", got)
	}
	for _, dc := range []string{"dc4", "dc2", "nowhere"} { // the first is there, but the query does not lead to it
		if got, _ := at(dc, 0); got != string(catalog.Invalid) {
			t.Errorf("%s: %q", dc, got)
		}
	}
	type reply struct {
		got  string
		meta rpc.Meta
	}
	news := make(chan reply)
	go func() { // ends with the change
		got, meta := at("dc3", meta.Index)
		news <- reply{got, meta}
	}()
	far.do(t, api.Register.Name, &api.RegisterRequest{Node: "n2", Address: "10.0.0.2", Service: &catalog.Service{
		ID: "p2", Service: "web-proxy", Port: 21000, Kind: catalog.KindConnectProxy, Proxy: &catalog.Proxy{DestinationServiceName: "web"},
	}, Checks: []*catalog.Check{{CheckID: "late", ServiceID: "p2", Status: catalog.Critical}}})
	if r := <-news; !strings.Contains(r.got, "n2/p2 passing;") || r.meta.Index <= meta.Index {
		t.Errorf("after %d, %d: %q", meta.Index, r.meta.Index, r.got)
	}
	here.allowed = []string{}
	if rep := here.do(t, api.QueryPlanned.Name, &api.QueryRun{Name: "q"}).(*api.QueryPlan); rep.Found || rep.Service != "" {
		t.Errorf("who may not see the service is told %+v", rep)
	}
}

// TestQueryFailover: other datacenters are asked in order until one knows instances.
func TestQueryFailover(t *testing.T) {
	here, _ := federated(t)
	for what, c := range map[string]struct {
		failover  catalog.QueryFailover
		found     string
		failovers int
	}{
		"none":                  {catalog.QueryFailover{}, "", 0},
		"nearest":               {catalog.QueryFailover{NearestN: 1}, "", 1},
		"two nearest":           {catalog.QueryFailover{NearestN: 2}, "n1/a n2/b", 2},
		"all there are":         {catalog.QueryFailover{NearestN: 99}, "n1/a n2/b", 2},
		"datacenters":           {catalog.QueryFailover{Datacenters: []string{"dc1", "nowhere", "dc2", "dc2", "dc3"}}, "n1/a n2/b", 3},
		"nearest, then by name": {catalog.QueryFailover{NearestN: 1, Datacenters: []string{"dc2", "dc3"}}, "n1/a n2/b", 2},
		"nobody answers":        {catalog.QueryFailover{Datacenters: []string{"nowhere", "neither"}}, "", 2},
		"targets":               {catalog.QueryFailover{Targets: []catalog.QueryTarget{{Peer: "east"}, {Datacenter: "dc3"}}}, "n1/a n2/b", 2},
	} {
		id := here.create(t, catalog.PreparedQuery{Name: what, Service: catalog.QueryService{Service: "web", Failover: c.failover, Near: "n1"}, DNS: catalog.QueryDNS{TTL: "7s"}})
		first := here.do(t, api.QueryExecute.Name, &api.QueryRun{Name: id}).(*api.QueryResult)
		if more := what != "none"; first.More != more || len(first.Nodes) != 0 {
			t.Errorf("%s: %+v, want more: %v", what, first, more)
		}
		rep := here.do(t, api.QueryFailover.Name, &api.QueryRun{Name: id, Limit: 5}).(*api.QueryResult)
		if ran(rep) != c.found || rep.Failovers != c.failovers || rep.DNS.TTL != "7s" || !rep.Found {
			t.Errorf("%s: found %q after %d failovers, want %q after %d: %+v", what, ran(rep), rep.Failovers, c.found, c.failovers, rep)
		}
	}
}

// mute is a datacenter that never answers.
type mute struct{}

func (mute) Call(ctx context.Context, _ *rpc.Call) (rpc.Answer, error) {
	<-ctx.Done()
	return rpc.Answer{}, ctx.Err()
}

// TestQueryFailoverPatience: a datacenter that does not answer keeps nobody from the next one for long, and the last one
// has all the time that the caller has.
func TestQueryFailoverPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := stage(t)
		here := newServer(state.New())
		here.Registry = endpoint.New(here, here.store)
		others := abroad{"dc2": mute{}, "dc3": elsewhere{far.Registry}}
		handler.Register(here.Registry, handler.Deps{
			Datacenter: "dc1", Store: here.store, Sessions: noTimers{}, Remote: others.to, Abroad: func() []string { return []string{"dc2", "dc3"} },
			Log: slog.New(slog.DiscardHandler),
		})
		run := func(datacenters ...string) (rep *api.QueryResult, took time.Duration) {
			t.Helper()
			id := here.create(t, catalog.PreparedQuery{Name: strings.Join(datacenters, "-"), Service: catalog.QueryService{Service: "web", Failover: catalog.QueryFailover{Datacenters: datacenters}}})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begun := time.Now()
			rep, _, err := api.QueryFailover.Call(ctx, here.Registry, rpc.Header{}, &api.QueryRun{Name: id})
			if err != nil {
				t.Fatal(err)
			}
			return rep, time.Since(begun)
		}
		if rep, took := run("dc2", "dc3"); len(rep.Nodes) != 2 || rep.Failovers != 2 || took > 2*time.Second {
			t.Errorf("found %q in %s after %d failovers, %s", ran(rep), rep.Datacenter, rep.Failovers, took)
		}
		if rep, took := run("dc2"); len(rep.Nodes) != 0 || took != time.Minute {
			t.Errorf("the only one had %s: %q", took, ran(rep))
		}
	})
}

// elsewhere is a registry as another datacenter reaches it.
type elsewhere struct{ *endpoint.Registry }

func (e elsewhere) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	there := *call
	there.Header.Datacenter = ""
	return e.Registry.Call(ctx, &there)
}

package local

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func TestServersAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		attempts := 0
		away := func() error { attempts++; return catalog.Errorf(catalog.NoLeader, "no cluster leader") }
		c.down = away
		a := run(t, testConfig(""), c, nil)
		begin := time.Now()
		for i := range 3 {
			a.register(define(fmt.Sprint("web-", i)))
		}
		if took := time.Since(begin); took > time.Second || !a.log.has("kept by the agent") {
			t.Errorf("registering without servers took %s", took)
		}
		pass(10 * time.Minute)
		if attempts > 80 {
			t.Errorf("%d attempts in 10 minutes", attempts)
		}
		c.do(func() { c.down = nil })
		a.Kick()
		pass(time.Second)
		if len(c.services) != 3 || c.node == nil {
			t.Errorf("after the servers are back: %v", c.services)
		}
		// While they are slow to come back, nobody waits for ever.
		c.do(func() { c.down = away })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		c.took = time.Minute
		a.want(a.Register(ctx, define("late"), Options{}), catalog.Unavailable)
		begin = time.Now()
		a.register(define("later"))
		if took := time.Since(begin); took > 2*callTimeout+time.Second {
			t.Errorf("registering with hanging servers took %s", took)
		}
	})
}

func TestBadObjectsDoNotBlockOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		deny := true
		c.refuse = func(req *api.SyncRequest) error {
			for _, s := range req.Register.Services {
				if deny && strings.HasPrefix(s.ID, "bad") {
					return catalog.Errorf(catalog.Denied, "permission denied")
				}
			}
			for _, row := range req.Register.Checks {
				if row.CheckID == "poison" {
					return catalog.Errorf(catalog.Invalid, "refused")
				}
			}
			return nil
		}
		a := run(t, testConfig(""), c, func(s *State) {
			var defs []*catalog.ServiceDefinition
			for i := range 200 {
				defs = append(defs, define(fmt.Sprint("good-", i), ttlCheck(fmt.Sprint("c-", i), time.Hour)))
			}
			defs = append(defs, define("bad-1", ttlCheck("bad", time.Hour)), define("bad-2"), define("web", ttlCheck("poison", time.Hour), ttlCheck("fine", time.Hour)))
			if err := s.SetConfig(defs, nil); err != nil {
				t.Fatal(err)
			}
		})
		synctest.Wait()
		if len(c.services) != 201 || len(c.checks) != 201 || c.check("fine") == nil {
			t.Errorf("%d services and %d checks in the catalog", len(c.services), len(c.checks))
		}
		calls := c.calls()
		if calls > 80 {
			t.Errorf("%d calls to find three of 400", calls)
		}
		pass(40 * time.Second)
		if again := c.calls(); again != calls {
			t.Errorf("%d hot retries of what was refused", again-calls)
		}
		a.register(define("next"))
		if c.service("next") == nil {
			t.Error("a registration behind refused ones is not in the catalog")
		}
		c.do(func() { deny = false })
		pass(2 * time.Minute)
		if c.service("bad-1") == nil || c.service("bad-2") == nil || c.check("bad") == nil {
			t.Error("what was refused is not tried again by the comparison")
		}
	})
}

func TestCompareMendsTheCatalog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, testConfig(""), c, nil)
		a.register(define("web", ttlCheck("up", time.Hour)))
		tagged := define("tagged", ttlCheck("tagged-up", time.Hour))
		tagged.EnableTagOverride, tagged.Tags = true, []string{"ours"}
		a.register(tagged)
		pass(2 * time.Second)
		row := func(s catalog.Service) *catalog.Service { s.Normalize(); return &s }
		c.do(func() {
			c.node = &catalog.Node{Node: "n1", Address: "10.9.9.9"}
			c.services["web"] = row(catalog.Service{ID: "web", Service: "web", Port: 81})
			c.services["stranger"] = row(catalog.Service{ID: "stranger", Service: "s"})
			c.services["consul"] = row(catalog.Service{ID: "consul", Service: "consul"})
			other := *c.services["tagged"]
			other.Tags = []string{"theirs"}
			c.services["tagged"] = &other
			delete(c.checks, "up")
			c.checks["odd"] = &catalog.Check{Node: "n1", CheckID: "odd", Status: catalog.Passing}
			c.checks["strange"] = &catalog.Check{Node: "n1", CheckID: "strange", ServiceID: "stranger"}
			c.checks[catalog.SerfHealth] = &catalog.Check{Node: "n1", CheckID: catalog.SerfHealth, Status: catalog.Passing}
		})
		a.Kick()
		pass(time.Second)
		if got := slices.Sorted(maps.Keys(c.services)); !slices.Equal(got, []string{"consul", "tagged", "web"}) || c.service("web").Port != 80 || c.node.Address != "127.0.0.1" {
			t.Errorf("services %v, web %+v, node %+v", got, c.service("web"), c.node)
		}
		if got := slices.Sorted(maps.Keys(c.checks)); !slices.Equal(got, []string{catalog.SerfHealth, "tagged-up", "up"}) {
			t.Errorf("checks %v", got)
		}
		svc, _ := a.Service("tagged")
		up, _ := a.Check("tagged-up")
		if !slices.Equal(svc.Tags, []string{"theirs"}) || !slices.Equal(up.ServiceTags, svc.Tags) || !slices.Equal(c.service("tagged").Tags, svc.Tags) {
			t.Errorf("tags %v and %v, catalog %v, want those that another set", svc.Tags, up.ServiceTags, c.service("tagged").Tags)
		}
		again := *tagged
		again.Port = 99
		a.register(&again)
		if got := c.service("tagged"); got.Port != 99 || !slices.Equal(got.Tags, []string{"theirs"}) {
			t.Errorf("registered again with the same tags: %+v", got)
		}
		calls := c.calls()
		pass(10 * time.Minute)
		if c.calls() != calls || c.reads < 7 || c.reads > 20 {
			t.Errorf("10 minutes of peace: %d calls, %d comparisons", c.calls()-calls, c.reads)
		}
		a.Pause()
		a.register(define("paused"))
		pass(5 * time.Minute)
		if c.service("paused") != nil {
			t.Error("the catalog is told during a pause")
		}
		a.Resume()
		node := *a.cfg.Node
		node.Meta = map[string]string{"rack": "b"}
		a.SetNode(&node)
		synctest.Wait()
		if c.service("paused") == nil || c.node.Meta["rack"] != "b" {
			t.Errorf("after the pause: %v, node %+v", c.services, c.node)
		}
	})
}

// What the catalog shows of a service beyond its definition is told from what somebody else changed.
func TestVirtualAddressIsTheCatalogs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, testConfig(""), c, nil)
		native := define("web")
		native.Connect = &catalog.ServiceConnect{Native: true}
		a.register(native)
		a.register(define("plain"))
		show := func(id, tag string) {
			c.do(func() {
				s := *c.services[id]
				s.TaggedAddresses = map[string]catalog.ServiceAddress{tag: {Address: "240.0.0.1", Port: s.Port}}
				c.services[id] = &s
			})
			a.Kick()
			pass(time.Second)
		}
		pass(2 * time.Second)
		calls := c.calls()
		if show("web", catalog.VirtualTag); c.calls() != calls {
			t.Errorf("the virtual address cost %d calls", c.calls()-calls)
		}
		if own, _ := a.Service("web"); len(own.TaggedAddresses) > 0 {
			t.Errorf("the agent has it too: %v", own.TaggedAddresses)
		}
		for _, f := range []struct{ id, tag string }{{"web", "lan"}, {"plain", catalog.VirtualTag}} {
			if show(f.id, f.tag); len(c.service(f.id).TaggedAddresses) > 0 {
				t.Errorf("%s keeps %v", f.id, c.service(f.id).TaggedAddresses)
			}
		}
	})
}

// The catalog's tags win over a definition that is older than they are, also across a restart.
func TestTagsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, testConfig(dir), c, nil)
		def := define("redis")
		def.EnableTagOverride = true
		a.register(def)
		a.stop()
		other := *c.services["redis"]
		other.Tags = []string{"primary"}
		c.services["redis"] = &other
		a = run(t, testConfig(dir), c, nil)
		pass(5 * time.Second)
		if row, _ := a.Service("redis"); !row.HasTag("primary") || !c.service("redis").HasTag("primary") {
			t.Errorf("tags %v, in the catalog %v", row.Tags, c.service("redis").Tags)
		}
		for port := range 2 {
			again := *def
			again.Port = 1000 + port
			a.register(&again)
			if row := c.service("redis"); row.Port != again.Port || !row.HasTag("primary") {
				t.Errorf("registered again: %+v", row)
			}
			a.stop()
			a = run(t, testConfig(dir), c, nil)
			pass(5 * time.Second)
		}
	})
}

// An agent that may not read the catalog still registers what has a token of its own.
func TestAgentTokenMayNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		cfg := testConfig("")
		cfg.AgentToken = func() string { return "agent" }
		c.token = func(token string) error {
			if token == "agent" {
				return catalog.Errorf(catalog.Denied, "permission denied")
			}
			return nil
		}
		def := define("web", ttlCheck("up", time.Hour))
		def.Token = "own"
		a := run(t, cfg, c, func(s *State) {
			if err := s.SetConfig([]*catalog.ServiceDefinition{def}, nil); err != nil {
				t.Fatal(err)
			}
		})
		pass(time.Second)
		if c.service("web") == nil || c.check("up") == nil || !a.log.has("could not be compared") || a.log.has("own") {
			t.Errorf("catalog %v, %v, log %s", c.services, c.checks, a.log)
		}
		c.do(func() { c.token = nil })
		a.Kick()
		pass(time.Second)
		if c.node.Meta["rack"] != "a" || a.node.refused != nil {
			t.Errorf("node %+v, refused %v", c.node, a.node.refused)
		}
	})
}

func TestPeriod(t *testing.T) {
	f := func(nodes int, want time.Duration) {
		t.Helper()
		if got := period(nodes); got != want {
			t.Errorf("period(%d) = %s, want %s", nodes, got, want)
		}
	}
	f(0, time.Minute)
	f(128, time.Minute)
	f(129, 2*time.Minute)
	f(256, 2*time.Minute)
	f(257, 3*time.Minute)
	f(1024, 4*time.Minute)
	f(1025, 5*time.Minute)
}

func TestSetConfig(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		side := func() *catalog.ServiceDefinition {
			def := define("web", ttlCheck("up", time.Hour))
			def.Connect = &catalog.ServiceConnect{SidecarService: &catalog.ServiceDefinition{}}
			return def
		}
		mem := ttlCheck("mem", time.Hour)
		a := run(t, testConfig(t.TempDir()), c, nil)
		set := func(services []*catalog.ServiceDefinition, checks ...*catalog.AgentCheck) {
			t.Helper()
			if err := a.SetConfig(services, checks); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		synctest.Wait()
		set([]*catalog.ServiceDefinition{side(), define("old", ttlCheck("old-up", time.Hour))}, mem)
		a.register(define("api"))
		if err := a.UpdateCheck("up", catalog.Passing, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(c.services) != 4 || len(c.checks) != 5 {
			t.Fatalf("catalog %v, %v", c.services, c.checks)
		}
		calls := c.calls()
		set([]*catalog.ServiceDefinition{side(), define("old", ttlCheck("old-up", time.Hour))}, mem)
		if c.calls() != calls {
			t.Errorf("the same configuration is news: %d calls", c.calls()-calls)
		}
		a.want(a.SetConfig([]*catalog.ServiceDefinition{define("new"), define("new")}, nil), catalog.Invalid)
		a.want(a.SetConfig([]*catalog.ServiceDefinition{side(), define("web-sidecar-proxy")}, nil), catalog.Invalid)
		a.want(a.SetConfig([]*catalog.ServiceDefinition{define("new"), {Port: 1}}, nil), catalog.Invalid)
		lost := ttlCheck("lost", time.Hour)
		lost.ServiceID = "old"
		a.want(a.SetConfig([]*catalog.ServiceDefinition{side()}, []*catalog.AgentCheck{lost}), catalog.NotFound)
		if len(a.Services()) != 4 {
			t.Errorf("a bad configuration changed %v", a.Services())
		}
		web := side()
		web.Port, web.Checks = 81, []*catalog.AgentCheck{ttlCheck("up", time.Hour), ttlCheck("new", time.Hour)}
		set([]*catalog.ServiceDefinition{web})
		if got := slices.Sorted(maps.Keys(c.services)); !slices.Equal(got, []string{"api", "web", "web-sidecar-proxy"}) || c.service("web").Port != 81 {
			t.Errorf("services %v", got)
		}
		if up := c.check("up"); up.Status != catalog.Passing || c.check("new") == nil || c.check("mem") != nil || c.check("old-up") != nil {
			t.Errorf("checks %v, up %+v", c.checks, up)
		}
		web.Checks, web = nil, define("web")
		set([]*catalog.ServiceDefinition{web})
		if len(c.services) != 2 || len(c.checks) != 0 {
			t.Errorf("without sidecar and checks: %v, %v", c.services, c.checks)
		}
	})
}

// Whatever happens, the catalog ends up with what the agent says.
func TestCatalogEndsUpEqual(t *testing.T) {
	for seed := range uint64(40) {
		bubble(t, func(t *testing.T) { churn(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func churn(t *testing.T, r *rand.Rand) {
	c := newServers()
	c.took = time.Millisecond
	failing := rand.New(rand.NewPCG(r.Uint64(), 2))
	c.down = func() error {
		if failing.IntN(6) == 0 {
			return catalog.Errorf([]catalog.Code{catalog.NoLeader, catalog.Internal, catalog.Denied, catalog.Invalid}[failing.IntN(4)], "no")
		}
		return nil
	}
	a := run(t, testConfig(""), c, nil)
	id := func(kind string) string { return fmt.Sprint(kind, r.IntN(6)) }
	statuses := []catalog.Status{catalog.Passing, catalog.Warning, catalog.Critical}
	for range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+r.IntN(20))*time.Millisecond)
		switch r.IntN(9) {
		case 0, 1:
			def := define(id("s"))
			def.Port = r.IntN(3)
			for i := range r.IntN(3) {
				def.Checks = append(def.Checks, ttlCheck(fmt.Sprint("c", r.IntN(3)*2+i), time.Hour))
			}
			if r.IntN(3) == 0 {
				def.Connect = &catalog.ServiceConnect{SidecarService: &catalog.ServiceDefinition{}}
			}
			_ = a.Register(ctx, def, Options{ReplaceExistingChecks: r.IntN(2) == 0, Token: []string{"", "", "t"}[r.IntN(3)]})
		case 2:
			_ = a.Deregister(ctx, id("s"))
		case 3:
			alone := ttlCheck(id("c"), time.Hour)
			alone.ServiceID = []string{"", id("s")}[r.IntN(2)]
			_ = a.RegisterCheck(ctx, alone, Options{Token: []string{"", "u"}[r.IntN(2)]})
		case 4:
			_ = a.DeregisterCheck(ctx, id("c"))
		case 5:
			_ = a.UpdateCheck(id("c"), statuses[r.IntN(3)], fmt.Sprint(r.IntN(3)))
		case 6:
			_ = a.SetServiceMaintenance(ctx, id("s"), r.IntN(2) == 0, "", "")
		case 7:
			c.do(func() { delete(c.services, id("s")); delete(c.checks, id("c")) })
		case 8:
			pass(time.Duration(r.IntN(3000)) * time.Millisecond)
		}
		cancel()
	}
	c.do(func() { c.down = nil })
	pass(10 * time.Minute)
	ours, checks := a.Services(), a.Checks()
	if !maps.EqualFunc(ours, c.services, (*catalog.Service).Same) {
		t.Errorf("services: catalog %v, agent %v", slices.Sorted(maps.Keys(c.services)), slices.Sorted(maps.Keys(ours)))
	}
	if !maps.EqualFunc(checks, c.checks, (*catalog.Check).Same) {
		t.Errorf("checks: catalog %v, agent %v", slices.Sorted(maps.Keys(c.checks)), slices.Sorted(maps.Keys(checks)))
	}
	if n := 1 + len(ours) + len(checks); len(a.objects) != n || len(a.queue) != 0 {
		t.Errorf("%d objects are kept, %d queued, want %d and 0", len(a.objects), len(a.queue), n)
	}
	ports := 0
	for _, s := range ours {
		if s.Port > 0 {
			ports++
		}
	}
	for _, n := range a.ports {
		ports -= n
	}
	if ports != 0 {
		t.Errorf("ports are counted wrong by %d: %v", ports, a.ports)
	}
}

// An alias of another node follows the catalog.
func TestAliasOfAnotherNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		c.node = &catalog.Node{Node: "n2"}
		c.services["db"] = &catalog.Service{ID: "db", Service: "db"}
		c.checks["db-up"] = &catalog.Check{Node: "n2", CheckID: "db-up", ServiceID: "db", Status: catalog.Warning}
		a := run(t, testConfig(""), c, nil)
		a.Pause() // the fake has but one node
		synctest.Wait()
		state, err := aliased{a.State}.AliasState(t.Context(), check.AliasTarget{Node: "n2", ServiceID: "db"})
		if err != nil || !state.Found || len(state.Checks) != 1 || state.Checks[0].Status != catalog.Warning {
			t.Errorf("%+v, %v", state, err)
		}
		<-state.Changed
		state, err = aliased{a.State}.AliasState(t.Context(), check.AliasTarget{Node: "n2", ServiceID: "absent"})
		if err != nil || state.Found {
			t.Errorf("%+v, %v", state, err)
		}
	})
}

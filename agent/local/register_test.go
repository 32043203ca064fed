package local

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func TestRegisterReachesTheCatalog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, testConfig(""), c, nil)
		def := define("web-1", ttlCheck("up", time.Hour))
		def.Address, def.Port, def.Tags = "10.0.0.5", 8080, []string{"v1"}
		def.TaggedAddresses = map[string]catalog.ServiceAddress{"lan": {Address: "10.0.0.5", Port: 8000}, "wan_ipv4": {Address: "198.18.0.1", Port: 80}}
		a.register(def)
		row, _ := a.Service("web-1")
		if c.service("web-1") != row || c.node == nil || c.node.Meta["rack"] != "a" {
			t.Fatalf("catalog has %+v on %+v, the agent %+v", c.service("web-1"), c.node, row)
		}
		tagged := map[string]catalog.ServiceAddress{"lan": {Address: "10.0.0.5", Port: 8000}, "lan_ipv4": {Address: "10.0.0.5", Port: 8080}, "wan_ipv4": {Address: "198.18.0.1", Port: 80}}
		if !reflect.DeepEqual(row.TaggedAddresses, tagged) || def.TaggedAddresses["lan_ipv4"].Port != 0 {
			t.Errorf("tagged addresses %v, want %v, and the definition as it was", row.TaggedAddresses, tagged)
		}
		up := c.check("up")
		if up == nil || up.Status != catalog.Critical || up.ServiceName != "web" || !slices.Equal(up.ServiceTags, []string{"v1"}) || up.Type != "ttl" || up.Node != "n1" {
			t.Errorf("check in the catalog: %+v", up)
		}
		if err := a.UpdateCheck("up", catalog.Passing, "fine"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if up = c.check("up"); up.Status != catalog.Passing || up.Output != "fine" {
			t.Errorf("after an update: %+v", up)
		}
		calls := c.calls()
		a.register(def)
		if up, _ = a.Check("up"); up.Status != catalog.Passing || c.calls() != calls {
			t.Errorf("registered again: check %+v, %d calls more, want it passing and none", up, c.calls()-calls)
		}
		if err := a.Deregister(t.Context(), "web-1"); err != nil || len(c.services)+len(c.checks)+len(a.Checks())+len(a.objects) != 1 {
			t.Errorf("after deregistering: %v, catalog %v %v, agent %v, %d objects", err, c.services, c.checks, a.Checks(), len(a.objects))
		}
		a.want(a.Deregister(t.Context(), "web-1"), catalog.NotFound)
	})
}

func TestRegisterRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, testConfig(""), c, nil)
		f := func(words string, code catalog.Code, def *catalog.ServiceDefinition) {
			t.Helper()
			err := a.Register(t.Context(), def, Options{})
			if err == nil || catalog.CodeOf(err) != code || !strings.Contains(err.Error(), words) {
				t.Errorf("error %v, want %s with %q", err, code, words)
			}
		}
		script := &catalog.AgentCheck{Name: "script"}
		script.ScriptArgs, script.Interval = []string{"/bin/true"}, catalog.Duration(time.Second)
		side := func(side catalog.ServiceDefinition) *catalog.ServiceDefinition {
			return &catalog.ServiceDefinition{Name: "x", Connect: &catalog.ServiceConnect{SidecarService: &side}}
		}
		f("set Name", catalog.Invalid, &catalog.ServiceDefinition{ID: "x"})
		f("0.0.0.0", catalog.Invalid, &catalog.ServiceDefinition{Name: "x", Address: "0.0.0.0"})
		f("passing must be", catalog.Invalid, &catalog.ServiceDefinition{Name: "x", Weights: &catalog.Weights{Passing: -1}})
		f("does nothing", catalog.Invalid, define("x", ttlCheck("good", time.Hour), &catalog.AgentCheck{Name: "bad"}))
		f("two of its checks", catalog.Invalid, define("x", ttlCheck("a", time.Hour), ttlCheck("a", time.Hour)))
		f("belongs to the servers", catalog.Invalid, define("x", ttlCheck(catalog.SerfHealth, time.Hour)))
		f("belongs to the servers", catalog.Invalid, define("consul"))
		f("UTF-8", catalog.Invalid, define("\xff"))
		f("zero byte", catalog.Invalid, define("a\x00"))
		f("enable_script_checks", catalog.Internal, define("x", script))
		f("always", catalog.Invalid, side(catalog.ServiceDefinition{ID: "mine"}))
		f("always", catalog.Invalid, side(catalog.ServiceDefinition{Kind: catalog.KindMeshGateway}))
		f("have a sidecar", catalog.Invalid, side(*side(catalog.ServiceDefinition{})))
		f("Native", catalog.Invalid, side(catalog.ServiceDefinition{Connect: &catalog.ServiceConnect{Native: true}}))
		a.want(a.RegisterCheck(t.Context(), ttlCheck("", time.Hour), Options{}), catalog.Invalid)
		orphan := ttlCheck("o", time.Hour)
		orphan.ServiceID = "absent"
		a.want(a.RegisterCheck(t.Context(), orphan, Options{}), catalog.NotFound)
		a.want(a.DeregisterCheck(t.Context(), "absent"), catalog.NotFound)
		a.want(a.UpdateCheck("absent", catalog.Passing, ""), catalog.NotFound)
		a.want(a.SetServiceMaintenance(t.Context(), "absent", true, "", ""), catalog.NotFound)
		if n := a.Counts(); n.Services+n.Checks+len(n.Kinds) != 0 || len(c.services) != 0 {
			t.Errorf("something is registered: %+v, %v", n, c.services)
		}
	})
}

func TestSidecar(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, testConfig(""), c, nil)
		def := define("web-1")
		def.Tags, def.Meta = []string{"v1"}, map[string]string{"a": "b"}
		def.Connect = &catalog.ServiceConnect{SidecarService: &catalog.ServiceDefinition{}}
		a.register(def)
		side := c.service("web-1-sidecar-proxy")
		if side == nil || side.Kind != catalog.KindConnectProxy || side.Service != "web-sidecar-proxy" || side.Port != 21000 || side.Meta["a"] != "b" || !side.HasTag("v1") {
			t.Fatalf("sidecar %+v", side)
		}
		want := &catalog.Proxy{DestinationServiceName: "web", DestinationServiceID: "web-1", LocalServiceAddress: "127.0.0.1", LocalServicePort: 80}
		if !reflect.DeepEqual(side.Proxy, want) {
			t.Errorf("proxy %+v, want %+v", side.Proxy, want)
		}
		listening, alias := c.check("service:web-1-sidecar-proxy:1"), c.check("service:web-1-sidecar-proxy:2")
		if listening == nil || listening.Type != "tcp" || alias == nil || alias.Type != "alias" || alias.Name != "Connect Sidecar Aliasing web-1" {
			t.Errorf("checks %+v, %+v", listening, alias)
		}
		if got, _ := a.set.Get("service:web-1-sidecar-proxy:1"); got == nil || got.TCP != "127.0.0.1:21000" {
			t.Errorf("listening check %+v", got)
		}
		other := *def
		other.ID = "web-2"
		a.register(&other)
		if port := c.service("web-2-sidecar-proxy").Port; port != 21001 {
			t.Errorf("second sidecar has port %d", port)
		}
		other.Tags = []string{"v2"}
		a.register(&other)
		if port := c.service("web-2-sidecar-proxy").Port; port != 21001 {
			t.Errorf("registered again the sidecar has port %d", port)
		}
		synctest.Wait()
		if alias, _ := a.Check("service:web-1-sidecar-proxy:2"); alias.Status != catalog.Passing {
			t.Errorf("alias of a service without checks: %+v", alias)
		}
		if err := a.SetServiceMaintenance(t.Context(), "web-1", true, "", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if alias, _ := a.Check("service:web-1-sidecar-proxy:2"); alias.Status != catalog.Critical {
			t.Errorf("alias of a service out of service: %+v", alias)
		}
		a.register(define("web-1")) // without a sidecar now
		if err := a.Deregister(t.Context(), "web-2"); err != nil || len(c.services) != 1 || len(a.ports) != 1 {
			t.Errorf("%v, left %v, ports %v", err, c.services, a.ports)
		}
	})
}

func TestChecksOfAService(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, testConfig(""), c, nil)
		a.register(define("web", ttlCheck("a", time.Hour), ttlCheck("b", time.Hour)))
		added := ttlCheck("c", time.Hour)
		added.ServiceID = "web"
		if err := a.RegisterCheck(t.Context(), added, Options{}); err != nil {
			t.Fatal(err)
		}
		if row := c.check("c"); row.Interval != "0s" || row.ServiceName != "web" {
			t.Errorf("check by itself: %+v", row)
		}
		ids := func() []string {
			h, _ := a.Health("web")
			var ids []string
			for _, check := range h.Checks {
				ids = append(ids, check.CheckID)
			}
			return ids
		}
		a.register(define("web", ttlCheck("a", time.Minute)))
		if got := ids(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("registered again: %v, want all checks kept", got)
		}
		if err := a.SetServiceMaintenance(t.Context(), "web", true, "upgrade", ""); err != nil {
			t.Fatal(err)
		}
		if err := a.Register(t.Context(), define("web", ttlCheck("a", time.Minute)), Options{ReplaceExistingChecks: true}); err != nil {
			t.Fatal(err)
		}
		if got := ids(); !slices.Equal(got, []string{catalog.ServiceMaintenance + "web", "a"}) || c.check("b") != nil || c.check("c") != nil {
			t.Errorf("with its checks replaced: %v, catalog %v", got, c.checks)
		}
		row := c.check(catalog.ServiceMaintenance + "web")
		if h, _ := a.Health("web"); h.Status != catalog.Maintenance || row == nil || row.Notes != "upgrade" || row.Type != "maintenance" || row.Status != catalog.Critical {
			t.Errorf("maintenance %+v, health %s", row, h.Status)
		}
		a.want(a.UpdateCheck(row.CheckID, catalog.Passing, ""), catalog.Internal)
		if err := a.SetServiceMaintenance(t.Context(), "web", false, "", ""); err != nil || c.check(row.CheckID) != nil {
			t.Errorf("out of maintenance: %v, %v", err, c.checks)
		}
		if err := a.SetNodeMaintenance(t.Context(), true, "", ""); err != nil {
			t.Fatal(err)
		}
		if all, worst := a.HealthByName("web"); len(all) != 1 || worst != catalog.Maintenance {
			t.Errorf("node in maintenance: %+v, %s", all, worst)
		}
		// A check id moves to another service with the registration that names it.
		a.register(&catalog.ServiceDefinition{Name: "db", Check: ttlCheck("a", time.Hour)})
		if row := c.check("a"); row.ServiceID != "db" || len(a.owned["web"]) != 0 {
			t.Errorf("check moved: %+v", row)
		}
		if err := a.Deregister(t.Context(), "web"); err != nil || c.check("a") == nil {
			t.Errorf("%v; the check went with its former service", err)
		}
	})
}

func TestChanged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := run(t, testConfig(""), newServers(), nil)
		a.register(define("web"))
		closed := func(c <-chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		web, all, absent := a.Changed("web"), a.Changed(""), a.Changed("absent")
		before := a.Services()
		a.register(define("web"))
		if closed(web) || closed(all) {
			t.Error("a registration that says the same is news")
		}
		a.register(define("other"))
		if closed(web) || !closed(all) || !closed(absent) || len(before) != 1 || len(a.Services()) != 2 {
			t.Error("another service: want news for all but the first, and old snapshots as they were")
		}
		if err := a.Deregister(t.Context(), "web"); err != nil || !closed(web) {
			t.Error("deregistering is no news")
		}
	})
}

func TestConcurrentRegistrationsShareCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		c.took = 10 * time.Millisecond
		a := run(t, testConfig(""), c, nil)
		synctest.Wait()
		var all sync.WaitGroup
		begin := time.Now()
		for i := range 400 {
			all.Go(func() { a.register(define(fmt.Sprint("web-", i), ttlCheck(fmt.Sprint("check-", i), time.Hour))) })
		}
		all.Wait()
		if took, calls := time.Since(begin), c.calls(); len(c.services) != 400 || len(c.checks) != 400 || calls > 8 || took > 100*time.Millisecond {
			t.Errorf("%d services and %d checks by %d calls in %s", len(c.services), len(c.checks), calls, took)
		}
		for _, req := range c.syncs {
			if n := len(req.Register.Services) + len(req.Register.Checks); n > maxObjects+1 {
				t.Errorf("a call with %d objects", n)
			}
		}
	})
}

// A service that goes and comes back while a call is under way leaves none of its checks behind.
func TestReturnDuringACall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		c.took = 10 * time.Millisecond
		a := run(t, testConfig(""), c, nil)
		a.register(define("web", ttlCheck("up", time.Hour)))
		pass(time.Second)
		var all sync.WaitGroup
		for _, change := range []func(){
			func() { a.register(define("other")) },
			func() { _ = a.Deregister(t.Context(), "web") },
			func() { a.register(define("web")) },
		} {
			all.Go(change)
			synctest.Wait()
		}
		all.Wait()
		pass(time.Second)
		if c.service("web") == nil || c.check("up") != nil {
			t.Errorf("catalog %v, %v", c.services, c.checks)
		}
	})
}

func TestCriticalServiceIsRemoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, testConfig(""), c, nil)
		up := ttlCheck("up", 10*time.Second)
		up.Status, up.DeregisterCriticalServiceAfter = catalog.Passing, catalog.Duration(90*time.Second)
		a.register(define("web", up))
		pass(95 * time.Second)
		if row := c.check("up"); row == nil || row.Status != catalog.Critical {
			t.Fatalf("check %+v, want it expired", row)
		}
		pass(check.SweepInterval + 10*time.Second)
		if len(c.services) != 0 || len(a.Services()) != 0 {
			t.Errorf("still there: %v", c.services)
		}
	})
}

func TestOutputWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, testConfig(""), c, nil)
		a.register(define("web", ttlCheck("up", time.Hour)))
		say := func(status catalog.Status, output string) {
			t.Helper()
			if err := a.UpdateCheck("up", status, output); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		say(catalog.Passing, "1")
		calls := c.calls()
		say(catalog.Passing, "2")
		say(catalog.Passing, "3")
		a.Kick()
		pass(4 * time.Minute)
		if row := c.check("up"); row.Output != "1" || c.calls() != calls {
			t.Errorf("before its time: %+v, %d calls more", row, c.calls()-calls)
		}
		if row, _ := a.Check("up"); row.Output != "3" {
			t.Errorf("the agent says %+v", row)
		}
		pass(time.Minute + time.Second)
		if row := c.check("up"); row.Output != "3" || c.calls() != calls+1 {
			t.Errorf("after its time: %+v, %d calls more", row, c.calls()-calls)
		}
		say(catalog.Passing, "4")
		say(catalog.Warning, "5")
		if row := c.check("up"); row.Output != "5" || row.Status != catalog.Warning {
			t.Errorf("another state: %+v", row)
		}
		a.SetDiscardCheckOutput(true)
		say(catalog.Critical, "secret")
		if row := c.check("up"); row.Output != "" || row.Status != catalog.Critical {
			t.Errorf("without output: %+v", row)
		}
	})
}

func TestTokens(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		cfg := testConfig("")
		cfg.AgentToken = func() string { return "agent" }
		cfg.UserToken = func() string { return "user" }
		used := map[string]bool{}
		c.token = func(token string) error { used[token] = true; return nil }
		c.refuse = func(req *api.SyncRequest) error {
			if !req.Register.SkipNodeUpdate && len(req.Register.Services) > 0 {
				t.Error("a service's token writes the node")
			}
			return nil
		}
		a := run(t, cfg, c, nil)
		synctest.Wait()
		begin := time.Now()
		owned := ttlCheck("other", time.Hour)
		owned.Token = "own-check"
		def := define("web", ttlCheck("up", time.Hour), owned)
		if err := a.Register(t.Context(), def, Options{Token: "own"}); err != nil {
			t.Fatal(err)
		}
		a.register(define("plain"))
		synctest.Wait()
		for _, token := range []string{"agent", "user", "own", "own-check"} {
			if !used[token] {
				t.Errorf("token %q was not used: %v", token, used)
			}
		}
		if c.check("other") == nil || time.Since(begin) > 0 {
			t.Error("the check with a token of its own is not in the catalog, or had to wait")
		}
		// A token that may not remove leaves it to the agent's.
		c.do(func() {
			c.token = func(token string) error {
				if token != "agent" {
					return catalog.Errorf(catalog.Denied, "permission denied")
				}
				return nil
			}
		})
		if err := a.Deregister(t.Context(), "web"); err != nil || c.service("web") != nil {
			t.Errorf("deregistered: %v, %v", err, c.service("web"))
		}
	})
}

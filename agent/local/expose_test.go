package local

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// exposing is a configuration with ports for exposed checks, which other programs use some of.
func exposing(dir string, used ...int) Config {
	cfg := testConfig(dir)
	cfg.ExposeMinPort, cfg.ExposeMaxPort, cfg.ProxyHost = 21500, 21503, "127.0.0.1"
	cfg.Unbound = func(port int) bool { return !slices.Contains(used, port) }
	return cfg
}

func httpCheck(id, url string) *catalog.AgentCheck {
	c := &catalog.AgentCheck{CheckID: id, Name: id}
	c.HTTP, c.Interval = url, catalog.Duration(time.Hour)
	return c
}

func grpcCheck(id, target string) *catalog.AgentCheck {
	c := &catalog.AgentCheck{CheckID: id, Name: id}
	c.GRPC, c.Interval = target, catalog.Duration(time.Hour)
	return c
}

// beside is a service with a sidecar that says of checks that they are exposed, or says nothing.
func beside(id string, expose bool, checks ...*catalog.AgentCheck) *catalog.ServiceDefinition {
	def := define(id, checks...)
	def.Connect = &catalog.ServiceConnect{SidecarService: &catalog.ServiceDefinition{
		Check: ttlCheck(id+"-side", time.Hour), Proxy: &catalog.Proxy{Expose: catalog.Expose{Checks: expose}},
	}}
	return def
}

// made are the targets of checks as they are made.
func (a *agent) made(ids ...string) string {
	var all []string
	for _, id := range ids {
		row, ok := a.Check(id)
		def, running := a.set.Get(id)
		if !ok || !running {
			all = append(all, "none")
			continue
		}
		all = append(all, fmt.Sprint(row.ExposedPort, " ", def.HTTP+def.GRPC))
	}
	return strings.Join(all, ", ")
}

// shown are the paths that the proxy of a service is told of.
func (a *agent) shown(id string) string {
	var all []string
	row, ok := a.Proxied(id + SidecarSuffix)
	if !ok {
		return "none"
	}
	if a.Sidecars()[row.ID] != row {
		a.t.Errorf("two rows of %s", row.ID)
	}
	for _, p := range row.Proxy.Expose.Paths {
		all = append(all, fmt.Sprint(p.ListenerPort, " to ", p.LocalPathPort, p.Path, " ", p.Protocol, " ", p.ParsedFromCheck))
	}
	return strings.Join(all, ", ")
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Checks that ask a service itself are made through its sidecar where it exposes checks, those of others are not.
func TestExposedChecks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newServers()
		a := run(t, exposing(t.TempDir(), 21501), c, nil)
		secure := grpcCheck("secure", "127.0.0.1:1")
		secure.GRPCUseTLS = true
		def := beside("web", true, httpCheck("own", "http://localhost:8080/up?deep=1"), httpCheck("other", "http://example.com/"), httpCheck("tls", "https://127.0.0.1/"),
			grpcCheck("rpc", "10.0.0.9:9090/web"), secure, ttlCheck("ttl", time.Hour))
		def.Address = "10.0.0.9"
		a.register(def)
		pass(time.Second)
		expect(t, a.made("own", "rpc", "other", "tls", "secure", "ttl"),
			"21500 http://127.0.0.1:21500/up?deep=1, 21502 127.0.0.1:21502/web, 0 http://example.com/, 0 https://127.0.0.1/, 0 127.0.0.1:1, 0 ")
		expect(t, a.shown("web"), "21500 to 8080/up http true, 21502 to 9090/grpc.health.v1.Health/Check http2 true")
		if got, _ := a.set.Get("own"); !slices.Equal(got.Header["Host"], []string{"localhost:8080"}) {
			t.Errorf("headers %v", got.Header)
		}
		if row := c.check("own"); row.ExposedPort != 21500 {
			t.Errorf("the catalog has %+v", row)
		}
		if row := c.service("web" + SidecarSuffix); len(row.Proxy.Expose.Paths) > 0 {
			t.Errorf("the catalog has %+v", row.Proxy.Expose)
		}

		// One more, by itself; and one that asks for something else.
		if err := a.RegisterCheck(t.Context(), &catalog.AgentCheck{Name: "alone", ServiceID: "web", CheckDefinition: httpCheck("", "http://127.0.0.1").CheckDefinition}, Options{}); err != nil {
			t.Fatal(err)
		}
		before := a.Changed("web" + SidecarSuffix)
		def = beside("web", true, httpCheck("own", "http://127.0.0.1:8080/down"), grpcCheck("rpc", "10.0.0.9:9090/web"))
		def.Address = "10.0.0.9"
		if err := a.Register(t.Context(), def, Options{}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-before:
		default:
			t.Error("who follows the sidecar is not told")
		}
		expect(t, a.made("own", "rpc", "alone"), "21500 http://127.0.0.1:21500/down, 21502 127.0.0.1:21502/web, 21503 http://127.0.0.1:21503")
		expect(t, a.shown("web"), "21500 to 8080/down http true, 21502 to 9090/grpc.health.v1.Health/Check http2 true, 21503 to 80/ http true")

		// All ports are given out: nothing changes, and it is said why.
		err := a.Register(t.Context(), beside("api", true, httpCheck("api", "http://127.0.0.1/")), Options{})
		a.want(err, catalog.Invalid)
		if _, some := a.Service("api"); some || !strings.Contains(fmt.Sprint(err), `check "api" is to be made through its proxy: all ports from 21500 to 21503 are taken: raise ports.expose_max_port`) {
			t.Errorf("error %v", err)
		}
		// Ports are given back with the check, and with the sidecar.
		if err := a.DeregisterCheck(t.Context(), "rpc"); err != nil {
			t.Fatal(err)
		}
		a.register(beside("api", true, httpCheck("api", "http://127.0.0.1/")))
		expect(t, a.made("api"), "21502 http://127.0.0.1:21502/")
		if err := a.Deregister(t.Context(), "web"+SidecarSuffix); err != nil {
			t.Fatal(err)
		}
		expect(t, a.made("own", "alone"), "0 http://127.0.0.1:8080/down, 0 http://127.0.0.1")
		if err := a.Deregister(t.Context(), "api"); err != nil {
			t.Fatal(err)
		}
		if len(a.exposed)+len(a.paths)+len(a.rows)+len(a.entries) > 0 {
			t.Errorf("left: %v %v %v %v", a.exposed, a.paths, a.rows, a.entries)
		}
		a.register(beside("web", true, httpCheck("own", "http://127.0.0.1:8080/down"), httpCheck("own2", "http://0.0.0.0:8080/")))
		expect(t, a.made("own", "own2", "alone"), "21500 http://127.0.0.1:21500/down, 21502 http://127.0.0.1:21502/, 21503 http://127.0.0.1:21503")
		a.register(beside("web", false))
		expect(t, a.made("own", "own2", "alone"), "0 http://127.0.0.1:8080/down, 0 http://0.0.0.0:8080/, 0 http://127.0.0.1")
	})
}

// Config entries have the checks of sidecars exposed that the agent runs. Where no port is left for one it is made
// directly, and the log says so.
func TestExposedByEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := exposing(t.TempDir())
		cfg.ExposeMaxPort = 21500
		a := run(t, cfg, newServers(), nil)
		a.register(beside("web", false, httpCheck("one", "http://127.0.0.1/1"), httpCheck("two", "http://127.0.0.1/2")))
		if a.log.has("fields that have no effect") {
			t.Error("a warning of nothing")
		}
		foreign := beside("db", false, httpCheck("db", "http://127.0.0.1/"))
		foreign.Connect.SidecarService.Proxy.EnvoyExtensions = []catalog.EnvoyExtension{{Name: "builtin/lua"}}
		foreign.Connect.SidecarService.Proxy.Config = map[string]any{"managed": false}
		a.register(foreign)
		if !a.log.has("a service is registered with fields that have no effect") {
			t.Error("nothing says that EnvoyExtensions has no effect")
		}
		a.ExposeChecks(map[string]bool{"web" + SidecarSuffix: true, "db" + SidecarSuffix: true, "gone": true})
		expect(t, a.made("one", "two", "db"), "21500 http://127.0.0.1:21500/1, 0 http://127.0.0.1/2, 0 http://127.0.0.1/")
		if !a.log.has("a check is not made through the proxy of its service") {
			t.Error("the log does not say which check is made directly")
		}
		if err := a.DeregisterCheck(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		expect(t, a.made("two"), "21500 http://127.0.0.1:21500/2")
		a.ExposeChecks(map[string]bool{"web" + SidecarSuffix: false})
		expect(t, a.made("two"), "0 http://127.0.0.1/2")
		expect(t, a.shown("web"), "")
	})
}

// Ports stay over a restart, of what the configuration and what clients registered, and those that nobody has any more are free.
func TestExposedOverRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir, c := t.TempDir(), newServers()
		file := func(defs ...*catalog.ServiceDefinition) func(s *State) {
			return func(s *State) {
				if err := s.SetConfig(defs, nil); err != nil {
					t.Error(err)
				}
			}
		}
		gone, web := beside("gone", true, httpCheck("gone", "http://127.0.0.1/")), beside("web", true, httpCheck("web", "http://127.0.0.1/web"))
		a := run(t, exposing(dir), c, file(gone, web))
		a.register(beside("api", false, httpCheck("api", "http://127.0.0.1/api")))
		a.ExposeChecks(map[string]bool{"api" + SidecarSuffix: true})
		const want = "21501 http://127.0.0.1:21501/web, 21502 http://127.0.0.1:21502/api"
		expect(t, a.made("web", "api"), want)
		expect(t, a.made("gone"), "21500 http://127.0.0.1:21500/")
		pass(time.Second)
		a.stop()

		a = run(t, exposing(dir, 21501, 21502), c, file(web)) // by the proxies, which go on
		pass(time.Second)
		expect(t, a.made("web", "api"), want)
		expect(t, a.shown("api"), "21502 to 80/api http true")
		a.register(beside("new", true, httpCheck("new", "http://127.0.0.1/")))
		expect(t, a.made("new"), "21500 http://127.0.0.1:21500/")
		if err := a.SetConfig([]*catalog.ServiceDefinition{beside("web", true, httpCheck("web", "http://127.0.0.1/else"))}, nil); err != nil {
			t.Fatal(err)
		}
		expect(t, a.made("web"), "21501 http://127.0.0.1:21501/else")
		a.stop()

		cfg := exposing(dir) // of an agent that runs no proxies any more: what entries say does not count
		cfg.ProxyHost = ""
		a = run(t, cfg, c, file())
		pass(time.Second)
		expect(t, a.made("web", "api", "new"), "none, 0 http://127.0.0.1/api, 21500 http://127.0.0.1:21500/")
		a.stop()
		a = run(t, exposing(dir), c, nil)
		if got := slices.Collect(maps.Keys(a.exposed)); !slices.Equal(got, []string{"new"}) {
			t.Errorf("left: %v", got)
		}
	})
}

// A proxy that is registered by itself exposes the checks of the service that it names, at its own address.
func TestExposedByProxies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := run(t, exposing(t.TempDir()), newServers(), nil)
		a.register(define("web", httpCheck("web", "http://127.0.0.1:8080/")))
		side := &catalog.ServiceDefinition{Kind: catalog.KindConnectProxy, ID: "side", Name: "side", Port: 20000, Address: "10.0.0.3", Proxy: &catalog.Proxy{
			DestinationServiceName: "web", DestinationServiceID: "web", LocalServicePort: 8080, Expose: catalog.Expose{Checks: true},
		}}
		a.register(side)
		expect(t, a.made("web"), "21500 http://10.0.0.3:21500/")
		moved := *side
		moved.Address = "10.0.0.4"
		a.register(&moved)
		expect(t, a.made("web"), "21500 http://10.0.0.4:21500/")
		if row, _ := a.Proxied("side"); len(row.Proxy.Expose.Paths) != 1 {
			t.Errorf("paths %+v", row.Proxy.Expose)
		}
		if err := a.Deregister(t.Context(), "side"); err != nil {
			t.Fatal(err)
		}
		expect(t, a.made("web"), "0 http://127.0.0.1:8080/")
	})
}

// Without ports to give, and where another program has them all, exposing is refused.
func TestNoPortToExpose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	f := func(first, last int, want string) {
		t.Helper()
		cfg := exposing("")
		cfg.ExposeMinPort, cfg.ExposeMaxPort, cfg.Unbound = first, last, nil
		s, err := New(cfg, newServers(), nil)
		if err != nil {
			t.Fatal(err)
		}
		def := beside("web", true, httpCheck("web", "http://127.0.0.1/"))
		err = s.Register(t.Context(), def, Options{Source: check.Remote})
		if catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if err := s.SetConfig([]*catalog.ServiceDefinition{def}, nil); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("of the configuration: error %v, want %q", err, want)
		}
	}
	f(port, port, fmt.Sprintf("all ports from %d to %d are taken", port, port))
	f(0, 0, "the agent gives no ports for that: set ports.expose_min_port")
}

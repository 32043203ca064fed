package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// wanted compares a refusal with what it has to say; "" is none.
func wanted(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (err == nil || catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want one that says %q", what, err, want)
	}
}

// TestServiceRules changes one thing of a good service at a time.
func TestServiceRules(t *testing.T) {
	f := func(want, what string, edit func(s *catalog.Service)) {
		t.Helper()
		s := &catalog.Service{Service: "web", Port: 80, Address: "10.0.0.1"}
		edit(s)
		s.Normalize()
		wanted(t, what, s.Validate(), want)
	}
	f("", "a good one", func(*catalog.Service) {})
	f("no name", "no name", func(s *catalog.Service) { s.Service = "" })
	f("unknown kind", "kind", func(s *catalog.Service) { s.Kind = "gateway" })
	for port, want := range map[int]string{-1: "port -1", 0: "", 65535: "", 65536: "port 65536"} {
		f(want, "port", func(s *catalog.Service) { s.Port = port })
		f(want, "tagged port", func(s *catalog.Service) {
			s.TaggedAddresses = map[string]catalog.ServiceAddress{"wan": {Address: "1.2.3.4", Port: port}}
		})
	}
	for _, any := range []string{"0.0.0.0", "::", "[::]"} {
		f("no address that others can dial", any, func(s *catalog.Service) { s.Address = any })
	}
	f("", "no weights", func(s *catalog.Service) { s.Weights = &catalog.Weights{} })
	f("passing must be", "no passing weight", func(s *catalog.Service) { s.Weights = &catalog.Weights{Warning: 1} })
	f("", "no warning weight", func(s *catalog.Service) { s.Weights = &catalog.Weights{Passing: 1} })
	f("", "greatest weights", func(s *catalog.Service) { s.Weights = &catalog.Weights{Passing: 65535, Warning: 65535} })
	f("65536/0", "passing weight", func(s *catalog.Service) { s.Weights = &catalog.Weights{Passing: 65536} })
	f("1/65536", "warning weight", func(s *catalog.Service) { s.Weights = &catalog.Weights{Passing: 1, Warning: 65536} })
	f("1/-1", "negative weight", func(s *catalog.Service) { s.Weights = &catalog.Weights{Passing: 1, Warning: -1} })
	f("only letters", "meta", func(s *catalog.Service) { s.Meta = map[string]string{"a b": "c"} })
}

func TestMeshRules(t *testing.T) {
	upstreams := func(list ...catalog.Upstream) *catalog.Proxy {
		return &catalog.Proxy{DestinationServiceName: "web", Upstreams: list}
	}
	f := func(want, what string, s catalog.Service) {
		t.Helper()
		s.Service = "web-proxy"
		s.Normalize()
		wanted(t, what, s.Validate(), want)
	}
	proxy := func(want, what string, p *catalog.Proxy) {
		t.Helper()
		f(want, what, catalog.Service{Kind: catalog.KindConnectProxy, Port: 1, Proxy: p})
	}
	proxy("", "a good one", upstreams())
	proxy("DestinationServiceName", "no destination", nil)
	proxy("wildcard", "any destination", &catalog.Proxy{DestinationServiceName: "*"})
	f("Port or SocketPath", "no port", catalog.Service{Kind: catalog.KindConnectProxy, Proxy: upstreams()})
	f("", "a socket", catalog.Service{Kind: catalog.KindConnectProxy, Proxy: upstreams(), SocketPath: "/s"})
	f("Native", "native proxy", catalog.Service{Kind: catalog.KindConnectProxy, Port: 1, Proxy: upstreams(), Connect: &catalog.Connect{Native: true}})
	proxy("no destination name", "nameless upstream", upstreams(catalog.Upstream{LocalBindPort: 1}))
	proxy("LocalBindPort or", "placeless upstream", upstreams(catalog.Upstream{DestinationName: "a"}))
	proxy("65536", "upstream's port", upstreams(catalog.Upstream{DestinationName: "a", LocalBindPort: 65536}))
	proxy("-1", "upstream's port", upstreams(catalog.Upstream{DestinationName: "a", LocalBindPort: -1}))
	proxy("", "central upstream", upstreams(catalog.Upstream{DestinationName: "a", CentrallyConfigured: true}))
	proxy("", "transparent", &catalog.Proxy{DestinationServiceName: "web", Mode: "transparent", Upstreams: []catalog.Upstream{{DestinationName: "a"}}})
	proxy("same place", "two at a port", upstreams(catalog.Upstream{DestinationName: "a", LocalBindPort: 1}, catalog.Upstream{DestinationName: "b", LocalBindPort: 1, LocalBindAddress: "127.0.0.1"}))
	proxy("", "two addresses", upstreams(catalog.Upstream{DestinationName: "a", LocalBindPort: 1}, catalog.Upstream{DestinationName: "b", LocalBindPort: 1, LocalBindAddress: "127.0.0.2"}))
	proxy("same place", "two at a socket", upstreams(catalog.Upstream{DestinationName: "a", LocalBindSocketPath: "/s"}, catalog.Upstream{DestinationName: "b", LocalBindSocketPath: "/s"}))
	for _, kind := range []catalog.Kind{catalog.KindMeshGateway, catalog.KindTerminatingGateway, catalog.KindIngressGateway, catalog.KindAPIGateway} {
		port := "set Port"
		if kind == catalog.KindAPIGateway {
			port = ""
		}
		f(port, string(kind), catalog.Service{Kind: kind})
		f("", string(kind), catalog.Service{Kind: kind, Port: 1})
		for _, p := range []catalog.Proxy{{DestinationServiceName: "a"}, {DestinationServiceID: "a"}, {LocalServiceAddress: "a"}, {LocalServicePort: 1}, {Upstreams: []catalog.Upstream{{}}}} {
			f("has no destination", string(kind), catalog.Service{Kind: kind, Port: 1, Proxy: &p})
		}
	}
	f("", "plain service", catalog.Service{})
}

func TestMetaRules(t *testing.T) {
	f := func(want, key, value string, reserved bool) {
		t.Helper()
		wanted(t, fmt.Sprintf("%.30q", key), catalog.ValidateMeta(map[string]string{key: value}, reserved), want)
	}
	f("", "a-Z_9", "any \x00 value", false)
	f("empty key", "", "", false)
	f("only letters", "a.b", "", false)
	f("only letters", "ä", "", false)
	f("", strings.Repeat("k", 128), strings.Repeat("v", 512), false)
	f("has 129 bytes", strings.Repeat("k", 129), "", false)
	f("has 513 bytes", "k", strings.Repeat("v", 513), false)
	f("reserved", "consul-x", "", false)
	f("", "consul-x", "", true)
	many := map[string]string{}
	for i := range 65 {
		want := ""
		if len(many) > 64 {
			want = "at most 64"
		}
		wanted(t, fmt.Sprint(len(many), " pairs"), catalog.ValidateMeta(many, false), want)
		many[fmt.Sprint("k", i)] = ""
	}
	wanted(t, "65 pairs", catalog.ValidateMeta(many, false), "at most 64")
}

// TestAgentCheckRules has a good check of each kind, and then one thing wrong.
func TestAgentCheckRules(t *testing.T) {
	kinds := map[string]catalog.CheckDefinition{
		"http": {HTTP: "http://a"}, "tcp": {TCP: "a:1"}, "udp": {UDP: "a:1"}, "grpc": {GRPC: "a:1"}, "h2ping": {H2PING: "a:1"},
		"ttl": {TTL: 1}, "os_service": {OSService: "a"}, "docker": {DockerContainerID: "a", ScriptArgs: []string{"b"}},
		"script": {ScriptArgs: []string{"b"}}, "alias": {AliasService: "a"},
	}
	second := catalog.Duration(time.Second)
	for kind, d := range kinds {
		c := &catalog.AgentCheck{Name: "c", CheckDefinition: d}
		if c.Kind() != kind || c.Type() != kind || c.Check("n").Type != kind {
			t.Errorf("a check of kind %s says kind %s, type %s, %s", kind, c.Kind(), c.Type(), c.Check("n").Type)
		}
		c.Interval = second
		wanted(t, kind, c.Validate(), "")
		c.Interval = 0
		if kind == "ttl" || kind == "alias" {
			wanted(t, kind, c.Validate(), "")
		} else {
			wanted(t, kind, c.Validate(), "needs an interval")
			c.Interval = -second
			wanted(t, kind, c.Validate(), "needs an interval")
		}
		c.Interval = second
		for other, o := range kinds {
			if other == kind || kind == "docker" && other == "script" || kind == "script" && other == "docker" {
				continue
			}
			both := *c
			both.HTTP, both.TCP, both.UDP = d.HTTP+o.HTTP, d.TCP+o.TCP, d.UDP+o.UDP
			both.GRPC, both.H2PING, both.OSService = d.GRPC+o.GRPC, d.H2PING+o.H2PING, d.OSService+o.OSService
			both.TTL, both.DockerContainerID, both.AliasService = d.TTL+o.TTL, d.DockerContainerID+o.DockerContainerID, d.AliasService+o.AliasService
			both.ScriptArgs = slices.Concat(d.ScriptArgs, o.ScriptArgs)
			wanted(t, kind+" and "+other, both.Validate(), "of 2 kinds")
		}
	}
	f := func(want string, edit func(c *catalog.AgentCheck)) {
		t.Helper()
		c := &catalog.AgentCheck{CheckID: "c", CheckDefinition: catalog.CheckDefinition{TCP: "a:1", Interval: second}}
		edit(c)
		wanted(t, "check", c.Validate(), want)
	}
	f("does nothing", func(c *catalog.AgentCheck) { c.TCP = "" })
	f("more than 0", func(c *catalog.AgentCheck) { c.TCP, c.TTL = "", -1 })
	f("needs args", func(c *catalog.AgentCheck) { c.TCP, c.DockerContainerID = "", "a" })
	f("is negative", func(c *catalog.AgentCheck) { c.Timeout = -1 })
	f(`status "any"`, func(c *catalog.AgentCheck) { c.Status = catalog.Any })
	f("", func(c *catalog.AgentCheck) { c.Status = catalog.Warning })
	f("output_max_size", func(c *catalog.AgentCheck) { c.OutputMaxSize = -1 })
	f("not be negative", func(c *catalog.AgentCheck) { c.SuccessBeforePassing = -1 })
	f("not be negative", func(c *catalog.AgentCheck) { c.FailuresBeforeCritical = -1 })
	f("must not be above", func(c *catalog.AgentCheck) { c.FailuresBeforeWarning, c.FailuresBeforeCritical = 3, 2 })
	f("", func(c *catalog.AgentCheck) { c.FailuresBeforeWarning, c.FailuresBeforeCritical = 2, 2 })
	f("", func(c *catalog.AgentCheck) { c.FailuresBeforeWarning = 3 })
}

func TestChecksOfADefinition(t *testing.T) {
	f := func(want string, d catalog.ServiceDefinition) {
		t.Helper()
		var got []string
		for _, c := range d.AllChecks() {
			got = append(got, c.CheckID+" "+c.Name+" "+c.ServiceID)
		}
		if text := strings.Join(got, "|"); text != want {
			t.Errorf("got %q, want %q", text, want)
		}
	}
	one := &catalog.AgentCheck{}
	f("", catalog.ServiceDefinition{Name: "web"})
	f("", catalog.ServiceDefinition{Name: "web", Checks: []*catalog.AgentCheck{nil}})
	f("service:web Service 'web' check web", catalog.ServiceDefinition{Name: "web", Check: one})
	f("service:w1 Service 'web' check w1", catalog.ServiceDefinition{Name: "web", ID: "w1", Checks: []*catalog.AgentCheck{nil, one}})
	f("service:web:1 Service 'web' check web|mine alive web|service:web:3 Service 'web' check web",
		catalog.ServiceDefinition{Name: "web", Check: one, Checks: []*catalog.AgentCheck{{CheckID: "mine", Name: "alive"}, one}})
	if one.CheckID != "" || one.Name != "" || one.ServiceID != "" {
		t.Error("the definition itself has changed")
	}
}

func TestAggregate(t *testing.T) {
	f := func(want catalog.Status, ids ...string) {
		t.Helper()
		var checks []*catalog.Check
		for _, id := range ids {
			status, id, _ := strings.Cut(id, " ")
			checks = append(checks, &catalog.Check{CheckID: id, Status: catalog.Status(status)})
		}
		if got := catalog.Aggregate(checks); got != want {
			t.Errorf("%q are %s, want %s", ids, got, want)
		}
	}
	f(catalog.Passing)
	f(catalog.Passing, "passing a", "passing b")
	f(catalog.Warning, "passing a", "warning b", "passing c")
	f(catalog.Critical, "warning a", "critical b", "warning c")
	f(catalog.Maintenance, "critical a", "critical _node_maintenance", "passing b")
	f(catalog.Maintenance, "critical _service_maintenance:web")
	f(catalog.Critical, "critical _service_maintenance")
}

func TestSessionRules(t *testing.T) {
	f := func(want string, shortest time.Duration, edit func(s *catalog.Session)) {
		t.Helper()
		s := &catalog.Session{Node: "n"}
		edit(s)
		s.Normalize()
		wanted(t, fmt.Sprintf("%+v", *s), s.Validate(shortest), want)
	}
	f("", 0, func(*catalog.Session) {})
	f("no node", 0, func(s *catalog.Session) { s.Node = "" })
	f("neither release nor delete", 0, func(s *catalog.Session) { s.Behavior = "keep" })
	f("lock delay", 0, func(s *catalog.Session) { s.LockDelay = -1 })
	f("", 0, func(s *catalog.Session) { s.LockDelay = time.Minute })
	f("lock delay", 0, func(s *catalog.Session) { s.LockDelay = time.Minute + 1 })
	for ttl, want := range map[string]string{
		"0s": "", "10s": "", "24h": "", "9.9s": "not between 10s", "24h1ns": "not between 10s", "-10s": "not between", "10": "invalid duration", "soon": "invalid duration",
	} {
		f(want, 0, func(s *catalog.Session) { s.TTL = ttl })
	}
	f("", time.Second, func(s *catalog.Session) { s.TTL = "1s" })
}

func TestNames(t *testing.T) {
	const id = "0123abCD-0000-0000-0000-00000000000f"
	f := func(want bool, name string) {
		t.Helper()
		if catalog.IsDNSLabel(name) != want || (catalog.WarnDNS("service", name) == "") != want {
			t.Errorf("%.70q can be a label: want %v", name, want)
		}
	}
	f(true, "a")
	f(true, "Web-1")
	f(true, strings.Repeat("a", 63))
	for _, bad := range []string{"", strings.Repeat("a", 64), "-a", "a-", "a_b", "a.b", "ä", "a\x00"} {
		f(false, bad)
	}
	wanted(t, "id", catalog.ValidateID("node id", id), "")
	for i := range len(id) {
		wanted(t, "id", catalog.ValidateID("node id", id[:i]+"x"+id[i+1:]), "no UUID")
	}
	wanted(t, "short id", catalog.ValidateID("node id", id[1:]), "no UUID")
	wanted(t, "key", catalog.ValidateKey("a//b"), "")
	wanted(t, "empty key", catalog.ValidateKey(""), "missing key")
	wanted(t, "key from the root", catalog.ValidateKey("/a"), "must not begin")
}

func TestManualAddresses(t *testing.T) {
	f := func(want, what string, given ...string) {
		t.Helper()
		_, err := catalog.ManualAddresses(given)
		wanted(t, what, err, want)
	}
	f("", "none")
	f("", "both families", "10.0.0.1", "2001:db8::1")
	f("no IP address", "a name", "web")
	f("no IP address", "empty", "")
	f("no IP address", "a prefix", "10.0.0.0/8")
	f("can be reached", "a zone", "fe80::1%eth0")
	f("can be reached", "any address", "0.0.0.0")
	f("can be reached", "multicast", "224.0.0.1")
	f("assigned automatically", "the pool", "240.0.0.1")
	f("assigned automatically", "the pool in IPv6", "::ffff:240.0.0.1")
	f("may have 8", "too many", "1.0.0.1", "1.0.0.2", "1.0.0.3", "1.0.0.4", "1.0.0.5", "1.0.0.6", "1.0.0.7", "1.0.0.8", "1.0.0.9")
	if got, err := catalog.ManualAddresses([]string{"2001:DB8::1", "1.1.1.1", "2001:db8:0::1", "::ffff:1.1.1.1"}); err != nil || fmt.Sprint(got) != "[2001:db8::1 1.1.1.1]" {
		t.Errorf("repeated: %v, %v", got, err)
	}
}

// What has no effect on proxies is named where it is written; what has is not.
func TestWarnIdle(t *testing.T) {
	const end = " no effect on the proxies that Curia runs: see the page on config entries, What proxies leave out"
	f := func(got, want string) {
		t.Helper()
		if want != "" {
			want += end
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	lua := []catalog.EnvoyExtension{{Name: "builtin/lua"}}
	web := &catalog.ServiceDefaults{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceDefaults, Name: "web"}, MaxInboundConnections: 5}
	f(catalog.WarnIdle(web), "")
	web.BalanceInboundConnections = "exact_balance"
	f(catalog.WarnIdle(web), "service-defaults/web: BalanceInboundConnections has")
	web.EnvoyExtensions = lua
	f(catalog.WarnIdle(web), "service-defaults/web: BalanceInboundConnections, EnvoyExtensions have")
	f(catalog.WarnIdle(&catalog.ProxyDefaults{
		EntryHead: catalog.EntryHead{Kind: catalog.EntryProxyDefaults, Name: "global"}, EnvoyExtensions: lua,
		Config: map[string]any{"protocol": "http", "balance_inbound_connections": "exact_balance"},
	}), "proxy-defaults/global: EnvoyExtensions, Config.balance_inbound_connections have")
	f(catalog.WarnIdle(&catalog.Mesh{}), "")

	def := &catalog.ServiceDefinition{Name: "web"}
	f(def.WarnIdle(), "")
	def.Connect = &catalog.ServiceConnect{SidecarService: &catalog.ServiceDefinition{}}
	f(def.WarnIdle(), "")
	def.Connect.SidecarService.Proxy = &catalog.Proxy{EnvoyExtensions: lua}
	f(def.WarnIdle(), `service "web": connect.sidecar_service.proxy.envoy_extensions has`)
	def.Proxy = &catalog.Proxy{Config: map[string]any{"balance_inbound_connections": nil}}
	f(def.WarnIdle(), `service "web": proxy.config.balance_inbound_connections, connect.sidecar_service.proxy.envoy_extensions have`)
}

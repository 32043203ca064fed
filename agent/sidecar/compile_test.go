package sidecar

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/proxy"
)

const domain = "11111111-2222-3333-4444-555555555555.consul"

// issued is a root, and a leaf of web that it signed.
func issued(t testing.TB) (*catalog.Roots, *catalog.IssuedCert) {
	t.Helper()
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{connect.Service(domain, "dc1", "web").URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := connect.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pem := connect.EncodeCertificate(der)
	return &catalog.Roots{TrustDomain: domain, Roots: []*catalog.Root{{RootCert: pem, Active: true}}},
		&catalog.IssuedCert{SerialNumber: "1", CertPEM: pem, PrivateKeyPEM: secret, Service: "web", ValidBefore: cert.NotAfter}
}

// snapshotOf is a snapshot with one sidecar, as change wants it.
func snapshotOf(t testing.TB, change func(s *Sidecar)) *Snapshot {
	t.Helper()
	roots, leaf := issued(t)
	s := &Sidecar{
		Service: &catalog.Service{
			Kind: catalog.KindConnectProxy, ID: "web-sidecar-proxy", Service: "web-sidecar-proxy", Port: 21000,
			Proxy: &catalog.Proxy{DestinationServiceName: "web", LocalServicePort: 8080},
		},
		Known: Known{Datacenter: "dc1", Leaf: leaf, Upstreams: map[string]*Upstream{}},
	}
	change(s)
	s.Service.Normalize()
	return &Snapshot{Version: 1, Roots: roots, Sidecars: []*Sidecar{s}}
}

func meshOf(s *Snapshot) *mesh {
	m, err := (*mesh)(nil).with(s.Roots)
	if err != nil {
		panic(err)
	}
	return m
}

// compiled are the listeners of a snapshot, and what is wrong with others.
func compiled(s *Snapshot) ([]*proxy.Listener, map[string]error) {
	c := &compiler{certs: map[string]*certs{}, mesh: meshOf(s), problems: map[string]error{}}
	for _, side := range s.Sidecars {
		c.add(c.sidecar(side)...)
	}
	for _, g := range s.Gateways {
		c.gateway(g)
	}
	return c.out, c.problems
}

// Where listeners are, by what a registration says.
func TestListeners(t *testing.T) {
	f := func(change func(s *Sidecar), want ...string) {
		t.Helper()
		listeners, problems := compiled(snapshotOf(t, change))
		var got []string
		for _, l := range listeners {
			got = append(got, l.Network+" "+l.Address)
		}
		for name, why := range problems {
			got = append(got, name+": "+why.Error())
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	upstream := func(u catalog.Upstream) func(s *Sidecar) {
		return func(s *Sidecar) {
			u.DestinationName = "api"
			s.Service.Proxy.Upstreams = []catalog.Upstream{u}
			w := wantOf(s.Service.Proxy, &u, s.Defaults)
			w.Query = true
			s.Upstreams[wantOf(s.Service.Proxy, &u, s.Defaults).Key()] = &Upstream{Targets: map[string]*Target{"": {}}}
		}
	}
	const all = "tcp :21000"
	f(func(*Sidecar) {}, all)
	f(func(s *Sidecar) { s.Bind = "127.0.0.1" }, "tcp 127.0.0.1:21000")
	f(func(s *Sidecar) { s.Service.Address, s.Bind = "10.0.0.1", "127.0.0.1" }, "tcp 10.0.0.1:21000")
	f(func(s *Sidecar) { s.Service.Proxy.Config = map[string]any{"bind_address": "::1", "bind_port": 7.0} }, "tcp [::1]:7")
	f(func(s *Sidecar) { s.Service.Port, s.Service.SocketPath = 0, "/run/web" }, "unix /run/web")
	f(func(s *Sidecar) { s.Service.Proxy.LocalServicePort = 0 }, `web-sidecar-proxy/inbound: service "web" has neither a port nor a socket: set LocalServicePort or LocalServiceSocketPath`)
	f(upstream(catalog.Upstream{LocalBindPort: 9191}), all, "tcp 127.0.0.1:9191")
	f(upstream(catalog.Upstream{LocalBindPort: 9191, LocalBindAddress: "::1"}), all, "tcp [::1]:9191")
	f(upstream(catalog.Upstream{LocalBindSocketPath: "/run/api", LocalBindSocketMode: "0600"}), all, "unix /run/api")
	f(upstream(catalog.Upstream{LocalBindPort: 21000, LocalBindAddress: ""}), all, "tcp 127.0.0.1:21000")
	f(func(s *Sidecar) {
		s.Service.Proxy.Upstreams = []catalog.Upstream{{DestinationName: "api", LocalBindPort: 9191}}
	}, all, "web-sidecar-proxy/api:9191: where it leads is not known yet")
	f(func(s *Sidecar) {
		s.Service.Proxy.Expose.Paths = []catalog.ExposePath{{Path: "/health", ListenerPort: 21500, LocalPathPort: 8080}}
	}, all, "tcp :21500")
	path := func(port int) catalog.Expose {
		return catalog.Expose{Paths: []catalog.ExposePath{{Path: "/health", ListenerPort: port}}}
	}
	f(func(s *Sidecar) {
		s.Defaults.Service, s.Defaults.Proxy = &catalog.ServiceDefaults{Expose: path(21501)}, &catalog.ProxyDefaults{Expose: path(21502)}
	}, all, "tcp :21501")
	f(func(s *Sidecar) { s.Defaults.Proxy = &catalog.ProxyDefaults{Expose: path(21502)} }, all, "tcp :21502")
	f(func(s *Sidecar) {
		s.Service.Proxy.Expose, s.Defaults.Service = path(21500), &catalog.ServiceDefaults{Expose: path(21501)}
	}, all, "tcp :21500")
	f(func(s *Sidecar) { s.Service.Proxy.Expose = path(0) }, all, `web-sidecar-proxy/expose:0: path "/health" has no port: set ListenerPort and LocalPathPort`)
}

// What is known of an upstream is asked for as its registration says, then as the overrides and defaults of its service.
func TestWants(t *testing.T) {
	d := Defaults{Service: &catalog.ServiceDefaults{UpstreamConfig: &catalog.UpstreamConfiguration{
		Overrides: []*catalog.UpstreamConfig{{Name: "api", Protocol: "grpc"}}, Defaults: &catalog.UpstreamConfig{Protocol: "http", ConnectTimeoutMs: 700},
	}}}
	f := func(u catalog.Upstream, want Want) {
		t.Helper()
		if got := wantOf(&catalog.Proxy{}, &u, d); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	f(catalog.Upstream{DestinationName: "db"}, Want{Name: "db", Protocol: "http", ConnectTimeout: 700 * time.Millisecond})
	f(catalog.Upstream{DestinationName: "api"}, Want{Name: "api", Protocol: "grpc", ConnectTimeout: 700 * time.Millisecond})
	f(catalog.Upstream{DestinationName: "api", DestinationType: "prepared_query", Config: map[string]any{"protocol": "tcp", "connect_timeout_ms": 5.0}},
		Want{Query: true, Name: "api", Protocol: "tcp", ConnectTimeout: 5 * time.Millisecond})
}

// A snapshot that was written down is the same when it is read; what is shown of it has no key.
func TestSnapshotOnDisk(t *testing.T) {
	s := snapshotOf(t, func(s *Sidecar) {
		s.Intentions = []*catalog.Intention{{SourceName: "web", DestinationName: "web", Action: catalog.IntentionDeny}}
		s.Defaults.Service = &catalog.ServiceDefaults{Protocol: "http", LocalConnectTimeoutMs: 5}
	})
	dir := t.TempDir()
	first, _ := json.Marshal(s)
	if err := save(dir, first); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, _ := json.Marshal(again)
	if string(first) != string(second) {
		t.Errorf("written %s\nread %s", first, second)
	}
	if shown, _ := json.Marshal(s.Public()); strings.Contains(string(shown), "PRIVATE KEY") || !strings.Contains(string(first), "PRIVATE KEY") {
		t.Errorf("shown: %s", shown)
	}
}

// An endpoint says which registration it is of: one that went and came back is another.
func TestEndpointsAreOfRegistrations(t *testing.T) {
	list := []*catalog.Instance{{Node: &catalog.Node{Node: "n1", Address: "10.0.0.1"}, Service: &catalog.Service{ID: "api-1", Port: 1, CreateIndex: 7, Weights: &catalog.Weights{Passing: 1}}}}
	s := snapshotOf(t, func(*Sidecar) {})
	u := &catalog.Upstream{DestinationName: "api"}
	to := (&compiler{mesh: meshOf(s)}).target(s.Sidecars[0], u, "api", "", &Target{Endpoints: endpointsOf(list, false)}, false, nil)
	if len(to.Endpoints) != 1 || to.Endpoints[0].Registered != 7 {
		t.Errorf("%+v", to.Endpoints)
	}
}

// What cannot be reached says why: nothing is known of it, or it has instances but no gateway before them.
func TestWhyNothingIsReached(t *testing.T) {
	s := snapshotOf(t, func(*Sidecar) {})
	here, way := []Endpoint{{Address: "10.0.0.1:1"}}, []Endpoint{{Address: "10.0.0.2:2"}}
	f := func(to Target, want string) {
		t.Helper()
		made := (&compiler{mesh: meshOf(s)}).target(s.Sidecars[0], &catalog.Upstream{}, "api", "", &to, false, nil)
		if got := made.Balance.Empty; got != want {
			t.Errorf("%+v: %q, want %q", to, got, want)
		}
	}
	f(Target{}, "")
	f(Target{Endpoints: here}, "")
	f(Target{Error: "no path to datacenter dc2"}, "no path to datacenter dc2")
	f(Target{Endpoints: here, Gateways: &Gateways{Datacenter: "dc2", Endpoints: way}}, "")
	f(Target{Gateways: &Gateways{Datacenter: "dc2"}}, "")
	f(Target{Endpoints: here, Gateways: &Gateways{Datacenter: "dc2"}}, "its instances are reached through the mesh gateways of dc2, none of which is well")
	f(Target{Endpoints: here, Gateways: &Gateways{Error: "peer north has no mesh gateway that is well"}}, "peer north has no mesh gateway that is well")
}

// FuzzSnapshot: whatever a file or an agent says is refused or compiled, and nothing else.
func FuzzSnapshot(f *testing.F) {
	whole := snapshotOf(f, func(s *Sidecar) {
		u := catalog.Upstream{DestinationName: "api", LocalBindPort: 9191}
		s.Service.Proxy.Upstreams = []catalog.Upstream{u}
		s.Intentions = []*catalog.Intention{{SourceName: "web", DestinationName: "web", Action: catalog.IntentionDeny}}
		s.Upstreams[wantOf(s.Service.Proxy, &u, s.Defaults).Key()] = &Upstream{
			Chain: &catalog.DiscoveryChain{StartNode: "r", Nodes: map[string]*catalog.ChainNode{"r": {Type: catalog.ChainResolver, Resolver: &catalog.ChainTerminal{Target: "t"}}},
				Targets: map[string]*catalog.ChainTarget{"t": {ID: "t"}}},
			Targets: map[string]*Target{"t": {Endpoints: []Endpoint{{Network: "tcp", Address: "10.0.0.1:1", Weight: 1}}}},
		}
	})
	text, err := json.Marshal(whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, seed := range []string{`{}`, `{"Roots":{}}`, `{"Roots":{"Roots":[null]},"Sidecars":[null]}`, `{"Roots":{},"Sidecars":[{"Service":{},"Leaf":{},"Intentions":[null]}]}`,
		strings.Replace(string(text), `"Type":"resolver"`, `"Type":"router","Routes":[{"Definition":null,"NextNode":"r"}]`, 1),
		strings.Replace(string(text), `"r":{`, `"x":null,"r":{`, 1)} {
		f.Add([]byte(seed))
	}
	for _, empty := range []string{
		`{"Roots":{},"Gateways":[{"Service":{"ID":"g","Kind":"mesh-gateway"},"Peers":{"*.default.south.external.x":null}}]}`,
		`{"Roots":{},"Sidecars":[{"Service":{"ID":"s"},"Leaf":{},"Peers":[null]}]}`,
	} {
		f.Add([]byte(empty))
		if _, err := decode([]byte(empty)); err == nil {
			f.Errorf("taken: %s", empty)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := decode(text)
		if err != nil {
			return
		}
		s.Public()
		if _, err := (*mesh)(nil).with(s.Roots); err == nil { // a runner compiles nothing without roots
			compiled(s)
		}
		if p, err := unwrap(text); err == nil { // what a runner reads it with
			_, _, _, _ = p.sides(nil)
		}
	})
}

// An intention of a sameness group is about the services of its clusters. While these are not known it lets nobody in.
func TestIntentionsOfGroups(t *testing.T) {
	local, east := connect.Caller{Service: "api"}, connect.Caller{Service: "api", Peer: "east"}
	f := func(action catalog.IntentionAction, groups map[string][]string, open bool, who connect.Caller, want connect.Verdict) {
		t.Helper()
		p, err := policyOf([]*catalog.Intention{{SourceName: "api", DestinationName: "web", SourceSamenessGroup: "g", Action: action}}, groups, open)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Connection(who).Verdict; got != want {
			t.Errorf("%s of %v: %v is told %s, want %s", action, groups, who, got, want)
		}
	}
	both := map[string][]string{"g": {"", "east"}}
	f("allow", both, false, local, connect.Allow)
	f("allow", both, false, east, connect.Allow)
	f("deny", both, true, east, connect.Deny)
	f("allow", map[string][]string{"g": {"east"}}, false, local, connect.Deny)
	f("allow", map[string][]string{"g": {}}, false, local, connect.Deny) // it is gone
	f("deny", map[string][]string{"g": {}}, true, local, connect.Allow)
	f("allow", nil, false, local, connect.Deny)
	f("deny", nil, true, local, connect.Deny)
}

// What a runner knows already it does not compile again: of a sidecar that is as before the listeners stay the same ones. What
// it carries out is on the disk and no more in memory, and can be shown all the same.
func TestRunnerKeepsWhatItKnows(t *testing.T) {
	dir := t.TempDir()
	s := snapshotOf(t, func(s *Sidecar) { s.Service.Port, s.Service.SocketPath = 0, dir+"/1" })
	second, service := *s.Sidecars[0], *s.Sidecars[0].Service
	service.ID, service.SocketPath, second.Service = "web-2-sidecar-proxy", dir+"/2", &service
	s.Sidecars = append(s.Sidecars, &second)
	r := NewRunner(RunnerOptions{Dir: dir})
	apply := func(what string) []*proxy.Listener {
		t.Helper()
		s.Version++
		if err := r.Apply(s); err != nil || len(r.opened) != 2 {
			t.Fatalf("%s: %d listeners, %v", what, len(r.opened), err)
		}
		return r.opened
	}
	first := apply("at first")
	if again := apply("the same"); again[0] != first[0] || again[1] != first[1] {
		t.Error("sidecars that are as before were compiled again")
	}
	second.Defaults.Service = &catalog.ServiceDefaults{MaxInboundConnections: 7}
	changed := apply("one changed")
	if changed[0] != first[0] || changed[1] == first[1] || changed[1].MaxConns != 7 {
		t.Errorf("of two sidecars the second changed: %v, before %v", changed, first)
	}
	if err := r.store(); err != nil || r.kept.text != nil {
		t.Errorf("stored: %v, in memory are %d bytes", err, len(r.kept.text))
	}
	if shown, err := r.Snapshot(); err != nil || shown.Version != s.Version || shown.Sidecars[1].Defaults.Service.MaxInboundConnections != 7 {
		t.Errorf("shown: %+v, %v", shown, err)
	}
	s.Roots, _ = issued(t)
	if others := apply("other roots"); others[0] == changed[0] || others[1] == changed[1] {
		t.Error("roots are others and sidecars as before")
	}
	s.Sidecars[0].Leaf = nil
	if err := r.Apply(s); err == nil || r.Version() != s.Version || len(r.sides) != 2 {
		t.Errorf("a snapshot with a sidecar without a certificate: %v, version %d", err, r.Version())
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := r.Run(ended); err != nil {
		t.Error(err)
	}
}

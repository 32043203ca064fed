package chain_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/chain"
)

// The JSON of a chain is what clients of the API read.
func TestJSON(t *testing.T) {
	entries := chain.SetOf(
		parseEntry(t, `service-resolver/web {"ConnectTimeout": "15s", "DefaultSubset": "v1", "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}}, "Failover": {"v1": {"Datacenters": ["dc2"]}}}`),
	)
	c, err := chain.Compile(chain.Request{Service: "web", Datacenter: "dc1", TrustDomain: "11.consul"}, entries)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "ServiceName": "web",
 "Namespace": "default",
 "Partition": "default",
 "Datacenter": "dc1",
 "Protocol": "tcp",
 "StartNode": "resolver:v1.web.default.default.dc1",
 "Nodes": {
  "resolver:v1.web.default.default.dc1": {
   "Type": "resolver",
   "Name": "v1.web.default.default.dc1",
   "Resolver": {
    "ConnectTimeout": "15s",
    "Target": "v1.web.default.default.dc1",
    "Failover": {
     "Targets": [
      "v1.web.default.default.dc2"
     ]
    }
   }
  }
 },
 "Targets": {
  "v1.web.default.default.dc1": {
   "ID": "v1.web.default.default.dc1",
   "Service": "web",
   "ServiceSubset": "v1",
   "Namespace": "default",
   "Partition": "default",
   "Datacenter": "dc1",
   "MeshGateway": {},
   "Subset": {
    "Filter": "Service.Meta.version == v1"
   },
   "TransparentProxy": {},
   "ConnectTimeout": "15s",
   "SNI": "v1.web.default.dc1.internal.11.consul",
   "Name": "v1.web.default.dc1.internal.11.consul"
  },
  "v1.web.default.default.dc2": {
   "ID": "v1.web.default.default.dc2",
   "Service": "web",
   "ServiceSubset": "v1",
   "Namespace": "default",
   "Partition": "default",
   "Datacenter": "dc2",
   "MeshGateway": {},
   "Subset": {
    "Filter": "Service.Meta.version == v1"
   },
   "TransparentProxy": {},
   "ConnectTimeout": "15s",
   "SNI": "v1.web.default.dc2.internal.11.consul",
   "Name": "v1.web.default.dc2.internal.11.consul"
  }
 },
 "AutoVirtualIPs": null,
 "ManualVirtualIPs": null
}`
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// The hashes that Consul's own pages and client tests show.
func TestCustomizationHash(t *testing.T) {
	f := func(gateway, protocol string, timeout time.Duration, want string) {
		t.Helper()
		r := chain.Request{Service: "web", Datacenter: "dc2"}
		r.MeshGateway.Mode, r.Protocol, r.ConnectTimeout = gateway, protocol, timeout
		c, err := chain.Compile(r, chain.SetOf())
		if err != nil || c.CustomizationHash != want {
			t.Errorf("%s %s %s: %s %v, want %s", gateway, protocol, timeout, c.CustomizationHash, err, want)
		}
	}
	f("remote", "grpc", 7*time.Second, "b94f529a")
	f("local", "grpc", 22*time.Second, "98809527")
	f("", "", 0, "")
	f("", "tcp", 5*time.Second, "")
}

// Splitters that double what they lead to end in as many splits as there are hundredths of a percent, not in
// as many as there are ways.
func TestSplitsAreBounded(t *testing.T) {
	entries := []catalog.ConfigEntry{parseEntry(t, `proxy-defaults/global {"Config": {"protocol": "http"}}`)}
	const deep = 60
	for i := range deep {
		entries = append(entries, parseEntry(t, fmt.Sprintf(
			`service-splitter/s%d {"Splits": [{"Weight": 50, "Service": "s%d"}, {"Weight": 49, "Service": "s%d"}, {"Weight": 1, "Service": "s%d"}]}`, i, i+1, i+1, i+1)))
	}
	c, err := chain.Compile(chain.Request{Service: "s0", Datacenter: "dc1"}, chain.SetOf(entries...))
	if err != nil {
		t.Fatal(err)
	}
	sound(t, c)
	if n := len(c.Nodes[c.StartNode].Splits); n > 10_000 {
		t.Errorf("%d splits", n)
	}
}

// world draws entries about a few services, most of them fitting one another.
func world(t *rapid.T) []catalog.ConfigEntry {
	services := []string{"a", "b", "c", "d", "e"}
	service := rapid.SampledFrom(services)
	maybe := func(label string, g *rapid.Generator[string]) string {
		return rapid.OneOf(rapid.Just(""), g).Draw(t, label)
	}
	dc, subset := rapid.SampledFrom([]string{"dc1", "dc2"}), rapid.SampledFrom([]string{"v1", "v2"})
	var entries []catalog.ConfigEntry
	add := func(kind catalog.EntryKind, name string, e catalog.ConfigEntry) {
		e.Head().Kind, e.Head().Name = kind, name
		entries = append(entries, e)
	}
	add(catalog.EntryProxyDefaults, "global", &catalog.ProxyDefaults{Config: map[string]any{"protocol": rapid.SampledFrom([]string{"http", "http", "http", "tcp"}).Draw(t, "protocol")}})
	if rapid.Bool().Draw(t, "group") {
		add(catalog.EntrySamenessGroup, "g", &catalog.SamenessGroup{DefaultForFailover: rapid.Bool().Draw(t, "default"), IncludeLocal: rapid.Bool().Draw(t, "local"), Members: []catalog.SamenessMember{{Peer: "east"}}})
	}
	for _, name := range services {
		switch rapid.IntRange(0, 9).Draw(t, name) {
		case 0:
			add(catalog.EntryServiceDefaults, name, &catalog.ServiceDefaults{Protocol: rapid.SampledFrom([]string{"http", "tcp"}).Draw(t, "protocol")})
		case 1, 2, 3:
			r := &catalog.ServiceRouter{}
			for range rapid.IntRange(0, 3).Draw(t, "routes") {
				r.Routes = append(r.Routes, catalog.ServiceRoute{Destination: &catalog.ServiceRouteDestination{Service: maybe("to", service), ServiceSubset: maybe("subset", subset)}})
			}
			add(catalog.EntryServiceRouter, name, r)
		}
		if rapid.Bool().Draw(t, "splitter") {
			weights := rapid.SampledFrom([][]float32{{100}, {50, 50}, {33.33, 33.33, 33.34}, {0, 99.99, 0.01}, {60}}).Draw(t, "weights")
			s := &catalog.ServiceSplitter{}
			for _, w := range weights {
				s.Splits = append(s.Splits, catalog.ServiceSplit{Weight: w, Service: maybe("to", service), ServiceSubset: maybe("subset", subset)})
			}
			add(catalog.EntryServiceSplitter, name, s)
		}
		if rapid.Bool().Draw(t, "resolver") {
			r := &catalog.ServiceResolver{Subsets: map[string]*catalog.ServiceSubset{"v1": {}, "v2": {OnlyPassing: true}}, DefaultSubset: maybe("default", subset)}
			switch rapid.IntRange(0, 3).Draw(t, "redirect") {
			case 0:
				r.Redirect = &catalog.ServiceRedirect{Service: maybe("to", service), ServiceSubset: maybe("subset", subset), Datacenter: maybe("dc", dc),
					Peer: maybe("peer", rapid.Just("east")), SamenessGroup: maybe("group", rapid.Just("g"))}
			case 1:
				r.Failover = map[string]*catalog.ServiceFailover{rapid.SampledFrom([]string{"*", "v1"}).Draw(t, "of"): {
					Service: maybe("to", service), ServiceSubset: maybe("subset", subset), Datacenters: rapid.SliceOfN(dc, 0, 3).Draw(t, "dcs")}}
			}
			add(catalog.EntryServiceResolver, name, r)
		}
	}
	return entries
}

// Whatever the entries: compiling ends, in a sound graph or in an error of the writer's; neither depends on
// the order of entries or on what was compiled before; entries are not changed.
func TestEveryGraphIsSound(t *testing.T) {
	graphs := 0
	rapid.Check(t, func(t *rapid.T) {
		entries := world(t)
		before, err := json.Marshal(entries)
		if err != nil {
			t.Fatal(err)
		}
		shuffled := rapid.Permutation(entries).Draw(t, "order")
		for _, service := range []string{"a", "b", "c", "d", "e"} {
			r := chain.Request{Service: service, Datacenter: "dc1", TrustDomain: "t"}
			r.Protocol = rapid.SampledFrom([]string{"", "", "grpc", "tcp"}).Draw(t, "override")
			made, err := chain.Compile(r, chain.SetOf(entries...))
			again, errAgain := chain.Compile(r, chain.SetOf(shuffled...))
			if text(made) != text(again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
				t.Fatalf("%s: two graphs of the same entries:\n%s %v\n%s %v", service, text(made), err, text(again), errAgain)
			}
			if err != nil {
				if catalog.CodeOf(err) != catalog.Invalid {
					t.Fatalf("%s: code %s: %v", service, catalog.CodeOf(err), err)
				}
				continue
			}
			graphs++
			if err := unsound(made); err != nil {
				t.Fatalf("%s: %v\n%s", service, err, text(made))
			}
		}
		if after, _ := json.Marshal(entries); string(after) != string(before) {
			t.Fatalf("entries were changed:\n%s\n%s", before, after)
		}
	})
	if graphs == 0 {
		t.Error("no graph was made: the entries never fit")
	}
}

// A set of entries that was written one by one, each with the judge's leave, and changed so, has only chains
// that compile.
func TestJudgeKeepsChainsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stored []catalog.ConfigEntry
		for range 3 {
			for _, e := range world(t) {
				h := e.Head()
				i := slices.IndexFunc(stored, func(s catalog.ConfigEntry) bool { return s.Head().String() == h.String() })
				var before catalog.ConfigEntry
				after := slices.Clone(stored)
				if i >= 0 {
					before = stored[i]
					after = slices.Delete(after, i, i+1)
				}
				if i < 0 || rapid.IntRange(0, 3).Draw(t, "delete") > 0 {
					after = append(after, e)
				}
				if chain.Judge(chain.SetOf(after...), h.Kind, h.Name, before) == nil {
					stored = after
				}
			}
		}
		for _, service := range []string{"a", "b", "c", "d", "e"} {
			if _, err := chain.Compile(chain.Request{Service: service, Datacenter: "dc1"}, chain.SetOf(stored...)); err != nil {
				t.Fatalf("%s: %v", service, err)
			}
		}
	})
}

// FuzzCompile compiles whatever entries can be read, one a line as in scripts.
func FuzzCompile(f *testing.F) {
	f.Add("web", `service-resolver/web {"Redirect": {"Service": "a"}}`)
	f.Add("web", "proxy-defaults/global {\"Config\": {\"protocol\": \"http\"}}\nservice-splitter/web {\"Splits\": [{\"Weight\": 50, \"Service\": \"a\"}, {\"Weight\": 50}]}\nservice-splitter/a {\"Splits\": [{\"Weight\": 1e-9}, {\"Weight\": 100}]}")
	f.Add("web", "service-defaults/web {\"Protocol\": \"http\"}\nservice-router/web {\"Routes\": [{}, {\"Match\": {}}, {\"Destination\": {\"ServiceSubset\": \"x\"}}]}\nservice-resolver/web {\"Subsets\": {\"x\": {}}, \"Failover\": {\"*\": {\"Targets\": [{}, {\"Peer\": \"p\"}]}}}")
	f.Fuzz(func(t *testing.T, service, lines string) {
		var entries []catalog.ConfigEntry
		for line := range strings.Lines(lines) {
			head, body, _ := strings.Cut(line, " ")
			kind, name, _ := strings.Cut(head, "/")
			e := catalog.NewEntry(catalog.EntryKind(kind))
			if e == nil || json.Unmarshal([]byte(body), e) != nil {
				continue
			}
			e.Head().Kind, e.Head().Name = catalog.EntryKind(kind), name
			entries = append(entries, e)
		}
		compile(t, chain.Request{Service: service, Datacenter: "dc1"}, entries)
	})
}

func BenchmarkCompile(b *testing.B) {
	bench := func(name string, entries ...string) {
		var list []catalog.ConfigEntry
		for _, line := range entries {
			list = append(list, parseEntry(b, line))
		}
		set := chain.SetOf(list...)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := chain.Compile(chain.Request{Service: "web", Datacenter: "dc1", TrustDomain: "trust.consul"}, set); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	bench("default")
	routed := []string{
		`proxy-defaults/global {"Config": {"protocol": "http"}}`,
		`service-splitter/web {"Splits": [{"Weight": 90}, {"Weight": 10, "Service": "canary"}]}`,
	}
	var routes []string
	for i := range 100 {
		routes = append(routes, fmt.Sprintf(`{"Match": {"HTTP": {"PathPrefix": "/%d"}}, "Destination": {"Service": "s%d"}}`, i, i))
	}
	bench("100 routes", append(routed, `service-router/web {"Routes": [`+strings.Join(routes, ",")+`]}`)...)
}

package conformance

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/miekg/dns"
)

// A service that is registered in any of the ways is found in all of the ways, also after a restart.
func TestRegistration(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"dev", "persistent"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := prepare(t, nil)
			a.dev = kind == "dev"
			a.write("hcl.hcl", `service { name = "by-hcl", port = 7001, tags = ["blue"], meta { owner = "ops" }, check { id = "c", ttl = "1h", status = "passing" } }`)
			a.write("json.json", `{"services": [{"name": "by-json", "port": 7002, "tags": ["blue"], "meta": {"owner": "ops"}, "checks": [{"id": "d", "ttl": "1h", "status": "passing"}]}]}`)
			a.start()
			registerByCommand(a)
			must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{
				Name: "by-agent", Port: 7004, Tags: []string{"blue"}, Meta: map[string]string{"owner": "ops"},
				Check: &api.AgentServiceCheck{TTL: "1h", Status: api.HealthPassing},
			}))
			_, err := a.Catalog().Register(&api.CatalogRegistration{
				Node: "outside", Address: a.host, SkipNodeUpdate: false,
				Service: &api.AgentService{Service: "by-catalog", Port: 7005, Tags: []string{"blue"}, Meta: map[string]string{"owner": "ops"}},
				Checks:  api.HealthChecks{{Node: "outside", CheckID: "e", Name: "e", Status: api.HealthPassing, ServiceID: "by-catalog"}},
			}, nil)
			must(t, err)
			for i, name := range []string{"by-hcl", "by-json", "by-command", "by-agent", "by-catalog"} {
				findEverywhere(t, a, name, 7001+i)
			}
			if kind == "persistent" {
				a.stop()
				a.start()
				for i, name := range []string{"by-hcl", "by-json", "by-command", "by-agent", "by-catalog"} {
					findEverywhere(t, a, name, 7001+i)
				}
			}
		})
	}
}

// registerByCommand registers and deregisters with the product's own commands.
func registerByCommand(a *agent) {
	a.t.Helper()
	a.write("definition.hcl.txt", "") // other endings are no configuration
	file := filepath.Join(a.t.TempDir(), "by-command.hcl")
	other := &agent{t: a.t, dir: filepath.Dir(file)}
	other.write("by-command.hcl", `service { name = "by-command", port = 7003, tags = ["blue"], meta { owner = "ops" }, check { ttl = "1h", status = "passing" } }`)
	for _, args := range [][]string{
		{"services", "register", file},
		{"services", "register", "-name=passing-by", "-port=1"},
		{"services", "deregister", "-id=passing-by"},
	} {
		if out, err := a.cli(args...); err != nil {
			a.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}

// findEverywhere checks one passing instance over HTTP, the client and DNS.
func findEverywhere(t *testing.T, a *agent, name string, port int) {
	t.Helper()
	entries := until(t, name+" to pass", func(q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
		return a.Health().Service(name, "blue", true, q)
	}, func(found []*api.ServiceEntry) bool { return len(found) == 1 })
	if s := entries[0].Service; s.Port != port || s.Meta["owner"] != "ops" || !slices.Equal(s.Tags, []string{"blue"}) {
		t.Errorf("%s by health: %s", name, asJSON(s))
	}
	found, _, err := a.Catalog().Service(name, "blue", nil)
	must(t, err)
	if len(found) != 1 || found[0].ServicePort != port || found[0].Address != a.host {
		t.Errorf("%s by catalog: %s", name, asJSON(found))
	}
	all, _, err := a.Catalog().Services(nil)
	must(t, err)
	equal(t, name+" in the list of services", all[name], []string{"blue"})
	if _, gone := all["passing-by"]; gone {
		t.Error("a service that was deregistered is still listed")
	}
	msg := a.lookup(name+".service.consul.", dns.TypeA)
	if len(msg.Answer) != 1 || msg.Answer[0].(*dns.A).A.String() != a.host {
		t.Errorf("%s by DNS, A: %s", name, msg)
	}
	msg = a.lookup("blue."+name+".service.dc1.consul.", dns.TypeSRV)
	if len(msg.Answer) != 1 || msg.Answer[0].(*dns.SRV).Port != uint16(port) || len(msg.Extra) == 0 {
		t.Errorf("%s by DNS, SRV: %s", name, msg)
	}
	if got := a.status(200, "GET", fmt.Sprintf("/v1/health/service/%s?passing&index=1", name), ""); got.header.Get("X-Consul-Index") == "" {
		t.Errorf("%s over plain HTTP: no index in %v", name, got.header)
	}
}

// lookup asks the agent's DNS over UDP.
func (a *agent) lookup(name string, kind uint16) *dns.Msg {
	a.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	m.SetEdns0(4096, false)
	client := &dns.Client{Timeout: patience}
	got, _, err := client.ExchangeContext(a.t.Context(), m, a.dns)
	must(a.t, err)
	return got
}

// What a definition file loses is gone after a reload, what it gains is there; a bad file changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	a := prepare(t, nil)
	a.write("web.json", `{"service": {"name": "web", "port": 80}, "check": {"id": "disk", "name": "disk", "ttl": "1h", "status": "passing"}}`)
	a.start()
	before, err := a.Agent().Services()
	must(t, err)
	if before["web"] == nil {
		t.Fatalf("services of the file: %s", asJSON(before))
	}
	a.write("web.json", `{"service": {"name": "api", "port": 81, "meta": {"v": "2"}}}`)
	must(t, a.Agent().Reload())
	after, err := a.Agent().Services()
	must(t, err)
	if after["web"] != nil || after["api"] == nil || after["api"].Meta["v"] != "2" {
		t.Errorf("after a reload: %s", asJSON(after))
	}
	checks, err := a.Agent().Checks()
	must(t, err)
	if checks["disk"] != nil {
		t.Error("a check that the file no longer has is still there")
	}
	a.write("web.json", `{"service": {"name": `)
	refused(t, "reload of a broken file", a.Agent().Reload(), 500)
	kept, err := a.Agent().Services()
	must(t, err)
	equal(t, "services after the refused reload", kept, after)
	until(t, "api in the catalog", func(q *api.QueryOptions) (map[string][]string, *api.QueryMeta, error) {
		return a.Catalog().Services(q)
	}, func(all map[string][]string) bool { _, web := all["web"]; _, has := all["api"]; return has && !web })
}

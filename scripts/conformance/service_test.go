package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// Every field of a registration comes back, and the content hash blocks until one changes.
func TestLocalService(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	reg := &api.AgentServiceRegistration{
		ID: "web-1", Name: "web", Tags: []string{"v1", "blue"}, Meta: map[string]string{"team": "red"}, Port: 8080, Address: "10.0.0.5",
		TaggedAddresses: map[string]api.ServiceAddress{"wan": {Address: "198.18.0.1", Port: 80}}, EnableTagOverride: true,
		Weights: &api.AgentWeights{Passing: 10, Warning: 2},
		Checks:  api.AgentServiceChecks{{CheckID: "ttl", Name: "alive", TTL: "1h", Status: api.HealthPassing}},
	}
	must(t, a.Agent().ServiceRegister(reg))
	s, meta, err := a.Agent().Service("web-1", nil)
	must(t, err)
	equal(t, "name, tags, meta, port, address", []any{s.Service, s.Tags, s.Meta, s.Port, s.Address}, []any{"web", reg.Tags, reg.Meta, 8080, "10.0.0.5"})
	equal(t, "weights, override, wan", []any{s.Weights, s.EnableTagOverride, s.TaggedAddresses["wan"]}, []any{reg.Weights, true, reg.TaggedAddresses["wan"]})
	if s.ContentHash == "" || s.ContentHash != meta.LastContentHash || s.Datacenter != "dc1" {
		t.Errorf("hash %q, header %q, datacenter %q", s.ContentHash, meta.LastContentHash, s.Datacenter)
	}

	type blocked struct {
		service *api.AgentService
		err     error
	}
	changed := make(chan blocked, 1)
	go func() { // ends when the service changes, or after the wait
		s, _, err := a.Agent().Service("web-1", &api.QueryOptions{WaitHash: s.ContentHash, WaitTime: patience})
		changed <- blocked{s, err}
	}()
	reg.Tags = []string{"v2"}
	must(t, a.Agent().ServiceRegister(reg))
	got := <-changed
	must(t, got.err)
	if got.service.ContentHash == s.ContentHash || got.service.Tags[0] != "v2" {
		t.Errorf("after the change: %s", asJSON(got.service))
	}
	begun := time.Now()
	_, meta, err = a.Agent().Service("web-1", &api.QueryOptions{WaitHash: got.service.ContentHash, WaitTime: 200 * time.Millisecond})
	must(t, err)
	if took := time.Since(begun); took < 200*time.Millisecond || meta.LastContentHash != got.service.ContentHash {
		t.Errorf("a wait for a change that never comes took %s and ended with hash %s", took, meta.LastContentHash)
	}

	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "db"}))
	all, err := a.Agent().Services()
	must(t, err)
	if len(all) != 2 || all["db"].ID != "db" {
		t.Errorf("all services: %s", asJSON(all))
	}
	some, err := a.Agent().ServicesWithFilter(`Meta.team == red and "v2" in Tags`)
	must(t, err)
	if len(some) != 1 || some["web-1"] == nil {
		t.Errorf("filtered services: %s", asJSON(some))
	}
	_, err = a.Agent().ServicesWithFilter("Nonsense ==")
	refused(t, "a broken filter", err, 500)

	must(t, a.Agent().ServiceDeregister("web-1"))
	_, _, err = a.Agent().Service("web-1", nil)
	refused(t, "a service that is gone", err, 404)
	refused(t, "deregistering it again", a.Agent().ServiceDeregister("web-1"), 404)
	checks, err := a.Agent().Checks()
	must(t, err)
	equal(t, "checks of the service that is gone", len(checks), 0)
	until(t, "web to leave the catalog", func(q *api.QueryOptions) ([]*api.CatalogService, *api.QueryMeta, error) {
		return a.Catalog().Service("web", "", q)
	}, func(found []*api.CatalogService) bool { return len(found) == 0 })
}

// Registering again keeps checks unless they are to be replaced.
func TestReplaceExistingChecks(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	with := func(id string) *api.AgentServiceRegistration {
		return &api.AgentServiceRegistration{Name: "web", Check: &api.AgentServiceCheck{CheckID: id, TTL: "1h", Status: api.HealthPassing}}
	}
	ids := func() []string {
		checks, err := a.Agent().Checks()
		must(t, err)
		var all []string
		for _, id := range []string{"one", "two", "three"} {
			if checks[id] != nil {
				all = append(all, id)
			}
		}
		return all
	}
	must(t, a.Agent().ServiceRegister(with("one")))
	must(t, a.Agent().ServiceRegister(with("two")))
	equal(t, "checks after registering twice", ids(), []string{"one", "two"})
	must(t, a.Agent().ServiceRegisterOpts(with("three"), api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(t.Context())))
	equal(t, "checks after replacing", ids(), []string{"three"})
}

// The aggregated health endpoints, by id and by name, as JSON and as text.
func TestLocalServiceHealth(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	for _, id := range []string{"web-1", "web-2"} {
		must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: id, Name: "web", Checks: api.AgentServiceChecks{
			{CheckID: id + "-a", TTL: "1h", Status: api.HealthPassing}, {CheckID: id + "-b", TTL: "1h", Status: api.HealthPassing},
		}}))
	}
	for _, c := range []struct {
		status string // what web-1 becomes
		code   int
	}{{api.HealthPassing, 200}, {api.HealthWarning, 429}, {api.HealthCritical, 503}} {
		must(t, a.Agent().UpdateTTL("web-1-a", "because", c.status))
		status, info, err := a.Agent().AgentHealthServiceByID("web-1")
		must(t, err)
		if status != c.status || info.AggregatedStatus != c.status || len(info.Checks) != 2 || info.Service.ID != "web-1" {
			t.Errorf("%s by id: %s %s", c.status, status, asJSON(info))
		}
		status, infos, err := a.Agent().AgentHealthServiceByName("web")
		must(t, err)
		if status != c.status || len(infos) != 2 {
			t.Errorf("%s by name: %s %s", c.status, status, asJSON(infos))
		}
		for _, path := range []string{"id/web-1", "name/web"} {
			text := a.status(c.code, "GET", "/v1/agent/health/service/"+path+"?format=text", "")
			if text.body != c.status || !strings.HasPrefix(text.header.Get("Content-Type"), "text/plain") || text.header.Get("X-Consul-Reason") != c.status {
				t.Errorf("%s as text: %q %v", path, text.body, text.header)
			}
			a.status(c.code, "GET", "/v1/agent/health/service/"+path, "")
		}
	}
	status, info, err := a.Agent().AgentHealthServiceByID("absent")
	must(t, err)
	equal(t, "health of no service", []any{status, info}, []any{api.HealthCritical, nil})
	a.status(404, "GET", "/v1/agent/health/service/id/absent", "")
	a.status(404, "GET", "/v1/agent/health/service/name/absent?format=text", "")

	must(t, a.Agent().EnableServiceMaintenance("web-2", "upgrade"))
	status, info, err = a.Agent().AgentHealthServiceByID("web-2")
	must(t, err)
	if status != api.HealthCritical || info.AggregatedStatus != api.HealthMaint || info.Checks.AggregatedStatus() != api.HealthMaint {
		t.Errorf("in maintenance: %s %s", status, asJSON(info))
	}
	must(t, a.Agent().DisableServiceMaintenance("web-2"))
	status, _, err = a.Agent().AgentHealthServiceByID("web-2")
	must(t, err)
	equal(t, "after maintenance", status, api.HealthPassing)
	refused(t, "maintenance of no service", a.Agent().EnableServiceMaintenance("absent", ""), 404)
	a.status(400, "PUT", "/v1/agent/service/maintenance/web-1", "")
}

// A sidecar registers with its service, gets a port of the range, and goes with it.
func TestSidecarService(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Port: 80, Connect: &api.AgentServiceConnect{
		SidecarService: &api.AgentServiceRegistration{Proxy: &api.AgentServiceConnectProxyConfig{
			Upstreams: []api.Upstream{{DestinationName: "db", LocalBindPort: 5432}}, Config: map[string]any{"x": "y"},
		}},
	}}))
	sidecar, _, err := a.Agent().Service("web-sidecar-proxy", nil)
	must(t, err)
	if sidecar.Kind != api.ServiceKindConnectProxy || sidecar.Port < 21000 || sidecar.Port > 21255 || sidecar.Proxy.DestinationServiceName != "web" ||
		sidecar.Proxy.DestinationServiceID != "web" || sidecar.Proxy.LocalServicePort != 80 || len(sidecar.Proxy.Upstreams) != 1 || sidecar.Proxy.Config["x"] != "y" {
		t.Errorf("sidecar: %s", asJSON(sidecar))
	}
	entries := until(t, "the mesh endpoint of web", func(q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
		return a.Health().Connect("web", "", false, q)
	}, func(found []*api.ServiceEntry) bool { return len(found) == 1 })
	equal(t, "the mesh endpoint", entries[0].Service.ID, "web-sidecar-proxy")
	found, _, err := a.Catalog().Connect("web", "", nil)
	must(t, err)
	if len(found) != 1 || found[0].ServiceProxy == nil || found[0].ServiceProxy.DestinationServiceName != "web" {
		t.Errorf("the mesh endpoint in the catalog: %s", asJSON(found))
	}
	must(t, a.Agent().ServiceDeregister("web"))
	all, err := a.Agent().Services()
	must(t, err)
	equal(t, "services left", len(all), 0)
}

// What a registration may not say is refused with a message that names it.
func TestBadRegistrations(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	for body, word := range map[string]string{
		`{}`:                              "name",
		`{"Name": "x", "Prot": 1}`:        "Port",
		`{"Name": "x", "Port": "eighty"}`: "Port",
		`{"Name": "x", "Port": -1}`:       "port",
		`{"Name": "x", "Check": {"HTTP": "http://127.0.0.1/"}}`: "nterval",
		`{"Name": "x", "Check": {"TTL": "soon"}}`:               "TTL",
		`{"Name": "x", "Check": {"Interval": "1s"}}`:            "ttl",
		`{"Name": "x", "Port": "80"}`:                           "Port",
		`{"Name": "x", "Address": "0.0.0.0"}`:                   "0.0.0.0",
		`{"Name": "x", "Meta": {"a b": "c"}}`:                   "a b",
		`{"Name": "x", "Weights": {"Passing": -1}}`:             "eight",
		`{"Name": "x", "Kind": "odd"}`:                          "odd",
		`{"Name": "x"`:                                          "",
		`null`:                                                  "",
		``:                                                      "",
	} {
		if got := a.status(400, "PUT", "/v1/agent/service/register", body); !strings.Contains(got.body, word) {
			t.Errorf("%s: the message does not name %q: %s", body, word, got.body)
		}
	}
	a.status(500, "PUT", "/v1/agent/check/register", `{"Name": "x", "Args": ["/bin/true"], "Interval": "1s"}`)
	a.status(400, "PUT", "/v1/agent/check/register", `{"TTL": "1s"}`)
	all, err := a.Agent().Services()
	must(t, err)
	equal(t, "services", len(all), 0)
}

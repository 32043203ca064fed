package conformance

import (
	"slices"
	"testing"

	"github.com/hashicorp/consul/api"
)

const uuid1, uuid2 = "11111111-2222-3333-4444-000000000001", "11111111-2222-3333-4444-000000000002"

// fleet registers two nodes outside with three instances of web and one of db.
func fleet(t *testing.T, a *agent) {
	t.Helper()
	for _, reg := range []*api.CatalogRegistration{
		{ID: uuid1, Node: "n1", Address: "10.1.0.1", Datacenter: "dc1", NodeMeta: map[string]string{"rack": "r1"},
			TaggedAddresses: map[string]string{"lan": "10.1.0.1", "wan": "198.18.0.1"},
			Service: &api.AgentService{ID: "web-1", Service: "web", Tags: []string{"v1", "blue"}, Port: 80, Address: "10.1.1.1",
				Meta: map[string]string{"team": "red"}, Weights: api.AgentWeights{Passing: 3, Warning: 1}, EnableTagOverride: true,
				TaggedAddresses: map[string]api.ServiceAddress{"wan": {Address: "198.18.1.1", Port: 8080}}},
			Checks: api.HealthChecks{
				{Node: "n1", CheckID: "up", Name: "up", Status: api.HealthPassing, Notes: "n", Output: "o"},
				{Node: "n1", CheckID: "web-1", Name: "web", Status: api.HealthPassing, ServiceID: "web-1", Definition: api.HealthCheckDefinition{HTTP: "http://10.1.1.1/"}},
			}},
		{Node: "n1", Address: "10.1.0.1", SkipNodeUpdate: true, Service: &api.AgentService{ID: "web-2", Service: "web", Tags: []string{"v2"}, Port: 81},
			Check: &api.AgentCheck{Node: "n1", CheckID: "web-2", Name: "web", Status: api.HealthWarning, ServiceID: "web-2"}},
		{ID: uuid2, Node: "n2", Address: "10.1.0.2", NodeMeta: map[string]string{"rack": "r2"}, Service: &api.AgentService{ID: "web-3", Service: "web", Tags: []string{"v1"}, Port: 80},
			Check: &api.AgentCheck{Node: "n2", CheckID: "web-3", Name: "web", Status: api.HealthCritical, ServiceID: "web-3"}},
		{Node: "n2", Address: "10.1.0.2", SkipNodeUpdate: true, Service: &api.AgentService{Service: "db"}},
	} {
		_, err := a.Catalog().Register(reg, nil)
		must(t, err)
	}
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	fleet(t, a)
	c := a.Catalog()

	datacenters, err := c.Datacenters()
	must(t, err)
	equal(t, "datacenters", datacenters, []string{"dc1"})

	nodes, meta, err := c.Nodes(nil)
	must(t, err)
	equal(t, "nodes", names(nodes, func(n *api.Node) string { return n.Node }), []string{"n1", "n2", a.name})
	n1 := nodes[0]
	if n1.ID != uuid1 || n1.Address != "10.1.0.1" || n1.Meta["rack"] != "r1" || n1.TaggedAddresses["wan"] != "198.18.0.1" || n1.CreateIndex == 0 || n1.ModifyIndex > meta.LastIndex {
		t.Errorf("n1: %s", asJSON(n1))
	}
	nodes, _, err = c.Nodes(&api.QueryOptions{NodeMeta: map[string]string{"rack": "r2"}})
	must(t, err)
	equal(t, "nodes by metadata", names(nodes, func(n *api.Node) string { return n.Node }), []string{"n2"})

	services, _, err := c.Services(nil)
	must(t, err)
	equal(t, "services", services, map[string][]string{"consul": {}, "web": {"blue", "v1", "v2"}, "db": {}})
	services, _, err = c.Services(&api.QueryOptions{NodeMeta: map[string]string{"rack": "r1"}})
	must(t, err)
	slices.Sort(services["web"]) // in no order
	equal(t, "services by metadata", services, map[string][]string{"web": {"blue", "v1", "v2"}})

	id := func(s *api.CatalogService) string { return s.ServiceID }
	web, _, err := c.Service("web", "", nil)
	must(t, err)
	equal(t, "instances of web", names(web, id), []string{"web-1", "web-2", "web-3"})
	one := web[0]
	equal(t, "web-1", []any{one.ID, one.Node, one.Address, one.Datacenter, one.NodeMeta["rack"], one.ServiceAddress, one.ServicePort, one.ServiceTags, one.ServiceMeta, one.ServiceWeights, one.ServiceEnableTagOverride, one.ServiceTaggedAddresses["wan"]},
		[]any{uuid1, "n1", "10.1.0.1", "dc1", "r1", "10.1.1.1", 80, []string{"v1", "blue"}, map[string]string{"team": "red"}, api.Weights{Passing: 3, Warning: 1}, true, api.ServiceAddress{Address: "198.18.1.1", Port: 8080}})
	for _, q := range []struct {
		tags []string
		opts *api.QueryOptions
		want []string
	}{
		{[]string{"v1"}, nil, []string{"web-1", "web-3"}},
		{[]string{"v1", "blue"}, nil, []string{"web-1"}},
		{nil, &api.QueryOptions{Filter: `ServicePort == 81`}, []string{"web-2"}},
		{nil, &api.QueryOptions{NodeMeta: map[string]string{"rack": "r2"}}, []string{"web-3"}},
		{nil, &api.QueryOptions{MergeCentralConfig: true, Near: "n2"}, []string{"web-1", "web-2", "web-3"}},
		{nil, &api.QueryOptions{Namespace: "default", Partition: "default"}, []string{"web-1", "web-2", "web-3"}},
	} {
		found, _, err := c.ServiceMultipleTags("web", q.tags, q.opts)
		must(t, err)
		equal(t, "instances by "+asJSON(q), names(found, id), q.want)
	}

	node, _, err := c.Node("n1", nil)
	must(t, err)
	if node.Node.ID != uuid1 || len(node.Services) != 2 || node.Services["web-1"].Weights.Passing != 3 {
		t.Errorf("node n1: %s", asJSON(node))
	}
	list, _, err := c.NodeServiceList("n2", nil)
	must(t, err)
	equal(t, "services of n2", names(list.Services, func(s *api.AgentService) string { return s.ID }), []string{"db", "web-3"})
	absent, _, err := c.Node("absent", nil)
	must(t, err)
	if absent != nil {
		t.Errorf("a node that is not there: %s", asJSON(absent))
	}
	gateways, _, err := c.GatewayServices("absent", nil)
	must(t, err)
	equal(t, "services of no gateway", len(gateways), 0)

	_, _, err = c.Nodes(&api.QueryOptions{Datacenter: "nowhere"})
	refused(t, "another datacenter", err, 500)
	_, _, err = c.Nodes(&api.QueryOptions{Filter: "Nonsense =="})
	refused(t, "a broken filter", err, 500)
	_, err = c.Register(&api.CatalogRegistration{Node: "n3"}, nil)
	refused(t, "a node without address", err, 500)
}

// Deregistering a check, a service, a node takes what hangs on it along.
func TestCatalogDeregister(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	fleet(t, a)
	gone := func(d api.CatalogDeregistration) {
		t.Helper()
		_, err := a.Catalog().Deregister(&d, nil)
		must(t, err)
	}
	checkIDs := func() []string {
		checks, _, err := a.Health().Node("n1", nil)
		must(t, err)
		return names(checks, func(c *api.HealthCheck) string { return c.CheckID })
	}
	gone(api.CatalogDeregistration{Node: "n1", CheckID: "up"})
	equal(t, "checks after one went", checkIDs(), []string{"web-1", "web-2"})
	gone(api.CatalogDeregistration{Node: "n1", ServiceID: "web-2"})
	equal(t, "checks after a service went", checkIDs(), []string{"web-1"})
	gone(api.CatalogDeregistration{Node: "n1", Address: "10.1.0.1", Datacenter: "dc1"})
	gone(api.CatalogDeregistration{Node: "n1"})
	equal(t, "checks after the node went", len(checkIDs()), 0)
	web, _, err := a.Catalog().Service("web", "", nil)
	must(t, err)
	equal(t, "instances left", names(web, func(s *api.CatalogService) string { return s.ServiceID }), []string{"web-3"})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	fleet(t, a)
	h := a.Health()
	id := func(c *api.HealthCheck) string { return c.CheckID }
	checks, _, err := h.Node("n1", nil)
	must(t, err)
	equal(t, "checks of n1", names(checks, id), []string{"up", "web-1", "web-2"})
	equal(t, "aggregate of n1", checks.AggregatedStatus(), api.HealthWarning)
	equal(t, "up", []any{checks[0].Notes, checks[0].Output, checks[0].Status}, []any{"n", "o", api.HealthPassing})
	checks, _, err = h.Checks("web", nil)
	must(t, err)
	equal(t, "checks of web", names(checks, id), []string{"web-1", "web-2", "web-3"})
	equal(t, "definition and tags of web-1", []any{checks[0].Definition.HTTP, checks[0].ServiceTags}, []any{"http://10.1.1.1/", []string{"v1", "blue"}})
	checks, _, err = h.Checks("web", &api.QueryOptions{NodeMeta: map[string]string{"rack": "r2"}, Near: "n1"})
	must(t, err)
	equal(t, "checks of web by metadata", names(checks, id), []string{"web-3"})
	for state, want := range map[string][]string{
		api.HealthAny: {"serfHealth", "up", "web-1", "web-2", "web-3"}, api.HealthPassing: {"serfHealth", "up", "web-1"},
		api.HealthWarning: {"web-2"}, api.HealthCritical: {"web-3"},
	} {
		checks, _, err = h.State(state, nil)
		must(t, err)
		equal(t, "state "+state, names(checks, id), want)
	}
	checks, _, err = h.State(api.HealthAny, &api.QueryOptions{Filter: `Node == n2`, NodeMeta: map[string]string{"rack": "r2"}})
	must(t, err)
	equal(t, "filtered state", names(checks, id), []string{"web-3"})

	instance := func(e *api.ServiceEntry) string { return e.Service.ID }
	for _, q := range []struct {
		tags    []string
		passing bool
		opts    *api.QueryOptions
		want    []string
	}{
		{nil, false, nil, []string{"web-1", "web-2", "web-3"}},
		{nil, true, nil, []string{"web-1"}},
		{[]string{"v1"}, false, nil, []string{"web-1", "web-3"}},
		{[]string{"v1", "blue"}, false, nil, []string{"web-1"}},
		{nil, false, &api.QueryOptions{Filter: `Checks.Status == "critical"`}, []string{"web-3"}},
		{nil, false, &api.QueryOptions{Filter: `Node.Meta.rack == r1 and Service.Port == 81`}, []string{"web-2"}},
		{nil, false, &api.QueryOptions{NodeMeta: map[string]string{"rack": "r2"}}, []string{"web-3"}},
	} {
		found, _, err := h.ServiceMultipleTags("web", q.tags, q.passing, q.opts)
		must(t, err)
		equal(t, "instances by "+asJSON(q), names(found, instance), q.want)
	}
	entries, _, err := h.Service("web", "blue", false, nil)
	must(t, err)
	e := entries[0]
	equal(t, "an entry", []any{e.Node.ID, e.Node.TaggedAddresses["wan"], e.Service.Weights.Passing, e.Service.Meta["team"], names(e.Checks, id)},
		[]any{uuid1, "198.18.0.1", 3, "red", []string{"up", "web-1"}})
	for what, ask := range map[string]func() ([]*api.ServiceEntry, *api.QueryMeta, error){
		"connect": func() ([]*api.ServiceEntry, *api.QueryMeta, error) { return h.Connect("web", "", false, nil) },
		"ingress": func() ([]*api.ServiceEntry, *api.QueryMeta, error) { return h.Ingress("web", false, nil) },
		"absent":  func() ([]*api.ServiceEntry, *api.QueryMeta, error) { return h.Service("absent", "", false, nil) },
	} {
		found, meta, err := ask()
		must(t, err)
		if len(found) != 0 || found == nil || meta.LastIndex == 0 {
			t.Errorf("%s: %s, index %d", what, asJSON(found), meta.LastIndex)
		}
	}
	a.status(200, "GET", "/v1/health/service/web?passing=false&peer=&sg=", "")
	a.status(400, "GET", "/v1/health/service/web?passing=often", "")
	a.status(400, "GET", "/v1/health/service/", "")
	a.status(405, "PUT", "/v1/health/service/web", "")
}

package conformance

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/serf/coordinate"
)

// names are the sorted names of things.
func names[T any](of []T, name func(T) string) []string {
	all := []string{}
	for _, x := range of {
		all = append(all, name(x))
	}
	slices.Sort(all)
	return all
}

// Consistency modes, what the answer says of them, and the index.
func TestConsistency(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	for _, q := range []struct {
		opts      api.QueryOptions
		effective string
	}{{api.QueryOptions{}, "leader"}, {api.QueryOptions{RequireConsistent: true}, "consistent"}, {api.QueryOptions{AllowStale: true}, "stale"}} {
		_, meta, err := a.Catalog().Nodes(&q.opts)
		must(t, err)
		if !meta.KnownLeader || meta.LastContact != 0 || meta.LastIndex == 0 || meta.RequestTime == 0 || meta.QueryBackend != api.QueryBackendBlockingQuery || meta.AddressTranslationEnabled || meta.ResultsFilteredByACLs {
			t.Errorf("meta of %s: %s", q.effective, asJSON(meta))
		}
	}
	for parameters, want := range map[string]string{"": "leader", "?consistent": "consistent", "?stale": "stale", "?max_stale=10s": "stale"} {
		got := a.status(200, "GET", "/v1/catalog/nodes"+parameters, "")
		equal(t, "effective consistency of "+parameters, got.header.Get("X-Consul-Effective-Consistency"), want)
		equal(t, "ACL policy", got.header.Get("X-Consul-Default-ACL-Policy"), "allow")
	}
	for _, parameters := range []string{"?stale&consistent", "?index=x", "?index=-1", "?wait=x", "?max_stale=x"} {
		a.status(400, "GET", "/v1/catalog/nodes"+parameters, "")
	}
	for _, hit := range []bool{false, true} {
		_, meta, err := a.Health().Service("consul", "", false, &api.QueryOptions{UseCache: true})
		must(t, err)
		if meta.CacheHit != hit || meta.LastIndex == 0 || meta.CacheAge > patience {
			t.Errorf("meta of a cached answer: %s, want a hit: %v", asJSON(meta), hit)
		}
	}
	pretty := a.status(200, "GET", "/v1/catalog/nodes?pretty", "")
	if !strings.Contains(pretty.body, "\n    ") {
		t.Errorf("not pretty: %s", pretty.body)
	}
}

// A blocking query ends with a change of what it reads, with the end of its wait, or with its client; not
// with a change of anything else.
func TestBlocking(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	fleet(t, a)
	register := func(node, service, tag string) {
		t.Helper()
		_, err := a.Catalog().Register(&api.CatalogRegistration{Node: node, Address: "10.1.0.1", SkipNodeUpdate: node == "n1", Service: &api.AgentService{
			ID: service, Service: strings.TrimSuffix(service, "-1"), Tags: []string{tag},
		}}, nil)
		must(t, err)
	}
	const wait = 300 * time.Millisecond
	for name, ask := range map[string]func(*api.QueryOptions) (*api.QueryMeta, error){
		"catalog/service": func(q *api.QueryOptions) (*api.QueryMeta, error) {
			_, m, err := a.Catalog().Service("web", "", q)
			return m, err
		},
		"catalog/services": func(q *api.QueryOptions) (*api.QueryMeta, error) { _, m, err := a.Catalog().Services(q); return m, err },
		"catalog/node": func(q *api.QueryOptions) (*api.QueryMeta, error) {
			_, m, err := a.Catalog().Node("n1", q)
			return m, err
		},
		"catalog/node-services": func(q *api.QueryOptions) (*api.QueryMeta, error) {
			_, m, err := a.Catalog().NodeServiceList("n1", q)
			return m, err
		},
		"health/service": func(q *api.QueryOptions) (*api.QueryMeta, error) {
			_, m, err := a.Health().Service("web", "", false, q)
			return m, err
		},
	} {
		type result struct {
			meta *api.QueryMeta
			err  error
		}
		block := func(index uint64, span time.Duration) <-chan result {
			woken := make(chan result, 1)
			go func() { // ends with the change, or after the wait
				meta, err := ask(&api.QueryOptions{WaitIndex: index, WaitTime: span})
				woken <- result{meta, err}
			}()
			return woken
		}
		before, err := ask(nil)
		must(t, err)
		woken := block(before.LastIndex, patience)
		register("n1", "web-1", name)
		got := <-woken
		must(t, got.err)
		if got.meta.LastIndex <= before.LastIndex || got.meta.RequestTime >= patience {
			t.Errorf("%s: index %d after %d, took %s", name, got.meta.LastIndex, before.LastIndex, got.meta.RequestTime)
		}
		woken = block(got.meta.LastIndex, wait)
		_, err = a.KV().Put(&api.KVPair{Key: "unrelated"}, nil)
		must(t, err)
		if name != "catalog/services" {
			register("n9", "other", name)
		}
		still := <-woken
		must(t, still.err)
		if still.meta.LastIndex != got.meta.LastIndex || still.meta.RequestTime < wait {
			t.Errorf("%s: a wait for nothing ended after %s with index %d, not %d", name, still.meta.RequestTime, still.meta.LastIndex, got.meta.LastIndex)
		}
	}

	_, meta, err := a.Health().Service("not-yet", "", false, nil)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { // ends with its context
		_, _, err := a.Health().Service("not-yet", "", false, (&api.QueryOptions{WaitIndex: meta.LastIndex}).WithContext(ctx))
		ended <- err
	}()
	cancel()
	if err := <-ended; err == nil {
		t.Error("a query that was given up has an answer")
	}
}

// Sorting by distance follows the coordinates that nodes have sent.
func TestNear(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	fleet(t, a)
	_, err := a.Catalog().Register(&api.CatalogRegistration{Node: "n3", Address: "10.1.0.3", Service: &api.AgentService{Service: "web"}}, nil)
	must(t, err)
	at := func(x float64) *coordinate.Coordinate {
		return &coordinate.Coordinate{Vec: []float64{x, 0, 0, 0, 0, 0, 0, 0}, Error: 1.5, Height: 1e-5}
	}
	for node, x := range map[string]float64{"n1": 0.100, "n2": 0.001, "n3": 0.050} {
		_, err := a.Coordinate().Update(&api.CoordinateEntry{Node: node, Coord: at(x)}, nil)
		must(t, err)
	}
	all := until(t, "the coordinates", func(q *api.QueryOptions) ([]*api.CoordinateEntry, *api.QueryMeta, error) {
		return a.Coordinate().Nodes(q)
	}, func(all []*api.CoordinateEntry) bool {
		known := names(all, func(c *api.CoordinateEntry) string { return c.Node })
		return slices.Contains(known, "n1") && slices.Contains(known, "n2") && slices.Contains(known, "n3")
	})
	for _, c := range all {
		if c.Node == "n1" && c.Coord.Vec[0] != 0.1 {
			t.Errorf("coordinate of n1: %s", asJSON(c))
		}
	}
	one, _, err := a.Coordinate().Node("n2", nil)
	must(t, err)
	if len(one) != 1 || one[0].Coord.Error != 1.5 || one[0].Segment != "" {
		t.Errorf("coordinate of n2: %s", asJSON(one))
	}
	a.status(404, "GET", "/v1/coordinate/node/absent", "")
	_, err = a.Coordinate().Update(&api.CoordinateEntry{Node: "n1", Coord: &coordinate.Coordinate{Vec: []float64{1}}}, nil)
	refused(t, "a coordinate of another dimension", err, 500)
	datacenters, err := a.Coordinate().Datacenters()
	must(t, err)
	if len(datacenters) != 1 || datacenters[0].Datacenter != "dc1" || datacenters[0].AreaID != "wan" || len(datacenters[0].Coordinates) != 1 {
		t.Errorf("coordinates of datacenters: %s", asJSON(datacenters))
	}

	nodes := func(of []*api.ServiceEntry) (all []string) {
		for _, e := range of {
			all = append(all, e.Node.Node)
		}
		return all
	}
	for near, want := range map[string][]string{"n2": {"n2", "n3", "n1", "n1"}, "n1": {"n1", "n1", "n3", "n2"}} {
		entries, _, err := a.Health().Service("web", "", false, &api.QueryOptions{Near: near})
		must(t, err)
		equal(t, "instances near "+near, nodes(entries), want)
		found, _, err := a.Catalog().Nodes(&api.QueryOptions{Near: near})
		must(t, err)
		equal(t, "first node near "+near, found[0].Node, near)
		instances, _, err := a.Catalog().Service("web", "", &api.QueryOptions{Near: near})
		must(t, err)
		equal(t, "first instance near "+near, instances[0].Node, near)
		checks, _, err := a.Health().State(api.HealthAny, &api.QueryOptions{Near: near})
		must(t, err)
		equal(t, "first check near "+near, checks[0].Node, near)
	}
	_, _, err = a.Catalog().Nodes(&api.QueryOptions{Near: "_agent"})
	must(t, err)
}

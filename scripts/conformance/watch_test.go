package conformance

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/consul/api/watch"
)

// Every plan of the official watcher sees how things are, and then each change.
func TestWatchPlans(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	fleet(t, a)
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "local"}))
	put := func(key, value string) func() error {
		return func() error { _, err := a.KV().Put(&api.KVPair{Key: key, Value: []byte(value)}, nil); return err }
	}
	must(t, put("watched/key", "old")())
	register := func(node string, service *api.AgentService, check *api.AgentCheck) func() error {
		return func() error {
			_, err := a.Catalog().Register(&api.CatalogRegistration{Node: node, Address: "10.1.0.1", Service: service, Check: check}, nil)
			return err
		}
	}
	for name, p := range map[string]struct {
		params map[string]any
		change func() error
		seen   func(any) bool // whether a result holds the change
	}{
		"key": {map[string]any{"key": "watched/key"}, put("watched/key", "new"), func(r any) bool { return string(r.(*api.KVPair).Value) == "new" }},
		"keyprefix": {map[string]any{"prefix": "watched/"}, put("watched/other", "x"), func(r any) bool {
			return len(names(r.(api.KVPairs), func(p *api.KVPair) string { return p.Key })) == 2
		}},
		"services": {map[string]any{"stale": true}, register("n1", &api.AgentService{Service: "new"}, nil), func(r any) bool { _, ok := r.(map[string][]string)["new"]; return ok }},
		"nodes": {nil, register("new", nil, nil), func(r any) bool {
			return slices.ContainsFunc(r.([]*api.Node), func(n *api.Node) bool { return n.Node == "new" })
		}},
		"service": {map[string]any{"service": "db", "passingonly": true}, register("n3", &api.AgentService{Service: "db"}, nil), func(r any) bool {
			return len(r.([]*api.ServiceEntry)) == 2
		}},
		"checks": {map[string]any{"state": "critical"}, register("n1", nil, &api.AgentCheck{Node: "n1", CheckID: "web-2", Name: "web", ServiceID: "web-2", Status: api.HealthCritical}), func(r any) bool {
			return len(r.([]*api.HealthCheck)) == 2
		}},
		"event": {map[string]any{"name": "told"}, func() error { _, _, err := a.Event().Fire(&api.UserEvent{Name: "told"}, nil); return err }, func(r any) bool {
			return len(r.([]*api.UserEvent)) == 1
		}},
		"agent_service": {map[string]any{"service_id": "local"}, func() error {
			return a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "local", Tags: []string{"new"}})
		}, func(r any) bool { return len(r.(*api.AgentService).Tags) == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			params := map[string]any{"type": name}
			for k, v := range p.params {
				params[k] = v
			}
			plan, err := watch.Parse(params)
			must(t, err)
			plan.LogOutput = io.Discard
			results := make(chan any, 16)
			plan.HybridHandler = func(_ watch.BlockingParamVal, r any) { results <- r }
			ended := make(chan error, 1)
			go func() { ended <- plan.Run(a.http) }() // ends when it is stopped
			next := func(what string) any {
				t.Helper()
				select {
				case r := <-results:
					return r
				case <-time.After(patience):
					t.Fatalf("waiting for %s", what)
					return nil
				}
			}
			if first := next("how things are"); p.seen(first) {
				t.Fatalf("the change was seen before it was made: %s", asJSON(first))
			}
			must(t, p.change())
			if r := next("the change"); !p.seen(r) && !p.seen(next("the change, after something else: "+asJSON(r))) {
				t.Error("the change was not seen")
			}
			plan.Stop()
			must(t, <-ended)
		})
	}
}

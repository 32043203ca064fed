package conformance

import (
	"testing"

	"github.com/hashicorp/consul/api"
)

// TTL checks of the node and of a service, and all the ways to tell their state.
func TestLocalCheck(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	must(t, a.Agent().CheckRegister(&api.AgentCheckRegistration{ID: "mem", Name: "memory", Notes: "n", AgentServiceCheck: api.AgentServiceCheck{TTL: "1h"}}))
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: "web-1", Name: "web", Tags: []string{"t"}}))
	must(t, a.Agent().CheckRegister(&api.AgentCheckRegistration{Name: "answers", ServiceID: "web-1", AgentServiceCheck: api.AgentServiceCheck{TTL: "1h"}}))
	checks, err := a.Agent().Checks()
	must(t, err)
	if c := checks["mem"]; c == nil || c.Status != api.HealthCritical || c.Notes != "n" || c.Type != "ttl" || c.Node != a.name {
		t.Errorf("node check: %s", asJSON(c))
	}
	if c := checks["answers"]; c == nil || c.ServiceID != "web-1" || c.ServiceName != "web" {
		t.Errorf("service check: %s", asJSON(c))
	}
	some, err := a.Agent().ChecksWithFilter(`ServiceName == web`)
	must(t, err)
	if len(some) != 1 || some["answers"] == nil {
		t.Errorf("filtered checks: %s", asJSON(some))
	}

	ag := a.Agent()
	for _, c := range []struct {
		status, output string
		tell           func() error
	}{
		{api.HealthPassing, "p", func() error { return ag.PassTTL("mem", "p") }},
		{api.HealthWarning, "w", func() error { return ag.WarnTTL("mem", "w") }},
		{api.HealthCritical, "c", func() error { return ag.FailTTL("mem", "c") }},
		{api.HealthPassing, "u", func() error { return ag.UpdateTTL("mem", "u", api.HealthPassing) }},
		{api.HealthWarning, "by path", func() error { a.status(200, "PUT", "/v1/agent/check/warn/mem?note=by+path", ""); return nil }},
		{api.HealthCritical, "no", func() error { a.status(200, "PUT", "/v1/agent/check/fail/mem?note=no", ""); return nil }},
		{api.HealthPassing, "yes", func() error { a.status(200, "PUT", "/v1/agent/check/pass/mem?note=yes", ""); return nil }},
	} {
		must(t, c.tell())
		until(t, "mem to be "+c.status+" with "+c.output, func(q *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
			return a.Health().Node(a.name, q)
		}, func(all api.HealthChecks) bool {
			for _, got := range all {
				if got.CheckID == "mem" {
					return got.Status == c.status && got.Output == c.output
				}
			}
			return false
		})
	}
	a.status(400, "PUT", "/v1/agent/check/update/mem", `{"Status": "odd"}`)
	refused(t, "a check that is not there", ag.PassTTL("absent", ""), 404)
	refused(t, "a check of a service that is not there", ag.CheckRegister(&api.AgentCheckRegistration{
		Name: "x", ServiceID: "absent", AgentServiceCheck: api.AgentServiceCheck{TTL: "1h"},
	}), 404)
	must(t, ag.CheckDeregister("mem"))
	refused(t, "deregistering it again", ag.CheckDeregister("mem"), 404)
	until(t, "mem to leave the catalog", func(q *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
		return a.Health().State(api.HealthAny, q)
	}, func(all api.HealthChecks) bool {
		for _, got := range all {
			if got.CheckID == "mem" {
				return false
			}
		}
		return true
	})
}

// A TTL check nobody tells about turns critical when its time is over.
func TestTTLRunsOut(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Check: &api.AgentServiceCheck{TTL: "1s", Status: api.HealthPassing}}))
	checks := until(t, "web to turn critical", func(q *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
		return a.Health().Checks("web", q)
	}, func(found api.HealthChecks) bool { return len(found) == 1 && found[0].Status == api.HealthCritical })
	if checks[0].CheckID != "service:web" || checks[0].Output == "" { // it was passing before its time was over
		t.Errorf("the check: %s", asJSON(checks[0]))
	}
}

package conformance

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestSession(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	s := a.Session()
	plain, _, err := s.Create(nil, nil)
	must(t, err)
	full, _, err := s.Create(&api.SessionEntry{Name: "full", Node: a.name, LockDelay: 20 * time.Second, Behavior: api.SessionBehaviorDelete, TTL: "30s"}, nil)
	must(t, err)
	free, _, err := s.CreateNoChecks(&api.SessionEntry{Name: "free"}, nil)
	must(t, err)

	info, meta, err := s.Info(plain, nil)
	must(t, err)
	if info.ID != plain || info.Node != a.name || info.LockDelay != 15*time.Second || info.Behavior != api.SessionBehaviorRelease || info.TTL != "" || info.CreateIndex == 0 || meta.LastIndex < info.CreateIndex {
		t.Errorf("a session with nothing said: %s", asJSON(info))
	}
	equal(t, "its checks", info.NodeChecks, []string{"serfHealth"})
	info, _, err = s.Info(full, nil)
	must(t, err)
	equal(t, "a session with all said", []any{info.Name, info.LockDelay, info.Behavior, info.TTL}, []any{"full", 20 * time.Second, "delete", "30s"})
	info, _, err = s.Info(free, nil)
	must(t, err)
	equal(t, "checks of one without", len(info.NodeChecks), 0)
	id := func(e *api.SessionEntry) string { return e.ID }
	all, _, err := s.List(nil)
	must(t, err)
	here, _, err := s.Node(a.name, nil)
	must(t, err)
	equal(t, "lists", []any{len(all), names(here, id)}, []any{3, names(all, id)})
	none, _, err := s.Node("nobody", nil)
	must(t, err)
	equal(t, "sessions of nobody", len(none), 0)

	renewed, _, err := s.Renew(full, nil)
	must(t, err)
	equal(t, "renewed", renewed.ID, full)
	_, err = s.Destroy(full, nil)
	must(t, err)
	_, err = s.Destroy(full, nil)
	must(t, err)
	info, _, err = s.Info(full, nil)
	must(t, err)
	renewed, _, err = s.Renew(full, nil)
	must(t, err)
	if info != nil || renewed != nil {
		t.Errorf("after its end: %s, renewed %s", asJSON(info), asJSON(renewed))
	}
	for what, bad := range map[string]*api.SessionEntry{
		"node": {Node: "nobody"}, "ttl": {TTL: "1s"}, "behavior": {Behavior: "odd"}, "check": {NodeChecks: []string{"absent"}},
		"long ttl": {TTL: "25h"}, "lock delay": {LockDelay: 2 * time.Minute},
	} {
		if _, _, err := s.Create(bad, nil); err == nil {
			t.Errorf("a session with a bad %s was created", what)
		} else {
			refused(t, what, err, 500)
		}
	}
}

// A session ends with any check it hangs on, with its node, and with its TTL; what becomes of its locks is
// as it was made.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	s, kv := a.Session(), a.KV()
	must(t, a.Agent().CheckRegister(&api.AgentCheckRegistration{ID: "node-ttl", Name: "x", AgentServiceCheck: api.AgentServiceCheck{TTL: "1h", Status: api.HealthPassing}}))
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Check: &api.AgentServiceCheck{CheckID: "web-ttl", TTL: "1h", Status: api.HealthPassing}}))
	until(t, "the checks in the catalog", func(q *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
		return a.Health().Node(a.name, q)
	}, func(found api.HealthChecks) bool { return len(found) == 3 })
	_, err := a.Catalog().Register(&api.CatalogRegistration{Node: "outside", Address: "10.0.0.1"}, nil)
	must(t, err)

	for name, c := range map[string]struct {
		entry *api.SessionEntry
		end   func() error
	}{
		"node check":    {&api.SessionEntry{NodeChecks: []string{"serfHealth", "node-ttl"}}, func() error { return a.Agent().FailTTL("node-ttl", "") }},
		"service check": {&api.SessionEntry{ServiceChecks: []api.ServiceCheck{{ID: "web-ttl"}}}, func() error { return a.Agent().FailTTL("web-ttl", "") }},
		"node": {&api.SessionEntry{Node: "outside", NodeChecks: []string{}, Checks: nil}, func() error {
			_, err := a.Catalog().Deregister(&api.CatalogDeregistration{Node: "outside"}, nil)
			return err
		}},
		"destroy": {&api.SessionEntry{}, nil},
	} {
		for _, behavior := range []string{api.SessionBehaviorRelease, api.SessionBehaviorDelete} {
			entry := *c.entry
			entry.Behavior, entry.LockDelay = behavior, time.Millisecond
			create := s.Create
			if entry.Node != "" {
				create = s.CreateNoChecks
			}
			id, _, err := create(&entry, nil)
			must(t, err)
			key := name + " " + behavior
			got, _, err := kv.Acquire(&api.KVPair{Key: key, Session: id}, nil)
			must(t, err)
			equal(t, "acquired "+key, got, true)
			if c.end == nil {
				_, err := s.Destroy(id, nil)
				must(t, err)
			}
		}
		if c.end != nil {
			must(t, c.end())
		}
		released := until(t, name+" to release", func(q *api.QueryOptions) (*api.KVPair, *api.QueryMeta, error) {
			return kv.Get(name+" "+api.SessionBehaviorRelease, q)
		}, func(p *api.KVPair) bool { return p != nil && p.Session == "" })
		equal(t, "lock index of "+name, released.LockIndex, 1)
		until(t, name+" to delete", func(q *api.QueryOptions) (*api.KVPair, *api.QueryMeta, error) {
			return kv.Get(name+" "+api.SessionBehaviorDelete, q)
		}, func(p *api.KVPair) bool { return p == nil })
	}
}

// A session that is not renewed ends after its TTL and within twice as long; one that is renewed stays.
func TestSessionTTL(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	a := start(t, settings{"session_ttl_min": ttl.String()})
	s := a.Session()
	stays, _, err := s.Create(&api.SessionEntry{TTL: ttl.String()}, nil)
	must(t, err)
	done, renewing := make(chan struct{}), make(chan error, 1)
	go func() { renewing <- s.RenewPeriodic(ttl.String(), stays, nil, done) }() // ends with done
	begun := time.Now()
	ends, _, err := s.Create(&api.SessionEntry{TTL: ttl.String(), Behavior: api.SessionBehaviorDelete}, nil)
	must(t, err)
	got, _, err := a.KV().Acquire(&api.KVPair{Key: "ephemeral", Session: ends}, nil)
	must(t, err)
	equal(t, "acquired", got, true)
	until(t, "the key to go with its session", func(q *api.QueryOptions) (*api.KVPair, *api.QueryMeta, error) {
		return a.KV().Get("ephemeral", q)
	}, func(p *api.KVPair) bool { return p == nil })
	if took := time.Since(begun); took < ttl || took > 2*ttl {
		t.Errorf("a session with a TTL of %s ended after %s", ttl, took)
	}
	if e, _, err := s.Info(stays, nil); err != nil || e == nil {
		t.Errorf("the renewed session is gone (%v)", err)
	}
	close(done)
	must(t, <-renewing)
	if e, _, err := s.Info(stays, nil); err != nil || e != nil {
		t.Errorf("the session is still there after its renewal was ended (%v)", err)
	}
}

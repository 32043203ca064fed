package conformance

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

func TestEvent(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	must(t, a.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Tags: []string{"v1"}}))
	e := a.Event()
	none, meta, err := e.List("", nil)
	must(t, err)
	if len(none) != 0 || meta.LastIndex == 0 {
		t.Errorf("no events yet: %s, index %d", asJSON(none), meta.LastIndex)
	}
	arrived := func(name, id string) *api.UserEvent {
		t.Helper()
		all := until(t, "event "+name, func(q *api.QueryOptions) ([]*api.UserEvent, *api.QueryMeta, error) {
			return e.List(name, q)
		}, func(all []*api.UserEvent) bool { return len(all) > 0 && all[len(all)-1].ID == id })
		return all[len(all)-1]
	}
	id, _, err := e.Fire(&api.UserEvent{Name: "deploy", Payload: []byte("v1")}, nil)
	must(t, err)
	got := arrived("deploy", id)
	if string(got.Payload) != "v1" || got.Version != 1 || got.LTime == 0 {
		t.Errorf("the event: %s", asJSON(got))
	}
	_, meta, err = e.List("deploy", nil)
	must(t, err)
	equal(t, "index from the id", e.IDToIndex(id), meta.LastIndex)

	// Of these only what names this node, its service and its tag is seen here.
	for _, f := range []api.UserEvent{{NodeFilter: "^other$"}, {ServiceFilter: "db"}, {ServiceFilter: "web", TagFilter: "v2"}} {
		f.Name = "elsewhere"
		_, _, err := e.Fire(&f, nil)
		must(t, err)
	}
	id, _, err = e.Fire(&api.UserEvent{Name: "here", NodeFilter: a.name, ServiceFilter: "^web$", TagFilter: "v."}, nil)
	must(t, err)
	got = arrived("here", id)
	equal(t, "filters", []any{got.NodeFilter, got.ServiceFilter, got.TagFilter, got.Payload}, []any{a.name, "^web$", "v.", nil})
	all, _, err := e.List("", nil)
	must(t, err)
	equal(t, "events here", names(all, func(e *api.UserEvent) string { return e.Name }), []string{"deploy", "here"})

	for what, bad := range map[string]*api.UserEvent{
		"node pattern": {Name: "x", NodeFilter: "("}, "tag without service": {Name: "x", TagFilter: "t"}, "payload": {Name: "x", Payload: bytes.Repeat([]byte("x"), 1024)},
	} {
		_, _, err := e.Fire(bad, nil)
		refused(t, "an event with a bad "+what, err, 500)
	}
	a.status(400, "PUT", "/v1/event/fire/", "")
	a.status(413, "PUT", "/v1/event/fire/x", strings.Repeat("x", 1<<20))
	_, _, err = e.Fire(&api.UserEvent{Name: "x"}, &api.WriteOptions{Datacenter: "nowhere"})
	refused(t, "an event in another datacenter", err, 500)

	// The newest 256 are kept.
	for i := range 300 {
		id, _, err = e.Fire(&api.UserEvent{Name: fmt.Sprintf("many-%d", i)}, nil)
		must(t, err)
	}
	arrived("many-299", id)
	all, _, err = e.List("", nil)
	must(t, err)
	if len(all) > 256 || all[len(all)-1].ID != id {
		t.Errorf("%d events are kept", len(all))
	}
}

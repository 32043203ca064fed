package fleet_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// Snapshots, locks, certificates, user events, maintenance and the command line work through a client agent.
func TestThroughClient(t *testing.T) {
	s, c := fleet(t, nil)
	c.Put(t, "/v1/kv/before", "1")
	archive := c.Get(t, "/v1/snapshot")
	if archive.Index() == 0 || archive.Header.Get("Content-Type") != "application/x-gzip" {
		t.Errorf("headers of a snapshot: %v", archive.Header)
	}
	c.Put(t, "/v1/kv/after", "2")
	if r := c.Do(t, "PUT", "/v1/snapshot", archive.Body[:len(archive.Body)/2]); r.Status == http.StatusOK || !strings.Contains(r.Body, "nothing was changed") {
		t.Errorf("half a snapshot: status %d: %s", r.Status, r.Body)
	}
	c.Get(t, "/v1/kv/after")
	c.Put(t, "/v1/snapshot", archive.Body)
	c.Get(t, "/v1/kv/before")
	c.Do(t, "GET", "/v1/kv/after", "").Want(t, http.StatusNotFound)

	var session struct{ ID string }
	s.Until(t, "/v1/health/node/c1", func(r testkit.Reply) bool { return strings.Contains(r.Body, `"passing"`) })
	c.Put(t, "/v1/session/create", `{"TTL": "1h"}`).JSON(t, &session)
	if got := c.Put(t, "/v1/kv/lock?acquire="+session.ID, "mine").Body; got != "true" {
		t.Errorf("the lock: %s", got)
	}
	if got := c.Get(t, "/v1/agent/connect/ca/leaf/web").Body; !strings.Contains(got, "BEGIN CERTIFICATE") {
		t.Errorf("the certificate: %s", got)
	}
	c.Put(t, "/v1/event/fire/deploy", "now")
	s.Until(t, "/v1/event/list?name=deploy", func(r testkit.Reply) bool { return strings.Contains(r.Body, `"deploy"`) })
	c.Put(t, "/v1/agent/maintenance?enable=true&reason=work", "")
	s.Until(t, "/v1/health/node/c1", func(r testkit.Reply) bool { return strings.Contains(r.Body, "_node_maintenance") })

	f := func(says string, args ...string) {
		t.Helper()
		if out, code := c.Run(t, args...); code != 0 || !strings.Contains(out, says) {
			t.Errorf("curia %s: exit code %d, want it to say %q: %s", strings.Join(args, " "), code, says, out)
		}
	}
	f("known_servers = 1", "info")
	f("client", "members")
	f("c1", "catalog", "nodes")
	f("leader", "operator", "raft", "list-peers")
	f("", "reload")
}

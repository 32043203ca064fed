package fleet_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

func nodeID(t testing.TB, p *testkit.Process) string {
	t.Helper()
	var self struct{ Config struct{ NodeID string } }
	p.Get(t, "/v1/agent/self").JSON(t, &self)
	return self.Config.NodeID
}

func nodeNames(t testing.TB, r testkit.Reply) string {
	t.Helper()
	var nodes []struct{ Node string }
	if err := json.Unmarshal([]byte(r.Body), &nodes); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Node)
	}
	return strings.Join(names, " ")
}

// says fails unless a line has all these words.
func says(t testing.TB, line string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("the line does not say %q: %s", w, line)
		}
	}
}

// A machine that was cloned with its data directory is refused, and both sides say who is who and what to do.
func TestClonedNodeIsRefused(t *testing.T) {
	s, c := fleet(t, nil)
	id := nodeID(t, c)
	s.Until(t, "/v1/catalog/nodes", func(r testkit.Reply) bool { return nodeNames(t, r) == "c1 n1" })
	n := s.Node.Join(t, "clone", testkit.Settings{"node_id": id})
	clone := n.Begin(t, n.Command())
	says(t, clone.Log.Wait(t, "a member is refused"), id, `\"c1\"`, `\"clone\"`, "node-id")
	says(t, clone.Log.Wait(t, "no address of the LAN pool answers"), id)
	says(t, s.Log.Wait(t, "a member is refused"), id, `\"c1\"`, `\"clone\"`, "node-id", "127.0.0.1:")
	for range 3 { // further tries
		clone.Log.Wait(t, "Initiating push/pull sync")
	}
	for _, log := range []*testkit.Log{s.Log, clone.Log} {
		if got := strings.Count(log.String(), "a member is refused"); got != 1 {
			t.Errorf("it is told %d times:\n%s", got, log)
		}
	}
	if got := nodeNames(t, s.Get(t, "/v1/catalog/nodes")); got != "c1 n1" {
		t.Errorf("nodes: %s", got)
	}
	// With an id of its own the clone is a node like others.
	clone.Kill(t)
	n.Configure(t, testkit.Settings{"node_id": nil})
	n.Spawn(t)
	s.Until(t, "/v1/catalog/nodes", func(r testkit.Reply) bool { return nodeNames(t, r) == "c1 clone n1" })
}

// Of two nodes with one name the second gets nothing into the catalog while the first lives, and all say so; what
// the first has registered stays.
func TestSecondOfOneName(t *testing.T) {
	s, c := fleet(t, nil)
	c.Put(t, "/v1/agent/service/register", `{"Name": "web"}`)
	s.Until(t, "/v1/health/node/c1", func(r testkit.Reply) bool { return strings.Contains(r.Body, `"passing"`) })
	n := s.Node.Join(t, "c1", testkit.Settings{"services": []any{testkit.Settings{"name": "other"}}})
	second := n.Begin(t, n.Command())
	says(t, second.Log.Wait(t, "two members have one name"), "c1", "node_name", "address=127.0.0.1:", "other=127.0.0.1:")
	says(t, s.Log.Wait(t, "two members have one name"), "c1", "node_name", "address=127.0.0.1:", "other=127.0.0.1:")
	says(t, second.Log.Wait(t, "the catalog refused an entry of this node"), "c1", nodeID(t, c), "node_name")
	if got := s.Get(t, "/v1/catalog/node/c1").Body; !strings.Contains(got, `"web"`) || strings.Contains(got, `"other"`) || !strings.Contains(got, nodeID(t, c)) {
		t.Errorf("the node in the catalog: %s", got)
	}
}

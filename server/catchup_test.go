package server_test

import (
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// stale reads a key from this server's own store.
func stale(t *testing.T, n *node, key string) string {
	t.Helper()
	pairs, _, err := api.KVRead.Call(t.Context(), n.Caller(), rpc.Header{Consistency: rpc.Stale}, &api.KVQuery{Key: key})
	if err != nil {
		t.Fatalf("%s: stale read: %v", n.cfg.NodeName, err)
	}
	if len(*pairs) == 0 {
		return ""
	}
	return string((*pairs)[0].Value)
}

func TestServersThatComeBackKnowWhatTheyKnew(t *testing.T) {
	_, nodes := three(t)
	put(t, nodes[0].Server, "a", "1")
	for i := range 6 {
		n := nodes[i%3]
		n.kill()
		leader(t, followers(nodes, n)...)
		n.run(t)
		if got := stale(t, n, "a"); got != "1" {
			t.Errorf("%s answers %q when it is just back", n.cfg.NodeName, got)
		}
	}
}

// Without a quorum nobody says what is committed, and stale reads are answered from what there is.
func TestStaleReadsOfAServerThatComesBackAlone(t *testing.T) {
	_, nodes := three(t, func(c *server.Config) { c.HoldTimeout = time.Second })
	put(t, nodes[0].Server, "a", "1")
	for _, n := range nodes {
		n.kill()
	}
	nodes[0].run(t)
	stale(t, nodes[0], "a")
}

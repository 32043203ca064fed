package testkit

import "testing"

// Join returns the place of a client agent that joins the pool of this node, with these settings on top of
// the defaults. It is ready when the servers answer.
func (n *Node) Join(t testing.TB, name string, s Settings) *Node {
	t.Helper()
	return New(t, merge(Settings{
		"node_name": name, "server": false, "bootstrap_expect": nil, "retry_join": []string{loopback(n.SerfLAN)}, "retry_interval": "1s",
		"ports": Settings{"serf_wan": -1, "server": -1},
	}, s))
}

package testkit

import (
	"fmt"
	"testing"
)

// Cluster is the places of servers that find one another.
type Cluster []*Node

// NewCluster returns the places of so many servers, called s1, s2 and so on, that found a cluster together.
func NewCluster(t testing.TB, servers int, s Settings) Cluster {
	t.Helper()
	var c Cluster
	var join []string
	for i := range servers {
		n := New(t, merge(Settings{"node_name": fmt.Sprint("s", i+1), "bootstrap_expect": servers, "retry_interval": "1s"}, s))
		c, join = append(c, n), append(join, loopback(n.SerfLAN))
	}
	for _, n := range c {
		n.Configure(t, Settings{"retry_join": join})
	}
	return c
}

// Spawn runs all servers as processes and waits until each knows a leader.
func (c Cluster) Spawn(t testing.TB) []*Process {
	t.Helper()
	var all []*Process
	for _, n := range c {
		all = append(all, n.Begin(t, n.Command()))
	}
	for _, p := range all {
		p.Log.Wait(t, "agent: ready: ")
	}
	return all
}

// Leader is the process that leads, by what one of them says, and the others.
func Leader(t testing.TB, ask *Process, all ...*Process) (leader *Process, others []*Process) {
	t.Helper()
	var addr string
	ask.Get(t, "/v1/status/leader").JSON(t, &addr)
	for _, p := range all {
		if loopback(p.Server) == addr {
			leader = p
		} else {
			others = append(others, p)
		}
	}
	if leader == nil {
		t.Fatalf("the leader is %q, which is none of these", addr)
	}
	return leader, others
}

package server_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// impatient servers answer at once that there is no leader.
func impatient(c *server.Config) { c.HoldTimeout = time.Millisecond }

// TestPlights: what servers of broken topologies say, in the log and to whoever asks something of them.
func TestPlights(t *testing.T) {
	port := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	text := func(s string) string { return port.ReplaceAllString(s, "ADDR") }
	for _, c := range []struct {
		what, want string
		build      func(t *testing.T) *node
	}{
		{"too few servers", "waiting for 3 servers, 2 known: s1, s2", func(t *testing.T) *node {
			c := newCluster()
			c.start(t, 2, 3, impatient)
			return c.start(t, 1, 3, impatient)
		}},
		{"different bootstrap_expect", "s2 at ADDR has bootstrap_expect = 5 and this server, s1, has 3: give all servers the same", func(t *testing.T) *node {
			c := newCluster()
			c.start(t, 2, 5, impatient)
			return c.start(t, 1, 3, impatient)
		}},
		{"no bootstrap_expect", "this server founds none, as bootstrap_expect is not set, and of 1 other servers that are known (s2) none is in one: set bootstrap_expect on the first servers", func(t *testing.T) *node {
			c := newCluster()
			c.start(t, 2, 0, impatient)
			return c.start(t, 1, 0, impatient)
		}},
		{"a port that nobody serves", "gossip knows s3, whose port for RPC at ADDR does not answer: connect: connection refused", func(t *testing.T) *node {
			c := newCluster()
			c.start(t, 2, 3, impatient)
			one := c.start(t, 1, 3, impatient)
			m := one.member()
			m.Name, m.Port = "s3", netip.MustParseAddrPort(nowhere(t)).Port()
			m.Tags["id"], m.Tags["port"] = idOf(3), regexp.MustCompile(`\d+$`).FindString(nowhere(t))
			c.set(m)
			return one
		}},
		{"a cluster that has lost its quorum", "2 of 3 voters are needed and 1 here: s1; missing: s2 at ADDR, failed; s3 at ADDR, failed. Start them again, at whatever address, with retry_join to this one; if they are lost for good see operator raft recover",
			func(t *testing.T) *node {
				_, nodes := three(t, electing, impatient)
				nodes[1].kill()
				nodes[2].kill()
				return nodes[0]
			}},
		{"a newcomer to a cluster without a leader", "s1 is in a cluster of 3 already, whose leader takes this server in, but it knows none", func(t *testing.T) *node {
			c, nodes := three(t, electing, impatient)
			nodes[1].kill()
			nodes[2].kill()
			nodes[0].log.wait(t, "no cluster leader")
			return c.start(t, 4, 3, impatient)
		}},
		{"a server that comes back alone", "2 of 3 voters are needed and 1 here: s1; missing: " + idOf(2) + " last at ADDR, not heard of by gossip; " + idOf(3) +
			" last at ADDR, not heard of by gossip. Start them again, at whatever address, with retry_join to this one; if they are lost for good see operator raft recover",
			func(t *testing.T) *node {
				c, nodes := three(t, electing, impatient)
				for _, n := range nodes {
					n.kill()
				}
				c.forget("s2")
				c.forget("s3")
				nodes[0].run(t)
				return nodes[0]
			}},
		{"a node id that was lost", "the cluster that this server's raft log knows does not have it, its node id is " + idOf(9) +
			": was it removed, or was node-id in data_dir lost or changed? Its leader takes it in when it joins",
			func(t *testing.T) *node {
				n := newCluster().start(t, 1, 1, impatient)
				n.WaitLeading(t.Context())
				n.kill()
				n.cfg.NodeID = idOf(9)
				n.run(t)
				return n
			}},
	} {
		t.Run(c.what, func(t *testing.T) {
			n := c.build(t)
			for until := n.log.next(); ; until = n.log.next() {
				_, _, err := api.KVRead.Call(t.Context(), n.Caller(), rpc.Header{}, &api.KVQuery{Key: "k"})
				if err != nil && catalog.CodeOf(err) == catalog.NoLeader && text(err.Error()) == "no cluster leader: "+c.want {
					break
				}
				select {
				case <-until:
				case <-time.After(patience):
					t.Fatalf("it says %q, want %q", text(err.Error()), c.want)
				}
			}
			n.log.wait(t, "no cluster")
			for line := range strings.Lines(text(n.log.String())) {
				if strings.Contains(line, c.want) {
					return
				}
			}
			n.log.wait(t, strings.SplitAfterN(c.want, "ADDR", 2)[0][:20]) // it is told a little later
		})
	}
}

func TestTwoServersWithOneID(t *testing.T) {
	c := newCluster()
	one := c.start(t, 1, 1)
	one.WaitLeading(t.Context())
	m := one.member()
	m.Name, m.Status = "copy", gossip.StatusAlive
	c.set(m)
	line := one.log.wait(t, "two servers have one node id")
	if !strings.Contains(line, "copy") || !strings.Contains(line, "s1") || !strings.Contains(line, "delete node-id") {
		t.Error(line)
	}
	for range 3 {
		c.observe()
		put(t, one.Server, "k", "1")
	}
	if n := strings.Count(one.log.String(), "two servers have one node id"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

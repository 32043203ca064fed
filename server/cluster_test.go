package server_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// cluster is servers over loopback whose LAN pool the test changes.
type cluster struct {
	mu      sync.Mutex
	members map[string]gossip.Member
	servers map[string]*node
}

// node is the place of one server of a cluster; it can be run again.
type node struct {
	*server.Server
	cluster *cluster
	cfg     server.Config
	log     *lines
	fails   string // what the error says that it ends with
	stop    func() // as Server.Run ends it, without a word to the pool
}

// electing servers notice soon that they have lost their leader, or their followers.
func electing(c *server.Config) { c.RaftMultiplier = 3 }

// newCluster makes an empty cluster.
func newCluster() *cluster {
	return &cluster{members: map[string]gossip.Member{}, servers: map[string]*node{}}
}

func (c *cluster) list() []gossip.Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []gossip.Member
	for _, m := range c.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b gossip.Member) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// set changes a member, as gossip would.
func (c *cluster) set(m gossip.Member) {
	c.mu.Lock()
	c.members[m.Name] = m
	c.mu.Unlock()
	c.observe()
}

func (c *cluster) observe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.servers {
		n.Observe()
	}
}

// status says what gossip believes of a member.
func (c *cluster) status(name string, s gossip.Status) {
	c.mu.Lock()
	m := c.members[name]
	c.mu.Unlock()
	m.Status = s
	c.set(m)
}

// forget makes gossip know a member no more.
func (c *cluster) forget(name string) {
	c.mu.Lock()
	delete(c.members, name)
	c.mu.Unlock()
	c.observe()
}

// idOf is the id of the server with a number.
func idOf(i int) string { return fmt.Sprintf("9e0e0bd1-0000-4000-8000-%012d", i) }

// start runs the i-th server, called s<i>, of those that expect so many, until it is stopped or the test ends.
func (c *cluster) start(t *testing.T, i, expect int, changes ...func(*server.Config)) *node {
	t.Helper()
	cfg := config(t.TempDir())
	cfg.NodeName, cfg.NodeID, cfg.Expect = fmt.Sprint("s", i), idOf(i), expect
	cfg.Autopilot = catalog.AutopilotConfig{CleanupDeadServers: true, LastContactThreshold: catalog.Duration(patience), MaxTrailingLogs: 250}
	cfg.RaftMultiplier, cfg.HoldTimeout = 8, patience // a busy machine elects nobody by itself
	n := &node{cluster: c, cfg: cfg, log: newLines()}
	for _, change := range changes {
		change(&n.cfg)
	}
	n.run(t)
	return n
}

// run opens the server, tells the pool of it, and runs it.
func (n *node) run(t *testing.T) {
	t.Helper()
	n.cfg.Members, n.cfg.Log = n.cluster.list, n.log.logger()
	s, err := server.Open(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Server = s
	n.cfg.Bind = s.Addr().String() // it comes back where it was
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			for _, wrong := range s.Store().Check() {
				t.Error("invariant:", wrong)
			}
			n.cluster.mu.Lock()
			delete(n.cluster.servers, n.cfg.NodeName)
			n.cluster.mu.Unlock()
			cancel()
			if err := <-done; err != nil && (n.fails == "" || !strings.Contains(err.Error(), n.fails)) {
				t.Error("run:", err)
			}
		})
	}
	t.Cleanup(n.stop)
	n.cluster.mu.Lock()
	n.cluster.servers[n.cfg.NodeName] = n
	n.cluster.mu.Unlock()
	n.cluster.set(n.member())
}

// member is the server as gossip tells of it.
func (n *node) member() gossip.Member {
	addr := netip.MustParseAddrPort(n.Addr().String())
	tags := map[string]string{"role": "consul", "dc": "dc1", "id": n.cfg.NodeID, "port": strconv.Itoa(int(addr.Port())), "build": "1.21.4:abc"}
	switch {
	case n.cfg.Expect == 1:
		tags["bootstrap"] = "1"
	case n.cfg.Expect > 1:
		tags["expect"] = strconv.Itoa(n.cfg.Expect)
	}
	if n.cfg.ReadReplica {
		tags["read_replica"] = "1"
	}
	return gossip.Member{Name: n.cfg.NodeName, Addr: addr.Addr(), Port: addr.Port(), Status: gossip.StatusAlive, Tags: tags}
}

// kill ends a server as a crash does: gossip finds out by itself.
func (n *node) kill() {
	n.stop()
	n.cluster.status(n.cfg.NodeName, gossip.StatusFailed)
}

// leader is the server that leads; it waits for one.
func leader(t *testing.T, nodes ...*node) *node {
	t.Helper()
	for _, n := range nodes {
		n.WaitLeader(t.Context())
	}
	for _, n := range nodes {
		if n.State() == raft.Leader {
			return n
		}
	}
	t.Fatal("a leader is known and none of these leads")
	return nil
}

func followers(nodes []*node, leader *node) []*node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n == leader })
}

// three runs three servers that found a cluster.
func three(t *testing.T, changes ...func(*server.Config)) (*cluster, []*node) {
	t.Helper()
	c := newCluster()
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, c.start(t, i+1, 3, changes...))
	}
	leader(t, nodes...)
	return c, nodes
}

func TestThreeServersFoundACluster(t *testing.T) {
	_, nodes := three(t)
	for i, n := range nodes {
		put(t, n.Server, fmt.Sprint("k", i), n.cfg.NodeName) // forwarded where it is a follower
	}
	for i := range nodes {
		for _, n := range nodes {
			if got, _ := get(t, n.Server, fmt.Sprint("k", i)); got != nodes[i].cfg.NodeName {
				t.Errorf("%s: k%d = %q", n.cfg.NodeName, i, got)
			}
		}
	}
}

// Servers that have applied the same entries have the same digest, also when one of them came by a snapshot.
func TestDigestsOfAllServers(t *testing.T) {
	c, nodes := three(t, func(c *server.Config) { c.Pace = server.SnapshotPace{TrailingLogs: 1} })
	l := leader(t, nodes...)
	for i := range 20 {
		put(t, l.Server, fmt.Sprint("k", i), "1")
	}
	archive, _ := save(t, l.Server)
	if err := restore(t, l.Server, archive); err != nil { // which makes a snapshot that the next one is sent
		t.Fatal(err)
	}
	nodes = append(nodes, c.start(t, 4, 0))
	nodes[3].WaitLeader(t.Context())
	put(t, nodes[3].Server, "k", "last")
	digest := func(n *node, h rpc.Header) *api.StateDigest {
		t.Helper()
		d, _, err := api.StateDigestRead.Call(t.Context(), n.Caller(), h, &api.Nothing{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, n := range nodes {
		for { // until it has applied what the leader has, which may go on meanwhile
			want, got := digest(l, rpc.Header{}), digest(n, rpc.Header{Consistency: rpc.Stale})
			if got.Node != n.cfg.NodeName || got.Index != want.Index { // one that has not caught up asks the leader
				continue
			}
			if got.Digest != want.Digest || len(got.Digest) != 64 {
				t.Errorf("%+v of a follower, %+v of the leader", got, want)
			}
			break
		}
	}
}

// A follower saves and restores what the leader has.
func TestSnapshotsOfFollowers(t *testing.T) {
	// A restore that an election meets is refused, so a leader must not be given up because this machine is slow.
	_, nodes := three(t, func(c *server.Config) { c.RaftMultiplier = 4 })
	l := leader(t, nodes...)
	for _, n := range followers(nodes, l) {
		put(t, n.Server, "k", "before")
		archive, index := save(t, n.Server)
		put(t, n.Server, "k", "after")
		if _, now := get(t, n.Server, "k"); index == 0 || now <= index {
			t.Errorf("the archive's index is %d, that of a later write %d", index, now)
		}
		if err := restore(t, n.Server, archive); err != nil {
			t.Fatal(err)
		}
		if got, _ := get(t, n.Server, "k"); got != "before" {
			t.Errorf("after the restore k = %q", got)
		}
		if err := restore(t, n.Server, archive[:len(archive)/2]); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("half an archive: %v", err)
		}
	}
}

// Whoever writes while the leader is killed waits for the next one.
func TestWritesWaitForTheNextLeader(t *testing.T) {
	_, nodes := three(t)
	l := leader(t, nodes...)
	rest := followers(nodes, l)
	put(t, rest[0].Server, "before", "1")
	l.kill()
	for _, n := range rest {
		put(t, n.Server, "k", n.cfg.NodeName)
		if got, _ := get(t, n.Server, "k"); got != n.cfg.NodeName {
			t.Errorf("k = %q", got)
		}
	}
	l.run(t)
	l.WaitLeader(t.Context())
	put(t, l.Server, "k", "back")
}

// Servers that are restarted one after another, each in its turn the leader, fail no write and no read of those who
// use the others.
func TestPlannedRestartsFailNobody(t *testing.T) {
	_, nodes := three(t)
	for range 3 {
		l := leader(t, nodes...)
		rest := followers(nodes, l)
		ctx, cancel := context.WithCancel(t.Context())
		var users sync.WaitGroup
		for i, n := range rest {
			users.Go(func() {
				for round := 0; ctx.Err() == nil; round++ {
					key, value := fmt.Sprint("k", i), fmt.Sprint(l.cfg.NodeName, round)
					put(t, n.Server, key, value)
					if got, _ := get(t, n.Server, key); got != value {
						t.Errorf("%s = %q, want %q", key, got, value)
					}
				}
			})
		}
		l.stop()
		l.run(t)
		l.WaitLeader(t.Context())
		cancel()
		users.Wait()
	}
}

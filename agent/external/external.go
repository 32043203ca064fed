// Package external makes the health checks of nodes that have no agent: of those in the catalog whose
// metadata say external-node=true.
//
// What to do is in the definition of each check that was registered with such a node: http, tcp, udp, grpc
// and h2ping; programs are never run. A node that says external-probe=true is pinged too, and its check
// externalNodeHealth tells the result. The healthy servers share the nodes among themselves; when one of
// them fails the others take over its part.
package external

import (
	"cmp"
	"context"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// Timing of the look at the catalog.
const (
	lookPause  = time.Second      // between two looks: what changes often is not followed closer than that
	lookRetry  = 5 * time.Second  // after a failed one
	noInterval = 30 * time.Second // of checks whose definition says none
)

// Deps is what a Monitor needs of its agent.
type Deps struct {
	// Caller reaches the servers.
	Caller rpc.Caller
	// Token of the agent itself.
	Token func() string
	// Node is the agent's own.
	Node string
	// Checks is what checks need; its Reporter is set here.
	Checks check.Deps
	// Ping reports whether a host is there. Nil means Ping of this package.
	Ping func(ctx context.Context, address string) bool
	Log  *slog.Logger
}

// Monitor makes the checks of external nodes.
type Monitor struct {
	Deps
	set *check.Set

	pinging sync.WaitGroup

	mu    sync.Mutex
	rows  map[string]*row // by key
	pings map[string]*ping
}

// row is a check of the catalog that is made here.
type row struct {
	check  catalog.Check
	absent bool      // it is not in the catalog yet
	wrote  time.Time // when its output was last written
}

// New returns a monitor without checks.
func New(d Deps) *Monitor {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Ping == nil {
		d.Ping = Ping
	}
	m := &Monitor{Deps: d, rows: map[string]*row{}, pings: map[string]*ping{}}
	d.Checks.Reporter, d.Checks.Log = m, nil // of changes this package speaks itself, for it knows the nodes
	m.set = check.NewSet(d.Checks, check.Policy{}, m)
	return m
}

// Run makes the checks until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.set.Run(ctx) })
	group.Go(func() error { m.follow(ctx); return nil })
	defer m.pinging.Wait()
	return group.Wait()
}

// follow looks at the catalog after each change.
func (m *Monitor) follow(ctx context.Context) {
	failing := false
	for index := uint64(0); ctx.Err() == nil; {
		header := rpc.Header{Token: m.Token(), MinIndex: index}
		found, meta, err := api.ExternalNodes.Call(ctx, m.Caller, header, &api.Nothing{})
		switch {
		case err == nil:
			m.settle(ctx, found)
			index, failing = meta.Index, false
			pause.For(ctx, lookPause)
		case ctx.Err() == nil:
			if !failing && catalog.CodeOf(err) != catalog.NoLeader {
				m.Log.Warn("external nodes cannot be read from the catalog; their checks go on as they were", "err", err)
			}
			index, failing = 0, true
			pause.For(ctx, lookRetry)
		}
	}
}

// key names a check, or a service, of a node among those of all nodes.
func key(node, id string) string { return strings.ToLower(node) + "\x00" + id }

// settle makes the checks that are this agent's to make, and no others.
func (m *Monitor) settle(ctx context.Context, found *api.External) {
	mine := map[string]*catalog.Node{}
	for _, n := range found.Nodes {
		if owner(n.Node, found.Probers) == m.Node {
			mine[strings.ToLower(n.Node)] = n
		}
	}
	rows := map[string]*row{}
	for _, c := range found.Checks {
		if mine[strings.ToLower(c.Node)] != nil && (c.CheckID == NodeHealth || network(c.Definition)) {
			rows[key(c.Node, c.CheckID)] = &row{check: *c}
		}
	}
	m.mu.Lock()
	for k, old := range m.rows {
		if next := rows[k]; next != nil {
			next.wrote = old.wrote
		}
	}
	before := m.rows
	m.rows = rows
	m.settlePings(ctx, mine)
	m.mu.Unlock()
	for k := range before {
		if rows[k] == nil {
			m.set.Remove(k)
		}
	}
	for _, c := range found.Checks { // and not the rows, which reports change from here on
		k := key(c.Node, c.CheckID)
		if rows[k] == nil || c.CheckID == NodeHealth {
			continue
		}
		if err := m.set.Add(definition(c, k), check.Remote); err != nil && before[k] == nil {
			m.Log.Warn("check of an external node cannot be made", "node", c.Node, "check", c.CheckID, "err", err)
		}
	}
}

// network reports whether a definition says to reach something over the network.
func network(d *catalog.CheckDefinition) bool {
	switch d.Type() {
	case "http", "tcp", "udp", "grpc", "h2ping":
		return len(d.ScriptArgs) == 0
	}
	return false
}

// definition is what an agent would do for a check.
func definition(c *catalog.Check, key string) *catalog.AgentCheck {
	def := &catalog.AgentCheck{CheckID: key, Name: c.Name, Status: c.Status, CheckDefinition: *c.Definition}
	def.Interval = cmp.Or(def.Interval, catalog.Duration(noInterval))
	if c.ServiceID != "" {
		def.ServiceID = c.Node + "\x00" + c.ServiceID
	}
	return def
}

// owner is who of the probers makes the checks of a node, "" when there are none. When one comes or goes,
// only nodes that it gets or had change hands (rendezvous hashing).
func owner(node string, probers []string) string {
	best, most := "", uint64(0)
	for _, p := range probers {
		h := fnv.New64a()
		h.Write([]byte(key(node, strings.ToLower(p))))
		// The last bytes hardly reach the high bits of FNV: mix them once more.
		sum := h.Sum64()
		sum ^= sum >> 33
		sum *= 0xff51afd7ed558ccd
		sum ^= sum >> 33
		if best == "" || sum > most || sum == most && p < best {
			best, most = p, sum
		}
	}
	return best
}

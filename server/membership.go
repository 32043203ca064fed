package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/autopilot"
)

// membership brings Raft's configuration in line with the servers that gossip knows, during one term of a
// leader, and watches their health.
type membership struct {
	id      raft.ServerID
	roster  *roster
	raft    *raftNode
	founder *founder // who can ask the others how they stand
	read    func() *state.Txn
	initial catalog.AutopilotConfig // while none is stored
	log     *slog.Logger

	begun time.Time

	mu      sync.Mutex
	health  map[raft.ServerID]health
	seen    map[raft.ServerID]bool // known to gossip in this term
	failed  map[raft.ServerID]time.Time
	removed map[raft.ServerID]bool // with a vote, as dead
	told    map[string]string      // by id: what is wrong with a server and was told
}

// health is how a server has been doing.
type health struct {
	standing *api.Standing // nil when it did not answer
	healthy  bool
	since    time.Time
}

const (
	// healthInterval is how often the servers are asked how they stand.
	healthInterval = 2 * time.Second
	// stepTimeout bounds the wait for a change of Raft's configuration to begin.
	stepTimeout = 10 * time.Second
	// maxSteps bounds the changes of one look.
	maxSteps = 16
)

func newMembership(s *Server) *membership {
	m := &membership{
		id: raft.ServerID(s.cfg.NodeID), roster: s.roster, raft: s.raft, founder: s.founder, read: s.store.Read, initial: s.cfg.Autopilot, log: s.log,
		begun: time.Now(), seen: map[raft.ServerID]bool{}, failed: map[raft.ServerID]time.Time{}, removed: map[raft.ServerID]bool{}, told: map[string]string{}, health: map[raft.ServerID]health{},
	}
	m.health[m.id] = health{m.raft.standing(), true, m.begun} // the others are asked first of all
	return m
}

// run looks at the servers with each change of the pool, and now and then, until ctx ends.
func (m *membership) run(ctx context.Context) {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed := m.roster.changed.wait()
		m.look(ctx)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-tick.C:
		}
	}
}

// look asks the servers how they stand and changes what has to be changed.
func (m *membership) look(ctx context.Context) {
	c := m.config()
	m.ask(ctx, c)
	for range maxSteps {
		step, ok := autopilot.Next(c, m.servers(c), time.Now(), m.stable(c))
		if !ok || ctx.Err() != nil {
			return
		}
		if err := m.take(step); err != nil {
			if ctx.Err() == nil {
				m.mu.Lock()
				m.tell(step.Server.ID, "a change of raft's configuration failed; it is tried again", "step", step.Kind, "server", step.Server.Name, "err", err)
				m.mu.Unlock()
			}
			return
		}
	}
}

func (m *membership) config() *catalog.AutopilotConfig {
	if c := state.Autopilot(m.read(), nil); c != nil {
		return c
	}
	return &m.initial
}

// stable is how long a server has to be healthy to get a vote: no longer than this leader could watch it.
func (m *membership) stable(c *catalog.AutopilotConfig) time.Duration {
	stable := time.Duration(c.ServerStabilizationTime)
	if time.Since(m.begun) < stable+stable/10 {
		return 0
	}
	return stable
}

// servers joins what gossip, Raft and the catalog know.
func (m *membership) servers(c *catalog.AutopilotConfig) []autopilot.Server {
	known, tx := m.roster.byID(), m.read()
	early := time.Since(m.begun) < goneGrace
	_, leader := m.raft.LeaderWithID()
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []autopilot.Server
	members := map[string]bool{}
	for _, r := range m.raft.servers() {
		members[string(r.ID)] = true
		s := autopilot.Server{
			ID: string(r.ID), Name: m.roster.name(r.ID), Address: string(r.Address), Member: true, Voter: r.Suffrage == raft.Voter, Leader: r.ID == leader,
		}
		g, found := known[s.ID]
		if found {
			m.describe(&s, g, tx, c)
		} else { // forgotten, or not heard of yet
			s.Left, s.Alive = m.seen[r.ID] && !m.longDead(r.ID), early && !m.seen[r.ID]
		}
		if addr, ok := m.roster.addrOf(r.ID); ok && addr != r.Address {
			s.Address, s.Moved = string(addr), true
		}
		s.Leader = s.Leader || r.ID == m.id
		all = append(all, s)
	}
	for id, g := range known {
		if members[id] || g.Status != gossip.StatusAlive || !m.ours(g, members) {
			continue
		}
		s := autopilot.Server{ID: id, Name: g.Name, Address: g.Addr.String()}
		m.describe(&s, g, tx, c)
		all = append(all, s)
	}
	return all
}

// forgottenAfter is less than gossip takes to forget a member that has failed (reconnect_timeout). One that it knows
// no more sooner was pruned by somebody, who wants it gone.
const forgottenAfter = time.Hour

// longDead reports whether gossip has forgotten a server because it has been dead for so long. The lock is held.
func (m *membership) longDead(id raft.ServerID) bool {
	since, failed := m.failed[id]
	return failed && time.Since(since) >= forgottenAfter
}

// describe adds what gossip and the catalog know of a server. The lock is held.
func (m *membership) describe(s *autopilot.Server, g gossip.Server, tx *state.Txn, c *catalog.AutopilotConfig) {
	id := raft.ServerID(g.ID)
	m.seen[id] = true
	if g.Status != gossip.StatusFailed {
		delete(m.failed, id)
	} else if m.failed[id].IsZero() {
		m.failed[id] = time.Now()
	}
	h := m.health[id]
	s.Alive, s.Left = g.Status == gossip.StatusAlive || g.Status == gossip.StatusLeaving, g.Status == gossip.StatusLeft
	s.Healthy, s.Since, s.Replica, s.Version, s.Restored = h.healthy && s.Alive, h.since, g.NonVoter, g.Version, m.removed[id]
	node := state.Node(tx, nil, g.Name)
	if node == nil {
		return
	}
	if c.RedundancyZoneTag != "" {
		s.Zone = node.Meta[c.RedundancyZoneTag]
	}
	if c.UpgradeVersionTag != "" {
		s.Version = cmp.Or(node.Meta[c.UpgradeVersionTag], g.Version)
	}
}

// ours reports whether a server that gossip knows may be taken in: it answers, and has no log of another
// cluster. The lock is held.
func (m *membership) ours(g gossip.Server, members map[string]bool) bool {
	h, asked := m.health[raft.ServerID(g.ID)]
	if !asked || h.standing == nil {
		return false // it is asked again soon
	}
	theirs := h.standing.Servers
	foreign := len(theirs) > 0 && !slices.ContainsFunc(theirs, func(id string) bool { return id != g.ID && members[id] })
	if foreign {
		m.tell(g.ID, "a server of another cluster is in this one's gossip and is not taken in: if it shall be, stop it, delete raft in its data_dir and start it without bootstrap; else give the clusters different encrypt keys",
			"server", g.Name, "address", g.Addr, "its_servers", theirs, "leader", m.roster.name(m.id))
		return false
	}
	delete(m.told, g.ID)
	return true
}

// tell logs what is wrong with a server when it is news. The lock is held.
func (m *membership) tell(id, msg string, args ...any) {
	text := msg + fmt.Sprint(args...)
	if m.told[id] != text {
		m.told[id] = text
		m.log.Error(msg, args...)
	}
}

// ask asks all servers how they stand and judges their health.
func (m *membership) ask(ctx context.Context, c *catalog.AutopilotConfig) {
	others := slices.DeleteFunc(m.roster.alive(), func(s gossip.Server) bool { return s.ID == string(m.id) })
	stands, _ := m.founder.askAll(ctx, others, api.StandingQuery{})
	own := m.raft.standing()
	own.ID = string(m.id)
	answered := map[raft.ServerID]*api.Standing{m.id: own}
	for _, s := range stands {
		answered[raft.ServerID(s.ID)] = s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.raft.servers() {
		if answered[r.ID] == nil {
			answered[r.ID] = nil // it did not answer
		}
	}
	now, next := time.Now(), map[raft.ServerID]health{}
	for id, s := range answered {
		next[id] = m.judge(id, s, own, c, now)
	}
	m.health = next
}

// judge tells how a server is doing. The lock is held.
// Source: https://developer.hashicorp.com/consul/docs/manage/scale/autopilot (server health checking)
func (m *membership) judge(id raft.ServerID, s, leader *api.Standing, c *catalog.AutopilotConfig, now time.Time) health {
	healthy := s != nil && s.LastContact >= 0 && s.LastContact <= time.Duration(c.LastContactThreshold) &&
		s.LastTerm == leader.LastTerm && s.LastIndex+c.MaxTrailingLogs >= leader.LastIndex
	was, known := m.health[id]
	h := health{standing: s, healthy: healthy, since: was.since}
	if !known || was.healthy != healthy {
		h.since = now
	}
	return h
}

// take makes one change. It returns when it is committed.
func (m *membership) take(step autopilot.Step) error {
	id, addr := raft.ServerID(step.Server.ID), raft.ServerAddress(step.Server.Address)
	var done raft.Future
	switch step.Kind {
	case autopilot.Add:
		done = m.raft.AddNonvoter(id, addr, 0, stepTimeout)
	case autopilot.Move:
		if step.Server.Voter {
			done = m.raft.AddVoter(id, addr, 0, stepTimeout)
		} else {
			done = m.raft.AddNonvoter(id, addr, 0, stepTimeout)
		}
	case autopilot.Promote:
		done = m.raft.AddVoter(id, addr, 0, stepTimeout)
		m.note(id, false)
	case autopilot.Demote:
		done = m.raft.DemoteVoter(id, 0, stepTimeout)
	case autopilot.Remove:
		m.note(id, step.Server.Voter && !step.Server.Left)
		done = m.raft.RemoveServer(id, 0, stepTimeout)
	case autopilot.Transfer:
		done = m.raft.transfer(func() raft.Future { return m.raft.LeadershipTransferToServer(id, addr) })
	default:
		return fmt.Errorf("unknown step %q", step.Kind)
	}
	if err := done.Error(); err != nil {
		return raftError(err)
	}
	m.log.Info("raft's configuration has changed", "step", step.Kind, "server", step.Server.Name, "id", id, "address", addr, "because", step.Why)
	return nil
}

// note remembers whether a server was removed with a vote, as dead.
func (m *membership) note(id raft.ServerID, removed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.removed[id] = removed
}

// lastIndex is that of a server's log when it was asked last.
func (m *membership) lastIndex(id raft.ServerID) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.health[id].standing; s != nil {
		return s.LastIndex
	}
	return 0
}

// report is the health of all servers.
func (m *membership) report() *api.ClusterHealth {
	c := m.config()
	known := m.roster.byID()
	servers := slices.DeleteFunc(m.servers(c), func(s autopilot.Server) bool { return !s.Member })
	rep := &api.ClusterHealth{Healthy: true, FailureTolerance: autopilot.Tolerance(servers)}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range servers {
		h := m.health[raft.ServerID(s.ID)]
		one := api.ServerHealth{
			ID: s.ID, Name: s.Name, Address: s.Address, SerfStatus: known[s.ID].Status.String(), Version: known[s.ID].Version, Leader: s.Leader,
			Healthy: s.Healthy, Voter: s.Voter, StableSince: h.since, ReadReplica: s.Replica,
		}
		if h.standing != nil {
			one.LastContact, one.LastTerm, one.LastIndex = catalog.Duration(max(0, h.standing.LastContact)), h.standing.LastTerm, h.standing.LastIndex
		}
		rep.Healthy = rep.Healthy && s.Healthy
		rep.Servers = append(rep.Servers, one)
	}
	return rep
}

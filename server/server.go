// Package server runs what makes the catalog true on a quorum: Raft, the leader's duties and the verbs
// that agents call.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/cores"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/ca"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/fsm"
	"github.com/curia-mesh/curia/server/handler"
	"github.com/curia-mesh/curia/server/limit"
	"github.com/curia-mesh/curia/server/replica"
)

// Config says what a server is and where it keeps what it knows.
type Config struct {
	Datacenter string
	// Primary is the datacenter that rules over the CA, ACLs and config entries; empty, or the own one, is this one.
	// ReplicationToken is the token by which it is asked; nil is none.
	Primary          string
	ReplicationToken func() string
	NodeName         string
	NodeID           string // also its Raft id, so that addresses may change
	Version          string

	// DataDir holds the Raft log and snapshots; empty keeps everything in memory.
	DataDir string
	// Expect is how many servers without a past found a cluster together, once they know one another; with 1
	// this server founds one by itself. 0 founds none: the leader of one takes this server in.
	Expect int
	// ReadReplica makes a server that never votes.
	ReadReplica bool

	LogStore LogConfig

	// Bind is where the one port of RPC, Raft and bulk listens, and Advertise where others reach it; empty
	// is the same.
	Bind      string
	Advertise string
	// Listen and Connect are another network than the machine's, for simulations.
	Listen  func(network, address string) (net.Listener, error)
	Connect func(ctx context.Context, network, address string) (net.Conn, error)

	// Members lists the LAN pool; Observe must hear of every change in it.
	Members func() []gossip.Member
	// Fire sends a user event over the LAN pool.
	Fire func(*catalog.Event) error
	// WAN is the pool of the servers of all datacenters, nil without one; ObserveWAN must hear of every change in it.
	WAN WAN
	// Passage, which may be nil, is how the servers of other datacenters are reached that cannot be at their addresses, and
	// Gossip takes the connections that they make so for the WAN pool, see rpc.ListenerOptions.
	Passage *Passage
	Gossip  func(net.Conn, rpc.Peer)

	// LeaderChanged, which may be nil, hears when there may be another leader. It must not block.
	LeaderChanged func()
	// HoldTimeout is how long a call waits for a leader when there is none; 0 is 7 s.
	HoldTimeout time.Duration

	// RaftMultiplier stretches Raft's timing for slow machines; 1 is quick, Consul's default is 5.
	RaftMultiplier int
	Pace           SnapshotPace

	// Autopilot is what a new cluster begins with.
	Autopilot catalog.AutopilotConfig
	// Entries are normalized config entries that a new leader writes if they are missing.
	Entries []catalog.ConfigEntry
	// ReapMaxFailed is the percentage of failed nodes above which none that gossip has forgotten is removed
	// from the catalog; 0 removes them always.
	ReapMaxFailed int
	// MinSessionTTL is the shortest TTL of a session; 0 is catalog.MinSessionTTL.
	MinSessionTTL time.Duration
	// DenyIntentions denies the connections that no intention speaks of.
	DenyIntentions bool
	// Mesh is whether there is a mesh. CAProvider and CASettings are what its certificate authority begins
	// with.
	Mesh       bool
	ACL        ACLConfig
	CAProvider string
	CASettings map[string]any
	// GossipKeys are the keys of the LAN or the WAN pool, in base64, the primary first; nil without encryption.
	GossipKeys func(wan bool) []string
	// Joins lets agents join with a token; nil lets none.
	Joins *Joins
	// Auto is how client agents get certificates and settings.
	Auto Auto
	// Peering is where the port for the servers of other clusters listens; empty is nowhere, and there are no peerings then.
	Peering string
	// Security is how connections between agents are secured; nil is not at all.
	Security Security
	// Cores, which may be nil, counts the calls from the network.
	Cores *cores.Governor
	// Limits of the server's port.
	ConnsPerClient   int
	HandshakeTimeout time.Duration

	Log     *slog.Logger
	RaftLog hclog.Logger
}

// SnapshotPace says when snapshots are taken. What is zero is Raft's default.
type SnapshotPace struct {
	Threshold    uint64        // entries since the last one
	Interval     time.Duration // between looks at whether one is due
	TrailingLogs uint64        // entries that are kept behind one
}

func (p SnapshotPace) or(threshold uint64, interval time.Duration, trailing uint64) (uint64, time.Duration, uint64) {
	return cmp.Or(p.Threshold, threshold), cmp.Or(p.Interval, interval), cmp.Or(p.TrailingLogs, trailing)
}

// defaultHold is longer than an election takes.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general (rpc_hold_timeout)
const defaultHold = 7 * time.Second

// Server is one server of a cluster. It answers calls from the moment it is open.
type Server struct {
	cfg        Config
	log        *slog.Logger
	store      *state.Store
	registry   *endpoint.Registry
	fsm        *fsm.FSM
	host       *host
	raft       *raftNode
	port       net.Listener
	listener   *rpc.Listener
	pool       *rpc.Pool
	refused    rarely // strangers that asked to be let in
	sessions   *sessionTimers
	custody    *ca.Custody
	replica    *replica.Replica
	keys       *replica.Keys
	roster     *roster
	founder    *founder
	doctor     *doctor
	strangers  *strangers
	succession *succession
	abroad     *datacenters
	peers      *meeting
	limits     *limit.Limiter
	ending     chan struct{} // closed when it takes no more calls
	restored   chan struct{} // the store was replaced, for the leader
	snapshots  Snapshots
	leadership leadership
	operator   operator
	since      time.Time // when it was opened
	entries    atomic.Pointer[[]catalog.ConfigEntry]
}

// Open binds the server's port and opens its log and snapshots. Run must follow, or Close.
func Open(cfg Config) (*Server, error) {
	if cfg.HoldTimeout == 0 {
		cfg.HoldTimeout = defaultHold
	}
	if cfg.ReplicationToken == nil {
		cfg.ReplicationToken = func() string { return "" }
	}
	s := &Server{cfg: cfg, log: cfg.Log, store: state.New(), limits: limit.New(cfg.Log), ending: make(chan struct{}), restored: make(chan struct{}, 1), since: time.Now()}
	s.snapshots.Server, s.leadership.Server, s.operator.Server = s, s, s
	s.entries.Store(&cfg.Entries)
	s.host = &host{server: s, datacenter: cfg.Datacenter, primary: cmp.Or(cfg.Primary, cfg.Datacenter), first: make(chan struct{})}
	s.registry = endpoint.New(s.host, s.store)
	s.abroad = newDatacenters(&s.cfg)
	if cfg.Passage != nil {
		cfg.Passage.store.Store(s.store)
	}
	if cfg.ACL.Enabled {
		s.host.tokens = newAuthorizers(s.store, cfg.Datacenter, cfg.ACL.Default)
		if cfg.ACL.Elsewhere != nil && !cfg.ACL.CopyTokens {
			s.host.tokens.elsewhere = func() bool { return s.host.Primary() != cfg.Datacenter }
		}
	}
	s.fsm = fsm.New(s.store, s.registry, cfg.Log)
	s.sessions = newSessionTimers(s.leadership.expire)
	s.peers = newMeeting(s)
	s.register()
	authority := ca.Config{
		Datacenter: cfg.Datacenter, Provider: cfg.CAProvider, Settings: cfg.CASettings, Applied: s.fsm.Applied, Log: cfg.Log,
		Primary: s.host.Primary, Abroad: s.registry, Ask: s.host.toPrimary,
	}
	if cfg.Mesh {
		if err := authority.Check(); err != nil {
			return nil, fmt.Errorf("connect.ca_config: %w", err)
		}
	}
	if err := cfg.Auto.Check(); err != nil {
		return nil, fmt.Errorf("auto_config.authorization.static: %w", err)
	}
	s.custody = ca.New(authority, s.store, s.registry.Duties())
	s.replica = replica.New(replica.Config{
		Datacenter: cfg.Datacenter, Primary: s.host.Primary, Abroad: s.registry, Ask: s.host.toPrimary,
		ACL: cfg.ACL.Enabled, Tokens: cfg.ACL.CopyTokens, Log: cfg.Log,
	}, s.store, s.registry.Duties())
	s.keys = replica.NewKeys(replica.KeysConfig{Datacenter: cfg.Datacenter, Abroad: s.registry, Ask: s.host.toOther, Log: cfg.Log}, s.store, s.registry.Duties())
	listen := cfg.Listen
	if listen == nil {
		listen = net.Listen
	}
	port, err := listen("tcp", cfg.Bind)
	if err != nil {
		return nil, bindError("server (RPC)", "ports.server", cfg.Bind, err)
	}
	s.port = port
	if cfg.Advertise == "" {
		cfg.Advertise = port.Addr().String()
	}
	s.pool = rpc.NewPool(rpc.PoolOptions{Dialer: cfg.dialer(), Decode: DecodeError})
	s.listener = rpc.NewListener(port, rpc.NewServer(rpc.ServerOptions{Handler: s.serve, Streams: s.carry, Parks: parks, Encode: encodeError, Log: cfg.Log}), s.listenerOptions())
	self := raft.Server{ID: raft.ServerID(cfg.NodeID), Address: raft.ServerAddress(cfg.Advertise)}
	s.roster = newRoster(cfg.Datacenter, self, cfg.Members, cfg.Log)
	s.raft, err = openRaft(cfg, s.fsm, func() *fsm.FSM { return fsm.New(state.New(), s.registry, cfg.Log) }, s.listener.Raft(), s.roster)
	if err != nil {
		port.Close()
		return nil, err
	}
	if err := s.peers.open(&s.cfg, listen); err != nil {
		return nil, errors.Join(err, s.raft.close(), port.Close())
	}
	s.founder = &founder{
		id: cfg.NodeID, name: cfg.NodeName, expect: cfg.Expect, roster: s.roster, raft: s.raft, ask: askStanding(s.pool), leaders: &s.host.leaders, log: cfg.Log,
	}
	if cfg.ReadReplica {
		s.founder.expect = 0
	}
	s.succession = newSuccession(cfg, s.raft, s.founder)
	s.doctor = &doctor{id: raft.ServerID(cfg.NodeID), roster: s.roster, raft: s.raft, founder: s.founder, leaders: &s.host.leaders, log: cfg.Log}
	s.strangers = newStrangers(&s.cfg, s.roster, s.raft.servers)
	s.abroad.cluster = func() string { return gossip.ClusterTag(s.strangers.cluster()) }
	s.host.join(s)
	return s, nil
}

// register adds every verb.
func (s *Server) register() {
	handler.Register(s.registry, handler.Deps{
		Datacenter: s.cfg.Datacenter, Primary: s.host.Primary, Store: s.store, Sessions: s.sessions, MinSessionTTL: s.cfg.MinSessionTTL, Remote: s.host.Remote, Abroad: s.abroad.nearest, Log: s.cfg.Log,
		DenyIntentions: s.cfg.DenyIntentions,
		PeerStream:     s.peers.Stream,
		KeyListPolicy:  s.cfg.ACL.Enabled && s.cfg.ACL.KeyList,
		Mesh:           s.cfg.Mesh,
		ACL:            s.aclDeps(),
	})
	s.operator.registerOwn()
	s.operator.registerConnect()
	s.operator.registerPeers()
	s.operator.registerKeyring()
	s.operator.registerJoins()
	s.operator.registerAuto()
	s.operator.registerFederation()
}

// Caller is how the agent of this server reaches it: in process.
func (s *Server) Caller() rpc.Caller { return s.registry }

// Primary is the datacenter that rules over the CA, ACLs and config entries at the moment.
func (s *Server) Primary() string { return s.host.Primary() }

// Snapshots saves and restores the cluster's state.
func (s *Server) Snapshots() *Snapshots { return &s.snapshots }

// Verbs are what agents can ask of it.
func (s *Server) Verbs() []endpoint.Verb { return s.registry.Verbs() }

// Store is what the server knows. Tests check its invariants.
func (s *Server) Store() *state.Store { return s.store }

// Addr is where the server's port listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Observe tells the server that the members of the LAN pool changed. It never blocks.
func (s *Server) Observe() { s.roster.observe() }

// ObserveWAN tells the server that the members of the WAN pool changed. It never blocks for long.
func (s *Server) ObserveWAN() { s.abroad.observe() }

// Datacenters is how many are known, this one among them.
func (s *Server) Datacenters() int { return 1 + len(s.abroad.names()) }

// TwiceNamed are the datacenters by whose name several clusters are called in the WAN pool.
func (s *Server) TwiceNamed() []string { return s.abroad.twiceNamed() }

// Run serves until ctx ends, and returns when everything it started has ended. A leader hands over
// first.
func (s *Server) Run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	group, inner := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(context.Background())
	defer stop()
	var listening errgroup.Group
	listening.Go(func() error {
		err := s.listener.Run(serving)
		if err != nil {
			fail(err) // without its port a server is of no use
		}
		return err
	})
	listening.Go(func() error { return s.leadership.watchLeader(serving) }) // calls wait for it to the end
	group.Go(func() error { return s.registry.Run(inner) })
	group.Go(func() error { return s.leadership.lead(inner) })
	group.Go(func() error { return s.founder.run(inner) })
	group.Go(func() error { return s.host.catchUp.learn(inner) })
	group.Go(func() error { return s.doctor.run(inner) })
	group.Go(func() error { return s.succession.run(inner) })
	group.Go(func() error { return s.hangUp(inner) })
	group.Go(func() error { return s.abroad.run(inner) })
	group.Go(func() error { return s.tellCluster(inner) })
	group.Go(func() error {
		err := s.raft.watchdog(inner)
		if err != nil {
			s.succession.bequeath()
			stop() // who waits for an answer hears at once that none comes
		}
		return err
	})
	group.Go(func() error { return (&gauges{s}).gauge(inner) })
	group.Go(func() error { return s.verifyLog(inner) })
	group.Go(func() error { return s.followLimits(inner) })
	group.Go(func() error { return s.followRoots(inner) })
	group.Go(func() error { return s.peers.run(inner) })
	s.raft.electSelf()
	err := group.Wait()
	s.succession.handOver()
	s.drain()
	err = errors.Join(err, s.raft.close())
	stop() // Raft is done with its connections
	return errors.Join(err, listening.Wait(), s.pool.Close())
}

// Leave prepares for this server's end for good: another one leads before it goes, where there is one.
func (s *Server) Leave() { s.succession.handOver() }

// removalLook is the pause between two looks at whether a server that has left is removed.
const removalLook = 100 * time.Millisecond

// AwaitRemoval blocks until the leader has taken this server, which has left the LAN pool, out of the cluster, or
// ctx ends.
func (s *Server) AwaitRemoval(ctx context.Context) error {
	look := time.NewTicker(removalLook)
	defer look.Stop()
	for !s.isRemoved(ctx) {
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("the others have not taken this server out of the cluster: if it does not come back, remove it with operator raft remove-peer -id=%s", s.cfg.NodeID)
		}
	}
	return nil
}

// isRemoved reports whether this server, or the leader, knows a cluster without this server. One that was removed
// may never hear of it.
func (s *Server) isRemoved(ctx context.Context) bool {
	has := func(ids []string) bool { return slices.Contains(ids, s.cfg.NodeID) }
	if own := s.raft.standing(); len(own.Servers) < 2 || !has(own.Servers) {
		return true
	}
	others := slices.DeleteFunc(s.roster.alive(), func(o gossip.Server) bool { return o.ID == s.cfg.NodeID })
	stands, _ := s.founder.askAll(ctx, others, api.StandingQuery{})
	return slices.ContainsFunc(stands, func(o *api.Standing) bool { return o.Leader == o.ID && !has(o.Servers) })
}

// hangUp ends the connections to servers that gossip has found dead: who waits for an answer of theirs hears of it
// at once. It returns when ctx ends.
func (s *Server) hangUp(ctx context.Context) error {
	for {
		changed := s.roster.changed.wait()
		for _, m := range s.roster.byID() {
			if m.Status == gossip.StatusFailed && m.ID != s.cfg.NodeID {
				s.pool.Drop(m.Addr.String())
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Close gives back what Open took, when Run does not follow.
func (s *Server) Close() error {
	return errors.Join(s.raft.close(), s.port.Close(), s.peers.close(), s.pool.Close(), s.abroad.pool.Close())
}

// drainTimeout bounds the wait for the calls of others that are under way, and for those who made them to hang up.
const drainTimeout = 5 * time.Second

// drain takes no more calls of others, and breaks none of those that are under way.
func (s *Server) drain() {
	close(s.ending)
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	s.listener.Drain(ctx)
}

// parks reports whether a call may wait long and is made again elsewhere when it is cut off.
func parks(call *rpc.Call) bool { return call.Header.MinIndex > 0 && api.Reads(call.Method) }

// serve answers a call that came over the network, if its peer may make it.
func (s *Server) serve(ctx context.Context, peer rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
	if err := s.registry.Admit(s.demands(), peer, call.Method); err != nil {
		return rpc.Answer{}, err
	}
	if err := s.limit(peer, call); err != nil {
		return rpc.Answer{}, err
	}
	if !parks(call) {
		defer s.cfg.Cores.End(s.cfg.Cores.Begin())
	}
	if call.Method == api.JoinRenew.Name {
		ctx = context.WithValue(ctx, peerKey{}, peer)
	}
	return s.registry.Call(ctx, call)
}

// Leading reports whether this server leads and is ready to.
func (s *Server) Leading() bool { return s.host.Leading() }

// LeaderAddr is the Raft address of the leader, empty when none is known.
func (s *Server) LeaderAddr() string {
	addr, _ := s.raft.LeaderWithID()
	return string(addr)
}

// Reload takes up another pace of snapshots, and other entries for the time when this server leads next.
func (s *Server) Reload(pace SnapshotPace, entries []catalog.ConfigEntry) error {
	s.entries.Store(&entries)
	c := s.raft.ReloadableConfig()
	c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs = pace.or(c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs)
	if err := s.raft.ReloadConfig(c); err != nil {
		return fmt.Errorf("raft_snapshot_threshold, raft_snapshot_interval, raft_trailing_logs: %w", err)
	}
	return nil
}

// State is what Raft says this server is: Leader, Follower or Candidate.
func (s *Server) State() raft.RaftState { return s.raft.State() }

// RaftStats are Raft's own figures.
func (s *Server) RaftStats() map[string]string { return s.raft.Stats() }

// WaitLeader blocks until this server leads and is ready to, or knows the leader that it forwards to, or ctx
// ends. It returns the leader's name.
func (s *Server) WaitLeader(ctx context.Context) string {
	for {
		changed := s.host.leaders.wait()
		if s.host.Leading() {
			return s.cfg.NodeName
		}
		if _, err := s.host.Leader(); err == nil {
			_, id := s.raft.LeaderWithID()
			return s.roster.name(id)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ""
		}
	}
}

// WaitLeading blocks until this server leads and is ready to, or ctx ends.
func (s *Server) WaitLeading(ctx context.Context) {
	select {
	case <-s.host.first:
	case <-ctx.Done():
	}
}

package local

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// Config is what an agent says about its node and its checks.
type Config struct {
	// Node is this node as the catalog should have it.
	Node *catalog.Node
	// DataDir holds services/ and checks/; with "" nothing is kept on disk.
	DataDir string
	// SidecarMinPort and SidecarMaxPort are the first and last port that sidecars are given; 0 gives none.
	SidecarMinPort, SidecarMaxPort int
	// ExposeMinPort and ExposeMaxPort are the first and last port that proxies are given for checks that are made through
	// them; 0 gives none.
	ExposeMinPort, ExposeMaxPort int
	// Unbound reports whether nobody on this machine listens at a port; nil asks the system.
	Unbound func(port int) bool
	// ProxyHost is the address at which this agent reaches the sidecars that it runs, "" when it runs none.
	ProxyHost string
	// CheckUpdateInterval is how long a new output of a check in the same state may wait before it is sent.
	CheckUpdateInterval time.Duration
	// CheckChangesPerMinute is how often in a minute changes of the states of a service's checks are told to the
	// servers; 0 is no bound.
	CheckChangesPerMinute int
	// DiscardCheckOutput drops the output of checks.
	DiscardCheckOutput bool
	// Checks is what checks need; Reporter, Aliased and Node are set here.
	Checks check.Deps
	// Policy says whose checks may run programs.
	Policy check.Policy
	// ClusterSize returns how many nodes the LAN pool has; nil means one. Comparisons with the catalog are
	// the rarer the more there are.
	ClusterSize func() int
	// AgentToken is for the node itself, for comparisons and for removals, UserToken for services and checks
	// that bring none. Nil means no token. They are called for each request, so tokens may change.
	AgentToken, UserToken func() string
}

// State is what is registered on this node. Its methods may be called from any goroutine. Rows it returns
// are shared and must not be changed.
type State struct {
	cfg     Config
	caller  rpc.Caller
	log     *slog.Logger
	set     *check.Set
	records *journal // of services and checks; nil without a data directory
	states  *journal // of ttl checks; nil without a data directory
	discard atomic.Bool
	stopped chan struct{} // closed when Run has ended
	kicked  chan struct{} // has a value when a comparison with the catalog is due

	change sync.Mutex // held over each change of definitions, taken before mu

	mu sync.Mutex // guards what follows
	registry
	outbox
}

// New returns the state that the data directory holds, config files aside: see SetConfig.
func New(cfg Config, caller rpc.Caller, log *slog.Logger) (*State, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &State{
		cfg: cfg, caller: caller, log: log, stopped: make(chan struct{}), kicked: make(chan struct{}, 1),
		registry: newRegistry(), outbox: newOutbox(),
	}
	if s.cfg.Unbound == nil {
		s.cfg.Unbound = unbound
	}
	s.discard.Store(cfg.DiscardCheckOutput)
	deps := cfg.Checks
	deps.Reporter, deps.Aliased, deps.Node = reporter{s}, aliased{s}, cfg.Node.Node
	if deps.Log == nil {
		deps.Log = log
	}
	s.set = check.NewSet(deps, cfg.Policy, reaper{s})
	s.node = s.object(objectKey{nodeObject, ""})
	s.node.token = agentToken
	s.node.node = cfg.Node
	if cfg.DataDir == "" {
		return s, nil
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("registrations in %s: %w", cfg.DataDir, err)
	}
	return s, nil
}

func (s *State) open() error {
	records, saved, err := openJournal(filepath.Join(s.cfg.DataDir, "services", "journal"), true, s.log)
	if err != nil {
		return err
	}
	states, savedStates, err := openJournal(filepath.Join(s.cfg.DataDir, "checks", "state"), false, s.log)
	if err != nil {
		records.close()
		return err
	}
	s.records, s.states = records, states
	s.restore(saved, savedStates)
	return nil
}

// Run makes the checks, writes changes to disk and keeps the catalog in line until ctx ends, then returns
// nil. It may be called once. Registrations wait for it.
func (s *State) Run(ctx context.Context) error {
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	var writers, workers sync.WaitGroup
	for _, j := range []*journal{s.records, s.states} {
		if j != nil {
			writers.Go(func() { j.run(writing) }) // ends after the workers, with what they still said
		}
	}
	workers.Go(func() { _ = s.set.Run(ctx) }) // it has no errors
	workers.Go(func() { s.flushAll(ctx) })
	workers.Go(func() { s.compareAll(ctx) })
	workers.Go(func() { s.expireResumed(ctx) })
	workers.Wait()
	close(s.stopped)
	stopWriting()
	writers.Wait()
	return nil
}

// Kick makes the next comparison with the catalog due, and what could not be sent is tried again: the
// agent has started, the leader or the tokens have changed.
func (s *State) Kick() {
	s.mu.Lock()
	s.retry.reset()
	s.mu.Unlock()
	s.ring()
	select {
	case s.kicked <- struct{}{}:
	default: // it is due already
	}
}

// Pause stops the agent from talking to the catalog, until each Pause has met its Resume. What is under
// way is not stopped. Registrations do not wait for the catalog meanwhile.
func (s *State) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused++
	s.failAll(errPaused)
}

// Resume ends a Pause.
func (s *State) Resume() {
	s.mu.Lock()
	s.paused--
	s.mu.Unlock()
	s.ring()
	s.Kick()
}

// SetNode changes what the catalog should say about the node: addresses, metadata. Its name must stay.
func (s *State) SetNode(node *catalog.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !node.Same(s.node.node) {
		s.node.node = node
		s.enqueue(s.node)
	}
}

// SetDiscardCheckOutput changes whether the output of checks is dropped from now on.
func (s *State) SetDiscardCheckOutput(discard bool) { s.discard.Store(discard) }

func (s *State) clusterSize() int {
	if s.cfg.ClusterSize == nil {
		return 1
	}
	return max(s.cfg.ClusterSize(), 1)
}

// token returns the secret that a request made with an object's token carries.
func (s *State) secret(token string) string {
	source := s.cfg.UserToken
	switch token {
	case "":
	case agentToken:
		source = s.cfg.AgentToken
	default:
		return token
	}
	if source == nil {
		return ""
	}
	return source()
}

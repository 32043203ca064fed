package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

const (
	// reconcileInterval is how often the leader compares all members with the catalog.
	reconcileInterval = time.Minute
	// gravesKept is how long the traces of deletions are kept: longer than any client waits.
	gravesKept = 15 * time.Minute
	// applyBarrier bounds the wait for the predecessors' entries.
	applyBarrier = 30 * time.Second
	// barrierRetry is the pause after which a leader that could not catch up tries again.
	barrierRetry = time.Second
)

// leadership is the duties of the leader, while this server leads.
type leadership struct {
	*Server
	members atomic.Pointer[membership] // of this term; nil when this server does not lead
}

// lead follows Raft's elections until ctx ends, and does the leader's duties while this server leads. Raft
// waits for whoever follows them, so that nothing here may wait for Raft: the duties do, beside it.
func (s *leadership) lead(ctx context.Context) error {
	var ended chan struct{} // closed when the duties have ended; nil when there are none
	stop := context.CancelFunc(func() {})
	defer func() { stop() }()
	due := false
	for {
		select {
		case <-ctx.Done():
			stop()
			return s.awaitDuties(ended)
		case due = <-s.raft.elected:
			stop() // what is under way is of another term
		case <-ended:
			ended = nil
		}
		if due && ended == nil {
			due = false
			var term context.Context
			term, stop = context.WithCancel(ctx)
			done := make(chan struct{})
			ended = done
			go func() { // ends soon after its term
				defer close(done)
				s.reign(term)
			}()
		}
	}
}

func (s *leadership) awaitDuties(ended <-chan struct{}) error {
	if ended == nil {
		return nil
	}
	late := time.NewTimer(endTimeout)
	defer late.Stop()
	select {
	case <-ended:
		return nil
	case <-late.C:
		return fmt.Errorf("the leader's duties did not end within %v: the disk may hang", endTimeout)
	}
}

// reign does the leader's duties until ctx ends, which is with the leadership.
func (s *leadership) reign(ctx context.Context) {
	term := s.raft.CurrentTerm()
	s.log.Info("cluster leadership acquired", "node", s.cfg.NodeName, "term", term)
	defer s.log.Info("cluster leadership lost", "node", s.cfg.NodeName, "term", term)
	defer s.abdicate()
	catalog, members := newReconciler(s.Server), newMembership(s.Server)
	s.members.Store(members)
	defer s.members.Store(nil)
	if !s.establish(ctx, term, catalog) {
		return
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { s.keepCA(ctx) })
	beside.Go(func() { s.replica.Run(ctx) })
	beside.Go(func() { s.keys.Run(ctx) })
	beside.Go(func() { members.run(ctx) })
	beside.Go(func() { s.reapTokens(ctx) })
	beside.Go(func() { s.peers.Lead(ctx) })
	changed := s.roster.changed.wait()
	catalog.reconcile(ctx)
	s.federate(ctx, nil)
	beside.Go(func() { s.keepFederated(ctx) })
	s.ready() // from here on an idle server writes nothing
	tick := time.NewTicker(reconcileInterval)
	defer tick.Stop()
	graves := newReaper()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			changed = s.roster.changed.wait()
			catalog.reconcile(ctx)
		case <-tick.C:
			catalog.reconcile(ctx)
			s.reap(ctx, graves)
		}
	}
}

// establish waits until everything committed before is applied here, and takes up the duties. The leader's
// own node is in the catalog before anybody can write: first what gossip knows of it, then what its agent
// adds, which so always is a later change.
func (s *leadership) establish(ctx context.Context, term uint64, catalog *reconciler) bool {
	start := time.Now()
	for {
		err := s.raft.Barrier(applyBarrier).Error()
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			break
		}
		s.log.Error("the new leader could not catch up with its log and tries again", "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(barrierRetry):
		}
	}
	s.sessions.begin(ctx, s.store.Read)
	s.seedACL(ctx)
	s.seedJoins(ctx)
	catalog.reconcileSelf(ctx)
	s.host.ready.Store(term)
	s.host.leaders.give()
	metrics.MeasureSince([]string{"leader", "barrier"}, start)
	if state.Autopilot(s.store.Read(), nil) == nil {
		req := &api.AutopilotWrite{Config: s.cfg.Autopilot}
		if _, _, err := api.AutopilotSet.Call(ctx, s.registry.Duties(), rpc.Header{}, req); err != nil && ctx.Err() == nil {
			s.log.Warn("autopilot's configuration could not be stored", "err", err)
		}
	}
	s.writeEntries(ctx)
	return ctx.Err() == nil
}

// writeEntries writes the config entries of the configuration that are missing. One that is there stays as
// it is.
func (s *leadership) writeEntries(ctx context.Context) {
	if s.replica.Follows() {
		if n := len(*s.entries.Load()); n > 0 {
			s.log.Warn("config_entries.bootstrap is for the primary datacenter: nothing of it is written here", "primary", s.host.Primary(), "entries", n)
		}
		return
	}
	for _, e := range *s.entries.Load() {
		h := e.Head()
		if stored, _ := state.ConfigEntry(s.store.Read(), nil, h.Kind, h.Key()); stored != nil {
			continue
		}
		req := &api.ConfigWrite{Op: api.ConfigCAS, Entry: *catalog.AnyOf(e)} // at index 0: if there is none
		done, _, err := api.ConfigApply.Call(ctx, s.registry.Duties(), rpc.Header{}, req)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("a config entry of the configuration (config_entries.bootstrap) could not be written", "entry", h.String(), "err", err)
		case *done:
			s.log.Info("wrote a config entry of the configuration", "entry", h.String())
		}
	}
}

// watchLeader tells who waits for a leader when Raft knows of another one, until ctx ends.
func (s *leadership) watchLeader(ctx context.Context) error {
	seen := make(chan raft.Observation, 8)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	s.raft.RegisterObserver(observer)
	defer s.raft.DeregisterObserver(observer)
	for { // the first time for what was before, which is not observed
		s.host.leaders.give()
		if s.cfg.LeaderChanged != nil {
			s.cfg.LeaderChanged()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-seen:
		}
	}
}

// ready tells those who wait for the first time that this server leads.
func (s *leadership) ready() {
	select {
	case <-s.host.first:
	default:
		close(s.host.first)
	}
}

func (s *leadership) abdicate() {
	s.host.ready.Store(0)
	s.sessions.end()
}

// reaper remembers at which index the store was when, so that traces of deletions can be removed by age.
type reaper struct {
	marks []mark
}

type mark struct {
	at    time.Time
	index uint64
}

func newReaper() *reaper { return &reaper{} }

// due returns the newest index that is old enough, after marking the present one.
func (r *reaper) due(now time.Time, index uint64) uint64 {
	r.marks = append(r.marks, mark{now, index})
	old := uint64(0)
	for len(r.marks) > 0 && now.Sub(r.marks[0].at) >= gravesKept {
		old = r.marks[0].index
		r.marks = r.marks[1:]
	}
	return old
}

func (s *leadership) reap(ctx context.Context, r *reaper) {
	index := r.due(time.Now(), s.fsm.Applied())
	if index == 0 || !state.AnyGraves(s.store.Read(), index) {
		return
	}
	if _, _, err := api.GravesReap.Call(ctx, s.registry.Duties(), rpc.Header{}, &api.Reap{Index: index}); err != nil && ctx.Err() == nil {
		s.log.Warn("traces of deletions could not be removed", "err", fmt.Errorf("up to index %d: %w", index, err))
	}
}

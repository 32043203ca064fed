package check

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// splay is how much each check that waits when a Set starts adds to the time over which the first runs
// of all are spread, so that an agent with thousands of checks does not begin with all of them at once.
const splay = 2 * time.Millisecond

// A Set owns the running checks of one agent. Its methods may be called from any goroutine, but not from
// Reporter.Report and not with a lock held that Report takes.
type Set struct {
	deps   Deps
	policy Policy
	reap   Reaper
	wake   chan struct{} // has a value when waiting is not empty

	mu      sync.Mutex
	checks  map[string]*entry
	waiting []*entry // to be started by Run
}

// An entry is one check of a Set. It stands between the check and the owner's Reporter.
type entry struct {
	def      *catalog.AgentCheck
	runner   *Runner
	reporter Reporter
	log      *slog.Logger
	cancel   context.CancelFunc // guarded by Set.mu; nil until the check is started

	mu      sync.Mutex // held over reports, so that none comes after the check is gone
	removed bool
	vital   vital
	damper  damper
}

// NewSet returns a set without checks. reap, which may be nil, removes services that stay critical.
func NewSet(deps Deps, policy Policy, reap Reaper) *Set {
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	return &Set{deps: deps, policy: policy, reap: reap, wake: make(chan struct{}, 1), checks: map[string]*entry{}}
}

// Verify returns the error that Add would return, and changes nothing.
func (s *Set) Verify(def *catalog.AgentCheck, from Origin) error {
	if err := s.policy.Allow(def, from); err != nil {
		return err
	}
	_, err := New(def, s.deps)
	return err
}

// Add starts a check, at once or when Run does, in the place of one with the same id. def.Status is the
// state the check has now; def must not change afterwards. A check that runs already as def says, its
// state aside, goes on undisturbed, but for the time to live, which starts anew.
//
// After Add or Remove has returned nothing is reported any more by the check that was there before.
func (s *Set) Add(def *catalog.AgentCheck, from Origin) error {
	if err := s.policy.Allow(def, from); err != nil {
		return err
	}
	e := &entry{def: def, reporter: s.deps.Reporter, log: s.deps.Log, vital: newVital(def, time.Now())}
	e.damper.last, e.damper.at = e.vital.status, time.Now()
	if def.TTL == 0 { // who tells its state itself knows what it says
		e.damper.halfLife = s.deps.FlapHalfLife
	}
	deps := s.deps
	deps.Reporter = e
	runner, err := New(def, deps)
	if err != nil {
		return err
	}
	e.runner = runner

	s.mu.Lock()
	old := s.checks[def.CheckID]
	if old != nil && runner.ttl == nil && sameWork(old.def, def) {
		s.mu.Unlock()
		return nil
	}
	s.checks[def.CheckID] = e
	s.waiting = append(s.waiting, e)
	s.end(old)
	s.mu.Unlock()
	old.mute()
	select {
	case s.wake <- struct{}{}:
	default: // Run knows already
	}
	return nil
}

// sameWork reports whether two definitions differ in nothing but the state they begin with.
func sameWork(a, b *catalog.AgentCheck) bool {
	x, y := *a, *b
	x.Status, y.Status = "", ""
	return reflect.DeepEqual(x, y)
}

// Remove ends a check and reports whether there was one.
func (s *Set) Remove(checkID string) bool {
	s.mu.Lock()
	old := s.checks[checkID]
	delete(s.checks, checkID)
	s.end(old)
	s.mu.Unlock()
	old.mute()
	return old != nil
}

// end tells e's goroutine to end. s.mu is held.
func (s *Set) end(e *entry) {
	if e != nil && e.cancel != nil {
		e.cancel()
	}
}

// Get returns the definition of a running check; it must not be changed.
func (s *Set) Get(checkID string) (*catalog.AgentCheck, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.checks[checkID]; e != nil {
		return e.def, true
	}
	return nil, false
}

// Update takes the state of a ttl check from its service. The Reporter has been told when it returns. The
// error is of code catalog.NotFound for an unknown check, Invalid for an unknown status, and Internal for
// a check of another kind.
func (s *Set) Update(checkID string, status catalog.Status, output string) error {
	s.mu.Lock()
	e := s.checks[checkID]
	s.mu.Unlock()
	if e == nil {
		return catalog.Errorf(catalog.NotFound, "unknown check ID %q: register it with a ttl first", checkID)
	}
	return e.runner.Set(status, output)
}

// Counts returns how many checks there are of each kind, as catalog.AgentCheck.Kind names them ("http",
// "ttl", "script" and so on).
func (s *Set) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for _, e := range s.checks {
		counts[e.runner.kind]++
	}
	return counts
}

// Run makes the checks until ctx ends, then returns nil. All its goroutines, and the programs that checks
// started, have ended by then, but for those that nothing can kill. It may be called once.
func (s *Set) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.reap != nil {
		running.Go(func() { s.sweepAll(ctx) }) // ends with ctx
	}
	for {
		s.start(ctx, &running)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// start starts the checks that wait for it, each in a goroutine that ends with the check.
func (s *Set) start(ctx context.Context, running *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := firstRun + time.Duration(len(s.waiting))*splay
	for _, e := range s.waiting {
		if s.checks[e.def.CheckID] != e {
			continue // removed before it began
		}
		ctx, cancel := context.WithCancel(ctx)
		e.cancel = cancel
		e.runner.first = first
		running.Go(func() {
			defer cancel()
			_ = e.runner.Run(ctx) // it has no errors but the end of ctx
		})
	}
	s.waiting = nil
}

// Report hands a result on to the owner, unless the check is gone.
func (e *entry) Report(checkID string, status catalog.Status, output string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.removed {
		return
	}
	was := e.damper.held != ""
	result := status
	if status = e.damper.add(result, time.Now()); e.damper.held != "" {
		output = heldOutput(result, output)
	}
	if held := e.damper.held != ""; held != was {
		e.log.Warn("health check keeps changing and is held at its worst state, or has settled", "check", checkID, "service", e.def.ServiceID, "held", held)
	}
	if before := e.vital.set(status, time.Now()); before != status {
		level := slog.LevelInfo
		if status != catalog.Passing {
			level = slog.LevelWarn
		}
		e.log.Log(context.Background(), level, "health check changed", "check", checkID, "service", e.def.ServiceID, "from", before, "to", status)
	}
	e.reporter.Report(checkID, status, output)
}

// mute waits for a report under way and lets no other pass.
func (e *entry) mute() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.removed = true
}

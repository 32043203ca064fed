package server

import (
	"context"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// sessionTimers ends sessions that are not renewed in time. Only a leader keeps time; a new one begins
// anew, so that a session may live longer than its TTL but never shorter.
type sessionTimers struct {
	// expire ends a session, and reports whether that is done.
	expire func(ctx context.Context, id string) bool

	mu     sync.Mutex
	timers map[string]*sessionTimer
	ending map[string]chan struct{} // of expiries that are under way; closed when it is known what became of one
	ctx    context.Context          // of this term of the leader; nil when this server does not keep the time
	cancel context.CancelFunc
	under  *sync.WaitGroup // expiries of this term that are under way
}

// sessionTimer is the time of one session since it was made or renewed.
type sessionTimer struct{ *time.Timer }

func newSessionTimers(expire func(ctx context.Context, id string) bool) *sessionTimers {
	return &sessionTimers{expire: expire, timers: map[string]*sessionTimer{}, ending: map[string]chan struct{}{}}
}

// grace is what a session gets above its TTL, for a renewal that is on its way. Clients are promised no
// end before the TTL and one within twice as long.
func grace(ttl time.Duration) time.Duration { return ttl + ttl/2 }

// expireRetry is the pause after which a session that could not be ended is tried again.
const expireRetry = 5 * time.Second

// Start implements handler.SessionTimers.
func (t *sessionTimers) Start(s *catalog.Session) (ending <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if over := t.ending[s.ID]; over != nil {
		return over
	}
	t.start(s)
	return nil
}

// start gives a session its time anew, if the time is kept. The lock is held.
func (t *sessionTimers) start(s *catalog.Session) {
	if ttl := s.Lifetime(); ttl > 0 && t.ctx != nil {
		t.set(s.ID, grace(ttl))
	}
}

// set gives a session a new timer. One that has run off already no longer counts: it is renewed.
func (t *sessionTimers) set(id string, after time.Duration) {
	if old := t.timers[id]; old != nil {
		old.Stop()
	}
	timer := &sessionTimer{}
	timer.Timer = time.AfterFunc(after, func() { t.over(id, timer) })
	t.timers[id] = timer
}

func (t *sessionTimers) over(id string, timer *sessionTimer) {
	t.mu.Lock()
	if t.timers[id] != timer {
		t.mu.Unlock()
		return
	}
	delete(t.timers, id)
	ctx, under, decided := t.ctx, t.under, make(chan struct{})
	under.Add(1)
	t.ending[id] = decided
	t.mu.Unlock()
	defer under.Done()
	ended := t.expire(ctx, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.ending, id)
	close(decided)
	if !ended && t.ctx == ctx && t.timers[id] == nil {
		t.set(id, expireRetry)
	}
}

// Stop implements handler.SessionTimers.
func (t *sessionTimers) Stop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if timer := t.timers[id]; timer != nil {
		timer.Stop()
		delete(t.timers, id)
	}
}

// count is how many sessions have their time kept.
func (t *sessionTimers) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.timers)
}

// begin starts to keep the time of all sessions, those made from now on and those that read then shows.
func (t *sessionTimers) begin(ctx context.Context, read func() *state.Txn) {
	t.mu.Lock()
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.under = &sync.WaitGroup{}
	t.mu.Unlock()
	t.keep(read())
}

// restart keeps the time of the sessions of a store that was replaced, if the time is kept at all.
func (t *sessionTimers) restart(read func() *state.Txn) {
	t.mu.Lock()
	t.forget()
	t.mu.Unlock()
	t.keep(read())
}

func (t *sessionTimers) keep(tx *state.Txn) {
	all, _ := state.Sessions(tx, nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range all {
		t.start(s)
	}
}

// forget stops all timers.
func (t *sessionTimers) forget() {
	for _, timer := range t.timers {
		timer.Stop()
	}
	clear(t.timers)
}

// end forgets all times, for another leader keeps them, and returns when no expiry is under way.
func (t *sessionTimers) end() {
	t.mu.Lock()
	t.forget()
	under := t.under
	if t.cancel != nil {
		t.cancel()
	}
	t.ctx, t.cancel, t.under = nil, nil, nil
	t.mu.Unlock()
	if under != nil {
		under.Wait()
	}
}

// expire ends a session whose time is over.
func (s *leadership) expire(ctx context.Context, id string) bool {
	if stored, _ := state.Session(s.store.Read(), nil, id); stored == nil {
		return true
	}
	req := &api.SessionWrite{Op: api.SessionDestroy, Session: catalog.Session{ID: id}}
	_, _, err := api.SessionApply.Call(ctx, s.registry.Duties(), rpc.Header{}, req)
	switch {
	case err == nil:
		s.log.Info("session expired", "session", id)
	case ctx.Err() == nil:
		s.log.Warn("expired session could not be ended; it is tried again", "session", id, "err", err)
	}
	return err == nil
}

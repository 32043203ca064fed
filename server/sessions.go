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
	expire func(id string)

	mu      sync.Mutex
	running bool
	timers  map[string]*time.Timer
}

func newSessionTimers(expire func(id string)) *sessionTimers {
	return &sessionTimers{expire: expire, timers: map[string]*time.Timer{}}
}

// grace is what a session gets above its TTL, for a renewal that is on its way. Clients are promised no
// end before the TTL and one within twice as long.
func grace(ttl time.Duration) time.Duration { return ttl + ttl/2 }

// Start implements handler.SessionTimers.
func (t *sessionTimers) Start(s *catalog.Session) {
	ttl := s.Lifetime()
	if ttl == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.running {
		return
	}
	if timer := t.timers[s.ID]; timer != nil {
		timer.Reset(grace(ttl))
		return
	}
	id := s.ID
	t.timers[id] = time.AfterFunc(grace(ttl), func() {
		if t.forget(id) {
			t.expire(id)
		}
	})
}

// Stop implements handler.SessionTimers.
func (t *sessionTimers) Stop(id string) { t.forget(id) }

// forget reports whether the session's time was kept.
func (t *sessionTimers) forget(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	timer, ok := t.timers[id]
	if ok {
		timer.Stop()
		delete(t.timers, id)
	}
	return ok
}

// count is how many sessions have their time kept.
func (t *sessionTimers) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.timers)
}

// begin starts to keep the time of all sessions.
func (t *sessionTimers) begin(tx *state.Txn) {
	t.mu.Lock()
	t.running = true
	t.mu.Unlock()
	all, _ := state.Sessions(tx, nil)
	for _, s := range all {
		t.Start(s)
	}
}

// end forgets all times: another leader keeps them.
func (t *sessionTimers) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = false
	for id, timer := range t.timers {
		timer.Stop()
		delete(t.timers, id)
	}
}

// expire ends a session whose time is over. The log decides between it and a renewal.
func (s *Server) expire(id string) {
	if stored, _ := state.Session(s.store.Read(), nil, id); stored == nil {
		return
	}
	s.log.Info("session expired", "session", id)
	req := &api.SessionWrite{Op: api.SessionDestroy, Session: catalog.Session{ID: id}}
	if _, _, err := api.SessionApply.Call(context.Background(), s.registry, rpc.Header{}, req); err != nil {
		s.log.Warn("expired session could not be ended; it is tried again", "session", id, "err", err)
		if stored, _ := state.Session(s.store.Read(), nil, id); stored != nil {
			s.sessions.Start(stored)
		}
	}
}

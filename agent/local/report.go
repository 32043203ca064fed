package local

import (
	"context"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// reporter takes the results of checks.
type reporter struct{ *State }

// Report implements check.Reporter.
func (r reporter) Report(id string, status catalog.Status, output string) {
	s := r.State
	if s.discard.Load() {
		output = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.checks[id]
	if h == nil {
		return
	}
	delete(s.resumed, id)
	changed := h.row.Status != status
	if ttl := time.Duration(h.def.TTL); ttl > 0 || changed {
		r := &stateRecord{Status: status, Output: output}
		if ttl > 0 {
			r.Expires = time.Now().Add(ttl)
		}
		s.states.commit([]save{{id, r}})
	}
	if !changed && h.row.Output == output {
		return
	}
	row, next := *h.row, *h
	row.Status, row.Output = status, output
	next.row = &row
	urgent := changed || s.cfg.CheckUpdateInterval <= 0
	s.setCheck(&next)
	o := s.link(&next)
	o.check = &row
	switch {
	case urgent && !(changed && s.hold(o)):
		s.mark(o)
	case o.held && o.deferred: // it goes at its time
	case o.dirty && !o.deferred && !o.sending: // it goes with what is queued
	default:
		s.postpone(o, time.Now().Add(s.cfg.CheckUpdateInterval))
	}
}

// reaper removes services that stay critical.
type reaper struct{ *State }

// Reap implements check.Reaper.
func (r reaper) Reap(ctx context.Context, serviceID, checkID string, critical time.Duration) {
	r.log.Warn("deregistering a service because its check stays critical", "service", serviceID, "check", checkID, "critical", critical)
	if err := r.Deregister(ctx, serviceID); err != nil && catalog.CodeOf(err) != catalog.NotFound {
		r.log.Error("a critical service could not be deregistered", "service", serviceID, "err", err)
	}
}

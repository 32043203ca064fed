package local

import "time"

// rate bounds how often the state of a service's checks is told to the servers, whichever of its checks change: each
// change takes one from a bucket that holds as many as may be told in a minute.
type rate struct {
	left float64
	at   time.Time // when left was that
	told bool      // the log says that changes are held
}

// take takes one for a change and returns how long that has to wait; 0 when it may be told at once.
func (r *rate) take(perMinute int, now time.Time) time.Duration {
	full, each := float64(perMinute), time.Minute/time.Duration(perMinute)
	if r.at.IsZero() {
		r.left = full
	} else {
		r.left = min(full, r.left+float64(now.Sub(r.at))/float64(each))
	}
	r.at = now
	r.left--
	return time.Duration(max(-r.left, 0) * float64(each))
}

// hold postpones a change of a check's state when its service has changed too often, and reports whether it did. A
// change that waits already is told with the present one, at its time.
func (s *State) hold(o *object) bool {
	if s.cfg.CheckChangesPerMinute <= 0 || o.owner == nil || !s.compared || o.queued || o.sending {
		return false
	}
	if o.held && o.deferred {
		return true
	}
	now, r := time.Now(), &o.owner.rate
	wait := r.take(s.cfg.CheckChangesPerMinute, now)
	if wait > 0 && !r.told {
		s.log.Warn("the checks of a service change so often that their changes are held; the servers are told the last one at a lower rate", "service", o.owner.key.id, "check_changes_per_minute", s.cfg.CheckChangesPerMinute)
	}
	r.told = wait > 0
	if wait == 0 {
		return false
	}
	o.held = true
	s.postponeTo(o, now.Add(wait))
	return true
}

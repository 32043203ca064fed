package check

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// SweepInterval is how often a Set looks for services that have been critical for too long.
const SweepInterval = 30 * time.Second

// A Reaper removes services that stay critical.
type Reaper interface {
	// Reap asks to remove a service, because its check has been critical for the time given, longer than
	// its deregister_critical_service_after allows. Removing the service should remove its checks from the
	// Set; until then the Set asks again at each sweep. It may take its time: other reaps wait, checks do not.
	Reap(ctx context.Context, serviceID, checkID string, critical time.Duration)
}

// A vital is how a check is and, while it is critical, since when.
type vital struct {
	status catalog.Status
	since  time.Time
}

func newVital(def *catalog.AgentCheck, now time.Time) vital {
	return vital{status: cmp.Or(def.Status, catalog.Critical), since: now}
}

// set takes a new state and returns the one before.
func (v *vital) set(status catalog.Status, now time.Time) catalog.Status {
	before := v.status
	if before != status {
		v.status, v.since = status, now
	}
	return before
}

// overdue returns for how long the check has been critical, when its service is to be removed for it.
func (e *entry) overdue(now time.Time) (time.Duration, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	after := time.Duration(e.def.DeregisterCriticalServiceAfter)
	if e.removed || e.def.ServiceID == "" || after <= 0 || e.vital.status != catalog.Critical {
		return 0, false
	}
	critical := now.Sub(e.vital.since)
	return critical, critical >= max(after, catalog.MinDeregisterAfter)
}

// sweepAll sweeps until ctx ends.
func (s *Set) sweepAll(ctx context.Context) {
	ticker := time.NewTicker(SweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.sweep(ctx)
		}
	}
}

// sweep asks for the removal of each service with an overdue check, once, in the order of their ids.
func (s *Set) sweep(ctx context.Context) {
	var entries []*entry
	s.mu.Lock()
	for _, e := range s.checks {
		if e.def.DeregisterCriticalServiceAfter > 0 {
			entries = append(entries, e)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(entries, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.def.ServiceID, b.def.ServiceID), cmp.Compare(a.def.CheckID, b.def.CheckID))
	})
	asked := ""
	for _, e := range entries {
		if ctx.Err() != nil {
			return
		}
		if critical, yes := e.overdue(time.Now()); yes && e.def.ServiceID != asked {
			asked = e.def.ServiceID
			s.reap.Reap(ctx, e.def.ServiceID, e.def.CheckID, critical)
		}
	}
}

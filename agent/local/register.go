package local

import (
	"context"
	"slices"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// Options says how something is registered.
type Options struct {
	// ReplaceExistingChecks removes the checks of the service that its definition does not name.
	ReplaceExistingChecks bool
	// Source is where the definition comes from.
	Source check.Origin
	// Token is for requests about it, where the definition itself has none.
	Token string
}

// edit is one change of what is registered, as it is made. State.change and State.mu are held.
type edit struct {
	*State
	ticket *ticket
	start  []*health // checks to start
	stop   []string  // ids of checks to end
	saves  []save
	// touched are the services of which checks, or their proxy, may have changed.
	touched map[string]bool
	// reserved are ports for checks that are made through proxies from now on.
	reserved map[string]int
}

// Register adds a service with its checks and its sidecar, or changes it; def must not change afterwards.
// It returns when it is on disk and in the catalog. If the catalog cannot be told now that is logged and
// made up for later, it is no error. Nothing changes if the definition is not valid.
func (s *State) Register(ctx context.Context, def *catalog.ServiceDefinition, opts Options) error {
	s.change.Lock()
	free := portsOf{s, map[int]bool{}}
	r, err := s.prepare(def, opts.Token, opts.Source, free)
	var reserved map[string]int
	if err == nil {
		reserved, err = s.reserve(r, free.taken)
	}
	if err != nil {
		s.change.Unlock()
		return err
	}
	id := r.service.row.ID
	if warning := catalog.WarnDNS("service", def.Name); warning != "" && s.registered(id) == nil {
		s.log.Warn("a service is registered that DNS cannot answer for", "service", id, "reason", warning)
	}
	if warning := def.WarnIdle(); warning != "" && s.registered(id) == nil {
		s.log.Warn("a service is registered with fields that have no effect", "service", id, "reason", warning)
	}
	done := s.edit(newTicket(), func(e *edit) {
		e.reserved = reserved
		e.put(r, opts.ReplaceExistingChecks)
	})
	s.change.Unlock()
	s.log.Debug("service registered", "service", id)
	return s.await(ctx, done, "service", id)
}

// Deregister removes a service with its checks and the sidecar that came with it, and returns as Register
// does. An unknown service is an error of code catalog.NotFound.
func (s *State) Deregister(ctx context.Context, id string) error {
	s.change.Lock()
	if _, ok := s.Service(id); !ok {
		s.change.Unlock()
		return catalog.Errorf(catalog.NotFound, "unknown service ID %q: it is not registered with this agent", id)
	}
	done := s.edit(newTicket(), func(e *edit) { e.drop(id) })
	s.change.Unlock()
	s.log.Debug("service deregistered", "service", id)
	return s.await(ctx, done, "service", id)
}

// pending is an edit on its way to the disk and to the catalog.
type pending struct {
	*ticket
	flush *flush
}

// edit makes a change. s.change is held; t is nil when nobody waits.
func (s *State) edit(t *ticket, change func(*edit)) pending {
	e := &edit{State: s, ticket: t, touched: map[string]bool{}}
	s.mu.Lock()
	change(e)
	for id := range e.touched {
		e.expose(id)
	}
	if t != nil && t.left == 0 {
		close(t.done)
	}
	s.mu.Unlock()
	// With s.mu free, because ending a check waits for its report, which takes it.
	for _, id := range e.stop {
		s.set.Remove(id)
	}
	for _, h := range e.start {
		s.startCheck(h)
	}
	return pending{t, s.records.commit(e.saves)}
}

// await waits for the disk and the catalog.
func (s *State) await(ctx context.Context, p pending, kind, id string) error {
	disk := p.flush.finished()
	for told := p.ticket.done; told != nil || disk != nil; {
		select {
		case <-told:
			told = nil
		case <-disk:
			disk = nil
		case <-s.stopped:
			return errStopped
		case <-ctx.Done():
			return catalog.Errorf(catalog.Unavailable, "the agent has changed %s %q, but the catalog may not have it yet: %w", kind, id, context.Cause(ctx))
		}
	}
	if err := p.ticket.err; err != nil {
		s.log.Warn("a change is kept by the agent and not in the catalog yet", "kind", kind, "id", id, "err", err)
	}
	if err := p.flush.failure(); err != nil {
		return catalog.Errorf(catalog.Internal, "the agent has changed %s %q but cannot keep it over a restart: %w", kind, id, err)
	}
	return nil
}

// put registers a service, its checks and its sidecar.
func (e *edit) put(r *registration, replace bool) {
	next := r.service
	id := next.row.ID
	old := e.services[id]
	e.affect(next)
	if old != nil {
		e.affect(old)
		next = keepRow(old, next)
	}
	if next != old {
		e.setService(next)
		e.saveService(next)
	}
	e.tell(next)
	named := map[string]bool{}
	for _, h := range r.checks {
		named[h.row.CheckID] = true
		h.row = retag(h.row, next.row) // the tags may be the catalog's
		e.putCheck(h)
	}
	for checkID, h := range e.owned[id] {
		switch outdated := replace || next.origin == check.Local && h.origin == check.Local && !h.alone; {
		case named[checkID]:
		case outdated && !h.maintenance():
			e.dropCheck(h)
		default:
			e.putCheck(&health{h.def, retag(h.row, next.row), h.token, h.origin, h.alone})
		}
	}
	if r.sidecar != nil {
		e.put(r.sidecar, replace)
	} else if sidecar, ok := e.sidecarOf(id); ok {
		e.drop(sidecar)
	}
}

// affect takes note that a service has changed whose checks may be made through a proxy, or such a proxy.
func (e *edit) affect(svc *service) {
	e.touched[svc.row.ID] = true
	if to := proxyFor(svc.row); to != "" {
		e.touched[to] = true
	}
}

// keepRow returns the service as it is from now on: old itself if next says the same.
func keepRow(old, next *service) *service {
	if next.row.EnableTagOverride && old.row.EnableTagOverride && slices.Equal(old.tags, next.tags) {
		row := *next.row
		row.Tags = old.row.Tags // the catalog's, if they were adopted
		next.row = &row
	}
	if !old.row.Same(next.row) {
		return next
	}
	next.row = old.row
	if old.token == next.token && old.origin == next.origin && old.parent == next.parent {
		old.given = next.given
		return old
	}
	return next
}

// tell lets the catalog know of a service, unless it does.
func (e *edit) tell(svc *service) {
	o := e.object(objectKey{serviceObject, svc.row.ID})
	o.token = svc.token
	if o.service != svc.row || o.refused != nil {
		o.service = svc.row
		e.dispatch(o)
	}
	e.join(e.ticket, o)
}

// dispatch queues an object: at once if someone waits for it.
func (e *edit) dispatch(o *object) {
	if e.ticket != nil {
		e.enqueue(o)
	} else {
		e.mark(o)
	}
}

// drop removes a service, its checks and its sidecar.
func (e *edit) drop(id string) {
	svc := e.services[id]
	if sidecar, ok := e.sidecarOf(id); ok {
		e.drop(sidecar)
	}
	e.affect(svc)
	o := e.object(objectKey{serviceObject, id})
	o.service = nil
	if svc.token == "" {
		o.token = agentToken
	}
	e.dispatch(o)
	e.join(e.ticket, o)
	for _, h := range e.owned[id] {
		e.dropCheck(h)
	}
	e.unsetService(id)
	e.saves = append(e.saves, save{serviceKey(id), nil})
}

// saveService has a service written to disk; what the configuration says is not.
func (e *edit) saveService(svc *service) {
	key := serviceKey(svc.row.ID)
	if svc.origin != check.Remote {
		e.saves = append(e.saves, save{key, nil})
		return
	}
	row := *svc.row
	row.Tags = svc.tags
	e.saves = append(e.saves, save{key, &serviceRecord{Service: &row, Token: svc.token, Parent: svc.parent}})
}

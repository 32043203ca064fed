package local

import (
	"cmp"
	"context"
	"net"
	"strconv"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// RegisterCheck adds a check of the node, or of the service that it names, or changes it; def must not
// change afterwards. It returns as Register does. An unknown service is an error of code catalog.NotFound.
func (s *State) RegisterCheck(ctx context.Context, def *catalog.AgentCheck, opts Options) error {
	s.change.Lock()
	h, err := s.prepareAlone(def, opts, s.registered)
	if err != nil {
		s.change.Unlock()
		return err
	}
	var reserved map[string]int
	if svc := s.registered(h.row.ServiceID); svc != nil {
		if reserved, err = s.reserve(&registration{service: svc, checks: []*health{h}}, map[int]bool{}); err != nil {
			s.change.Unlock()
			return err
		}
	}
	done := s.edit(newTicket(), func(e *edit) {
		e.reserved = reserved
		e.putCheck(h)
	})
	s.change.Unlock()
	return s.await(ctx, done, "check", h.def.CheckID)
}

// prepareAlone makes a check of a definition that stands by itself.
func (s *State) prepareAlone(def *catalog.AgentCheck, opts Options, find func(id string) *service) (*health, error) {
	d := *def
	switch {
	case d.Name == "":
		return nil, catalog.Errorf(catalog.Invalid, "check %q has no name: set Name", d.CheckID)
	case d.CheckID == "":
		d.CheckID = d.Name
	}
	var row *catalog.Service
	if d.ServiceID != "" {
		svc := find(d.ServiceID)
		if svc == nil {
			return nil, catalog.Errorf(catalog.NotFound, "check %q: service ID %q is not registered with this agent: register it first", d.CheckID, d.ServiceID)
		}
		row, opts.Token = svc.row, cmp.Or(opts.Token, svc.token)
	}
	h, err := s.prepareCheck(&d, row, opts.Token, opts.Source)
	if err != nil {
		return nil, err
	}
	h.alone = true
	plainSpans(h.row)
	return h, nil
}

// registered returns a service, nil when there is none.
func (s *State) registered(id string) *service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services[id]
}

// plainSpans writes the times that a check by itself does not say as Consul does.
func plainSpans(row *catalog.Check) {
	if row.Interval == "" {
		row.Interval = "0s"
	}
	if row.Timeout == "" {
		row.Timeout = "0s"
	}
}

// DeregisterCheck removes a check and returns as Register does. An unknown check is an error of code
// catalog.NotFound.
func (s *State) DeregisterCheck(ctx context.Context, id string) error {
	s.change.Lock()
	if _, ok := s.Check(id); !ok {
		s.change.Unlock()
		return catalog.Errorf(catalog.NotFound, "unknown check ID %q: it is not registered with this agent", id)
	}
	done := s.edit(newTicket(), func(e *edit) { e.dropCheck(e.checks[id]) })
	s.change.Unlock()
	return s.await(ctx, done, "check", id)
}

// UpdateCheck takes the state of a ttl check from its service. The catalog learns of it soon, it is not
// waited for. The error is of code catalog.NotFound for an unknown check, Invalid for an unknown status
// and Internal for a check of another kind.
func (s *State) UpdateCheck(id string, status catalog.Status, output string) error {
	if c, ok := s.Check(id); ok && c.Type == maintenanceType {
		return catalog.Errorf(catalog.Internal, "check %q has no TTL: only ttl checks take a state", id)
	}
	return s.set.Update(id, status, output)
}

// putCheck registers a check. One that was there keeps its state.
func (e *edit) putCheck(h *health) {
	old := e.checks[h.row.CheckID]
	e.touched[h.row.ServiceID] = true
	if old != nil {
		e.touched[old.row.ServiceID] = true
	}
	if old != nil && old.row.ServiceID == h.row.ServiceID && !h.maintenance() {
		row := *h.row
		row.Status, row.Output, row.ExposedPort = old.row.Status, old.row.Output, old.row.ExposedPort
		h.row = &row
	}
	if old == nil {
		e.resume(h)
	}
	same := old != nil && h.same(old)
	if !same {
		e.saveCheck(h)
	}
	registered := old == nil || old.def != h.def // or else it is its service that changes
	if old != nil && old.row.Same(h.row) {
		if h.row = old.row; same {
			h = old
		}
	}
	if h != old {
		e.setCheck(h)
	}
	if !same || registered && h.def.Kind() == "ttl" { // a time to live begins anew
		e.start = append(e.start, h)
		if old != nil {
			delete(e.resumed, h.row.CheckID)
		}
	}
	o := e.link(h)
	if o.check != h.row || o.refused != nil {
		o.check = h.row
		e.dispatch(o)
	}
	e.join(e.ticket, o)
}

// link returns the object of a check, with its token and its place in its service.
func (s *State) link(h *health) *object {
	o := s.object(objectKey{checkObject, h.row.CheckID})
	o.token = h.token
	var owner *object
	if h.row.ServiceID != "" {
		owner = s.object(objectKey{serviceObject, h.row.ServiceID})
	}
	s.own(owner, o)
	return o
}

func (e *edit) dropCheck(h *health) {
	id := h.row.CheckID
	e.touched[h.row.ServiceID] = true
	o := e.object(objectKey{checkObject, id})
	o.check = nil
	if o.token == "" {
		o.token = agentToken
	}
	switch {
	case o.owner != nil && o.owner.gone():
		o.dirty, o.deferred = true, false // it goes with its service
	default:
		e.dispatch(o)
		e.join(e.ticket, o)
	}
	e.unsetCheck(id)
	e.stop = append(e.stop, id)
	e.saves = append(e.saves, save{checkKey(id), nil})
	delete(e.resumed, id)
	e.states.commit([]save{{id, nil}})
}

func (e *edit) saveCheck(h *health) {
	key := checkKey(h.row.CheckID)
	if h.origin != check.Remote {
		e.saves = append(e.saves, save{key, nil})
		return
	}
	e.saves = append(e.saves, save{key, &checkRecord{Check: h.def, Token: h.token, Alone: h.alone}})
}

// startCheck has a check made from now on. One that says maintenance has nothing to make.
func (s *State) startCheck(h *health) {
	if h.maintenance() {
		return
	}
	def := *h.def
	s.mu.Lock()
	now, x := s.checks[def.CheckID], s.exposed[def.CheckID]
	s.mu.Unlock()
	if now == nil || now.def != h.def {
		return // the same change has removed or replaced it
	}
	def.Status = now.row.Status
	made := &def
	if x.path.ListenerPort > 0 {
		made = check.Through(made, net.JoinHostPort(x.host, strconv.Itoa(x.path.ListenerPort)))
	}
	if err := s.set.Add(made, h.origin); err != nil {
		s.set.Remove(def.CheckID)
		s.log.Error("a check cannot be made", "check", def.CheckID, "service", def.ServiceID, "err", err)
		reporter{s}.Report(def.CheckID, catalog.Critical, err.Error())
	}
}

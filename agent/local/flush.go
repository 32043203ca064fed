package local

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// callTimeout bounds each call to the catalog.
const callTimeout = 15 * time.Second

// flushAll sends what is queued until ctx ends. There is one call at a time: what comes up meanwhile
// shares the next.
func (s *State) flushAll(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		batch, token, wait := s.take(time.Now())
		s.mu.Unlock()
		if len(batch) > 0 {
			s.deliver(ctx, batch, token)
			continue
		}
		var alarm <-chan time.Time
		if wait > 0 {
			alarm = time.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-alarm:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failAll(errStopped)
}

// deliver sends a batch and reports whether the servers can be reached. One bad object does not hold up
// the others: the batch is halved until it is found.
func (s *State) deliver(ctx context.Context, batch []unit, token string) bool {
	err := s.send(ctx, batch, token)
	switch {
	case err == nil:
		s.delivered(batch)
	case ctx.Err() != nil || transient(err):
		s.undelivered(batch, err)
		return false
	case len(batch) > 1:
		half := len(batch) / 2
		if !s.deliver(ctx, batch[:half], token) {
			s.undelivered(batch[half:], err)
			return false
		}
		return s.deliver(ctx, batch[half:], token)
	case len(batch[0]) > 1 && batch[0][0].service != nil:
		return s.deliverParts(ctx, batch[0], token)
	default:
		s.refused(batch[0], err)
	}
	return true
}

// deliverParts sends a service and then each of its checks alone.
func (s *State) deliverParts(ctx context.Context, u unit, token string) bool {
	err := s.send(ctx, []unit{u[:1]}, token)
	switch {
	case err == nil:
		s.delivered([]unit{u[:1]})
	case ctx.Err() != nil || transient(err):
		s.undelivered([]unit{u}, err)
		return false
	default:
		s.refused(u, err) // without their service the checks have no place
		return true
	}
	for i := 1; i < len(u); i++ {
		if !s.deliver(ctx, []unit{u[i : i+1]}, token) {
			s.undelivered([]unit{u[i+1:]}, errUnreachable)
			return false
		}
	}
	return true
}

// transient is whether trying again later may help although nothing has changed here.
func transient(err error) bool {
	switch catalog.CodeOf(err) {
	case catalog.NoLeader, catalog.NoPath, catalog.Unavailable, catalog.Limited:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// send makes one request of the units.
func (s *State) send(ctx context.Context, batch []unit, token string) error {
	s.mu.Lock()
	node := s.node.node
	s.mu.Unlock()
	req := request(node, batch)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, _, err := api.Sync.Call(ctx, s.caller, rpc.Header{Token: s.secret(token)}, req)
	return err
}

func request(node *catalog.Node, batch []unit) *api.SyncRequest {
	req := &api.SyncRequest{Register: api.RegisterRequest{
		ID: node.ID, Node: node.Node, Address: node.Address, Datacenter: node.Datacenter,
		TaggedAddresses: node.TaggedAddresses, NodeMeta: node.Meta, Locality: node.Locality,
		SkipNodeUpdate: true, // tokens of services need not be allowed to write the node
	}}
	for _, u := range batch {
		for _, p := range u {
			switch {
			case p.node != nil:
				req.Register.SkipNodeUpdate = false
			case p.service != nil:
				req.Register.Services = append(req.Register.Services, p.service)
			case p.check != nil:
				req.Register.Checks = append(req.Register.Checks, p.check)
			case p.covered:
			case p.o.key.kind == serviceObject:
				req.Deregister = append(req.Deregister, api.DeregisterRequest{Node: node.Node, ServiceID: p.o.key.id})
			case p.o.key.kind == checkObject:
				req.Deregister = append(req.Deregister, api.DeregisterRequest{Node: node.Node, CheckID: p.o.key.id})
			}
		}
	}
	return req
}

// current is whether nothing has changed since the part was taken.
func (p *part) current() bool {
	return p.node == p.o.node && p.service == p.o.service && p.check == p.o.check
}

func (s *State) delivered(batch []unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry.reset()
	for _, u := range batch {
		for i := len(u) - 1; i >= 0; i-- { // checks before their service, which goes when it has none
			p := &u[i]
			o := p.o
			o.sending = false
			release(p.tickets, nil)
			if !p.current() {
				continue // it is queued again
			}
			o.dirty, o.refused, o.told = false, nil, ""
			release(o.tickets, nil)
			o.tickets = nil
			if o.gone() {
				s.forget(o)
			}
			for _, c := range o.checks {
				if c.dirty && !c.queued && !c.sending && !c.deferred && c.refused == nil {
					s.enqueue(c) // it waited for its service
				}
			}
		}
	}
}

// undelivered puts the units back: the servers cannot be reached. Nobody waits for that.
func (s *State) undelivered(batch []unit, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.retry.pause == retryMin // at the start there may be no leader for a moment
	s.retry.fail(time.Now())
	if again {
		s.log.Warn("changes of this node could not be sent to the catalog, they are kept and sent later", "objects", len(batch), "err", err)
	}
	for _, u := range batch {
		for i := range u {
			p := &u[i]
			p.o.sending = false
			release(p.tickets, err)
			s.enqueue(p.o)
		}
	}
}

// refused notes that the catalog does not take a unit. It is tried again when it changes and after the
// next comparison.
func (s *State) refused(u unit, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range u {
		p := &u[i]
		o := p.o
		o.sending = false
		switch {
		case !p.current():
			release(p.tickets, err)
		case o.gone() && o.token != agentToken && catalog.CodeOf(err) == catalog.Denied:
			o.token = agentToken // the agent may remove what is on its node
			s.enqueue(o)
			o.tickets = append(o.tickets, p.tickets...)
		default:
			o.refused = err
			release(slices.Concat(p.tickets, o.tickets), err)
			o.tickets = nil
			if o.told == err.Error() {
				continue // it is refused after each comparison
			}
			o.told = err.Error()
			s.log.Warn("the catalog refused an entry of this node", "kind", o.key.kind.String(), "id", o.key.id, "removal", o.gone(), "err", err)
		}
	}
}

func (k objectKind) String() string {
	return [...]string{"node", "service", "check"}[k]
}

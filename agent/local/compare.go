package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// Timing of the comparisons with the catalog.
// Source: https://developer.hashicorp.com/consul/docs/concept/consistency (periodic synchronization)
const (
	comparePeriod = time.Minute // up to compareNodes nodes, and as much again for each doubling
	compareNodes  = 128
	kickSpread    = 2 * time.Millisecond // for each node of the pool, up to kickMost
	kickMost      = 30 * time.Second
	compareRetry  = 500 * time.Millisecond // after the first failure, doubling up to the period
	compareWarn   = 4                      // failures one after the other
)

// period is the mean time between comparisons in a cluster of that many nodes.
func period(nodes int) time.Duration {
	doublings := bits.Len(uint((max(nodes, 1) - 1) / compareNodes))
	return comparePeriod * time.Duration(1+doublings)
}

// compareAll compares with the catalog at once, when kicked and periodically, until ctx ends.
func (s *State) compareAll(ctx context.Context) {
	retry, failures := compareRetry, 0
	for ctx.Err() == nil {
		wait := jitter(period(s.clusterSize()))
		err := s.compare(ctx)
		switch {
		case err == nil:
			retry, failures = compareRetry, 0
		case transient(err):
			failures++
			wait = min(wait, jitter(retry))
			retry = min(2*retry, comparePeriod)
		default:
			failures = compareWarn
			s.sendUncompared()
		}
		if err != nil && ctx.Err() == nil {
			level := slog.LevelDebug // at the start there may be no leader for a moment
			if failures == compareWarn {
				level = slog.LevelWarn
			}
			s.log.Log(ctx, level, "this node could not be compared with the catalog", "err", err, "again", wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.kicked:
			pause.For(ctx, rand.N(min(kickSpread*time.Duration(s.clusterSize()), kickMost)))
			retry = compareRetry
		}
		timer.Stop()
	}
}

// view is this node as the catalog has it.
type view struct {
	node     *catalog.Node
	services map[string]*catalog.Service
	checks   []*catalog.Check
}

// compare reads what the catalog has of this node and queues what differs. An old answer does no harm:
// the worst of it is that something is said twice.
func (s *State) compare(ctx context.Context) error {
	s.mu.Lock()
	paused, name := s.paused > 0, s.node.node.Node
	s.mu.Unlock()
	if paused {
		return errPaused
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	header := rpc.Header{Token: s.secret(agentToken), Consistency: rpc.Stale}
	query := &api.NodeQuery{Node: name}
	services, _, err := api.NodeServiceMap.Call(ctx, s.caller, header, query)
	if err != nil {
		return fmt.Errorf("reading the services of node %q: %w", name, err)
	}
	checks, _, err := api.HealthNode.Call(ctx, s.caller, header, query)
	if err != nil {
		return fmt.Errorf("reading the checks of node %q: %w", name, err)
	}
	v := view{checks: *checks}
	if *services != nil {
		v.node, v.services = (*services).Node, (*services).Services
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(v)
	return nil
}

// sendUncompared queues what the catalog may not have, because it cannot be asked: the agent's token may not
// read it, say.
func (s *State) sendUncompared() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compared = true
	for _, o := range s.objects {
		if o.dirty && !o.queued && !o.sending && !o.deferred {
			s.enqueue(o)
		}
	}
}

// settle queues what differs from the view.
func (s *State) settle(v view) {
	if o := s.node; !o.queued && !o.sending {
		s.verdict(o, v.node != nil && sameNode(o.node, v.node))
	}
	checks := make(map[string]*catalog.Check, len(v.checks))
	for _, c := range v.checks {
		checks[c.CheckID] = c
	}
	for _, theirs := range v.services {
		s.adoptTags(theirs)
	}
	s.compared = true
	for _, o := range s.objects {
		if o.queued || o.sending {
			continue // the catalog will know
		}
		switch o.key.kind {
		case serviceObject:
			theirs := v.services[o.key.id]
			s.verdict(o, o.gone() && theirs == nil || !o.gone() && theirs != nil && sameService(o.service, theirs))
		case checkObject:
			s.settleCheck(o, checks[o.key.id])
		}
	}
	s.strangers(v, checks)
}

func (s *State) settleCheck(o *object, theirs *catalog.Check) {
	switch {
	case o.gone() || theirs == nil:
		s.verdict(o, o.gone() && theirs == nil)
	case o.held && o.deferred: // it is told at its time
	case o.deferred && sameCheck(o.check, theirs, true):
	default:
		s.verdict(o, sameCheck(o.check, theirs, false))
	}
}

// verdict notes whether the catalog has what it should.
func (s *State) verdict(o *object, same bool) {
	if !same {
		s.enqueue(o)
		return
	}
	o.dirty, o.deferred, o.refused = false, false, nil
	if o.gone() {
		s.forget(o)
	}
}

// strangers queues the removal of what the catalog has on this node and the agent does not know, but for
// what the servers themselves say of it.
func (s *State) strangers(v view, checks map[string]*catalog.Check) {
	for id := range v.services {
		key := objectKey{serviceObject, id}
		if id != serversService && s.objects[key] == nil {
			s.log.Info("removing a service of this node from the catalog that is not registered here", "service", id)
			s.remove(key, nil)
		}
	}
	for id, c := range checks {
		key := objectKey{checkObject, id}
		if id == catalog.SerfHealth || c.ServiceID == serversService && c.ServiceID != "" || s.objects[key] != nil {
			continue
		}
		owner := s.objects[objectKey{serviceObject, c.ServiceID}]
		if owner != nil && owner.gone() {
			continue // it goes with its service
		}
		s.log.Info("removing a check of this node from the catalog that is not registered here", "check", id)
		s.remove(key, owner)
	}
}

func (s *State) remove(key objectKey, owner *object) {
	o := s.object(key)
	o.token = agentToken
	if key.kind == checkObject {
		s.own(owner, o)
	}
	s.enqueue(o)
}

// adoptTags makes the catalog's tags those of a service that lets others set them.
// Source: https://developer.hashicorp.com/consul/docs/concept/consistency (enable tag override)
func (s *State) adoptTags(theirs *catalog.Service) {
	svc := s.services[theirs.ID]
	o := s.objects[objectKey{serviceObject, theirs.ID}]
	if svc == nil || o.queued || o.sending || !svc.row.EnableTagOverride || slices.Equal(svc.row.Tags, theirs.Tags) {
		return
	}
	row := *svc.row
	row.Tags = theirs.Tags
	row.Normalize()
	next := *svc
	next.row, o.service = &row, &row
	s.setService(&next)
	for id, h := range s.owned[row.ID] {
		next := *h
		next.row = retag(h.row, &row)
		s.setCheck(&next)
		s.objects[objectKey{checkObject, id}].check = next.row
	}
}

// sameNode ignores an id that is not ours to give.
func sameNode(ours, theirs *catalog.Node) bool {
	o, t := *ours, *theirs
	if o.ID == "" {
		t.ID = ""
	}
	if o.Datacenter == "" {
		t.Datacenter = ""
	}
	return o.Same(&t)
}

// sameService leaves aside the virtual address of what belongs to the mesh: the catalog assigns that.
func sameService(ours, theirs *catalog.Service) bool {
	o, t := *ours, *theirs
	t.Normalize()
	if o.ConnectName() != "" {
		o.TaggedAddresses, t.TaggedAddresses = butVirtual(o.TaggedAddresses), butVirtual(t.TaggedAddresses)
	}
	if o.Same(&t) {
		return true
	}
	// What crossed the network may say the same in other words: no list for an empty one.
	if !sameJSON(o.Proxy, t.Proxy) {
		return false
	}
	o.Proxy = t.Proxy
	return o.Same(&t)
}

func butVirtual(tagged map[string]catalog.ServiceAddress) map[string]catalog.ServiceAddress {
	if _, ok := tagged[catalog.VirtualTag]; !ok {
		return tagged
	}
	rest := maps.Clone(tagged)
	delete(rest, catalog.VirtualTag)
	return rest
}

func sameJSON(a, b any) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && bytes.Equal(x, y)
}

func sameCheck(ours, theirs *catalog.Check, butOutput bool) bool {
	t := *theirs
	t.Normalize()
	if butOutput {
		t.Output = ours.Output
	}
	return ours.Same(&t)
}

package server

import (
	"context"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// How soon the others are told of one change after another, and again when that has failed.
const (
	federateEvery = time.Second
	federateRetry = 5 * time.Second
)

// keepFederated tells the other datacenters of each change of this one's mesh gateways until ctx ends.
func (s *leadership) keepFederated(ctx context.Context) {
	for pause.For(ctx, federateEvery); ctx.Err() == nil; pause.For(ctx, federateEvery) {
		var w state.Watch
		abandoned := s.store.Abandoned()
		again := reconcileInterval
		if !s.federate(ctx, &w) {
			again = federateRetry
		}
		wait, cancel := context.WithTimeout(ctx, again)
		_ = w.Wait(wait, abandoned) // what ends it, a change or the time, has it looked at
		cancel()
	}
}

// federate tells the other datacenters by which mesh gateways this one is reached, when that has changed. It reports
// whether they know.
func (s *leadership) federate(ctx context.Context, w *state.Watch) bool {
	tx := s.store.Read()
	now := catalog.FederationState{Datacenter: s.cfg.Datacenter}
	now.MeshGateways, _ = state.Gateways(tx, w, catalog.KindMeshGateway)
	same := func(a, b *catalog.Instance) bool {
		return a.Node.Same(b.Node) && a.Service.Same(b.Service) && slices.EqualFunc(a.Checks, b.Checks, (*catalog.Check).Same)
	}
	told, _ := state.Federation(tx, w, s.cfg.Datacenter)
	if told != nil && slices.EqualFunc(told.MeshGateways, now.MeshGateways, same) {
		return true
	}
	if s.replica.Follows() { // it comes back with the copy
		ctx, cancel := context.WithTimeout(ctx, s.abroad.dial)
		defer cancel()
		h := s.host.toPrimary()
		_, _, err := api.FederationApply.Call(ctx, s.registry, h, &now)
		if err != nil && ctx.Err() == nil {
			s.log.Debug("the primary datacenter could not be told of the mesh gateways of this one; it is tried again", "primary", h.Datacenter, "err", err)
		}
		return err == nil
	}
	_, _, err := api.FederationApply.Call(ctx, s.registry.Duties(), rpc.Header{}, &now)
	if err != nil && ctx.Err() == nil {
		s.log.Warn("the mesh gateways of this datacenter could not be told", "err", err)
	}
	return err == nil
}

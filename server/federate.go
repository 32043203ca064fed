package server

import (
	"context"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// federate tells the other datacenters by which mesh gateways this one is reached, when that has changed.
func (s *leadership) federate(ctx context.Context) {
	tx := s.store.Read()
	now := catalog.FederationState{Datacenter: s.cfg.Datacenter}
	state.AllInstances(tx, nil, func(i *catalog.Instance) {
		if i.Service.Kind == catalog.KindMeshGateway {
			now.MeshGateways = append(now.MeshGateways, i)
		}
	})
	same := func(a, b *catalog.Instance) bool {
		return a.Node.Same(b.Node) && a.Service.Same(b.Service) && slices.EqualFunc(a.Checks, b.Checks, (*catalog.Check).Same)
	}
	told, _ := state.Federation(tx, nil, s.cfg.Datacenter)
	if told != nil && slices.EqualFunc(told.MeshGateways, now.MeshGateways, same) {
		return
	}
	if s.replica.Follows() { // it comes back with the copy
		ctx, cancel := context.WithTimeout(ctx, wanDial)
		defer cancel()
		h := s.host.toPrimary()
		_, _, err := api.FederationApply.Call(ctx, s.registry, h, &now)
		if err != nil && ctx.Err() == nil {
			s.log.Debug("the primary datacenter could not be told of the mesh gateways of this one; it is tried again", "primary", h.Datacenter, "err", err)
		}
		return
	}
	if _, _, err := api.FederationApply.Call(ctx, s.registry.Duties(), rpc.Header{}, &now); err != nil && ctx.Err() == nil {
		s.log.Warn("the mesh gateways of this datacenter could not be told", "err", err)
	}
}

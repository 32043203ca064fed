package local

import (
	"cmp"
	"context"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// What the checks of maintenance say.
const (
	maintenanceType    = "maintenance"
	noReason           = "Maintenance mode is on, no reason was given."
	nodeMaintenance    = "Node Maintenance Mode"
	serviceMaintenance = "Service Maintenance Mode"
)

// SetNodeMaintenance takes the node out of service, for a reason, or back into it.
func (s *State) SetNodeMaintenance(ctx context.Context, on bool, reason, token string) error {
	s.change.Lock()
	return s.setMaintenance(ctx, on, &catalog.AgentCheck{CheckID: catalog.NodeMaintenance, Name: nodeMaintenance, Notes: reason}, nil, token)
}

// SetServiceMaintenance takes a service out of service, for a reason, or back into it. An unknown service is
// an error of code catalog.NotFound.
func (s *State) SetServiceMaintenance(ctx context.Context, id string, on bool, reason, token string) error {
	s.change.Lock()
	svc := s.registered(id)
	if svc == nil {
		s.change.Unlock()
		return catalog.Errorf(catalog.NotFound, "unknown service ID %q: it is not registered with this agent", id)
	}
	def := &catalog.AgentCheck{CheckID: catalog.ServiceMaintenance + id, Name: serviceMaintenance, Notes: reason, ServiceID: id}
	return s.setMaintenance(ctx, on, def, svc.row, cmp.Or(token, svc.token))
}

// setMaintenance registers the check that says so, or removes it. It lets go of s.change.
func (s *State) setMaintenance(ctx context.Context, on bool, def *catalog.AgentCheck, row *catalog.Service, token string) error {
	if def.Notes == "" {
		def.Notes = noReason
	}
	h := s.newMaintenance(def, row, token)
	done := s.edit(newTicket(), func(e *edit) {
		switch old := e.checks[def.CheckID]; {
		case on:
			e.putCheck(h)
		case old != nil:
			e.dropCheck(old)
		}
	})
	s.change.Unlock()
	s.log.Info("maintenance mode", "service", def.ServiceID, "on", on, "reason", def.Notes)
	return s.await(ctx, done, "check", def.CheckID)
}

func (s *State) newMaintenance(def *catalog.AgentCheck, row *catalog.Service, token string) *health {
	def.Status = catalog.Critical
	h := s.newHealth(def, row, token, check.Remote)
	h.row.Type, h.alone = maintenanceType, true
	return h
}

package local

import (
	"context"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// aliased knows what alias checks follow: on this node from what is registered, elsewhere from the catalog.
type aliased struct{ *State }

// aliasWait bounds each blocking read of another node's checks.
const aliasWait = 5 * time.Minute

// AliasState implements check.Aliased.
func (a aliased) AliasState(ctx context.Context, target check.AliasTarget) (check.AliasState, error) {
	if target.Node != "" && !strings.EqualFold(target.Node, a.cfg.Node.Node) {
		return a.remote(ctx, target)
	}
	s := a.State
	s.mu.Lock()
	defer s.mu.Unlock()
	if target.ServiceID != "" && s.services[target.ServiceID] == nil {
		return check.AliasState{Changed: s.watch(topic{serviceObject, target.ServiceID})}, nil
	}
	return check.AliasState{
		Found: true, Checks: s.checksOf(target.ServiceID, false),
		Changed: s.watch(topic{checkObject, target.ServiceID}), // of the last change too, when the service goes
	}, nil
}

func (a aliased) remote(ctx context.Context, target check.AliasTarget) (check.AliasState, error) {
	state, index, err := a.read(ctx, target, 0)
	if err != nil {
		return check.AliasState{}, err
	}
	changed := make(chan struct{})
	state.Changed = changed
	go func() { // ends with the check, at the first news, and now and then without any
		defer close(changed)
		_, _, _ = a.read(ctx, target, index) // after an error the question is asked again, and answered with it
	}()
	return state, nil
}

// read reads the checks of another node, once they are newer than index.
func (a aliased) read(ctx context.Context, target check.AliasTarget, index uint64) (check.AliasState, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, aliasWait+callTimeout)
	defer cancel()
	h := rpc.Header{Token: a.secret(target.Token), Consistency: rpc.Stale, MinIndex: index, MaxWait: aliasWait}
	query := &api.NodeQuery{Node: target.Node}
	services, _, err := api.NodeServiceMap.Call(ctx, a.caller, rpc.Header{Token: h.Token, Consistency: rpc.Stale}, query)
	if err != nil {
		return check.AliasState{}, 0, err
	}
	checks, meta, err := api.HealthNode.Call(ctx, a.caller, h, query)
	if err != nil {
		return check.AliasState{}, 0, err
	}
	state := check.AliasState{Checks: *checks, Found: *services != nil}
	if state.Found && target.ServiceID != "" {
		_, state.Found = (*services).Services[target.ServiceID]
	}
	return state, max(meta.Index, 1), nil
}

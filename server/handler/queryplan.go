package handler

import (
	"cmp"
	"context"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// registerQueryPlans adds what proxies follow in place of what a query finds at the moment: each place that it looks at, by
// itself, so that they know who stands in before anybody has to.
func registerQueryPlans(r *endpoint.Registry, d Deps) {
	endpoint.AddQuery(r, endpoint.Query[api.QueryRun, api.QueryPlan]{
		Method: api.QueryPlanned,
		Check:  checkRun,
		As:     runsAs,
		Read: func(tx *state.Txn, w *state.Watch, run *api.QueryRun) (*api.QueryPlan, uint64, error) {
			q, index, err := renderQuery(tx, w, run)
			if err != nil || q == nil {
				return &api.QueryPlan{}, index, err
			}
			s := &q.Service
			plan := &api.QueryPlan{Found: true, Service: s.Service, Datacenter: d.Datacenter, Peer: s.Peer, Failover: s.Failover, Version: q.ModifyIndex}
			if s.SamenessGroup != "" {
				var at uint64
				plan.Failover.Targets, at = groupTargets(tx, w, s.SamenessGroup)
				index = max(index, at)
			}
			return plan, index, nil
		},
		Visible: func(az acl.Authorizer, plan *api.QueryPlan) (*api.QueryPlan, bool) {
			if !plan.Found || seesService(az, plan.Service) {
				return plan, false
			}
			return &api.QueryPlan{}, true
		},
	})
	// It is the leader's, who has the version that the plan was made of.
	endpoint.AddAction(r, endpoint.Action[api.QueryLeg, []*catalog.Instance]{
		Method: api.QueryAt,
		Open:   "whoever it asks decides what the token may see",
		Do: func(ctx context.Context, h rpc.Header, leg *api.QueryLeg) (*[]*catalog.Instance, rpc.Meta, error) {
			return runLeg(ctx, r, d, h, leg)
		},
	})
}

// runLeg asks for what a query selects in one place. A query that runs as somebody else does so only where it leads to.
func runLeg(ctx context.Context, r *endpoint.Registry, d Deps, h rpc.Header, leg *api.QueryLeg) (*[]*catalog.Instance, rpc.Meta, error) {
	run, tx := &api.QueryRun{Name: leg.Name, Connect: true}, d.Store.Read()
	if err := checkRun(run); err != nil {
		return nil, rpc.Meta{}, err
	}
	q, _, err := renderQuery(tx, nil, run)
	if err != nil {
		return nil, rpc.Meta{}, err
	}
	if q == nil {
		return nil, rpc.Meta{}, catalog.Errorf(catalog.NotFound, "no prepared query %q", leg.Name)
	}
	if leg.Target != (catalog.QueryTarget{}) && !leads(tx, d, &q.Service, leg.Target) {
		return nil, rpc.Meta{}, catalog.Errorf(catalog.Invalid, "prepared query %q does not fail over to datacenter %q or peer %q", leg.Name, leg.Target.Datacenter, leg.Target.Peer)
	}
	h.Token = cmp.Or(q.Token, h.Token)
	found, meta, err := askTarget(ctx, r, d, h, q, leg.Target, 0, false)
	if err != nil {
		return nil, meta, err
	}
	return withoutChecks(found.Nodes, q.Service.IgnoreCheckIDs), meta, nil
}

// leads reports whether a query may fail over to a place. Which datacenters are the nearest those who ask may see otherwise.
func leads(tx *state.Txn, d Deps, s *catalog.QueryService, target catalog.QueryTarget) bool {
	if s.Failover.NearestN > 0 && target.Peer == "" && slices.Contains(d.Abroad(), target.Datacenter) {
		return true
	}
	return slices.ContainsFunc(targets(tx, d, s), func(t catalog.QueryTarget) bool {
		return t.Datacenter == target.Datacenter && t.Peer == target.Peer
	})
}

// withoutChecks are instances without those of their checks that do not count.
func withoutChecks(list []*catalog.Instance, ids []string) *[]*catalog.Instance {
	if len(ids) == 0 {
		return &list
	}
	kept := make([]*catalog.Instance, len(list))
	for n, i := range list {
		other := *i
		other.Checks = slices.DeleteFunc(slices.Clone(i.Checks), func(c *catalog.Check) bool { return slices.Contains(ids, c.CheckID) })
		kept[n] = &other
	}
	return &kept
}

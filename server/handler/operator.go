package handler

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerOperator(r *endpoint.Registry, d Deps) {
	read := func(*api.Nothing) []acl.Need { return need(acl.Operator, "", acl.Read) }
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, catalog.AutopilotConfig]{
		Method: api.AutopilotRead,
		Needs:  read,
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*catalog.AutopilotConfig, uint64, error) {
			if c := state.Autopilot(tx, w); c != nil {
				return c, c.ModifyIndex, nil
			}
			return nil, 0, catalog.Errorf(catalog.Unavailable, "autopilot has no configuration yet: no leader has been elected since this cluster was made")
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.AutopilotWrite, bool]{
		Method:  api.AutopilotSet,
		Needs:   func(*api.AutopilotWrite) []acl.Need { return need(acl.Operator, "", acl.Write) },
		Prepare: func(_ context.Context, req *api.AutopilotWrite) (*api.AutopilotWrite, error) { return req, nil },
		Apply: func(tx *state.Txn, req *api.AutopilotWrite) (*bool, error) {
			done := true
			if req.CAS {
				done = state.SetAutopilotCAS(tx, &req.Config, req.Config.ModifyIndex)
			} else {
				state.SetAutopilot(tx, &req.Config)
			}
			return &done, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, map[string]*api.Usage]{
		Method: api.UsageRead,
		Needs:  read,
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*map[string]*api.Usage, uint64, error) {
			usage, index := usage(tx, w)
			return &map[string]*api.Usage{d.Datacenter: &usage}, index, nil
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.Reap, api.Nothing]{
		Method: api.GravesReap,
		Needs:  func(*api.Reap) []acl.Need { return need(acl.Operator, "", acl.Write) },
		Apply: func(tx *state.Txn, req *api.Reap) (*api.Nothing, error) {
			state.ReapGraves(tx, req.Index)
			return nothing, nil
		},
	})
}

// usage counts what the store holds.
func usage(tx *state.Txn, w *state.Watch) (api.Usage, uint64) {
	all, index := state.Nodes(tx, w, nil)
	services, named := state.ServiceNames(tx, w)
	index = max(index, named)
	u := api.Usage{Nodes: len(all), Services: len(services), ConnectServiceInstances: map[string]int{
		"connect-native": 0, string(catalog.KindConnectProxy): 0, string(catalog.KindMeshGateway): 0,
		string(catalog.KindTerminatingGateway): 0, string(catalog.KindIngressGateway): 0, string(catalog.KindAPIGateway): 0,
	}}
	counted := state.AllInstances(tx, w, func(i *catalog.Instance) {
		u.ServiceInstances++
		switch {
		case i.Service.Kind != catalog.KindTypical:
			u.ConnectServiceInstances[string(i.Service.Kind)]++
		case i.Service.Service != catalog.ServersService:
			u.BillableServiceInstances++
		}
		if i.Service.Connect.Native {
			u.ConnectServiceInstances["connect-native"]++
		}
	})
	return u, max(index, counted)
}

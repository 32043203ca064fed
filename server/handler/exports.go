package handler

import (
	"context"
	"maps"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerExports(r *endpoint.Registry, d Deps) {
	needs := func(access acl.Access) []acl.Need {
		return entryNeeds(&catalog.EntryHead{Kind: catalog.EntryExportedServices}, access)
	}
	endpoint.AddCommand(r, endpoint.Command[catalog.ExportSet, catalog.ExportSet]{
		Method: api.ExportSetPut,
		Needs:  func(*catalog.ExportSet) []acl.Need { return needs(acl.Write) },
		Prepare: func(_ context.Context, req *catalog.ExportSet) (*catalog.ExportSet, error) {
			return req, req.Validate()
		},
		Apply: func(tx *state.Txn, req *catalog.ExportSet) (*catalog.ExportSet, error) {
			if err := (graph{&entriesRead{tx: tx}}).exported(req.Entry(), ""); err != nil {
				return nil, err
			}
			return state.PutExportSet(tx, req)
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.Named, api.Nothing]{
		Method: api.ExportSetDelete,
		Needs:  func(*api.Named) []acl.Need { return needs(acl.Write) },
		Answer: func(req *api.Named) *api.Nothing {
			if s, _ := state.ExportSet(d.Store.Read(), nil, req.Name); s != nil {
				return nil
			}
			return nothing
		},
		Apply: func(tx *state.Txn, req *api.Named) (*api.Nothing, error) {
			state.DeleteExportSet(tx, req.Name)
			return nothing, nil
		},
	})
	type list = []*catalog.ExportSet
	endpoint.AddQuery(r, endpoint.Query[api.Named, list]{
		Method: api.ExportSetRead,
		Needs:  func(*api.Named) []acl.Need { return needs(acl.Read) },
		Read: func(tx *state.Txn, w *state.Watch, q *api.Named) (*list, uint64, error) {
			found, index := state.ExportSet(tx, w, q.Name)
			if found == nil {
				return &list{}, index, nil
			}
			return &list{found}, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, list]{
		Method: api.ExportSetList,
		Needs:  func(*api.Nothing) []acl.Need { return needs(acl.Read) },
		Filter: filter.List[*catalog.ExportSet],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*list, uint64, error) {
			found, index := state.ExportSets(tx, w)
			return &found, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Named, []api.ExportedService]{
		Method:  api.ExportedServices,
		Read:    readExports,
		Filter:  filter.List[api.ExportedService],
		Visible: visible(func(az acl.Authorizer, e api.ExportedService) bool { return seesService(az, e.Service) }),
	})
}

// exportEntries lists all that says what is exported: the config entry, if there is one, and the export sets.
func exportEntries(tx *state.Txn, w *state.Watch) ([]*catalog.ExportedServices, uint64) {
	all := []*catalog.ExportedServices{}
	entry, index := state.ConfigEntry(tx, w, catalog.EntryExportedServices, catalog.DefaultTenancy)
	if e, ok := entry.(*catalog.ExportedServices); ok {
		all = append(all, e)
	}
	sets, at := state.ExportSets(tx, w)
	for _, s := range sets {
		all = append(all, s.Entry())
	}
	return all, max(index, at)
}

// readExports lists the exported services with their consumers, one for each that a wildcard stands for.
// With a name it lists those that this peer may reach.
func readExports(tx *state.Txn, w *state.Watch, q *api.Named) (*[]api.ExportedService, uint64, error) {
	entries, index := exportEntries(tx, w)
	list := []api.ExportedService{}
	consumers := map[string]map[string]bool{}
	export := func(service string, to []catalog.ServiceConsumer) {
		for _, c := range to {
			peers, at := peersOf(tx, w, c)
			index = max(index, at)
			for _, peer := range peers {
				if q.Name != "" && peer != q.Name {
					continue
				}
				if consumers[service] == nil {
					consumers[service] = map[string]bool{}
				}
				consumers[service][peer] = true
			}
		}
	}
	for _, e := range entries {
		for _, s := range e.Services {
			if s.Name != catalog.Wildcard {
				export(s.Name, s.Consumers)
				continue
			}
			at := state.AllInstances(tx, w, func(i *catalog.Instance) {
				if i.Service.Kind == catalog.KindTypical && i.Service.Service != catalog.ServersService {
					export(i.Service.Service, s.Consumers)
				}
			})
			index = max(index, at)
		}
	}
	for _, service := range slices.Sorted(maps.Keys(consumers)) {
		list = append(list, api.ExportedService{Service: service, Consumers: api.ExportConsumers{Peers: slices.Sorted(maps.Keys(consumers[service]))}})
	}
	return &list, index, nil
}

// peersOf lists the peers that a consumer is: itself, or the members of a group.
func peersOf(tx *state.Txn, w *state.Watch, c catalog.ServiceConsumer) ([]string, uint64) {
	if c.Peer != "" {
		return []string{c.Peer}, 1
	}
	entry, index := state.ConfigEntry(tx, w, catalog.EntrySamenessGroup, c.SamenessGroup)
	group, ok := entry.(*catalog.SamenessGroup)
	if !ok {
		return nil, index
	}
	var peers []string
	for _, m := range group.Members {
		if m.Peer != "" {
			peers = append(peers, m.Peer)
		}
	}
	return peers, index
}

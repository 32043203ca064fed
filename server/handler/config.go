package handler

import (
	"context"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

type entryList = []*catalog.AnyEntry

func registerConfig(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.ConfigWrite, bool]{
		Method: api.ConfigApply, Primary: ruled[api.ConfigWrite],
		Needs: func(req *api.ConfigWrite) []acl.Need {
			if e := req.Entry.Entry(); e != nil {
				return entryNeeds(e.Head(), acl.Write)
			}
			return need(acl.Operator, "", acl.Write) // it will be refused
		},
		Prepare: func(_ context.Context, req *api.ConfigWrite) (*api.ConfigWrite, error) {
			return prepareConfig(d, req)
		},
		Answer: func(req *api.ConfigWrite) *bool {
			if sameStored(d.Store.Read(), req) {
				return new(true)
			}
			return nil
		},
		Apply: applyConfig,
	})
	endpoint.AddQuery(r, endpoint.Query[api.ConfigQuery, catalog.AnyEntry]{
		Method: api.ConfigGet,
		Check:  knownKind,
		Needs: func(q *api.ConfigQuery) []acl.Need {
			return entryNeeds(&catalog.EntryHead{Kind: q.Kind, Name: q.Name}, acl.Read)
		},
		Read: func(tx *state.Txn, w *state.Watch, q *api.ConfigQuery) (*catalog.AnyEntry, uint64, error) {
			e, index := state.ConfigEntry(tx, w, q.Kind, q.Name)
			if e == nil {
				return &catalog.AnyEntry{}, index, nil
			}
			return catalog.AnyOf(e), index, nil
		},
	})
	addConfigList(r, api.ConfigList.Name, knownKind)
	addConfigList(r, api.ConfigListAll.Name, nil)
}

func addConfigList(r *endpoint.Registry, name string, check func(*api.ConfigQuery) error) {
	method := api.ConfigList
	method.Name = name
	endpoint.AddQuery(r, endpoint.Query[api.ConfigQuery, entryList]{
		Method: method,
		Check:  check,
		Read: func(tx *state.Txn, w *state.Watch, q *api.ConfigQuery) (*entryList, uint64, error) {
			found, index := state.ConfigEntries(tx, w, q.Kind)
			list := make(entryList, len(found))
			for i, e := range found {
				list[i] = catalog.AnyOf(e)
			}
			return &list, index, nil
		},
		Visible: visible(func(az acl.Authorizer, a *catalog.AnyEntry) bool {
			return acl.Enforce(az, entryNeeds(a.Entry().Head(), acl.Read)) == nil
		}),
		Filter: filterEntries,
	})
}

// filterEntries selects entries by their own fields, whatever kind they are.
func filterEntries(rep *entryList, keep filter.Keep) (*entryList, error) {
	kept := entryList{}
	for _, a := range *rep {
		ok, err := keep.Accepts(a.Entry())
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, a)
		}
	}
	return &kept, nil
}

func knownKind(q *api.ConfigQuery) error {
	if !q.Kind.Valid() {
		return catalog.Errorf(catalog.Invalid, "unknown kind of config entry %q: want one of %q", q.Kind, catalog.EntryKinds())
	}
	return nil
}

// entryNeeds is what it takes to read or write an entry.
// Source: https://developer.hashicorp.com/consul/api-docs/config#permissions
func entryNeeds(h *catalog.EntryHead, access acl.Access) []acl.Need {
	switch h.Kind {
	case catalog.EntryServiceDefaults, catalog.EntryServiceRouter, catalog.EntryServiceSplitter, catalog.EntryServiceResolver:
		return need(acl.Service, h.Name, access)
	case catalog.EntryServiceIntentions:
		return need(acl.Intention, h.Name, access)
	case catalog.EntryIngressGateway, catalog.EntryTerminatingGateway, catalog.EntryAPIGateway, catalog.EntryBoundAPIGateway:
		if access == acl.Read {
			return need(acl.Service, h.Name, acl.Read)
		}
	case catalog.EntryProxyDefaults, catalog.EntryMesh, catalog.EntryJWTProvider, catalog.EntrySamenessGroup:
		if access == acl.Read {
			return nil
		}
	case catalog.EntryRequestLimit, catalog.EntryKVReplication:
		return need(acl.Operator, "", access)
	}
	return need(acl.Mesh, "", access)
}

// sameStored reports whether a write would change nothing.
func sameStored(tx *state.Txn, req *api.ConfigWrite) bool {
	if req.Op != api.ConfigSet && req.Op != api.ConfigCAS {
		return false
	}
	e := req.Entry.Entry()
	old, _ := state.ConfigEntry(tx, nil, e.Head().Kind, e.Head().Key())
	return old != nil && catalog.SameEntry(old, e)
}

// prepareConfig normalizes and checks an entry by itself; how it goes with others is checked when it is
// applied, for others are written at the same time.
func prepareConfig(d Deps, given *api.ConfigWrite) (*api.ConfigWrite, error) {
	e := given.Entry.Entry()
	if e == nil {
		return nil, catalog.Errorf(catalog.Invalid, "config entry is empty")
	}
	kind := given.Entry.Kind()
	switch given.Op {
	case api.ConfigSet, api.ConfigCAS:
	case api.ConfigDelete, api.ConfigDeleteCAS:
		if e.Head().Kind = kind; e.Head().Key() == "" {
			return nil, catalog.Errorf(catalog.Invalid, "%s: set Name", kind)
		}
		return &api.ConfigWrite{Op: given.Op, Entry: given.Entry, At: writtenAt()}, refuseInternal(kind)
	default:
		return nil, catalog.Errorf(catalog.Invalid, "unknown operation on config entries %q", given.Op)
	}
	if err := refuseInternal(kind); err != nil {
		return nil, err
	}
	e = e.Clone()
	e.Head().Kind = kind
	if s := catalog.StatusOf(e); s != nil {
		*s = catalog.EntryStatus{} // the servers' own
	}
	e.Normalize()
	if err := e.Validate(); err != nil {
		return nil, err
	}
	if err := validateFilters(e); err != nil {
		return nil, err
	}
	return &api.ConfigWrite{Op: given.Op, Entry: *catalog.AnyOf(e), At: writtenAt()}, nil
}

// writtenAt is the time of a write, as exact as all copies of the log keep it.
func writtenAt() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func refuseInternal(kind catalog.EntryKind) error {
	if kind == catalog.EntryBoundAPIGateway {
		return catalog.Errorf(catalog.Invalid, "%s entries are made by the servers: write an api-gateway and its routes", kind)
	}
	return nil
}

// validateFilters checks the expressions that select instances of subsets.
func validateFilters(e catalog.ConfigEntry) error {
	r, ok := e.(*catalog.ServiceResolver)
	if !ok {
		return nil
	}
	blank := &catalog.Instance{Node: &catalog.Node{}, Service: &catalog.Service{}}
	blank.Service.Normalize()
	for name, subset := range r.Subsets {
		keep, err := filter.Compile(subset.Filter)
		if err == nil {
			_, err = keep.Accepts(blank)
		}
		if err != nil {
			return catalog.Errorf(catalog.Invalid, "%s: Subsets[%s].Filter: %w", e.Head(), name, err)
		}
	}
	return nil
}

func applyConfig(tx *state.Txn, req *api.ConfigWrite) (*bool, error) {
	e := req.Entry.Entry()
	if e == nil {
		return nil, catalog.Errorf(catalog.Internal, "config entry is empty")
	}
	h, done := e.Head(), true
	old, _ := state.ConfigEntry(tx, nil, h.Kind, h.Key())
	if old != nil {
		if s := catalog.StatusOf(e); s != nil {
			*s = *catalog.StatusOf(old)
		}
	}
	switch req.Op {
	case api.ConfigSet:
		state.EntrySet(tx, e)
	case api.ConfigCAS:
		done = state.EntrySetCAS(tx, e, h.ModifyIndex)
	case api.ConfigDelete:
		state.EntryDelete(tx, h.Kind, h.Key())
	case api.ConfigDeleteCAS:
		done = state.EntryDeleteCAS(tx, h.Kind, h.Key(), h.ModifyIndex)
	}
	if !done {
		return &done, nil
	}
	if err := checkGraph(tx, h.Kind, h.Key(), old); err != nil {
		return nil, err
	}
	bindGateways(tx, h.Kind, req.At)
	return &done, nil
}

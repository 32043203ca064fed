package handler

import (
	"context"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerQueries(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.QueryWrite, string]{
		Method: api.QueryApply,
		Needs:  func(req *api.QueryWrite) []acl.Need { return queryNeeds(d, req) },
		Prepare: func(_ context.Context, req *api.QueryWrite) (*api.QueryWrite, error) {
			return prepareQuery(d, req)
		},
		Apply: func(tx *state.Txn, req *api.QueryWrite) (*string, error) {
			id := req.Query.ID
			if req.Op != api.QueryDelete {
				return &id, state.PutQuery(tx, &req.Query)
			}
			if !state.DeleteQuery(tx, id) {
				return nil, noQuery(id)
			}
			return &id, nil
		},
	})
	type list = []*catalog.PreparedQuery
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, list]{
		Method:  api.QueryList,
		Visible: func(az acl.Authorizer, rep *list) (*list, bool) { return visibleQueries(az, rep, true) },
		Filter:  filter.List[*catalog.PreparedQuery],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*list, uint64, error) {
			found, index := state.Queries(tx, w)
			return &found, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.QueryID, list]{
		Method:  api.QueryRead,
		Visible: func(az acl.Authorizer, rep *list) (*list, bool) { return visibleQueries(az, rep, false) },
		Check:   func(q *api.QueryID) error { return catalog.ValidateID("prepared query id", q.ID) },
		Read: func(tx *state.Txn, w *state.Watch, q *api.QueryID) (*list, uint64, error) {
			found, index := state.Query(tx, w, strings.ToLower(q.ID))
			if found == nil {
				return &list{}, index, nil
			}
			return &list{found}, index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.QueryRun, api.QueryExplained]{
		Method: api.QueryExplain,
		Check:  checkRun,
		Visible: func(az acl.Authorizer, rep *api.QueryExplained) (*api.QueryExplained, bool) {
			if rep.Query == nil {
				return rep, false
			}
			kept, filtered := visibleQueries(az, &list{rep.Query}, false)
			if filtered {
				return &api.QueryExplained{}, true
			}
			return &api.QueryExplained{Query: (*kept)[0]}, false
		},
		Read: func(tx *state.Txn, w *state.Watch, run *api.QueryRun) (*api.QueryExplained, uint64, error) {
			q, index, err := renderQuery(tx, w, run)
			return &api.QueryExplained{Query: q}, index, err
		},
	})
	registerQueryRuns(r, d)
	registerQueryPlans(r, d)
}

func noQuery(id string) error {
	return catalog.Errorf(catalog.Invalid, "prepared query %s does not exist", id)
}

// queryNeeds is what it takes to change a query, under the name it has and the one it gets. Those without
// a name are told apart by nothing but their id, which who made them knows.
func queryNeeds(d Deps, req *api.QueryWrite) (needs []acl.Need) {
	of := func(q *catalog.PreparedQuery) {
		if q.Name != "" || q.Templated() {
			needs = append(needs, need(acl.Query, q.Name, acl.Write)...)
		}
	}
	if req.Op != api.QueryCreate {
		if stored, _ := state.Query(d.Store.Read(), nil, strings.ToLower(req.Query.ID)); stored != nil {
			of(stored)
		}
	}
	if req.Op != api.QueryDelete {
		of(&req.Query)
	}
	return needs
}

func prepareQuery(d Deps, given *api.QueryWrite) (*api.QueryWrite, error) {
	req := *given
	q := &req.Query
	switch req.Op {
	case api.QueryCreate:
		if q.ID != "" {
			return nil, catalog.Errorf(catalog.Invalid, "prepared query: leave out the id of a new one: it is chosen here")
		}
		q.ID = newUUID()
	case api.QueryUpdate, api.QueryDelete:
		if err := catalog.ValidateID("prepared query id", q.ID); err != nil {
			return nil, err
		}
		q.ID = strings.ToLower(q.ID)
		if stored, _ := state.Query(d.Store.Read(), nil, q.ID); stored == nil {
			return nil, noQuery(q.ID)
		}
	default:
		return nil, catalog.Errorf(catalog.Invalid, "unknown operation %q on prepared queries", req.Op)
	}
	if req.Op == api.QueryDelete {
		return &req, nil
	}
	q.Normalize()
	return &req, q.Validate()
}

// hiddenToken takes the place of a token for those who may not see it.
const hiddenToken = "<hidden>"

// visibleQueries keeps the queries that the token may see, and hides their tokens from all but management.
// Nameless queries are seen by those who know their id.
func visibleQueries(az acl.Authorizer, rep *[]*catalog.PreparedQuery, listed bool) (*[]*catalog.PreparedQuery, bool) {
	if az.Allows(acl.Need{Resource: acl.ACL, Access: acl.Write}) {
		return rep, false
	}
	kept := []*catalog.PreparedQuery{}
	for _, q := range *rep {
		if q.Name == "" && !q.Templated() {
			if listed {
				continue
			}
		} else if !az.Allows(acl.Need{Resource: acl.Query, Name: q.Name, Access: acl.Read}) {
			continue
		}
		if q.Token != "" {
			hidden := *q
			hidden.Token = hiddenToken
			q = &hidden
		}
		kept = append(kept, q)
	}
	return &kept, len(kept) < len(*rep)
}

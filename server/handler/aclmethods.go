package handler

import (
	"cmp"
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerAuthMethods(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.AuthMethodWrite, catalog.AuthMethod]{
		Method: api.AuthMethodApply, Needs: aclWrite[api.AuthMethodWrite], Primary: func(req *api.AuthMethodWrite) bool { return !req.Method.LocalTokens() },
		Prepare: func(_ context.Context, given *api.AuthMethodWrite) (*api.AuthMethodWrite, error) {
			if err := d.ACL.on(); err != nil {
				return nil, err
			}
			req := *given
			old, _ := state.AuthMethod(d.Store.Read(), nil, req.Method.Name)
			req.Method.Keep(old)
			return &req, cmp.Or(opFits("auth method", req.Method.Name, req.Op, old != nil), req.Method.Validate(), d.ACL.Logins.Check(&req.Method))
		},
		Apply: func(tx *state.Txn, req *api.AuthMethodWrite) (*catalog.AuthMethod, error) {
			old, _ := state.AuthMethod(tx, nil, req.Method.Name)
			if err := opFits("auth method", req.Method.Name, req.Op, old != nil); err != nil {
				return nil, err
			}
			return state.PutAuthMethod(tx, &req.Method)
		},
	})
	addRemoval(r, d, removal[api.Named, catalog.AuthMethod]{
		method: api.AuthMethodRemove,
		check:  func(*api.Named) error { return nil },
		stored: func(tx *state.Txn, req *api.Named) (*catalog.AuthMethod, uint64) {
			return state.AuthMethod(tx, nil, req.Name)
		},
		remove: func(tx *state.Txn, req *api.Named) { state.DeleteAuthMethod(tx, req.Name) },
	})
	type list = []*catalog.AuthMethod
	endpoint.AddQuery(r, endpoint.Query[api.Named, list]{
		Method: api.AuthMethodRead, Needs: aclRead[api.Named],
		Check: func(*api.Named) error { return d.ACL.on() },
		Visible: func(az acl.Authorizer, rep *list) (*list, bool) {
			if az.Allows(acl.Need{Resource: acl.ACL, Access: acl.Write}) {
				return rep, false
			}
			out := list{}
			for _, m := range *rep {
				out = append(out, m.Hidden())
			}
			return &out, false
		},
		Read: func(tx *state.Txn, w *state.Watch, q *api.Named) (*list, uint64, error) {
			return oneOrNone(state.AuthMethod(tx, w, q.Name))
		},
	})
	type summaries = []*catalog.AuthMethodSummary
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, summaries]{
		Method: api.AuthMethodList, Needs: aclRead[api.Nothing],
		Check:  func(*api.Nothing) error { return d.ACL.on() },
		Filter: filter.List[*catalog.AuthMethodSummary],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*summaries, uint64, error) {
			found, index := state.AuthMethods(tx, w)
			list := make(summaries, 0, len(found))
			for _, m := range found {
				list = append(list, m.Summary())
			}
			return &list, index, nil
		},
	})
}

func registerBindingRules(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.BindingRuleWrite, catalog.BindingRule]{
		Method: api.BindingRuleApply, Needs: aclWrite[api.BindingRuleWrite],
		Prepare: func(_ context.Context, req *api.BindingRuleWrite) (*api.BindingRuleWrite, error) {
			return prepareBindingRule(d, req)
		},
		Apply: func(tx *state.Txn, req *api.BindingRuleWrite) (*catalog.BindingRule, error) {
			old, _ := state.BindingRule(tx, nil, req.Rule.ID)
			if err := opFits("binding rule", req.Rule.ID, req.Op, old != nil); err != nil {
				return nil, err
			}
			return state.PutBindingRule(tx, &req.Rule)
		},
	})
	addRemoval(r, d, removal[api.ACLQuery, catalog.BindingRule]{
		method: api.BindingRuleRemove,
		check:  func(req *api.ACLQuery) error { return catalog.ValidateID("binding rule id", req.ID) },
		stored: func(tx *state.Txn, req *api.ACLQuery) (*catalog.BindingRule, uint64) {
			return state.BindingRule(tx, nil, req.ID)
		},
		remove: func(tx *state.Txn, req *api.ACLQuery) { state.DeleteBindingRule(tx, req.ID) },
	})
	type list = []*catalog.BindingRule
	endpoint.AddQuery(r, endpoint.Query[api.ACLQuery, list]{
		Method: api.BindingRuleRead, Needs: aclRead[api.ACLQuery],
		Check: func(q *api.ACLQuery) error {
			return cmp.Or(d.ACL.on(), catalog.ValidateID("binding rule id", q.ID))
		},
		Read: func(tx *state.Txn, w *state.Watch, q *api.ACLQuery) (*list, uint64, error) {
			return oneOrNone(state.BindingRule(tx, w, q.ID))
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Named, list]{
		Method: api.BindingRuleList, Needs: aclRead[api.Named],
		Check:  func(*api.Named) error { return d.ACL.on() },
		Filter: filter.List[*catalog.BindingRule],
		Read: func(tx *state.Txn, w *state.Watch, q *api.Named) (*list, uint64, error) {
			found, index := state.BindingRules(tx, w, q.Name)
			return &found, index, nil
		},
	})
}

func prepareBindingRule(d Deps, given *api.BindingRuleWrite) (*api.BindingRuleWrite, error) {
	if err := d.ACL.on(); err != nil {
		return nil, err
	}
	req := *given
	b := &req.Rule
	b.Normalize()
	tx := d.Store.Read()
	switch old, _ := state.BindingRule(tx, nil, b.ID); {
	case req.Op == api.ACLCreate && b.ID != "":
		return nil, catalog.Errorf(catalog.Invalid, "binding rule: leave out the id of a new one: it is chosen here")
	case req.Op == api.ACLCreate:
		b.ID = newUUID()
	case req.Op == api.ACLUpdate && old != nil && b.AuthMethod == "":
		b.AuthMethod = old.AuthMethod
	}
	if err := cmp.Or(catalog.ValidateID("binding rule id", b.ID), b.Validate()); err != nil {
		return nil, err
	}
	m, _ := state.AuthMethod(tx, nil, b.AuthMethod)
	if m == nil {
		return nil, catalog.Errorf(catalog.Invalid, "binding rule: auth method %q does not exist", b.AuthMethod)
	}
	return &req, checkBinding(d, m, b)
}

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

func registerPolicies(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.PolicyWrite, catalog.Policy]{
		Method: api.PolicyApply, Needs: aclWrite[api.PolicyWrite], Primary: ruled[api.PolicyWrite],
		Prepare: func(_ context.Context, req *api.PolicyWrite) (*api.PolicyWrite, error) { return preparePolicy(d, req) },
		Apply: func(tx *state.Txn, req *api.PolicyWrite) (*catalog.Policy, error) {
			old, _ := state.Policy(tx, nil, req.Policy.ID)
			if err := opFits("policy", req.Policy.ID, req.Op, old != nil); err != nil {
				return nil, err
			}
			return state.PutPolicy(tx, &req.Policy)
		},
	})
	addRemoval(r, d, removal[api.ACLQuery, catalog.Policy]{
		method: api.PolicyRemove, primary: ruled[api.ACLQuery],
		check: func(req *api.ACLQuery) error {
			if catalog.BuiltinPolicy(req.ID) {
				return catalog.Errorf(catalog.Invalid, "policy %s is built in and cannot be deleted", req.ID)
			}
			return catalog.ValidateID("policy id", req.ID)
		},
		stored: func(tx *state.Txn, req *api.ACLQuery) (*catalog.Policy, uint64) { return state.Policy(tx, nil, req.ID) },
		remove: func(tx *state.Txn, req *api.ACLQuery) { state.DeletePolicy(tx, req.ID) },
	})
	type list = []*catalog.Policy
	endpoint.AddQuery(r, endpoint.Query[api.ACLQuery, list]{
		Method: api.PolicyRead, Needs: aclRead[api.ACLQuery],
		Check: func(q *api.ACLQuery) error { return cmp.Or(d.ACL.on(), checkACLQuery("policy", q)) },
		Read: func(tx *state.Txn, w *state.Watch, q *api.ACLQuery) (*list, uint64, error) {
			return oneOrNone(byIDOrName(tx, w, q, state.Policy, state.PolicyNamed))
		},
	})
	type summaries = []*catalog.PolicySummary
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, summaries]{
		Method: api.PolicyList, Needs: aclRead[api.Nothing],
		Check:  func(*api.Nothing) error { return d.ACL.on() },
		Filter: filter.List[*catalog.PolicySummary],
		Read: func(tx *state.Txn, w *state.Watch, _ *api.Nothing) (*summaries, uint64, error) {
			found, index := state.Policies(tx, w)
			list := make(summaries, 0, len(found))
			for _, p := range found {
				list = append(list, p.Summary())
			}
			return &list, index, nil
		},
	})
}

// byIDOrName reads what a query asks for.
func byIDOrName[T any](tx *state.Txn, w *state.Watch, q *api.ACLQuery, byID, byName func(*state.Txn, *state.Watch, string) (*T, uint64)) (*T, uint64) {
	if q.ID != "" {
		return byID(tx, w, q.ID)
	}
	return byName(tx, w, q.Name)
}

// oneOrNone is a list of what was found.
func oneOrNone[T any](found *T, index uint64) (*[]*T, uint64, error) {
	if found == nil {
		return &[]*T{}, index, nil
	}
	return &[]*T{found}, index, nil
}

func checkACLQuery(what string, q *api.ACLQuery) error {
	if q.ID == "" && q.Name != "" {
		return nil
	}
	return catalog.ValidateID(what+" id", q.ID)
}

// opFits refuses to create what is there, and to update what is not.
func opFits(what, id string, op api.ACLOp, there bool) error {
	switch {
	case op == api.ACLUpdate && !there:
		return catalog.Errorf(catalog.NotFound, "%s %q does not exist", what, id)
	case op == api.ACLCreate && there:
		return catalog.Errorf(catalog.Invalid, "%s %q exists already: change that one, or choose another", what, id)
	}
	return nil
}

func preparePolicy(d Deps, given *api.PolicyWrite) (*api.PolicyWrite, error) {
	if err := d.ACL.on(); err != nil {
		return nil, err
	}
	req := *given
	p := &req.Policy
	switch {
	case catalog.BuiltinPolicy(p.ID):
		return nil, catalog.Errorf(catalog.Invalid, "policy %s is built in and stays as it is: make another policy", p.ID)
	case req.Op == api.ACLCreate && p.ID != "":
		return nil, catalog.Errorf(catalog.Invalid, "policy: leave out the id of a new one: it is chosen here")
	case req.Op == api.ACLCreate:
		p.ID = newUUID()
	case req.Op != api.ACLUpdate:
		return nil, catalog.Errorf(catalog.Invalid, "unknown operation %q on policies", req.Op)
	}
	p.Normalize()
	rules, err := checkPolicy(p)
	if err != nil {
		return nil, err
	}
	for _, text := range rules.Unknown() {
		d.Log.Warn("a policy speaks of what does not exist", "policy", p.Name, "rules", text)
	}
	return &req, nil
}

// checkPolicy returns the rules of a normalized policy, or why it cannot be stored.
func checkPolicy(p *catalog.Policy) (*acl.Rules, error) {
	if err := catalog.ValidateID("policy id", p.ID); err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	rules, err := acl.Parse(p.Rules)
	if err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "policy %s: %w", p.Name, err)
	}
	return rules, nil
}

func registerRoles(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.RoleWrite, catalog.Role]{
		Method: api.RoleApply, Needs: aclWrite[api.RoleWrite], Primary: ruled[api.RoleWrite],
		Prepare: func(_ context.Context, req *api.RoleWrite) (*api.RoleWrite, error) { return prepareRole(d, req) },
		Apply: func(tx *state.Txn, req *api.RoleWrite) (*catalog.Role, error) {
			old, _ := state.Role(tx, nil, req.Role.ID)
			if err := opFits("role", req.Role.ID, req.Op, old != nil); err != nil {
				return nil, err
			}
			return state.PutRole(tx, &req.Role)
		},
	})
	addRemoval(r, d, removal[api.ACLQuery, catalog.Role]{
		method: api.RoleRemove, primary: ruled[api.ACLQuery],
		check:  func(req *api.ACLQuery) error { return catalog.ValidateID("role id", req.ID) },
		stored: func(tx *state.Txn, req *api.ACLQuery) (*catalog.Role, uint64) { return state.Role(tx, nil, req.ID) },
		remove: func(tx *state.Txn, req *api.ACLQuery) { state.DeleteRole(tx, req.ID) },
	})
	type list = []*catalog.Role
	endpoint.AddQuery(r, endpoint.Query[api.ACLQuery, list]{
		Method: api.RoleRead, Needs: aclRead[api.ACLQuery],
		Check: func(q *api.ACLQuery) error { return cmp.Or(d.ACL.on(), checkACLQuery("role", q)) },
		Read: func(tx *state.Txn, w *state.Watch, q *api.ACLQuery) (*list, uint64, error) {
			return oneOrNone(byIDOrName(tx, w, q, state.Role, state.RoleNamed))
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.ACLQuery, list]{
		Method: api.RoleList, Needs: aclRead[api.ACLQuery],
		Check:  func(*api.ACLQuery) error { return d.ACL.on() },
		Filter: filter.List[*catalog.Role],
		Read: func(tx *state.Txn, w *state.Watch, q *api.ACLQuery) (*list, uint64, error) {
			all, index := state.Roles(tx, w)
			found := list{}
			for _, role := range all {
				if q.ID == "" || hasLink(role.Policies, q.ID) {
					found = append(found, role)
				}
			}
			return &found, index, nil
		},
	})
}

func prepareRole(d Deps, given *api.RoleWrite) (*api.RoleWrite, error) {
	if err := d.ACL.on(); err != nil {
		return nil, err
	}
	req := *given
	switch {
	case req.Op == api.ACLCreate && req.Role.ID != "":
		return nil, catalog.Errorf(catalog.Invalid, "role: leave out the id of a new one: it is chosen here")
	case req.Op == api.ACLCreate:
		req.Role.ID = newUUID()
	case req.Op != api.ACLUpdate:
		return nil, catalog.Errorf(catalog.Invalid, "unknown operation %q on roles", req.Op)
	}
	if err := catalog.ValidateID("role id", req.Role.ID); err != nil {
		return nil, err
	}
	if err := req.Role.Normalize(); err != nil {
		return nil, err
	}
	return &req, req.Role.Validate()
}

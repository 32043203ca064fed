package handler

import (
	"cmp"
	"context"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerTokens(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.TokenWrite, catalog.Token]{
		Method: api.TokenApply, Needs: aclWrite[api.TokenWrite], Primary: func(req *api.TokenWrite) bool { return !localWrite(d, req) },
		Prepare: func(_ context.Context, req *api.TokenWrite) (*api.TokenWrite, error) { return prepareToken(d, req) },
		Apply: func(tx *state.Txn, req *api.TokenWrite) (*catalog.Token, error) {
			old, _ := state.Token(tx, nil, req.Token.AccessorID)
			switch {
			case old == nil && req.Op == api.ACLUpdate:
				return nil, noToken(req.Token.AccessorID)
			case old != nil && req.Op == api.ACLCreate:
				return nil, catalog.Errorf(catalog.Invalid, "token %s: the AccessorID is taken: leave it out to have one chosen", old.AccessorID)
			}
			return state.PutToken(tx, &req.Token)
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.TokenDelete, api.Nothing]{
		Method: api.TokenRemove, Needs: aclWrite[api.TokenDelete], Primary: func(req *api.TokenDelete) bool { return !localToken(d, req.AccessorID) },
		Prepare: func(_ context.Context, req *api.TokenDelete) (*api.TokenDelete, error) {
			if err := d.ACL.on(); err != nil {
				return nil, err
			}
			if req.AccessorID == catalog.AnonymousAccessor {
				return nil, catalog.Errorf(catalog.Invalid, "the anonymous token cannot be deleted: take its policies away instead")
			}
			if t, _ := state.Token(d.Store.Read(), nil, req.AccessorID); t == nil {
				return nil, noToken(req.AccessorID)
			}
			return req, nil
		},
		Apply: func(tx *state.Txn, req *api.TokenDelete) (*api.Nothing, error) {
			if !state.DeleteToken(tx, req.AccessorID) {
				return nil, noToken(req.AccessorID)
			}
			return nothing, nil
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.TokensExpire, api.Nothing]{
		Method: api.TokensReap, Needs: aclWrite[api.TokensExpire],
		Prepare: func(_ context.Context, req *api.TokensExpire) (*api.TokensExpire, error) {
			return &api.TokensExpire{Accessors: req.Accessors, At: time.Now().UTC()}, nil
		},
		Apply: func(tx *state.Txn, req *api.TokensExpire) (*api.Nothing, error) {
			for _, accessor := range req.Accessors {
				if t, _ := state.Token(tx, nil, accessor); t != nil && t.Expired(req.At) {
					state.DeleteToken(tx, accessor)
				}
			}
			return nothing, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.TokenQuery, api.TokenAnswer]{
		Method: api.TokenRead, Needs: aclRead[api.TokenQuery], Primary: func(q *api.TokenQuery) bool { return d.ACL.Elsewhere && !localToken(d, q.AccessorID) },
		Check: func(q *api.TokenQuery) error {
			if err := d.ACL.on(); err != nil {
				return err
			}
			return catalog.ValidateID("AccessorID", q.AccessorID)
		},
		Visible: func(az acl.Authorizer, rep *api.TokenAnswer) (*api.TokenAnswer, bool) {
			if rep.Token == nil {
				return rep, false
			}
			out := *rep
			out.Token = shown(az, rep.Token)
			return &out, false
		},
		Read: func(tx *state.Txn, w *state.Watch, q *api.TokenQuery) (*api.TokenAnswer, uint64, error) {
			t, index := state.Token(tx, w, q.AccessorID)
			return tokenAnswer(tx, w, t, q.Expanded), index, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.SecretQuery, api.TokenAnswer]{
		Method: api.TokenSelf, Open: "the secret says whose it is", Primary: func(q *api.SecretQuery) bool { return foreignSecret(d, q) },
		Unshared: func(*api.SecretQuery) bool { return true },
		Check:    func(*api.SecretQuery) error { return d.ACL.on() },
		Read: func(tx *state.Txn, w *state.Watch, q *api.SecretQuery) (*api.TokenAnswer, uint64, error) {
			t, err := Holder(tx, w, q.Secret, time.Now())
			if err != nil {
				return nil, 0, err
			}
			return tokenAnswer(tx, w, t, q.Expanded), max(1, t.ModifyIndex), nil
		},
	})
	type list = []*catalog.Token
	endpoint.AddQuery(r, endpoint.Query[api.TokenFilter, list]{
		Method: api.TokenList, Needs: aclRead[api.TokenFilter],
		Check:  func(q *api.TokenFilter) error { return cmp.Or(d.ACL.on(), checkTokenFilter(q)) },
		Filter: filter.List[*catalog.Token],
		Visible: func(az acl.Authorizer, rep *list) (*list, bool) {
			out := make(list, 0, len(*rep))
			for _, t := range *rep {
				out = append(out, shown(az, t))
			}
			return &out, false
		},
		Read: func(tx *state.Txn, w *state.Watch, q *api.TokenFilter) (*list, uint64, error) {
			found, index := selectTokens(tx, w, q, time.Now())
			return &found, index, nil
		},
	})
}

// localToken reports whether there is a token of this datacenter alone.
func localToken(d Deps, accessor string) bool {
	t, _ := state.Token(d.Store.Read(), nil, accessor)
	return t != nil && t.Local
}

// localWrite reports whether a write is about a token of this datacenter alone.
func localWrite(d Deps, req *api.TokenWrite) bool {
	if req.Op == api.ACLCreate {
		return req.Token.Local
	}
	return localToken(d, req.Token.AccessorID)
}

// foreignSecret reports whether a secret is to be looked up in the primary datacenter: its tokens are not copied here, and
// it is none of this datacenter alone.
func foreignSecret(d Deps, q *api.SecretQuery) bool {
	if !d.ACL.Elsewhere {
		return false
	}
	t := state.TokenOf(d.Store.Read(), nil, cmp.Or(q.Secret, catalog.AnonymousSecret))
	return t == nil || !t.Local
}

func noToken(accessor string) error {
	return catalog.Errorf(catalog.NotFound, "token %q does not exist", accessor)
}

// shown is the token without its secret for those who may not change tokens.
func shown(az acl.Authorizer, t *catalog.Token) *catalog.Token {
	if az.Allows(acl.Need{Resource: acl.ACL, Access: acl.Write}) {
		return t
	}
	out := *t
	out.SecretID = hiddenToken
	return &out
}

func tokenAnswer(tx *state.Txn, w *state.Watch, t *catalog.Token, whole bool) *api.TokenAnswer {
	out := &api.TokenAnswer{Token: t}
	if t == nil || !whole {
		return out
	}
	out.Policies = expanded(tx, w, t.Grants())
	for _, l := range t.Roles {
		if role, _ := state.Role(tx, w, l.ID); role != nil {
			out.Roles = append(out.Roles, role)
			out.Policies = append(out.Policies, expanded(tx, w, role.Grants())...)
		}
	}
	seen := map[string]bool{}
	once := out.Policies[:0]
	for _, p := range out.Policies {
		if !seen[p.ID] {
			seen[p.ID] = true
			once = append(once, p)
		}
	}
	out.Policies = once
	return out
}

func checkTokenFilter(q *api.TokenFilter) error {
	set := 0
	for _, by := range []string{q.Policy, q.Role, q.AuthMethod, q.Service} {
		if by != "" {
			set++
		}
	}
	if set > 1 {
		return catalog.Errorf(catalog.Invalid, "can only filter by one of policy, role, service name or auth method")
	}
	return nil
}

// selectTokens returns the tokens that a filter selects and whose time is not over.
func selectTokens(tx *state.Txn, w *state.Watch, q *api.TokenFilter, now time.Time) ([]*catalog.Token, uint64) {
	read := state.Tokens
	if q.AuthMethod != "" {
		read = func(tx *state.Txn, w *state.Watch) ([]*catalog.Token, uint64) {
			return state.TokensOfMethod(tx, w, q.AuthMethod)
		}
	}
	all, index := read(tx, w)
	found := []*catalog.Token{}
	for _, t := range all {
		switch {
		case t.Expired(now):
		case q.Policy != "" && !hasLink(t.Policies, q.Policy), q.Role != "" && !hasLink(t.Roles, q.Role), q.Service != "" && !t.HasService(q.Service):
		default:
			found = append(found, t)
		}
	}
	return found, index
}

func hasLink(links []catalog.Link, id string) bool {
	for _, l := range links {
		if l.ID == id {
			return true
		}
	}
	return false
}

// prepareToken makes the token that a request is about: everything that is random, or told by the clock.
func prepareToken(d Deps, given *api.TokenWrite) (*api.TokenWrite, error) {
	if err := d.ACL.on(); err != nil {
		return nil, err
	}
	req := *given
	var err error
	switch req.Op {
	case api.ACLCreate:
		req.Token.AuthMethod = "" // that of a login only
		err = newToken(&req.Token, time.Now())
	case api.ACLUpdate:
		err = updatedToken(d.Store.Read(), &req.Token, time.Now())
	case api.ACLClone:
		req.Op = api.ACLCreate
		err = clonedToken(d.Store.Read(), &req.Token, time.Now())
	default:
		err = catalog.Errorf(catalog.Invalid, "unknown operation %q on tokens", req.Op)
	}
	if err != nil {
		return nil, err
	}
	return &req, req.Token.Validate()
}

// newToken fills what a new token does not say.
func newToken(t *catalog.Token, now time.Time) error {
	if t.AccessorID == "" {
		t.AccessorID = newUUID()
	}
	if t.SecretID == "" {
		t.SecretID = catalog.SecretID(newUUID())
	}
	t.CreateTime = now.UTC()
	if err := expires(t, now); err != nil {
		return err
	}
	if err := t.Normalize(); err != nil {
		return err
	}
	if t.AccessorID == catalog.AnonymousAccessor {
		return catalog.Errorf(catalog.Invalid, "token: the AccessorID %s is that of the anonymous token", t.AccessorID)
	}
	return t.SecretID.Validate()
}

// expires works out when the token's time is over.
func expires(t *catalog.Token, now time.Time) error {
	ttl := time.Duration(t.ExpirationTTL)
	t.ExpirationTTL = 0
	switch {
	case ttl != 0 && t.ExpirationTime != nil:
		return catalog.Errorf(catalog.Invalid, "token: ExpirationTTL and ExpirationTime exclude each other")
	case ttl < 0:
		return catalog.Errorf(catalog.Invalid, "token: ExpirationTTL %s is below zero", ttl)
	case ttl != 0:
		at := now.Add(ttl).UTC()
		t.ExpirationTime = &at
	case t.ExpirationTime == nil:
		return nil
	case t.ExpirationTime.IsZero():
		t.ExpirationTime = nil
		return nil
	}
	at := t.ExpirationTime.UTC()
	t.ExpirationTime = &at
	if left := at.Sub(now); left < catalog.MinTokenTTL-time.Second || left > catalog.MaxTokenTTL+time.Second {
		return catalog.Errorf(catalog.Invalid, "token: its life of %s is not between %s and %s", left.Round(time.Second), catalog.MinTokenTTL, catalog.MaxTokenTTL)
	}
	return nil
}

// updatedToken takes over what cannot change from the stored token.
func updatedToken(tx *state.Txn, t *catalog.Token, now time.Time) error {
	if err := catalog.ValidateID("AccessorID", t.AccessorID); err != nil {
		return err
	}
	old, _ := state.Token(tx, nil, t.AccessorID)
	if old == nil || old.Expired(now) {
		return noToken(t.AccessorID)
	}
	if err := t.Normalize(); err != nil {
		return err
	}
	sameTime := t.ExpirationTime == nil || old.ExpirationTime != nil && t.ExpirationTime.Equal(*old.ExpirationTime)
	switch {
	case t.SecretID != "" && t.SecretID != hiddenToken && t.SecretID != old.SecretID:
		return catalog.Errorf(catalog.Invalid, "token %s: its secret cannot change: make another token", old.AccessorID)
	case t.AuthMethod != "" && t.AuthMethod != old.AuthMethod:
		return catalog.Errorf(catalog.Invalid, "token %s: its auth method cannot change", old.AccessorID)
	case t.ExpirationTTL != 0 || !sameTime:
		return catalog.Errorf(catalog.Invalid, "token %s: when it ends cannot change: make another token", old.AccessorID)
	case t.Local && !old.Local:
		return catalog.Errorf(catalog.Invalid, "token %s: a global token cannot become a local one: make another token", old.AccessorID)
	}
	t.AccessorID, t.SecretID, t.AuthMethod, t.Local = old.AccessorID, old.SecretID, old.AuthMethod, old.Local
	t.CreateTime, t.ExpirationTime, t.ExpirationTTL = old.CreateTime, old.ExpirationTime, 0
	return nil
}

// clonedToken makes another token that may do what the stored one may.
func clonedToken(tx *state.Txn, t *catalog.Token, now time.Time) error {
	if err := catalog.ValidateID("AccessorID", t.AccessorID); err != nil {
		return err
	}
	old, _ := state.Token(tx, nil, t.AccessorID)
	switch {
	case old == nil || old.Expired(now):
		return noToken(t.AccessorID)
	case old.AuthMethod != "":
		return catalog.Errorf(catalog.Invalid, "token %s: it comes from a login and cannot be cloned: log in again", old.AccessorID)
	}
	description := cmp.Or(t.Description, "Clone of "+old.AccessorID)
	*t = catalog.Token{
		Description: description, Policies: old.Policies, Roles: old.Roles, ServiceIdentities: old.ServiceIdentities,
		NodeIdentities: old.NodeIdentities, TemplatedPolicies: old.TemplatedPolicies, Local: old.Local,
	}
	return newToken(t, now)
}

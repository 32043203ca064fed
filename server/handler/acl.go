package handler

import (
	"cmp"
	"context"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/authmethod"
	"github.com/curia-mesh/curia/server/endpoint"
)

// ACL is what the answers of the ACL system need.
type ACL struct {
	// Enabled is whether tokens are checked.
	Enabled bool
	// Elsewhere is whether the global tokens are in the primary datacenter alone.
	Elsewhere bool
	// Status is how far the copy of the primary's ACLs has come; nil in the primary.
	Status func() *api.ACLReplication
	// Default is what becomes of what no rule speaks of.
	Default acl.Effect
	// TTL is how long agents may remember what a token stands for.
	TTL time.Duration
	// Reset returns the index of the last bootstrap that the operator takes back, 0 for none, and Bootstrapped is
	// called when the first management token is made, with the index that Reset gave.
	Reset        func() uint64
	Bootstrapped func(reset uint64)
	// Logins asks others about those who log in.
	Logins Logins
}

// Logins asks others about those who log in. All methods may be called at once.
type Logins interface {
	// Check refuses the settings of an auth method with code invalid. It asks nobody.
	Check(m *catalog.AuthMethod) error
	// Blank returns a subject with every field and variable that the auth method's have.
	Blank(m *catalog.AuthMethod) (*authmethod.Subject, error)
	// Login returns whom a bearer token belongs to, an error with code denied when it is not good. It blocks for
	// as long as others take, which is bounded.
	Login(ctx context.Context, m *catalog.AuthMethod, bearer string) (*authmethod.Subject, error)
	// AuthURL returns where to send the browser of who logs in, and Callback whom the provider says it is.
	AuthURL(ctx context.Context, m *catalog.AuthMethod, req *api.OIDCLogin) (string, error)
	Callback(ctx context.Context, m *catalog.AuthMethod, req *api.OIDCLogin) (*authmethod.Subject, error)
}

var errNoACL = catalog.Errorf(catalog.Unavailable, "ACL support disabled: the servers run with acl.enabled = false")

// on refuses when tokens are not checked.
func (a *ACL) on() error {
	if !a.Enabled {
		return errNoACL
	}
	return nil
}

// ruled sends every request to the primary datacenter.
func ruled[Req any](*Req) bool { return true }

func aclRead[Req any](*Req) []acl.Need  { return need(acl.ACL, "", acl.Read) }
func aclWrite[Req any](*Req) []acl.Need { return need(acl.ACL, "", acl.Write) }

func registerACL(r *endpoint.Registry, d Deps) {
	registerTokens(r, d)
	registerPolicies(r, d)
	registerRoles(r, d)
	registerAuthMethods(r, d)
	registerBindingRules(r, d)
	registerLogins(r, d)
	registerBootstrap(r, d)
	endpoint.AddQuery(r, endpoint.Query[api.SecretQuery, api.Resolved]{
		Method: api.ACLResolve, Open: "the secret says whose it is, and nothing of other tokens is told",
		Unshared: func(*api.SecretQuery) bool { return true },
		Primary:  func(q *api.SecretQuery) bool { return d.ACL.Enabled && foreignSecret(d, q) },
		Read: func(tx *state.Txn, w *state.Watch, q *api.SecretQuery) (*api.Resolved, uint64, error) {
			if !d.ACL.Enabled {
				return &api.Resolved{Disabled: true}, 1, nil
			}
			return resolve(tx, w, d, q)
		},
	})
	type answers = []api.AccessAnswer
	endpoint.AddQuery(r, endpoint.Query[api.AccessQueries, answers]{
		Method: api.ACLAuthorize, Plain: true,
		Check: func(q *api.AccessQueries) error {
			if err := d.ACL.on(); err != nil {
				return err
			}
			return checkAccess(q)
		},
		Read: func(_ *state.Txn, _ *state.Watch, q *api.AccessQueries) (*answers, uint64, error) {
			list := answers{}
			for _, one := range q.Queries {
				list = append(list, api.AccessAnswer{AccessQuery: one})
			}
			return &list, 1, nil
		},
		Visible: func(az acl.Authorizer, rep *answers) (*answers, bool) {
			list := answers{}
			for _, one := range *rep {
				one.Allow = az.Allows(acl.Need{Resource: acl.Resource(one.Resource), Name: one.Segment, Access: acl.Access(one.Access)})
				list = append(list, one)
			}
			return &list, false
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, api.ACLReplication]{
		Method: api.ACLStatus, Plain: true, Open: "how far a copy is tells nothing of what is copied",
		Check: func(*api.Nothing) error { return d.ACL.on() },
		Read: func(*state.Txn, *state.Watch, *api.Nothing) (*api.ACLReplication, uint64, error) {
			if d.ACL.Status == nil {
				return &api.ACLReplication{}, 1, nil
			}
			return d.ACL.Status(), 1, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[api.Nothing, []*catalog.PolicyTemplate]{
		Method: api.TemplateList, Plain: true, Needs: aclRead[api.Nothing],
		Check: func(*api.Nothing) error { return d.ACL.on() },
		Read: func(*state.Txn, *state.Watch, *api.Nothing) (*[]*catalog.PolicyTemplate, uint64, error) {
			list := catalog.PolicyTemplates()
			return &list, 1, nil
		},
	})
	endpoint.AddQuery(r, endpoint.Query[catalog.TemplatedPolicy, catalog.Policy]{
		Method: api.TemplatePreview, Plain: true, Needs: aclRead[catalog.TemplatedPolicy],
		Check: func(*catalog.TemplatedPolicy) error { return d.ACL.on() },
		Read: func(_ *state.Txn, _ *state.Watch, t *catalog.TemplatedPolicy) (*catalog.Policy, uint64, error) {
			p, err := t.Render()
			return p, 1, err
		},
	})
}

// maxAccessQueries bounds the questions of one request.
const maxAccessQueries = 64

func checkAccess(q *api.AccessQueries) error {
	if len(q.Queries) > maxAccessQueries {
		return catalog.Errorf(catalog.Invalid, "%d questions: at most %d are answered at once", len(q.Queries), maxAccessQueries)
	}
	for _, one := range q.Queries {
		switch acl.Resource(one.Resource) {
		case acl.ACL, acl.Agent, acl.Event, acl.Key, acl.Keyring, acl.Mesh, acl.Node, acl.Operator, acl.Peering, acl.Query, acl.Service, acl.Session, acl.Intention:
		default:
			return catalog.Errorf(catalog.Invalid, "unknown resource %.64q: want acl, agent, event, intention, key, keyring, mesh, node, operator, peering, query, service or session", one.Resource)
		}
		switch acl.Access(one.Access) {
		case acl.Read, acl.List, acl.Write:
		default:
			return catalog.Errorf(catalog.Invalid, "unknown access %.64q: want read, list or write", one.Access)
		}
	}
	return nil
}

// notFound is what whoever shows a secret that is none hears. What is unknown, deleted and expired is the same.
const tokenNotFound = "ACL not found"

// errNoToken refuses a secret. Until somebody may do something it says what to do first.
func errNoToken(tx *state.Txn) error {
	if state.ACLBootstrapped(tx) == 0 {
		return catalog.Errorf(catalog.Denied, "ACL system must be bootstrapped before making any requests that require authorization: %s", tokenNotFound)
	}
	return catalog.Errorf(catalog.Denied, tokenNotFound)
}

// Holder returns the token with a secret, the anonymous one for none, and an error with code denied when there is none
// or its time is over.
func Holder(tx *state.Txn, w *state.Watch, secret catalog.SecretID, now time.Time) (*catalog.Token, error) {
	if secret == "" {
		secret = catalog.AnonymousSecret
	}
	t := state.TokenOf(tx, w, secret)
	switch {
	case t == nil && secret == catalog.AnonymousSecret: // no leader has made it yet
		return &catalog.Token{AccessorID: catalog.AnonymousAccessor, SecretID: catalog.AnonymousSecret}, nil
	case t == nil || t.Expired(now):
		return nil, errNoToken(tx)
	}
	return t, nil
}

// Effective returns the policies of a token that count in a datacenter, the synthetic ones of identities included,
// each once. w watches all that they depend on.
func Effective(tx *state.Txn, w *state.Watch, t *catalog.Token, datacenter string) (list []*catalog.Policy) {
	seen := map[string]bool{}
	add := func(g *catalog.Grants) {
		for _, p := range expanded(tx, w, g) {
			if !seen[p.ID] && p.CountsIn(datacenter) {
				seen[p.ID] = true
				list = append(list, p)
			}
		}
	}
	add(t.Grants())
	for _, l := range t.Roles {
		if r, _ := state.Role(tx, w, l.ID); r != nil {
			add(r.Grants())
		}
	}
	return list
}

// expanded returns the policies that grants come to.
func expanded(tx *state.Txn, w *state.Watch, g *catalog.Grants) (list []*catalog.Policy) {
	for _, l := range g.Policies {
		if p, _ := state.Policy(tx, w, l.ID); p != nil {
			list = append(list, p)
		}
	}
	return append(list, g.Synthetic()...)
}

// Manages reports whether policies allow everything.
func Manages(list []*catalog.Policy) bool {
	for _, p := range list {
		if p.ID == catalog.GlobalManagementID {
			return true
		}
	}
	return false
}

func resolve(tx *state.Txn, w *state.Watch, d Deps, q *api.SecretQuery) (*api.Resolved, uint64, error) {
	t, err := Holder(tx, w, q.Secret, time.Now())
	if err != nil {
		return nil, 0, err
	}
	if t.Local && q.Datacenter != "" && q.Datacenter != d.Datacenter {
		return nil, 0, errNoToken(tx) // it is good here alone
	}
	list := Effective(tx, w, t, cmp.Or(q.Datacenter, d.Datacenter))
	out := &api.Resolved{
		AccessorID: t.AccessorID, Management: Manages(list), DefaultPolicy: d.ACL.Default.String(), ExpirationTime: t.ExpirationTime, TTL: d.ACL.TTL,
	}
	index := max(1, t.ModifyIndex)
	for _, p := range list {
		out.Rules = append(out.Rules, p.Rules)
		index = max(index, p.ModifyIndex)
	}
	return out, index, nil
}

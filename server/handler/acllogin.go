package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/authmethod"
	"github.com/curia-mesh/curia/server/endpoint"
)

func registerLogins(r *endpoint.Registry, d Deps) {
	endpoint.AddCommand(r, endpoint.Command[api.Login, catalog.Token]{
		Method: api.ACLLogin, Open: "the bearer token says who it is", Primary: func(req *api.Login) bool { return !localLogin(d, req.AuthMethod) },
		Prepare: func(ctx context.Context, given *api.Login) (*api.Login, error) {
			m, err := loginMethod(d, given.AuthMethod)
			if err != nil {
				return nil, err
			}
			if m.Type == catalog.AuthOIDC {
				return nil, catalog.Errorf(catalog.Invalid, "auth method %s is of the type oidc: log in with a browser", m.Name)
			}
			who, err := d.ACL.Logins.Login(ctx, m, given.BearerToken)
			if err != nil {
				return nil, err
			}
			t, err := loginToken(d, m, who, given.Meta)
			if err != nil {
				return nil, err
			}
			return &api.Login{AuthMethod: m.Name, Token: *t}, nil // the bearer token is not for the log
		},
		Apply: func(tx *state.Txn, req *api.Login) (*catalog.Token, error) { return state.PutToken(tx, &req.Token) },
	})
	endpoint.AddCommand(r, endpoint.Command[api.OIDCLogin, catalog.Token]{
		Method: api.OIDCDone, Open: "the provider says who it is", Primary: func(req *api.OIDCLogin) bool { return !localLogin(d, req.AuthMethod) },
		Prepare: func(ctx context.Context, given *api.OIDCLogin) (*api.OIDCLogin, error) {
			m, err := loginMethod(d, given.AuthMethod)
			if err != nil {
				return nil, err
			}
			who, err := d.ACL.Logins.Callback(ctx, m, given)
			if err != nil {
				return nil, err
			}
			t, err := loginToken(d, m, who, nil)
			if err != nil {
				return nil, err
			}
			return &api.OIDCLogin{AuthMethod: m.Name, Token: *t}, nil
		},
		Apply: func(tx *state.Txn, req *api.OIDCLogin) (*catalog.Token, error) { return state.PutToken(tx, &req.Token) },
	})
	endpoint.AddAction(r, endpoint.Action[api.OIDCLogin, string]{
		Method: api.OIDCAuthURL, Open: "whoever wants to log in has no token yet",
		Do: func(ctx context.Context, _ rpc.Header, req *api.OIDCLogin) (*string, rpc.Meta, error) {
			m, err := loginMethod(d, req.AuthMethod)
			if err != nil {
				return nil, rpc.Meta{}, err
			}
			url, err := d.ACL.Logins.AuthURL(ctx, m, req)
			return &url, rpc.Meta{}, err
		},
	})
	endpoint.AddCommand(r, endpoint.Command[api.SecretQuery, api.Nothing]{
		Method: api.ACLLogout, Open: "who shows a secret may give it up",
		Primary: func(q *api.SecretQuery) bool {
			t := state.TokenOf(d.Store.Read(), nil, q.Secret)
			return t == nil || !t.Local
		},
		Prepare: func(_ context.Context, q *api.SecretQuery) (*api.SecretQuery, error) {
			if err := d.ACL.on(); err != nil {
				return nil, err
			}
			t, err := Holder(d.Store.Read(), nil, q.Secret, time.Now())
			if err != nil {
				return nil, err
			}
			if t.AuthMethod == "" {
				return nil, catalog.Errorf(catalog.Denied, "token %s does not come from a login: only those that do log out", t.AccessorID)
			}
			return q, nil
		},
		Apply: func(tx *state.Txn, q *api.SecretQuery) (*api.Nothing, error) {
			if t := state.TokenOf(tx, nil, q.Secret); t != nil {
				state.DeleteToken(tx, t.AccessorID)
			}
			return nothing, nil
		},
	})
}

// localLogin reports whether an auth method is of this datacenter, and its tokens are.
func localLogin(d Deps, name string) bool {
	m, _ := state.AuthMethod(d.Store.Read(), nil, name)
	return m != nil && m.LocalTokens()
}

func loginMethod(d Deps, name string) (*catalog.AuthMethod, error) {
	if err := d.ACL.on(); err != nil {
		return nil, err
	}
	m, _ := state.AuthMethod(d.Store.Read(), nil, name)
	if m == nil {
		return nil, catalog.Errorf(catalog.Denied, "auth method %.128q does not exist", name)
	}
	return m, nil
}

// loginToken makes the token of who has logged in: all that the binding rules give which match. One who is given
// nothing gets none.
func loginToken(d Deps, m *catalog.AuthMethod, who *authmethod.Subject, meta map[string]string) (*catalog.Token, error) {
	tx, now := d.Store.Read(), time.Now()
	t := &catalog.Token{Local: m.LocalTokens(), AuthMethod: m.Name}
	rules, _ := state.BindingRules(tx, nil, m.Name)
	for _, b := range rules {
		if err := bind(tx, d, t, b, who); err != nil {
			return nil, catalog.Errorf(catalog.Denied, "auth method %s: binding rule %s: %w", m.Name, b.ID, err)
		}
	}
	if g := t.Grants(); len(g.Policies)+len(g.Services)+len(g.Nodes)+len(g.Templated)+len(t.Roles) == 0 {
		return nil, catalog.Errorf(catalog.Denied, "Permission denied: auth method %s knows who this is, and no binding rule of it gives them anything", m.Name)
	}
	var err error
	if t.Description, err = loginDescription(m, who, meta); err != nil {
		return nil, err
	}
	t.ExpirationTTL = m.MaxTokenTTL
	if err := newToken(t, now); err != nil {
		return nil, err
	}
	return t, t.Validate()
}

// maxLoginMeta bounds the metadata of a login, as JSON, in bytes.
const maxLoginMeta = 2048

// loginDescription says where a token comes from.
func loginDescription(m *catalog.AuthMethod, who *authmethod.Subject, meta map[string]string) (string, error) {
	text := "token created via login"
	if m.Type == catalog.AuthOIDC {
		text = "token created via OIDC login"
	}
	if m.TokenNameFormat != "" {
		name, err := catalog.Interpolate(m.TokenNameFormat, who.Variables)
		if err != nil {
			return "", catalog.Errorf(catalog.Denied, "auth method %s: TokenNameFormat: %w", m.Name, err)
		}
		text = name
	}
	if len(meta) == 0 {
		return text, nil
	}
	line, err := json.Marshal(meta)
	if err != nil || len(line) > maxLoginMeta {
		return "", catalog.Errorf(catalog.Invalid, "login: its metadata has more than %d bytes", maxLoginMeta)
	}
	return text + ": " + string(line), nil
}

// bind adds to a token what a rule gives.
func bind(tx *state.Txn, d Deps, t *catalog.Token, b *catalog.BindingRule, who *authmethod.Subject) error {
	matches, err := selects(b, who)
	if err != nil || !matches {
		return err
	}
	name, err := catalog.Interpolate(b.BindName, who.Variables)
	if err != nil {
		return err
	}
	switch b.BindType {
	case catalog.BindService:
		t.ServiceIdentities = append(t.ServiceIdentities, &catalog.ServiceIdentity{ServiceName: name})
	case catalog.BindNode:
		t.NodeIdentities = append(t.NodeIdentities, &catalog.NodeIdentity{NodeName: name, Datacenter: d.Datacenter})
	case catalog.BindRole: // one that is not there yet gives nothing
		if role, _ := state.RoleNamed(tx, nil, name); role != nil {
			t.Roles = append(t.Roles, catalog.Link{ID: role.ID, Name: role.Name})
		}
	case catalog.BindPolicy:
		if p, _ := state.PolicyNamed(tx, nil, name); p != nil {
			t.Policies = append(t.Policies, catalog.Link{ID: p.ID, Name: p.Name})
		}
	case catalog.BindTemplated:
		vars := cmp.Or(b.BindVars, &catalog.TemplateVariables{})
		filled, err := catalog.Interpolate(vars.Name, who.Variables)
		if err != nil {
			return err
		}
		t.TemplatedPolicies = append(t.TemplatedPolicies, &catalog.TemplatedPolicy{TemplateName: name, TemplateVariables: &catalog.TemplateVariables{Name: filled}})
	}
	return nil
}

// selects reports whether a rule is for somebody.
func selects(b *catalog.BindingRule, who *authmethod.Subject) (bool, error) {
	keep, err := filter.Compile(b.Selector)
	if err != nil {
		return false, err
	}
	return keep.Accepts(who.Fields)
}

// checkBinding refuses a rule whose selector or variables do not fit its auth method.
func checkBinding(d Deps, m *catalog.AuthMethod, b *catalog.BindingRule) error {
	blank, err := d.ACL.Logins.Blank(m)
	if err != nil {
		return err
	}
	if _, err := selects(b, blank); err != nil {
		return catalog.Errorf(catalog.Invalid, "binding rule of auth method %s: Selector: %w", m.Name, err)
	}
	for _, text := range []string{b.BindName, cmp.Or(b.BindVars, &catalog.TemplateVariables{}).Name} {
		if _, err := catalog.Interpolate(text, blank.Variables); err != nil {
			return catalog.Errorf(catalog.Invalid, "binding rule of auth method %s: %w", m.Name, err)
		}
	}
	return nil
}

package client

import (
	"context"
	"net/http"

	"github.com/curia-mesh/curia/catalog"
)

// ACL is the ACL system.
// Source: https://developer.hashicorp.com/consul/api-docs/acl
type ACL struct{ c *Client }

// ACL returns the calls of the ACL system.
func (c *Client) ACL() ACL { return ACL{c} }

// fetched makes a request and reads its answer.
func fetched[T any](ctx context.Context, a ACL, method, path string, q Query, in any) (*T, error) {
	out := new(T)
	_, err := a.c.Do(ctx, method, path, q, in, out)
	return out, err
}

// listed reads a list.
func listed[T any](ctx context.Context, a ACL, path string, q Query) ([]*T, error) {
	var list []*T
	_, err := a.c.Do(ctx, http.MethodGet, path, q, nil, &list)
	return list, err
}

// written creates a thing, or with an id changes the one that has it.
func written[T any](ctx context.Context, a ACL, noun, id string, q Query, thing *T) (*T, error) {
	path := Path("acl", noun)
	if id != "" {
		path = Path("acl", noun, id)
	}
	return fetched[T](ctx, a, http.MethodPut, path, q, thing)
}

func (a ACL) remove(ctx context.Context, noun, id string, q Query) error {
	_, err := a.c.Do(ctx, http.MethodDelete, Path("acl", noun, id), q, nil, nil)
	return err
}

// Bootstrap makes the first management token, with the secret unless that is empty. It fails with status 403 when it
// was made before.
func (a ACL) Bootstrap(ctx context.Context, secret catalog.SecretID, q Query) (*catalog.Token, error) {
	var body any
	if secret != "" {
		body = struct{ BootstrapSecret catalog.SecretID }{secret}
	}
	return fetched[catalog.Token](ctx, a, http.MethodPut, "/v1/acl/bootstrap", q, body)
}

// ExpandedToken is a token with what it links to.
type ExpandedToken struct {
	ExpandedPolicies      []*catalog.Policy
	ExpandedRoles         []*catalog.Role
	AgentACLDefaultPolicy string
	AgentACLDownPolicy    string
	ResolvedByAgent       string
	catalog.Token
}

// ReadToken returns the token with an accessor, or that of the request for "self". It fails with status 403 when there
// is none.
func (a ACL) ReadToken(ctx context.Context, accessor string, q Query) (*catalog.Token, error) {
	return fetched[catalog.Token](ctx, a, http.MethodGet, Path("acl", "token", accessor), q, nil)
}

// ExpandToken returns a token with what it links to.
func (a ACL) ExpandToken(ctx context.Context, accessor string, q Query) (*ExpandedToken, error) {
	return fetched[ExpandedToken](ctx, a, http.MethodGet, Path("acl", "token", accessor), q.With("expanded", "true"), nil)
}

// Tokens returns all tokens.
func (a ACL) Tokens(ctx context.Context, q Query) ([]*catalog.Token, error) {
	return listed[catalog.Token](ctx, a, "/v1/acl/tokens", q)
}

// CreateToken makes a token.
func (a ACL) CreateToken(ctx context.Context, t *catalog.Token, q Query) (*catalog.Token, error) {
	return written(ctx, a, "token", "", q, t)
}

// UpdateToken changes the token with t's accessor.
func (a ACL) UpdateToken(ctx context.Context, t *catalog.Token, q Query) (*catalog.Token, error) {
	return written(ctx, a, "token", t.AccessorID, q, t)
}

// CloneToken makes another token that may do what one may.
func (a ACL) CloneToken(ctx context.Context, accessor, description string, q Query) (*catalog.Token, error) {
	return fetched[catalog.Token](ctx, a, http.MethodPut, Path("acl", "token", accessor, "clone"), q, struct{ Description string }{description})
}

// DeleteToken removes a token. It fails with status 404 when there is none.
func (a ACL) DeleteToken(ctx context.Context, accessor string, q Query) error {
	return a.remove(ctx, "token", accessor, q)
}

// ReadPolicy returns the policy with an id. It fails with status 404 when there is none.
func (a ACL) ReadPolicy(ctx context.Context, id string, q Query) (*catalog.Policy, error) {
	return fetched[catalog.Policy](ctx, a, http.MethodGet, Path("acl", "policy", id), q, nil)
}

// ReadPolicyNamed returns the policy with a name.
func (a ACL) ReadPolicyNamed(ctx context.Context, name string, q Query) (*catalog.Policy, error) {
	return fetched[catalog.Policy](ctx, a, http.MethodGet, Path("acl", "policy", "name", name), q, nil)
}

// Policies returns all policies, without their rules.
func (a ACL) Policies(ctx context.Context, q Query) ([]*catalog.PolicySummary, error) {
	return listed[catalog.PolicySummary](ctx, a, "/v1/acl/policies", q)
}

// WritePolicy makes a policy, or changes the one with p's id.
func (a ACL) WritePolicy(ctx context.Context, p *catalog.Policy, q Query) (*catalog.Policy, error) {
	return written(ctx, a, "policy", p.ID, q, p)
}

// DeletePolicy removes a policy, if it is there.
func (a ACL) DeletePolicy(ctx context.Context, id string, q Query) error {
	return a.remove(ctx, "policy", id, q)
}

// ReadRole returns the role with an id. It fails with status 404 when there is none.
func (a ACL) ReadRole(ctx context.Context, id string, q Query) (*catalog.Role, error) {
	return fetched[catalog.Role](ctx, a, http.MethodGet, Path("acl", "role", id), q, nil)
}

// ReadRoleNamed returns the role with a name.
func (a ACL) ReadRoleNamed(ctx context.Context, name string, q Query) (*catalog.Role, error) {
	return fetched[catalog.Role](ctx, a, http.MethodGet, Path("acl", "role", "name", name), q, nil)
}

// Roles returns all roles.
func (a ACL) Roles(ctx context.Context, q Query) ([]*catalog.Role, error) {
	return listed[catalog.Role](ctx, a, "/v1/acl/roles", q)
}

// WriteRole makes a role, or changes the one with r's id.
func (a ACL) WriteRole(ctx context.Context, r *catalog.Role, q Query) (*catalog.Role, error) {
	return written(ctx, a, "role", r.ID, q, r)
}

// DeleteRole removes a role, if it is there.
func (a ACL) DeleteRole(ctx context.Context, id string, q Query) error {
	return a.remove(ctx, "role", id, q)
}

// ReadAuthMethod returns the auth method with a name. It fails with status 404 when there is none.
func (a ACL) ReadAuthMethod(ctx context.Context, name string, q Query) (*catalog.AuthMethod, error) {
	return fetched[catalog.AuthMethod](ctx, a, http.MethodGet, Path("acl", "auth-method", name), q, nil)
}

// AuthMethods returns all auth methods, without their settings.
func (a ACL) AuthMethods(ctx context.Context, q Query) ([]*catalog.AuthMethodSummary, error) {
	return listed[catalog.AuthMethodSummary](ctx, a, "/v1/acl/auth-methods", q)
}

// CreateAuthMethod makes an auth method.
func (a ACL) CreateAuthMethod(ctx context.Context, m *catalog.AuthMethod, q Query) (*catalog.AuthMethod, error) {
	return written(ctx, a, "auth-method", "", q, m)
}

// UpdateAuthMethod changes the auth method with m's name.
func (a ACL) UpdateAuthMethod(ctx context.Context, m *catalog.AuthMethod, q Query) (*catalog.AuthMethod, error) {
	return written(ctx, a, "auth-method", m.Name, q, m)
}

// DeleteAuthMethod removes an auth method with its binding rules and tokens, if it is there.
func (a ACL) DeleteAuthMethod(ctx context.Context, name string, q Query) error {
	return a.remove(ctx, "auth-method", name, q)
}

// ReadBindingRule returns the binding rule with an id. It fails with status 404 when there is none.
func (a ACL) ReadBindingRule(ctx context.Context, id string, q Query) (*catalog.BindingRule, error) {
	return fetched[catalog.BindingRule](ctx, a, http.MethodGet, Path("acl", "binding-rule", id), q, nil)
}

// BindingRules returns the binding rules of an auth method, or with an empty name all.
func (a ACL) BindingRules(ctx context.Context, method string, q Query) ([]*catalog.BindingRule, error) {
	if method != "" {
		q = q.With("authmethod", method)
	}
	return listed[catalog.BindingRule](ctx, a, "/v1/acl/binding-rules", q)
}

// WriteBindingRule makes a binding rule, or changes the one with b's id.
func (a ACL) WriteBindingRule(ctx context.Context, b *catalog.BindingRule, q Query) (*catalog.BindingRule, error) {
	return written(ctx, a, "binding-rule", b.ID, q, b)
}

// DeleteBindingRule removes a binding rule, if it is there.
func (a ACL) DeleteBindingRule(ctx context.Context, id string, q Query) error {
	return a.remove(ctx, "binding-rule", id, q)
}

// PolicyTemplates returns the templates that templated policies are made of, by name.
func (a ACL) PolicyTemplates(ctx context.Context, q Query) (map[string]*catalog.PolicyTemplate, error) {
	var all map[string]*catalog.PolicyTemplate
	_, err := a.c.Do(ctx, http.MethodGet, "/v1/acl/templated-policies", q, nil, &all)
	return all, err
}

// ReadPolicyTemplate returns one of them.
func (a ACL) ReadPolicyTemplate(ctx context.Context, name string, q Query) (*catalog.PolicyTemplate, error) {
	return fetched[catalog.PolicyTemplate](ctx, a, http.MethodGet, "/v1/acl/templated-policy/name/"+name, q, nil)
}

// PreviewTemplate returns the policy that a template comes to.
func (a ACL) PreviewTemplate(ctx context.Context, name string, vars *catalog.TemplateVariables, q Query) (*catalog.Policy, error) {
	return fetched[catalog.Policy](ctx, a, http.MethodPost, "/v1/acl/templated-policy/preview/"+name, q, vars)
}

// LoginRequest trades a bearer token for one of ours.
type LoginRequest struct {
	AuthMethod  string
	BearerToken string
	Meta        map[string]string `json:",omitempty"`
}

// Login logs in and returns the token.
func (a ACL) Login(ctx context.Context, r *LoginRequest, q Query) (*catalog.Token, error) {
	return fetched[catalog.Token](ctx, a, http.MethodPost, "/v1/acl/login", q, r)
}

// Logout gives up the token of the request, which must be that of a login.
func (a ACL) Logout(ctx context.Context, q Query) error {
	_, err := a.c.Do(ctx, http.MethodPost, "/v1/acl/logout", q, nil, nil)
	return err
}

// OIDCRequest is one of the two steps of a login with a browser.
type OIDCRequest struct {
	AuthMethod  string
	RedirectURI string            `json:",omitempty"`
	ClientNonce string            `json:",omitempty"`
	Meta        map[string]string `json:",omitempty"`
	State       string            `json:",omitempty"`
	Code        string            `json:",omitempty"`
}

// OIDCAuthURL begins a login with a browser and returns where to send it.
func (a ACL) OIDCAuthURL(ctx context.Context, r *OIDCRequest, q Query) (string, error) {
	made, err := fetched[struct{ AuthURL string }](ctx, a, http.MethodPost, "/v1/acl/oidc/auth-url", q, r)
	return made.AuthURL, err
}

// OIDCCallback ends a login with a browser and returns the token.
func (a ACL) OIDCCallback(ctx context.Context, r *OIDCRequest, q Query) (*catalog.Token, error) {
	return fetched[catalog.Token](ctx, a, http.MethodPost, "/v1/acl/oidc/callback", q, r)
}

// SetAgentToken replaces one of the agent's own tokens.
func (a ACL) SetAgentToken(ctx context.Context, kind string, secret catalog.SecretID, q Query) error {
	_, err := a.c.Do(ctx, http.MethodPut, Path("agent", "token", kind), q, struct{ Token catalog.SecretID }{secret}, nil)
	return err
}

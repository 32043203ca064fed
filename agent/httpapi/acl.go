package httpapi

import (
	"net/http"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// ACLs is how an agent checks tokens; the zero value is that it does not.
type ACLs struct {
	Enabled bool
	// DefaultPolicy and DownPolicy are those of the configuration.
	DefaultPolicy, DownPolicy string
}

func aclRoutes() []Route {
	const read, write = "acl:read", "acl:write"
	return acls([]Route{
		{Path: "/v1/acl/bootstrap", Doc: "make the first management token", ACL: "none", Methods: put(aclBootstrap)},
		{Path: "/v1/acl/login", Doc: "trade a bearer token for an ACL token", ACL: "none", Methods: post(aclLogin)},
		{Path: "/v1/acl/logout", Doc: "give up a token of a login", ACL: "none", Methods: post(aclLogout)},
		{Path: "/v1/acl/oidc/auth-url", Doc: "begin a login with a browser", ACL: "none", Methods: post(aclAuthURL)},
		{Path: "/v1/acl/oidc/callback", Doc: "end a login with a browser", ACL: "none", Methods: post(aclCallback)},
		{Path: "/v1/acl/replication", Doc: "show the state of ACL replication", ACL: "none", Methods: get(aclReplication)},
		{Path: "/v1/internal/acl/authorize", Doc: "ask what a token may do", ACL: "none", Methods: post(aclAuthorize)},
		{Path: "/v1/acl/tokens", Doc: "list the tokens", ACL: read, Methods: get(tokenList), Blank: true},
		{Path: "/v1/acl/token", Doc: "create a token", ACL: write, Methods: put(tokenCreate)},
		{Path: "/v1/acl/token/self", Doc: "show the token of the request", ACL: "none", Methods: get(tokenSelf)},
		{Path: "/v1/acl/token/{id}/clone", Doc: "copy a token", ACL: write, Methods: put(tokenClone)},
		{Path: "/v1/acl/token/{id...}", Doc: "show, change or delete a token", ACL: write, Methods: three(tokenRead, tokenUpdate, tokenDelete), Blank: true},
		{Path: "/v1/acl/policies", Doc: "list the policies", ACL: read, Methods: get(policyList)},
		{Path: "/v1/acl/policy", Doc: "create a policy", ACL: write, Methods: put(policyCreate)},
		{Path: "/v1/acl/policy/name/{name...}", Doc: "show a policy by its name", ACL: read, Methods: get(policyRead)},
		{Path: "/v1/acl/policy/{id...}", Doc: "show, change or delete a policy", ACL: write, Methods: three(policyRead, policyUpdate, policyDelete)},
		{Path: "/v1/acl/roles", Doc: "list the roles", ACL: read, Methods: get(roleList)},
		{Path: "/v1/acl/role", Doc: "create a role", ACL: write, Methods: put(roleCreate)},
		{Path: "/v1/acl/role/name/{name...}", Doc: "show a role by its name", ACL: read, Methods: get(roleRead)},
		{Path: "/v1/acl/role/{id...}", Doc: "show, change or delete a role", ACL: write, Methods: three(roleRead, roleUpdate, roleDelete)},
		{Path: "/v1/acl/auth-methods", Doc: "list the auth methods", ACL: read, Methods: get(authMethodList)},
		{Path: "/v1/acl/auth-method", Doc: "create an auth method", ACL: write, Methods: put(authMethodCreate)},
		{Path: "/v1/acl/auth-method/{id...}", Doc: "show, change or delete an auth method", ACL: write, Methods: three(authMethodRead, authMethodUpdate, authMethodDelete)},
		{Path: "/v1/acl/binding-rules", Doc: "list the binding rules", ACL: read, Methods: get(bindingRuleList)},
		{Path: "/v1/acl/binding-rule", Doc: "create a binding rule", ACL: write, Methods: put(bindingRuleCreate)},
		{Path: "/v1/acl/binding-rule/{id...}", Doc: "show, change or delete a binding rule", ACL: write, Methods: three(bindingRuleRead, bindingRuleUpdate, bindingRuleDelete)},
		{Path: "/v1/acl/templated-policies", Doc: "list the templated policies", ACL: read, Methods: get(templateList)},
		{Path: "/v1/acl/templated-policy/name/{name...}", Doc: "show a templated policy", ACL: read, Methods: get(templateRead)},
		{Path: "/v1/acl/templated-policy/preview/{name...}", Doc: "render a templated policy", ACL: read, Methods: post(templatePreview)},
	})
}

// three are the methods of one thing, of which reading it needs less.
func three(read, write, remove Handler) []Method {
	return []Method{{Name: http.MethodGet, Handle: read, ACL: "acl:read"}, {Name: http.MethodPut, Handle: write}, {Name: http.MethodDelete, Handle: remove}}
}

// acls refuses what is asked of the ACL system where there is none.
func acls(routes []Route) []Route {
	for _, r := range routes {
		for i, m := range r.Methods {
			r.Methods[i].Handle = func(c *call) error {
				if !c.api.config.Load().ACLs.Enabled {
					return withStatus(http.StatusUnauthorized, "ACL support disabled: this agent's cluster runs without ACLs")
				}
				return m.Handle(c)
			}
		}
	}
	return routes
}

// tokenless is the header of requests that count whatever token they carry.
func (c *call) tokenless() (rpc.Header, error) {
	h, err := c.header()
	h.Token = ""
	return h, err
}

// sendAnyway makes a request that counts whatever token it carries, and answers with the reply.
func sendAnyway[Req, Rep any](c *call, m rpc.Method[Req, Rep], req *Req) (*Rep, error) {
	if err := c.admitted(m.Name); err != nil {
		return nil, err
	}
	h, err := c.tokenless()
	if err != nil {
		return nil, err
	}
	rep, _, err := m.Call(c.ctx(), c.api.Caller, h, req)
	return rep, err
}

// written makes a request and answers with what came of it.
func written[Req, Rep any](c *call, m rpc.Method[Req, Rep], req *Req) error {
	rep, _, err := send(c, m, req)
	if err != nil {
		return err
	}
	return c.json(rep)
}

// removed makes a request that removes something and answers true.
func removed[Req any](c *call, m rpc.Method[Req, api.Nothing], req *Req) error {
	if _, _, err := send(c, m, req); err != nil {
		return err
	}
	return c.json(true)
}

// one answers with the only element of a list, or says that there is none.
func one[Req, Rep any](c *call, m rpc.Method[Req, []*Rep], what string, req *Req) error {
	found, meta, err := send(c, m, req)
	if err != nil {
		return err
	}
	if len(*found) == 0 {
		return notFound("%s %.128q does not exist", what, c.r.PathValue("id")+c.r.PathValue("name"))
	}
	c.meta(meta)
	return c.json((*found)[0])
}

// ownID takes over the id of the path for the body, which may say the same.
func (c *call) ownID(what string, id *string) error {
	path, err := c.path("id", what)
	if err != nil {
		return err
	}
	if *id != "" && *id != path {
		return badRequest("the %s of the body is %.64q, and that of the path %.64q", what, *id, path)
	}
	*id = path
	return nil
}

// newID refuses an id in the body of what is yet to be made.
func newID(what, id string) error {
	if id != "" {
		return badRequest("leave out the id of a new %s: it is chosen by the servers", what)
	}
	return nil
}

func aclBootstrap(c *call) error {
	body := struct{ BootstrapSecret catalog.SecretID }{}
	if c.r.ContentLength != 0 {
		if err := c.decode(&body); err != nil {
			return err
		}
	}
	made, err := sendAnyway(c, api.ACLBootstrap, &api.Bootstrap{Secret: body.BootstrapSecret})
	if err != nil {
		return err
	}
	return c.json(struct {
		ID catalog.SecretID // as older clients have it
		*catalog.Token
	}{made.SecretID, made})
}

func aclLogin(c *call) error {
	body := &api.Login{}
	if err := c.decode(body); err != nil {
		return err
	}
	made, err := sendAnyway(c, api.ACLLogin, body)
	if err != nil {
		return err
	}
	return c.json(made)
}

func aclLogout(c *call) error {
	if _, err := sendAnyway(c, api.ACLLogout, &api.SecretQuery{Secret: catalog.SecretID(c.token())}); err != nil {
		return err
	}
	return c.done()
}

// oidcBody is one of the two steps of a login with a browser.
type oidcBody struct {
	AuthMethod  string
	RedirectURI string            `json:",omitempty"`
	ClientNonce string            `json:",omitempty"`
	Meta        map[string]string `json:",omitempty"`
	State       string            `json:",omitempty"`
	Code        string            `json:",omitempty"`
}

func (b *oidcBody) login() *api.OIDCLogin {
	return &api.OIDCLogin{AuthMethod: b.AuthMethod, RedirectURI: b.RedirectURI, ClientNonce: b.ClientNonce, Meta: b.Meta, State: b.State, Code: b.Code}
}

func aclAuthURL(c *call) error {
	body := &oidcBody{}
	if err := c.decode(body); err != nil {
		return err
	}
	url, err := sendAnyway(c, api.OIDCAuthURL, body.login())
	if err != nil {
		return err
	}
	return c.json(struct{ AuthURL *string }{url})
}

func aclCallback(c *call) error {
	body := &oidcBody{}
	if err := c.decode(body); err != nil {
		return err
	}
	made, err := sendAnyway(c, api.OIDCDone, body.login())
	if err != nil {
		return err
	}
	return c.json(made)
}

func aclReplication(c *call) error {
	status, err := sendAnyway(c, api.ACLStatus, nothing)
	if err != nil {
		return err
	}
	return c.json(status)
}

func aclAuthorize(c *call) error {
	body := []api.AccessQuery{}
	if err := c.decode(&body); err != nil {
		return err
	}
	return written(c, api.ACLAuthorize, &api.AccessQueries{Queries: body})
}

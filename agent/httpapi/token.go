package httpapi

import (
	"net/http"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

func tokenList(c *call) error {
	return query(c, api.TokenList, &api.TokenFilter{
		Policy: c.param("policy"), Role: c.param("role"), AuthMethod: c.param("authmethod"), Service: c.param("servicename"),
	})
}

func tokenCreate(c *call) error {
	t := catalog.Token{}
	if err := c.decode(&t); err != nil {
		return err
	}
	return written(c, api.TokenApply, &api.TokenWrite{Op: api.ACLCreate, Token: t})
}

func tokenUpdate(c *call) error {
	t := catalog.Token{}
	if err := c.decode(&t); err != nil {
		return err
	}
	if err := c.ownID("AccessorID", &t.AccessorID); err != nil {
		return err
	}
	return written(c, api.TokenApply, &api.TokenWrite{Op: api.ACLUpdate, Token: t})
}

func tokenClone(c *call) error {
	body := struct{ Description string }{}
	if c.r.ContentLength != 0 {
		if err := c.decode(&body); err != nil {
			return err
		}
	}
	t := catalog.Token{AccessorID: c.r.PathValue("id"), Description: body.Description}
	return written(c, api.TokenApply, &api.TokenWrite{Op: api.ACLClone, Token: t})
}

func tokenDelete(c *call) error {
	id, err := c.path("id", "AccessorID")
	if err != nil {
		return err
	}
	return removed(c, api.TokenRemove, &api.TokenDelete{AccessorID: id})
}

func tokenRead(c *call) error {
	id, err := c.path("id", "AccessorID")
	if err != nil {
		return err
	}
	whole, err := c.flag("expanded")
	if err != nil {
		return err
	}
	found, meta, err := send(c, api.TokenRead, &api.TokenQuery{AccessorID: id, Expanded: whole})
	if err != nil {
		return err
	}
	return c.tokenAnswer(found, meta, whole)
}

func tokenSelf(c *call) error {
	whole, err := c.flag("expanded")
	if err != nil {
		return err
	}
	found, meta, err := send(c, api.TokenSelf, &api.SecretQuery{Secret: catalog.SecretID(c.token()), Expanded: whole})
	if err != nil {
		return err
	}
	return c.tokenAnswer(found, meta, whole)
}

// expandedToken is a token with what it links to.
// Source: https://developer.hashicorp.com/consul/api-docs/acl/tokens#read-a-token (expanded)
type expandedToken struct {
	ExpandedPolicies          []*catalog.Policy
	ExpandedRoles             []*catalog.Role
	NamespaceDefaultPolicyIDs []string
	NamespaceDefaultRoleIDs   []string
	AgentACLDefaultPolicy     string
	AgentACLDownPolicy        string
	ResolvedByAgent           string
	*catalog.Token
}

func (c *call) tokenAnswer(found *api.TokenAnswer, meta rpc.Meta, whole bool) error {
	if found.Token == nil {
		return withStatus(http.StatusForbidden, "ACL not found")
	}
	c.meta(meta)
	if !whole {
		return c.json(found.Token)
	}
	acls := c.api.config.Load().ACLs
	return c.json(&expandedToken{
		ExpandedPolicies: found.Policies, ExpandedRoles: found.Roles, Token: found.Token,
		AgentACLDefaultPolicy: acls.DefaultPolicy, AgentACLDownPolicy: acls.DownPolicy, ResolvedByAgent: c.api.Node.NodeName(),
	})
}

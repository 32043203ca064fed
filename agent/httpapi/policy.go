package httpapi

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

// aclQuery is what the path asks for: by id or by name.
func (c *call) aclQuery() (*api.ACLQuery, error) {
	q := &api.ACLQuery{ID: c.r.PathValue("id"), Name: c.r.PathValue("name")}
	if q.ID == "" && q.Name == "" {
		return nil, badRequest("missing id or name: want %s", c.route.Path)
	}
	return q, nil
}

func policyList(c *call) error { return query(c, api.PolicyList, nothing) }

func policyRead(c *call) error {
	q, err := c.aclQuery()
	if err != nil {
		return err
	}
	return one(c, api.PolicyRead, "policy", q)
}

func policyCreate(c *call) error {
	p := catalog.Policy{}
	if err := c.decode(&p); err != nil {
		return err
	}
	if err := newID("policy", p.ID); err != nil {
		return err
	}
	return written(c, api.PolicyApply, &api.PolicyWrite{Op: api.ACLCreate, Policy: p})
}

func policyUpdate(c *call) error {
	p := catalog.Policy{}
	if err := c.decode(&p); err != nil {
		return err
	}
	if err := c.ownID("ID", &p.ID); err != nil {
		return err
	}
	return written(c, api.PolicyApply, &api.PolicyWrite{Op: api.ACLUpdate, Policy: p})
}

func policyDelete(c *call) error {
	q, err := c.aclQuery()
	if err != nil {
		return err
	}
	return removed(c, api.PolicyRemove, q)
}

func roleList(c *call) error { return query(c, api.RoleList, &api.ACLQuery{ID: c.param("policy")}) }

func roleRead(c *call) error {
	q, err := c.aclQuery()
	if err != nil {
		return err
	}
	return one(c, api.RoleRead, "role", q)
}

func roleCreate(c *call) error {
	r := catalog.Role{}
	if err := c.decode(&r); err != nil {
		return err
	}
	if err := newID("role", r.ID); err != nil {
		return err
	}
	return written(c, api.RoleApply, &api.RoleWrite{Op: api.ACLCreate, Role: r})
}

func roleUpdate(c *call) error {
	r := catalog.Role{}
	if err := c.decode(&r); err != nil {
		return err
	}
	if err := c.ownID("ID", &r.ID); err != nil {
		return err
	}
	return written(c, api.RoleApply, &api.RoleWrite{Op: api.ACLUpdate, Role: r})
}

func roleDelete(c *call) error {
	q, err := c.aclQuery()
	if err != nil {
		return err
	}
	return removed(c, api.RoleRemove, q)
}

func authMethodList(c *call) error { return query(c, api.AuthMethodList, nothing) }

func authMethodRead(c *call) error {
	name, err := c.path("id", "name")
	if err != nil {
		return err
	}
	return one(c, api.AuthMethodRead, "auth method", &api.Named{Name: name})
}

func authMethodCreate(c *call) error {
	m := catalog.AuthMethod{}
	if err := c.decode(&m); err != nil {
		return err
	}
	return written(c, api.AuthMethodApply, &api.AuthMethodWrite{Op: api.ACLCreate, Method: m})
}

func authMethodUpdate(c *call) error {
	m := catalog.AuthMethod{}
	if err := c.decode(&m); err != nil {
		return err
	}
	if err := c.ownID("name", &m.Name); err != nil {
		return err
	}
	return written(c, api.AuthMethodApply, &api.AuthMethodWrite{Op: api.ACLUpdate, Method: m})
}

func authMethodDelete(c *call) error {
	name, err := c.path("id", "name")
	if err != nil {
		return err
	}
	return removed(c, api.AuthMethodRemove, &api.Named{Name: name})
}

func bindingRuleList(c *call) error {
	return query(c, api.BindingRuleList, &api.Named{Name: c.param("authmethod")})
}

func bindingRuleRead(c *call) error {
	q, err := c.aclQuery()
	if err != nil {
		return err
	}
	return one(c, api.BindingRuleRead, "binding rule", q)
}

func bindingRuleCreate(c *call) error {
	b := catalog.BindingRule{}
	if err := c.decode(&b); err != nil {
		return err
	}
	if err := newID("binding rule", b.ID); err != nil {
		return err
	}
	return written(c, api.BindingRuleApply, &api.BindingRuleWrite{Op: api.ACLCreate, Rule: b})
}

func bindingRuleUpdate(c *call) error {
	b := catalog.BindingRule{}
	if err := c.decode(&b); err != nil {
		return err
	}
	if err := c.ownID("ID", &b.ID); err != nil {
		return err
	}
	return written(c, api.BindingRuleApply, &api.BindingRuleWrite{Op: api.ACLUpdate, Rule: b})
}

func bindingRuleDelete(c *call) error {
	q, err := c.aclQuery()
	if err != nil {
		return err
	}
	return removed(c, api.BindingRuleRemove, q)
}

func templateList(c *call) error {
	list, _, err := send(c, api.TemplateList, nothing)
	if err != nil {
		return err
	}
	byName := map[string]*catalog.PolicyTemplate{}
	for _, t := range *list {
		byName[t.Name] = t
	}
	return c.json(byName)
}

func templateRead(c *call) error {
	if _, _, err := send(c, api.TemplateList, nothing); err != nil { // which says whether the token may
		return err
	}
	t := catalog.FindPolicyTemplate(c.r.PathValue("name"))
	if t == nil {
		return badRequest("templated policy %.64q does not exist: /v1/acl/templated-policies lists them", c.r.PathValue("name"))
	}
	return c.json(t)
}

func templatePreview(c *call) error {
	name, err := c.path("name", "name")
	if err != nil {
		return err
	}
	vars := &catalog.TemplateVariables{}
	if err := c.decode(vars); err != nil {
		return err
	}
	return written(c, api.TemplatePreview, &catalog.TemplatedPolicy{TemplateName: name, TemplateVariables: vars})
}

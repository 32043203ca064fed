package httpapi

import (
	"cmp"
	"net/http"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/agent/local"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
)

func checkRoutes() []Route {
	return []Route{
		{Path: "/v1/agent/services", Doc: "list the services of this node", ACL: "service:read", Methods: get(agentServices)},
		{Path: "/v1/agent/service/{id...}", Doc: "show a service of this node", ACL: "service:read", Methods: get(agentServiceOne)},
		{Path: "/v1/agent/service/register", Doc: "register a service on this node", ACL: "service:write", Methods: put(serviceRegister)},
		{Path: "/v1/agent/service/deregister/{id...}", Doc: "remove a service of this node", ACL: "service:write", Methods: put(serviceDeregister)},
		{Path: "/v1/agent/service/maintenance/{id...}", Doc: "take a service out of service, or back", ACL: "service:write", Methods: put(serviceMaintenance)},
		{Path: "/v1/agent/health/service/id/{id...}", Doc: "show the health of a service of this node", ACL: "service:read", Methods: get(agentHealthByID)},
		{Path: "/v1/agent/health/service/name/{name...}", Doc: "show the health of the instances of a service on this node", ACL: "service:read", Methods: get(agentHealthByName)},
		{Path: "/v1/agent/checks", Doc: "list the checks of this node", ACL: "node:read, service:read", Methods: get(agentChecks)},
		{Path: "/v1/agent/check/register", Doc: "register a check on this node", ACL: "node:write | service:write", Methods: put(checkRegister)},
		{Path: "/v1/agent/check/deregister/{id...}", Doc: "remove a check of this node", ACL: "node:write | service:write", Methods: put(checkDeregister)},
		{Path: "/v1/agent/check/pass/{id...}", Doc: "set a TTL check passing", ACL: "node:write | service:write", Methods: put(setCheck(catalog.Passing))},
		{Path: "/v1/agent/check/warn/{id...}", Doc: "set a TTL check warning", ACL: "node:write | service:write", Methods: put(setCheck(catalog.Warning))},
		{Path: "/v1/agent/check/fail/{id...}", Doc: "set a TTL check critical", ACL: "node:write | service:write", Methods: put(setCheck(catalog.Critical))},
		{Path: "/v1/agent/check/update/{id...}", Doc: "set the state and output of a TTL check", ACL: "node:write | service:write", Methods: put(checkUpdate)},
	}
}

// registering gives refusals of definitions their status: what a client wrote wrongly is a bad request.
func registering(err error) error {
	if catalog.CodeOf(err) == catalog.Invalid {
		return withStatus(http.StatusBadRequest, "%w", err)
	}
	return err
}

func serviceRegister(c *call) error {
	def := &catalog.ServiceDefinition{}
	if err := c.decode(def); err != nil {
		return err
	}
	replace, err := c.flag("replace-existing-checks")
	if err != nil {
		return err
	}
	if err := c.mayRegister(def); err != nil {
		return err
	}
	err = c.api.Local.Register(c.ctx(), def, local.Options{ReplaceExistingChecks: replace, Source: check.Remote, Token: c.token()})
	if err != nil {
		return registering(err)
	}
	return c.done()
}

// mayRegister refuses a definition unless the token may write the services that it makes, and those that have their
// ids now.
func (c *call) mayRegister(def *catalog.ServiceDefinition) error {
	az, err := c.authorizer()
	if err != nil {
		return err
	}
	id := cmp.Or(def.ID, def.Name)
	needs := c.serviceNeeds(id, def.Name)
	if def.Connect != nil && def.Connect.SidecarService != nil {
		sidecar := def.Connect.SidecarService
		needs = append(needs, c.serviceNeeds(cmp.Or(sidecar.ID, id+local.SidecarSuffix), cmp.Or(sidecar.Name, def.Name+local.SidecarSuffix))...)
	}
	return acl.Enforce(az, needs)
}

// serviceNeeds are the rights to the service with an id, under the name it gets and the one it has.
func (c *call) serviceNeeds(id, name string) []acl.Need {
	needs := []acl.Need{{Resource: acl.Service, Name: name, Access: acl.Write}}
	if old, ok := c.api.Local.Service(id); ok && old.Service != name {
		needs = append(needs, acl.Need{Resource: acl.Service, Name: old.Service, Access: acl.Write})
	}
	return needs
}

// mayChange refuses the call unless its token may write the service with an id, or, when there is none, the node.
func (c *call) mayChange(serviceID string) error {
	if serviceID == "" {
		return c.needNode(acl.Write)
	}
	if s, ok := c.api.Local.Service(serviceID); ok {
		return c.needService(s.Service, acl.Write)
	}
	return nil // everybody is told that there is none, as with Consul: who registered it has to do so again
}

// mayChangeCheck is mayChange for a check.
func (c *call) mayChangeCheck(id string) error {
	if k, ok := c.api.Local.Check(id); ok {
		return c.mayChange(k.ServiceID)
	}
	return nil
}

func serviceDeregister(c *call) error {
	id := c.r.PathValue("id")
	if err := c.mayChange(id); err != nil {
		return err
	}
	if err := c.api.Local.Deregister(c.ctx(), id); err != nil {
		return err
	}
	return c.done()
}

func serviceMaintenance(c *call) error {
	id, err := c.path("id", "service id")
	if err != nil {
		return err
	}
	on, err := c.onOff()
	if err != nil {
		return err
	}
	if err := c.mayChange(id); err != nil {
		return err
	}
	if err := c.api.Local.SetServiceMaintenance(c.ctx(), id, on, c.param("reason"), c.token()); err != nil {
		return err
	}
	return c.done()
}

func agentChecks(c *call) error {
	keep, err := filter.Compile(c.param("filter"))
	if err != nil {
		return err
	}
	az, err := c.authorizer()
	if err != nil {
		return err
	}
	shown, fewer := map[string]*catalog.Check{}, false
	for id, k := range c.api.Local.Checks() {
		if !seesCheck(az, k) {
			fewer = true
			continue
		}
		ok, err := keep.Accepts(k)
		if err != nil {
			return err
		}
		if ok {
			shown[id] = k
		}
	}
	c.filtered(fewer)
	return c.json(shown)
}

// seesCheck reports whether az may see a check of this node: one of a service takes the right to that.
func seesCheck(az acl.Authorizer, k *catalog.Check) bool {
	if k.ServiceID != "" {
		return az.Allows(acl.Need{Resource: acl.Service, Name: k.ServiceName, Access: acl.Read})
	}
	return az.Allows(acl.Need{Resource: acl.Node, Name: k.Node, Access: acl.Read})
}

func checkRegister(c *call) error {
	def := &catalog.AgentCheck{}
	if err := c.decode(def); err != nil {
		return err
	}
	if def.Name == "" {
		return badRequest("check has no name: set Name")
	}
	if def.CheckID == "" {
		def.CheckID = def.Name
	}
	if err := c.mayChange(def.ServiceID); err != nil {
		return err
	}
	if old, ok := c.api.Local.Check(def.CheckID); ok && old.ServiceID != def.ServiceID {
		if err := c.mayChange(old.ServiceID); err != nil {
			return err
		}
	}
	if err := c.api.Local.RegisterCheck(c.ctx(), def, local.Options{Source: check.Remote, Token: c.token()}); err != nil {
		return registering(err)
	}
	return c.done()
}

func checkDeregister(c *call) error {
	id, err := c.path("id", "check id")
	if err != nil {
		return err
	}
	if err := c.mayChangeCheck(id); err != nil {
		return err
	}
	if err := c.api.Local.DeregisterCheck(c.ctx(), id); err != nil {
		return err
	}
	return c.done()
}

func setCheck(status catalog.Status) Handler {
	return func(c *call) error {
		id, err := c.path("id", "check id")
		if err != nil {
			return err
		}
		if err := c.mayChangeCheck(id); err != nil {
			return err
		}
		if err := c.api.Local.UpdateCheck(id, status, c.param("note")); err != nil {
			return err
		}
		return c.done()
	}
}

func checkUpdate(c *call) error {
	id, err := c.path("id", "check id")
	if err != nil {
		return err
	}
	body := struct {
		Status catalog.Status
		Output string
	}{}
	if err := c.decode(&body); err != nil {
		return err
	}
	if !body.Status.Valid() {
		return badRequest("status %q of check %q is not passing, warning or critical", body.Status, id)
	}
	if err := c.mayChangeCheck(id); err != nil {
		return err
	}
	if err := c.api.Local.UpdateCheck(id, body.Status, body.Output); err != nil {
		return err
	}
	return c.done()
}

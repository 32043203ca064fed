package httpapi

import (
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func catalogRoutes() []Route {
	return []Route{
		{Path: "/v1/catalog/register", Doc: "register a node, its services and checks", ACL: "node:write, service:write", Methods: put(catalogRegister)},
		{Path: "/v1/catalog/deregister", Doc: "remove a node, a service or a check", ACL: "node:write | service:write", Methods: put(catalogDeregister)},
		{Path: "/v1/catalog/datacenters", Doc: "list the datacenters, nearest first", ACL: "none", Methods: get(catalogDatacenters)},
		{Path: "/v1/catalog/nodes", Doc: "list the nodes", ACL: "node:read", Methods: get(catalogNodes), Effective: true, Blank: true},
		{Path: "/v1/catalog/services", Doc: "list the services with their tags", ACL: "service:read", Methods: get(catalogServices), Effective: true, Blank: true},
		{Path: "/v1/catalog/service/{service...}", Doc: "list the instances of a service", ACL: "node:read, service:read", Methods: get(catalogService), Effective: true, Blank: true},
		{Path: "/v1/catalog/connect/{service...}", Doc: "list what mesh connections to a service reach", ACL: "node:read, service:read", Methods: get(catalogConnect), Effective: true, Blank: true},
		{Path: "/v1/catalog/node/{node...}", Doc: "show a node with its services", ACL: "node:read, service:read", Methods: get(catalogNode), Effective: true, Blank: true},
		{Path: "/v1/catalog/node-services/{node...}", Doc: "list the services of a node", ACL: "node:read, service:read", Methods: get(catalogNodeServices), Effective: true, Blank: true},
		{Path: "/v1/catalog/gateway-services/{gateway...}", Doc: "list the services of a gateway", ACL: "service:read", Methods: get(catalogGatewayServices), Effective: true, Blank: true},
	}
}

func catalogRegister(c *call) error {
	req := &api.RegisterRequest{}
	if err := c.decode(req); err != nil {
		return err
	}
	if _, _, err := send(c, api.Register, req); err != nil {
		return err
	}
	return c.json(true)
}

func catalogDeregister(c *call) error {
	body := struct {
		api.DeregisterRequest
		Address string // that older clients name too; it says nothing
	}{}
	if err := c.decode(&body); err != nil {
		return err
	}
	if _, _, err := send(c, api.Deregister, &body.DeregisterRequest); err != nil {
		return err
	}
	return c.json(true)
}

func catalogDatacenters(c *call) error {
	rep, _, err := api.Datacenters.Call(c.ctx(), c.api.Caller, rpcHeader(c), nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func catalogNodes(c *call) error {
	return query(c, api.Nodes, &api.NodeQuery{Meta: c.nodeMeta(), Near: c.near(), Peer: c.param("peer")})
}

func catalogServices(c *call) error {
	return query(c, api.Services, &api.ServiceQuery{NodeMeta: c.nodeMeta(), Peer: c.param("peer")})
}

// serviceQuery reads what selects instances of the service that the path names.
func (c *call) serviceQuery() (*api.ServiceQuery, error) {
	name, err := c.path("service", "service name")
	if err != nil {
		return nil, err
	}
	// Each tag once: they are looked for in every instance.
	tags := slices.Compact(slices.Sorted(slices.Values(c.query["tag"])))
	return &api.ServiceQuery{Service: name, Tags: tags, NodeMeta: c.nodeMeta(), Near: c.near(), Peer: c.param("peer")}, nil
}

func catalogService(c *call) error {
	q, err := c.serviceQuery()
	if err != nil {
		return err
	}
	return query(c, api.ServiceInstances, q)
}

func catalogConnect(c *call) error {
	q, err := c.serviceQuery()
	if err != nil {
		return err
	}
	q.Connect = true
	return query(c, api.ServiceInstances, q)
}

func catalogNode(c *call) error {
	name, err := c.path("node", "node name")
	if err != nil {
		return err
	}
	return query(c, api.NodeServiceMap, &api.NodeQuery{Node: name, Peer: c.param("peer")})
}

func catalogNodeServices(c *call) error {
	name, err := c.path("node", "node name")
	if err != nil {
		return err
	}
	return query(c, api.NodeServicesList, &api.NodeQuery{Node: name, Peer: c.param("peer")})
}

func catalogGatewayServices(c *call) error {
	name, err := c.path("gateway", "gateway name")
	if err != nil {
		return err
	}
	return query(c, api.GatewayServices, &api.ServiceQuery{Service: name})
}

func healthRoutes() []Route {
	return []Route{
		{Path: "/v1/health/node/{node...}", Doc: "list the checks of a node", ACL: "node:read, service:read", Methods: get(healthNode), Effective: true},
		{Path: "/v1/health/checks/{service...}", Doc: "list the checks of a service", ACL: "node:read, service:read", Methods: get(healthChecks), Effective: true},
		{Path: "/v1/health/service/{service...}", Doc: "list the instances of a service with their health", ACL: "node:read, service:read", Methods: get(healthService), Effective: true},
		{Path: "/v1/health/connect/{service...}", Doc: "list what mesh connections to a service reach, with its health", ACL: "node:read, service:read", Methods: get(healthConnect), Effective: true},
		{Path: "/v1/health/ingress/{service...}", Doc: "list the ingress gateways of a service with their health", ACL: "node:read, service:read", Methods: get(healthIngress), Effective: true},
		{Path: "/v1/health/state/{state...}", Doc: "list the checks in a state", ACL: "node:read, service:read", Methods: get(healthState), Effective: true},
	}
}

func healthNode(c *call) error {
	name, err := c.path("node", "node name")
	if err != nil {
		return err
	}
	return query(c, api.HealthNode, &api.NodeQuery{Node: name, Peer: c.param("peer")})
}

func healthChecks(c *call) error {
	q, err := c.serviceQuery()
	if err != nil {
		return err
	}
	q.Tags = nil
	return query(c, api.HealthChecks, q)
}

func (c *call) health(change func(*api.ServiceQuery)) error {
	q, err := c.serviceQuery()
	if err != nil {
		return err
	}
	if q.Passing, err = c.flag("passing"); err != nil {
		return err
	}
	change(q)
	return query(c, api.HealthService, q)
}

func healthService(c *call) error { return c.health(func(*api.ServiceQuery) {}) }
func healthConnect(c *call) error { return c.health(func(q *api.ServiceQuery) { q.Connect = true }) }
func healthIngress(c *call) error { return c.health(func(q *api.ServiceQuery) { q.Ingress = true }) }

func healthState(c *call) error {
	state, err := c.path("state", "check state")
	if err != nil {
		return err
	}
	return query(c, api.HealthState, &api.StateQuery{Status: catalog.Status(state), NodeMeta: c.nodeMeta(), Near: c.near(), Peer: c.param("peer")})
}

package httpapi

import (
	"net/http"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

func internalRoutes() []Route {
	return []Route{
		{Path: "/v1/internal/ui/nodes", Doc: "list the nodes with their services and checks", ACL: "node:read, service:read", Methods: get(uiNodes), Blank: true},
		{Path: "/v1/internal/ui/node/{node...}", Doc: "show a node with its services and checks", ACL: "node:read, service:read", Methods: get(uiNode)},
		{Path: "/v1/internal/ui/services", Doc: "list the services with a summary of their health", ACL: "node:read, service:read", Methods: get(uiServices), Blank: true},
		{Path: "/v1/internal/ui/exported-services", Doc: "list the services that a peer may reach, with a summary of their health", ACL: "node:read, service:read", Methods: get(uiExported), Blank: true},
		{Path: "/v1/internal/ui/catalog-overview", Doc: "count nodes, services and checks by their health", ACL: "node:read, service:read", Methods: get(uiOverview)},
		{Path: "/v1/internal/ui/service-topology/{service...}", Doc: "show what a service reaches in the mesh, and what reaches it", ACL: "node:read, service:read", Methods: get(uiTopology)},
		{Path: "/v1/internal/ui/gateway-services-nodes/{gateway...}", Doc: "list the services of a gateway with a summary of their health", ACL: "node:read, service:read", Methods: get(uiGatewayServices)},
		{Path: "/v1/internal/ui/gateway-intentions/{gateway...}", Doc: "list the intentions about the services of a gateway", ACL: "service:read, intentions:read", Methods: get(uiGatewayIntentions)},
		{Path: "/v1/internal/ui/metrics-proxy/{path...}", Doc: "query the metrics store of `ui_config.metrics_proxy`", ACL: "node:read-all, service:read-all", Local: true, Methods: get(metricsProxy)},
		{Path: "/v1/internal/federation-states", Doc: "list what datacenters tell the others", ACL: "operator:read", Methods: get(federationList)},
		{Path: "/v1/internal/federation-states/mesh-gateways", Doc: "list the mesh gateways of all datacenters", ACL: "node:read, service:read", Methods: get(federationGateways)},
		{Path: "/v1/internal/federation-state/{dc}", Doc: "show what a datacenter tells the others", ACL: "operator:read", Methods: get(federationRead)},
		{Path: "/v1/internal/gateways/{kind}", Doc: "list the gateways of a kind, such as `mesh-gateway`, with their health", ACL: "node:read, service:read", Methods: get(gateways)},
		{Path: "/v1/internal/mesh-services", Doc: "list the names of the services of the mesh", ACL: "service:read", Methods: get(meshServices)},
		{Path: "/v1/internal/service-virtual-ip", Doc: "give a service of the mesh virtual addresses beside its own", ACL: "mesh:write", Methods: []Method{{Name: http.MethodPut, Handle: virtualAssign}}},
	}
}

func uiNodes(c *call) error { return query(c, api.NodeDump, &api.NodeQuery{}) }

func uiNode(c *call) error {
	name, err := c.path("node", "node name")
	if err != nil {
		return err
	}
	rep, meta, err := send(c, api.NodeDump, &api.NodeQuery{Node: name})
	switch {
	case err != nil:
		return err
	case len(*rep) == 0:
		return c.absent()
	}
	c.meta(meta)
	return c.json((*rep)[0])
}

func uiServices(c *call) error {
	rep, meta, err := send(c, api.ServiceDump, nothing)
	if err != nil {
		return err
	}
	c.meta(meta)
	return c.json(listed(rep, c.datacenter()))
}

// datacenter is the one that answers.
func (c *call) datacenter() string {
	if dc := c.param("dc"); dc != "" {
		return dc
	}
	return c.api.config.Load().Datacenter
}

func uiExported(c *call) error {
	peer := c.param("peer")
	if peer == "" {
		return catalog.Errorf(catalog.Invalid, "missing parameter peer: the cluster peer that may reach the services")
	}
	h, err := c.plainHeader()
	if err != nil {
		return err
	}
	exports, meta, err := api.ExportedServices.Call(c.ctx(), c.api.Caller, h, &api.Named{Name: peer})
	if err != nil {
		return err
	}
	dump, _, err := api.ServiceDump.Call(c.ctx(), c.api.Caller, h, nothing)
	if err != nil {
		return err
	}
	exported := map[string]bool{}
	for _, e := range *exports {
		exported[e.Service] = true
	}
	kept := []*listedService{}
	for _, s := range listed(dump, c.datacenter()) {
		if exported[s.Name] {
			kept = append(kept, s)
		}
	}
	c.meta(meta)
	return c.json(kept)
}

// plainHeader is the header of requests that neither block nor filter.
func (c *call) plainHeader() (rpc.Header, error) {
	h, err := c.header()
	h.MinIndex, h.Filter = 0, ""
	return h, err
}

func uiOverview(c *call) error {
	h, err := c.plainHeader()
	if err != nil {
		return err
	}
	nodes, _, err := api.NodeDump.Call(c.ctx(), c.api.Caller, h, &api.NodeQuery{})
	if err != nil {
		return err
	}
	dump, _, err := api.ServiceDump.Call(c.ctx(), c.api.Caller, h, nothing)
	if err != nil {
		return err
	}
	return c.json(overview(*nodes, dump.Instances))
}

func gateways(c *call) error {
	return query(c, api.Gateways, &api.KindQuery{Kind: catalog.Kind(c.r.PathValue("kind"))})
}

func meshServices(c *call) error { return query(c, api.MeshServices, nothing) }

func federationList(c *call) error { return query(c, api.FederationList, nothing) }

func federationGateways(c *call) error {
	rep, meta, err := send(c, api.FederationGateways, nothing)
	if err != nil {
		return err
	}
	gateways := map[string][]*catalog.Instance{}
	for _, f := range *rep {
		if len(f.MeshGateways) > 0 {
			gateways[f.Datacenter] = f.MeshGateways
		}
	}
	c.meta(meta)
	return c.json(gateways)
}

func federationRead(c *call) error {
	dc := c.r.PathValue("dc")
	rep, meta, err := send(c, api.FederationRead, &api.Named{Name: dc})
	switch {
	case err != nil:
		return err
	case rep.State == nil:
		return withStatus(http.StatusNotFound, "Federation state not found for datacenter %q", dc)
	}
	c.meta(meta)
	return c.json(struct {
		*api.Federated
		answered
	}{rep, answeredBy(meta)})
}

func virtualAssign(c *call) error {
	req := &api.VirtualWrite{}
	if err := c.decode(req); err != nil {
		return err
	}
	rep, _, err := send(c, api.VirtualAssign, req)
	if err != nil {
		return err
	}
	return c.json(rep)
}

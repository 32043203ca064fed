package httpapi

import (
	"net/http"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func peeringRoutes() []Route {
	return []Route{
		{Path: "/v1/peerings", Doc: "list the cluster peerings", ACL: "peering:read", Methods: get(peeringList)},
		{Path: "/v1/peering/token", Doc: "make a token for another cluster to peer with this one", ACL: "peering:write", Methods: post(peeringToken)},
		{Path: "/v1/peering/establish", Doc: "peer with the cluster that made a token", ACL: "peering:write", Methods: post(peeringEstablish)},
		{Path: "/v1/peering/{name...}", Doc: "show or delete a cluster peering", ACL: "peering:write", Methods: []Method{
			{Name: http.MethodGet, ACL: "peering:read", Handle: peeringRead}, {Name: http.MethodDelete, Handle: peeringDelete},
		}},
		{Path: "/v1/internal/peer-trust/{service...}", Doc: "list by what services of peers prove themselves: of those that a service is exported to, of `?peer=`, or of `?all` for a gateway", ACL: "service:read", Methods: get(peerTrust)},
		{Path: "/v1/internal/peer-servers/{gateway...}", Doc: "list the servers, of this cluster and of those it connects to, that a mesh gateway leads to for peers", ACL: "service:write", Methods: get(peerServers)},
		{Path: "/v1/exported-services", Doc: "list the services that other clusters may reach", ACL: "service:read", Methods: get(exportedServices)},
	}
}

func peeringList(c *call) error { return query(c, api.PeeringList, nothing) }

func peerTrust(c *call) error {
	name, err := c.path("service", "service name")
	if err != nil {
		return err
	}
	all, err := c.flag("all")
	if err != nil {
		return err
	}
	return query(c, api.PeerTrust, &api.PeerTrustQuery{Service: name, Peer: c.param("peer"), All: all})
}

func peerServers(c *call) error {
	name, err := c.path("gateway", "service name")
	if err != nil {
		return err
	}
	return query(c, api.PeerServers, &api.Named{Name: name})
}

func exportedServices(c *call) error { return query(c, api.ExportedServices, &api.Named{}) }

func peeringRead(c *call) error {
	name, err := c.path("name", "name of a peering")
	if err != nil {
		return err
	}
	rep, meta, err := send(c, api.PeeringRead, &api.Named{Name: name})
	switch {
	case err != nil:
		return err
	case len(*rep) == 0:
		return notFound("Peering not found for %q", name)
	}
	c.meta(meta)
	return c.json((*rep)[0])
}

func peeringDelete(c *call) error {
	name, err := c.path("name", "name of a peering")
	if err != nil {
		return err
	}
	if _, _, err := send(c, api.PeeringDelete, &api.Named{Name: name}); err != nil {
		return err
	}
	return c.done()
}

// peeringBody is what both ways to begin a peering say.
type peeringBody struct {
	PeerName                string
	Partition               string // "default", if any
	PeeringToken            string
	Meta                    map[string]string
	ServerExternalAddresses []string
}

func (c *call) peeringBody() (*peeringBody, error) {
	body := &peeringBody{}
	if err := c.decode(body); err != nil {
		return nil, err
	}
	switch {
	case body.PeerName == "":
		return nil, badRequest("missing PeerName: the name that this cluster gives the other")
	case body.Partition != "" && body.Partition != "default":
		return nil, badRequest("partition %q does not exist: there is only %q", body.Partition, "default")
	}
	return body, nil
}

func peeringToken(c *call) error {
	body, err := c.peeringBody()
	if err != nil {
		return err
	}
	token, _, err := send(c, api.PeeringGenerate, &api.PeeringWrite{
		Name: body.PeerName, Meta: body.Meta, Token: catalog.PeeringToken{ManualServerAddresses: body.ServerExternalAddresses},
	})
	if err != nil {
		return err
	}
	return c.json(struct{ PeeringToken *string }{token})
}

func peeringEstablish(c *call) error {
	body, err := c.peeringBody()
	if err != nil {
		return err
	}
	if body.PeeringToken == "" {
		return badRequest("missing PeeringToken: the other cluster makes one with /v1/peering/token")
	}
	token, err := catalog.ParsePeeringToken(body.PeeringToken)
	if err != nil {
		return err
	}
	req := &api.PeeringWrite{Name: body.PeerName, Meta: body.Meta, Token: *token}
	if _, _, err := send(c, api.PeeringEstablish, req); err != nil {
		return err
	}
	return c.json(struct{}{})
}

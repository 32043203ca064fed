package httpapi

import (
	"net/http"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func chainRoutes() []Route {
	return []Route{
		{Path: "/v1/discovery-chain/{service...}", Doc: "show how a service is reached: its router, splitters and resolvers as one graph", ACL: "service:read",
			Methods: []Method{{Name: http.MethodGet, Handle: chainGet}, {Name: http.MethodPost, Handle: chainGet}}, Effective: true},
	}
}

// chainGet answers both methods: a body can come only with POST, where it is required.
// Source: https://developer.hashicorp.com/consul/api-docs/discovery-chain
func chainGet(c *call) error {
	service, err := c.path("service", "service name")
	if err != nil {
		return err
	}
	q := &api.ChainQuery{Service: service, EvaluateIn: c.param("compile-dc")}
	if c.r.Method == http.MethodPost {
		var body struct {
			OverrideMeshGateway    catalog.MeshGateway
			OverrideProtocol       string
			OverrideConnectTimeout catalog.Duration
		}
		if err := c.decode(&body); err != nil {
			return err
		}
		q.OverrideMeshGateway, q.OverrideProtocol = body.OverrideMeshGateway, body.OverrideProtocol
		q.OverrideConnectTimeout = time.Duration(body.OverrideConnectTimeout)
	}
	return query(c, api.ChainGet, q)
}

package httpapi

import (
	"net/http"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func joinRoutes() []Route {
	return []Route{{
		Path: "/v1/operator/join-token", Doc: "make, list and revoke tokens with which agents join (Curia's own)", ACL: "operator:write",
		Methods: []Method{{Name: http.MethodGet, Handle: joinList, ACL: "operator:read"}, {Name: http.MethodPut, Handle: joinCreate}, {Name: http.MethodDelete, Handle: joinRevoke}},
	}}
}

func joinList(c *call) error {
	all, _, err := send(c, api.JoinList, nothing)
	if err != nil {
		return err
	}
	return c.json(all)
}

func joinCreate(c *call) error {
	body := struct {
		Role catalog.JoinRole
		Uses int
		TTL  catalog.Duration
	}{Uses: 1, TTL: catalog.Duration(time.Hour)}
	if err := c.decode(&body); err != nil {
		return err
	}
	made, _, err := send(c, api.JoinCreate, &api.JoinNew{Role: body.Role, Uses: body.Uses, TTL: time.Duration(body.TTL)})
	if err != nil {
		return err
	}
	return c.json(struct {
		*catalog.JoinToken
		Text string
	}{made.Token, made.Text.Reveal()})
}

func joinRevoke(c *call) error {
	id := c.param("id")
	if id == "" {
		return badRequest("name the token by id")
	}
	there, _, err := send(c, api.JoinRevoke, &api.Named{Name: id})
	if err != nil {
		return err
	}
	if !*there {
		return catalog.Errorf(catalog.NotFound, "no join token %q", id)
	}
	return c.done()
}

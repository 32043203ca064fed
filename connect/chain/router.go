package chain

import (
	"fmt"

	"github.com/curia-mesh/curia/catalog"
)

// String names the place.
func (r ref) String() string {
	if r.list == "" {
		return fmt.Sprintf("%s: %s", r.head, r.field)
	}
	return fmt.Sprintf("%s: %s[%d].%s", r.head, r.list, r.at, r.field)
}

// nodeName is the key of a router or splitter.
func nodeName(t catalog.ChainNodeType, service string) string {
	return string(t) + ":" + stageName(service)
}

// stageName is the name of a router or splitter.
func stageName(service string) string {
	return service + "." + catalog.DefaultTenancy + "." + catalog.DefaultTenancy
}

// route makes the node of the start's router, and all behind it.
func (c *compiler) route(router *catalog.ServiceRouter) (string, error) {
	node := &catalog.ChainNode{
		Type:   catalog.ChainRouter,
		Name:   stageName(c.Service),
		Routes: make([]catalog.ChainRoute, 0, len(router.Routes)+1),
	}
	name := nodeName(catalog.ChainRouter, c.Service)
	c.chain.Nodes[name] = node
	for i := range router.Routes {
		next, err := c.routed(router, i)
		if err != nil {
			return "", err
		}
		node.Routes = append(node.Routes, catalog.ChainRoute{Definition: &router.Routes[i], NextNode: next})
	}
	next, err := c.split(c.start, "", ref{head: &router.EntryHead, field: "Name"})
	if err != nil {
		return "", err
	}
	node.Routes = append(node.Routes, catalog.ChainRoute{Definition: everything(c.Service), NextNode: next})
	return name, nil
}

// routed makes what is behind one route.
func (c *compiler) routed(router *catalog.ServiceRouter, i int) (string, error) {
	via := ref{head: &router.EntryHead, list: "Routes", at: i, field: "Destination.Service"}
	to, subset := c.start, ""
	if d := router.Routes[i].Destination; d != nil {
		subset = d.ServiceSubset
		if d.Service != "" {
			var err error
			if to, err = c.reach(d.Service, via); err != nil {
				return "", err
			}
		}
	}
	if subset != "" {
		via.field = "Destination.ServiceSubset"
	}
	return c.split(to, subset, via)
}

// everything is the route behind all others: to the service itself.
func everything(service string) *catalog.ServiceRoute {
	return &catalog.ServiceRoute{
		Match:       &catalog.ServiceRouteMatch{HTTP: &catalog.HTTPRequestMatch{PathPrefix: "/"}},
		Destination: &catalog.ServiceRouteDestination{Service: service},
	}
}

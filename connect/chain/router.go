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
		mirror, err := c.mirrored(router, i)
		if err != nil {
			return "", err
		}
		node.Routes = append(node.Routes, catalog.ChainRoute{Definition: &router.Routes[i], NextNode: next, MirrorNode: mirror})
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
	if d := router.Routes[i].Destination; d != nil {
		return c.led(router, i, "Destination.", d.Service, d.ServiceSubset)
	}
	return c.led(router, i, "Destination.", "", "")
}

// mirrored makes what copies of a route's requests go to, empty where there are none.
func (c *compiler) mirrored(router *catalog.ServiceRouter, i int) (string, error) {
	d := router.Routes[i].Destination
	if d == nil || d.Mirror == nil {
		return "", nil
	}
	return c.led(router, i, "Destination.Mirror.", d.Mirror.Service, d.Mirror.ServiceSubset)
}

// led makes what fields of a route lead to. Without a name that is the router's own service.
func (c *compiler) led(router *catalog.ServiceRouter, i int, fields, service, subset string) (string, error) {
	via := ref{head: &router.EntryHead, list: "Routes", at: i, field: fields + "Service"}
	to := c.start
	if service != "" {
		var err error
		if to, err = c.reach(service, via); err != nil {
			return "", err
		}
	}
	if subset != "" {
		via.field = fields + "ServiceSubset"
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

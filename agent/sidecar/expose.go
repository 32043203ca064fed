package sidecar

import (
	"context"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/proxy"
)

// Parts of what gateways know that lead to servers. A gateway does not wait for them before it leads to services.
const (
	partServers = "servers"
	partBeyond  = "gateways of other datacenters for servers"
)

// followServers learns of the servers of the datacenter until ctx ends.
func (g *gatherer) followServers(ctx context.Context) {
	follow(ctx, g.log, partServers, g.source.Servers, func(list []*catalog.Instance) {
		g.set(func() { g.known.Servers = endpointsOf(list, false) })
	}, g.failed(partServers))
}

// followBeyond learns until ctx ends of the gateways that lead to the servers of other datacenters. They are those that the
// datacenters have told the primary, which is known here: to ask them it would take what the gateway is to lead to.
func (g *gatherer) followBeyond(ctx context.Context) {
	follow(ctx, g.log, partBeyond, g.source.Federated, func(all map[string][]*catalog.Instance) {
		beyond := map[string][]Endpoint{}
		for dc, list := range all {
			list = slices.DeleteFunc(slices.Clone(list), func(i *catalog.Instance) bool { return !i.Service.ExposesServers() })
			if dc != g.known.Datacenter && len(list) > 0 {
				beyond[dc] = endpointsOf(list, true)
			}
		}
		g.set(func() { g.known.Beyond = beyond })
	}, g.failed(partBeyond))
}

// set changes what is known.
func (g *gatherer) set(change func()) {
	g.mu.Lock()
	change()
	g.mu.Unlock()
	g.changed()
}

// serverNames are the targets of a gateway that are servers, by the names that lead to them: one of a datacenter, or each.
// Source: https://developer.hashicorp.com/consul/docs/east-west/mesh-gateway/enable (TLS)
func (g *Gateway) serverNames(target func(name string, endpoints []Endpoint) *proxy.Target) map[string]*proxy.Target {
	all := map[string]*proxy.Target{}
	if !g.Service.ExposesServers() {
		return all
	}
	any := "server." + g.Datacenter + "." + g.Domain
	all[any] = target("server."+g.Datacenter, g.Servers)
	for _, e := range g.Servers {
		all[strings.ToLower(e.Node)+"."+any] = target(e.Node+".server."+g.Datacenter, []Endpoint{e})
	}
	for dc, gateways := range g.Beyond {
		name, to := "server."+dc+"."+g.Domain, target("*.server."+dc, g.others(gateways))
		all[name], all["*."+name] = to, to
	}
	return all
}

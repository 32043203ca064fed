package sidecar

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/chain"
	"github.com/curia-mesh/curia/connect/proxy"
)

// Bounds of a gateway that its registration does not set.
const (
	gatewayConns     = 50_000 // at once, and by one address, which may be that of another gateway
	gatewayPerCaller = 20_000
	helloTime        = 5 * time.Second
)

// gateway adds the listeners of a mesh gateway.
func (c *compiler) gateway(g *Gateway) {
	addresses, err := g.addresses()
	if err != nil {
		c.problems[gatewayName(g, "")] = err
		return
	}
	for _, name := range slices.Sorted(maps.Keys(addresses)) {
		l := &proxy.Listener{
			Name: gatewayName(g, name), Service: g.Service.Service, Network: "tcp", Address: addresses[name], Protocol: proxy.SNI, HeadTime: helloTime,
			Routes: proxy.ByName(c.named(g)), MaxConns: gatewayConns, PerCaller: gatewayPerCaller,
		}
		if n := number(g.Service.Proxy.Config["max_inbound_connections"]); n >= 1 {
			l.MaxConns = int(min(n, 1<<30))
		}
		if n := number(g.Service.Proxy.Config["max_connections_per_address"]); n >= 1 {
			l.PerCaller = int(min(n, 1<<30))
		}
		c.add(made{name: l.Name, Listener: l})
	}
}

func gatewayName(g *Gateway, name string) string {
	if name == "" {
		return g.Service.ID + "/gateway"
	}
	return g.Service.ID + "/gateway:" + name
}

// addresses are those that a gateway listens at, by their names; the one of its registration has none.
// Source: https://developer.hashicorp.com/consul/docs/reference/proxy/envoy (gateway options)
func (g *Gateway) addresses() (map[string]string, error) {
	config, all := g.Service.Proxy.Config, map[string]string{}
	if off, _ := config["envoy_gateway_no_default_bind"].(bool); !off {
		all[""] = boundAt(g.Service, g.Bind)
	}
	bound, _ := config["envoy_gateway_bind_addresses"].(map[string]any)
	for name, v := range bound {
		at, _ := v.(map[string]any)
		host, port := "", 0
		for key, value := range at {
			switch key {
			case "address", "Address":
				host, _ = value.(string)
			case "port", "Port":
				port = int(number(value))
			}
		}
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("envoy_gateway_bind_addresses: %q has no port: want { address = \"…\" port = 8443 }", name)
		}
		all[cmp.Or(name, "bind")] = net.JoinHostPort(host, strconv.Itoa(port))
	}
	if tagged, _ := config["envoy_gateway_bind_tagged_addresses"].(bool); tagged {
		for tag, at := range g.Service.TaggedAddresses {
			if tag != catalog.VirtualTag && at.Port > 0 {
				all[tag] = net.JoinHostPort(at.Address, strconv.Itoa(at.Port))
			}
		}
	}
	return all, nil
}

// named are the targets of a gateway by the names that lead to them.
func (c *compiler) named(g *Gateway) map[string]*proxy.Target {
	all, domain := map[string]*proxy.Target{}, c.mesh.trust.Domain
	target := func(name string, endpoints []Endpoint) *proxy.Target {
		t := &proxy.Target{Name: name, Patience: -1, Limits: proxy.Limits{Connections: math.MaxInt32, Pending: math.MaxInt32, Requests: math.MaxInt32}}
		for _, e := range endpoints {
			t.Endpoints = append(t.Endpoints, e.reached())
		}
		return t
	}
	for key, part := range g.Services {
		all[chain.ServerName(part.Subset, part.Service, g.Datacenter, domain)] = target(key+"."+g.Datacenter, part.Endpoints)
	}
	for dc, gateways := range g.Abroad {
		all[chain.Everywhere(dc, domain)] = target("*."+dc, g.others(gateways.Endpoints))
	}
	maps.Copy(all, g.peeredNames(domain, target))
	maps.Copy(all, g.serverNames(target))
	return all
}

// own are the addresses that others reach the gateway at: what was registered with one of them elsewhere would go round in
// a circle.
func (g *Gateway) own() []string {
	i := &catalog.Instance{Node: &catalog.Node{}, Service: g.Service}
	host, port := i.Abroad()
	return []string{net.JoinHostPort(host, strconv.Itoa(port)), net.JoinHostPort(g.Service.Address, strconv.Itoa(g.Service.Port))}
}

// others are the endpoints that are not the gateway itself.
func (g *Gateway) others(all []Endpoint) []Endpoint {
	own := g.own()
	return slices.DeleteFunc(slices.Clone(all), func(e Endpoint) bool { return slices.Contains(own, e.Address) })
}

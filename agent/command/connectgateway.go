package command

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net/http"
	"strings"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

// gatewayOptions say which gateway is run.
// Source: https://developer.hashicorp.com/consul/commands/connect/envoy#envoy-options
type gatewayOptions struct {
	kind, address, wan string
	servers            bool
	bind               pairs
}

func (g *gatewayOptions) define(f *flag.FlagSet) {
	f.StringVar(&g.kind, "gateway", "", "Run a gateway of this `kind`: mesh.")
	f.StringVar(&g.address, "address", "", "With -gateway and -register, the `address` at which its datacenter reaches the gateway, host:port.")
	f.StringVar(&g.wan, "wan-address", "", "With -gateway and -register, the `address` at which other datacenters reach it, host:port. The default is -address.")
	f.BoolVar(&g.servers, "expose-servers", false, "With -gateway and -register, lead to the servers too, for federation through gateways.")
	g.bind = pairsVar(f, "bind-address", "With -gateway and -register, an address to listen at in place of that, as `name=host:port`. May be given more than once.")
}

// check refuses what does not go together.
func (o *proxyOptions) checkGateway() error {
	g := &o.gateway
	switch {
	case g.kind == "" && (g.address != "" || g.wan != "" || g.servers || len(g.bind) > 0):
		return usage("-address, -wan-address, -bind-address and -expose-servers are for gateways: give -gateway=mesh too")
	case g.kind == "":
		return nil
	case g.kind != "mesh":
		return usage("-gateway=%s: only gateways of kind mesh can be run", g.kind)
	case o.sidecarFor != "" || o.serviceAddr != "" || o.listen != "" || len(*o.upstreams) > 0:
		return usage("a gateway has no service, address to listen for it, or upstreams: leave out -sidecar-for, -service-addr, -listen and -upstream")
	case o.register && o.proxyID != "":
		return usage("-register is for a gateway without registration: leave out -proxy-id")
	case o.register && g.address == "":
		return usage("-register needs -address, at which the gateway is reached")
	case !o.register && (g.address != "" || g.wan != "" || g.servers || len(g.bind) > 0):
		return usage("-address, -wan-address, -bind-address and -expose-servers are for a gateway without registration: give -register too")
	}
	return nil
}

// madeGateway is the registration of a gateway that the options describe.
func (o *proxyOptions) madeGateway() (*catalog.Service, error) {
	name := cmp.Or(o.service, "mesh-gateway")
	s := &catalog.Service{Kind: catalog.KindMeshGateway, Service: name, ID: cmp.Or(o.registerID, name), Proxy: &catalog.Proxy{}}
	var err error
	if s.Address, s.Port, err = hostPort("-address", o.gateway.address); err != nil {
		return nil, err
	}
	if o.gateway.servers {
		s.ExposeServers()
	}
	lan := catalog.ServiceAddress{Address: s.Address, Port: s.Port}
	wan := lan
	if o.gateway.wan != "" {
		if wan.Address, wan.Port, err = hostPort("-wan-address", o.gateway.wan); err != nil {
			return nil, err
		}
	}
	s.TaggedAddresses = map[string]catalog.ServiceAddress{"lan": lan, "wan": wan}
	bound := map[string]any{}
	for name, text := range o.gateway.bind {
		host, port, err := hostPort("-bind-address", text)
		if err != nil {
			return nil, err
		}
		bound[name] = map[string]any{"address": host, "port": port}
	}
	if len(bound) > 0 {
		s.Proxy.Config = map[string]any{"envoy_gateway_bind_addresses": bound, "envoy_gateway_no_default_bind": true}
	}
	return s, nil
}

// domainOf is the domain of an agent's servers, without a dot at its end. Consul's agents call it by another name.
func domainOf(self *client.Self) string {
	for _, key := range []string{"domain", "DNSDomain"} {
		if domain, ok := self.DebugConfig[key].(string); ok && domain != "" {
			return strings.ToLower(strings.TrimSuffix(domain, "."))
		}
	}
	return "consul"
}

// gatewayHere is the one mesh gateway that is registered with an agent.
func gatewayHere(ctx context.Context, api *client.Client) (string, error) {
	all := map[string]*catalog.Service{}
	if _, err := api.Do(ctx, http.MethodGet, "/v1/agent/services", client.Query{}, nil, &all); err != nil {
		return "", err
	}
	var found []string
	for id, s := range all {
		if s.Kind == catalog.KindMeshGateway {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no mesh gateway is registered with this agent: give -register and -address")
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%d mesh gateways are registered with this agent, %s: choose one with -proxy-id", len(found), strings.Join(found, ", "))
}

package httpapi

import (
	"net"
	"slices"
	"strconv"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

// topologyReply is what the web interface draws of a service.
type topologyReply struct {
	Protocol               string
	TransparentProxy       bool
	Upstreams, Downstreams []*linkedService
	FilteredByACLs         bool
}

// linkedService is a service at the other end of a link.
type linkedService struct {
	*serviceSummary
	Source    api.LinkSource
	Intention api.IntentionDecision
}

func uiTopology(c *call) error {
	name, err := c.path("service", "service name")
	if err != nil {
		return err
	}
	if !c.has("kind") {
		return badRequest("missing parameter kind: leave it empty for a service, or set it to %s", catalog.KindIngressGateway)
	}
	kind := catalog.Kind(c.param("kind"))
	if kind != catalog.KindTypical && kind != catalog.KindIngressGateway {
		return badRequest("kind=%s has no topology: leave it empty for a service, or set it to %s", kind, catalog.KindIngressGateway)
	}
	rep, meta, err := send(c, api.ServiceTopology, &api.TopologyQuery{Service: name, Kind: kind})
	if err != nil {
		return err
	}
	c.meta(meta)
	return c.json(topologyReply{
		Protocol: rep.Protocol, TransparentProxy: rep.TransparentProxy, FilteredByACLs: rep.Filtered,
		Upstreams: linkedServices(rep.Upstreams, c.datacenter()), Downstreams: linkedServices(rep.Downstreams, c.datacenter()),
	})
}

func linkedServices(links []*api.TopologyLink, datacenter string) []*linkedService {
	list := make([]*linkedService, len(links))
	for i, l := range links {
		s := summaryOf(l.Name, l.Instances, datacenter)
		s.TransparentProxy = s.TransparentProxy || l.TransparentProxy
		list[i] = &linkedService{serviceSummary: s, Source: l.Source, Intention: l.Intention}
	}
	return list
}

// summaryOf sums up the instances of one service, of which there may be none.
func summaryOf(name string, instances []*catalog.Instance, datacenter string) *serviceSummary {
	for _, s := range summarize(instances, datacenter) {
		return s // of the only name
	}
	return &serviceSummary{Name: name, Datacenter: datacenter}
}

// uiGatewayServices lists the services of a gateway, each once, with the hosts and ports where ingress
// gateways listen for them.
func uiGatewayServices(c *call) error {
	name, err := c.path("gateway", "gateway name")
	if err != nil {
		return err
	}
	rep, meta, err := send(c, api.GatewayLinks, &api.ServiceQuery{Service: name})
	if err != nil {
		return err
	}
	list := []*serviceSummary{}
	for i, l := range *rep { // they are in order of their names
		if i == 0 || (*rep)[i-1].Service.Name != l.Service.Name {
			list = append(list, summaryOf(l.Service.Name, l.Instances, c.datacenter()))
		}
		at := &list[len(list)-1].GatewayConfig.Addresses
		for _, host := range l.Hosts {
			if address := net.JoinHostPort(host, strconv.Itoa(l.Port)); !slices.Contains(*at, address) {
				*at = append(*at, address)
			}
		}
	}
	c.meta(meta)
	return c.json(list)
}

func uiGatewayIntentions(c *call) error {
	name, err := c.path("gateway", "gateway name")
	if err != nil {
		return err
	}
	return query(c, api.GatewayIntentions, &api.ServiceQuery{Service: name})
}

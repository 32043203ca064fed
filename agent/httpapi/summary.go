package httpapi

import (
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

// serviceSummary is a service as the web interface lists it.
type serviceSummary struct {
	Kind              catalog.Kind `json:",omitempty"`
	Name              string
	Datacenter        string
	Tags              []string
	Nodes             []string
	ExternalSources   []string
	ChecksPassing     int
	ChecksWarning     int
	ChecksCritical    int
	GatewayConfig     gatewayConfig
	TransparentProxy  bool
	ConnectNative     bool
	InstanceCount     int
	PeerName          string `json:",omitempty"`
	checked           map[string]bool
	tags, nodes, from map[string]bool
}

// gatewayConfig is what gateways say of a service.
type gatewayConfig struct {
	AssociatedServiceCount int      `json:",omitempty"` // of a gateway: to how many services it leads
	Addresses              []string `json:",omitempty"` // "host:port", where it is let in
}

// listedService is a summary with what else the list of services shows.
type listedService struct {
	*serviceSummary
	ConnectedWithProxy   bool
	ConnectedWithGateway bool
}

// externalSource is the key of metadata that names the system a service was registered by.
const externalSource = "external-source"

// summarize sums up instances by the names of their services.
func summarize(instances []*catalog.Instance, datacenter string) map[string]*serviceSummary {
	all := map[string]*serviceSummary{}
	for _, i := range instances {
		key := strings.ToLower(i.Service.Service)
		s := all[key]
		if s == nil {
			s = &serviceSummary{
				Kind: i.Service.Kind, Name: i.Service.Service, Datacenter: datacenter, PeerName: i.Service.PeerName,
				checked: map[string]bool{}, tags: map[string]bool{}, nodes: map[string]bool{}, from: map[string]bool{},
			}
			all[key] = s
		}
		s.add(i)
	}
	for _, s := range all {
		s.Tags, s.Nodes, s.ExternalSources = sortedKeys(s.tags), sortedKeys(s.nodes), sortedKeys(s.from)
	}
	return all
}

func (s *serviceSummary) add(i *catalog.Instance) {
	s.InstanceCount++
	s.nodes[i.Node.Node] = true
	for _, tag := range i.Service.Tags {
		s.tags[tag] = true
	}
	for _, meta := range []map[string]string{i.Service.Meta, i.Node.Meta} {
		if from := meta[externalSource]; from != "" {
			s.from[from] = true
		}
	}
	s.ConnectNative = s.ConnectNative || i.Service.Connect.Native
	s.TransparentProxy = s.TransparentProxy || i.Service.Proxy.Mode == "transparent"
	for _, c := range i.Checks {
		id := c.Node + "\x00" + c.CheckID
		if s.checked[id] {
			continue // of a node with several instances
		}
		s.checked[id] = true
		switch c.Status {
		case catalog.Passing:
			s.ChecksPassing++
		case catalog.Warning:
			s.ChecksWarning++
		case catalog.Critical:
			s.ChecksCritical++
		}
	}
}

// sortedKeys is nil where there are none, as the web interface expects.
func sortedKeys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }

// listed are the summaries of services, by name, with what they are connected with.
func listed(info *api.ServiceInfo, datacenter string) []*listedService {
	proxied, behind := map[string]bool{}, map[string]bool{}
	for _, i := range info.Instances {
		if i.Service.Kind == catalog.KindConnectProxy {
			proxied[strings.ToLower(i.Service.Proxy.DestinationServiceName)] = true
		}
	}
	summaries := summarize(info.Instances, datacenter)
	counted := map[[2]string]bool{} // links, since a gateway has one for each listener
	for _, l := range info.Gateways {
		link := [2]string{strings.ToLower(l.Gateway.Name), strings.ToLower(l.Service.Name)}
		behind[link[1]] = true
		if s := summaries[link[0]]; s != nil && s.Kind == l.GatewayKind && !counted[link] {
			counted[link] = true
			s.GatewayConfig.AssociatedServiceCount++
		}
	}
	list := make([]*listedService, 0, len(summaries))
	for _, name := range slices.Sorted(maps.Keys(summaries)) {
		list = append(list, &listedService{serviceSummary: summaries[name], ConnectedWithProxy: proxied[name], ConnectedWithGateway: behind[name]})
	}
	return list
}

// catalogOverview counts by health.
type catalogOverview struct{ Nodes, Services, Checks []healthCount }

// healthCount counts things of a name by the worst of their checks.
type healthCount struct {
	Name                              string
	Total, Passing, Warning, Critical int
}

func (h *healthCount) count(s catalog.Status) {
	h.Total++
	switch s {
	case catalog.Passing:
		h.Passing++
	case catalog.Warning:
		h.Warning++
	default:
		h.Critical++
	}
}

func overview(nodes []*api.NodeInfo, instances []*catalog.Instance) catalogOverview {
	var whole healthCount
	checks, services := map[string]*healthCount{}, map[string]*healthCount{}
	at := func(in map[string]*healthCount, key, name string) *healthCount {
		if in[key] == nil {
			in[key] = &healthCount{Name: name}
		}
		return in[key]
	}
	for _, n := range nodes {
		ofNode := slices.DeleteFunc(slices.Clone(n.Checks), func(c *catalog.Check) bool { return c.ServiceID != "" })
		whole.count(catalog.Aggregate(ofNode))
		for _, c := range n.Checks {
			at(checks, c.Name, c.Name).count(c.Status)
		}
	}
	for _, i := range instances {
		at(services, strings.ToLower(i.Service.Service), i.Service.Service).count(i.Status())
	}
	sorted := func(in map[string]*healthCount) []healthCount {
		list := make([]healthCount, 0, len(in))
		for _, key := range slices.Sorted(maps.Keys(in)) {
			list = append(list, *in[key])
		}
		return list
	}
	return catalogOverview{Nodes: []healthCount{whole}, Services: sorted(services), Checks: sorted(checks)}
}

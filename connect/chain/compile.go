package chain

import (
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Request says what to compile.
type Request struct {
	Service string
	// Datacenter is the one that entries mean that name none.
	Datacenter string
	// TrustDomain is the end of the names in TLS.
	TrustDomain string
	Overrides
}

// Overrides are what the one who asks wants otherwise, such as the upstream of a proxy; zero values leave
// things as they are.
type Overrides struct {
	MeshGateway catalog.MeshGateway // of all targets
	// Protocol of the chain. Unless both it and the one that it overrides are for requests, the chain is made
	// without router and splitters.
	Protocol       string
	ConnectTimeout time.Duration // of all targets
}

// DefaultConnectTimeout is how long connecting may take where nothing says otherwise.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-resolver
const DefaultConnectTimeout = 5 * time.Second

// Compile makes the chain of a service. An error has code invalid and names the entry, the field and the
// way out. The chain shares memory with the entries.
func Compile(r Request, from Entries) (*catalog.DiscoveryChain, error) {
	c := &compiler{
		Request:  r,
		from:     from,
		proxy:    entry[catalog.ProxyDefaults](from, catalog.EntryProxyDefaults, catalog.GlobalName),
		services: map[string]*service{},
	}
	start := c.service(r.Service)
	c.start, c.protocol = start, start.protocol
	c.requests = ForRequests(c.protocol)
	c.Protocol = strings.ToLower(c.Protocol)
	if c.Protocol != "" && c.Protocol != c.protocol {
		c.requests = c.requests && ForRequests(c.Protocol)
		c.took.Protocol = c.Protocol
	}
	c.chain = &catalog.DiscoveryChain{
		ServiceName: r.Service,
		Namespace:   catalog.DefaultTenancy,
		Partition:   catalog.DefaultTenancy,
		Datacenter:  r.Datacenter,
		Protocol:    c.protocol,
		Nodes:       make(map[string]*catalog.ChainNode, 1),
		Targets:     make(map[string]*catalog.ChainTarget, 1),
	}
	if start.defaults != nil {
		c.chain.ServiceMeta = start.defaults.Meta
	}
	var err error
	if c.chain.StartNode, err = c.begin(); err != nil {
		return nil, err
	}
	if c.lopped {
		prune(c.chain)
	}
	if c.took.Protocol != "" {
		c.chain.Protocol = c.took.Protocol
	}
	c.chain.CustomizationHash = c.took.hash()
	first := c.chain.Nodes[c.chain.StartNode].Resolver
	c.chain.Default = start.resolver == nil && first != nil && first.Failover == nil
	return c.chain, nil
}

// compiler is a chain in the making.
type compiler struct {
	Request
	from     Entries
	proxy    *catalog.ProxyDefaults
	start    *service
	protocol string    // of every service in the chain
	requests bool      // router and splitters have a part
	took     Overrides // those that made a difference
	chain    *catalog.DiscoveryChain
	services map[string]*service // those that were looked up
	path     []*service          // whose splits are being multiplied out, each led to by the one before it
	groups   []catalog.ConfigEntry
	grouped  bool // groups were looked up
	lopped   bool // something was left out, and what it led to may be in the chain for nothing
}

// service is what is known of one service.
type service struct {
	name     string
	protocol string
	defaults *catalog.ServiceDefaults
	splitter *catalog.ServiceSplitter
	resolver *catalog.ServiceResolver
	splits   []share // multiplied out; nil until then
}

// service looks a service up, once.
func (c *compiler) service(name string) *service {
	if s := c.services[name]; s != nil {
		return s
	}
	s := &service{
		name:     name,
		defaults: entry[catalog.ServiceDefaults](c.from, catalog.EntryServiceDefaults, name),
		splitter: entry[catalog.ServiceSplitter](c.from, catalog.EntryServiceSplitter, name),
		resolver: entry[catalog.ServiceResolver](c.from, catalog.EntryServiceResolver, name),
	}
	s.protocol = protocolOf(s.defaults, c.proxy)
	c.services[name] = s
	return s
}

// begin makes the node where the chain starts, and all behind it.
func (c *compiler) begin() (string, error) {
	router := entry[catalog.ServiceRouter](c.from, catalog.EntryServiceRouter, c.Service)
	if router != nil && c.requests {
		return c.route(router)
	}
	if router != nil && !c.overridden() {
		return "", c.notForRequests(&router.EntryHead, c.start)
	}
	return c.split(c.start, "", ref{})
}

// overridden reports whether the one who asks wants another protocol.
func (c *compiler) overridden() bool { return c.took.Protocol != "" }

// ref is a place in a config entry, for errors.
type ref struct {
	head  *catalog.EntryHead
	list  string // "" when field is one of the entry's own
	at    int
	field string
}

// prune takes out of a chain what no path leads to.
func prune(chain *catalog.DiscoveryChain) {
	nodes := make(map[string]*catalog.ChainNode, len(chain.Nodes))
	targets := make(map[string]*catalog.ChainTarget, len(chain.Targets))
	for walk := []string{chain.StartNode}; len(walk) > 0; {
		name := walk[len(walk)-1]
		walk = walk[:len(walk)-1]
		if nodes[name] != nil {
			continue
		}
		node := chain.Nodes[name]
		nodes[name] = node
		for _, r := range node.Routes {
			walk = append(walk, r.NextNode)
			if r.MirrorNode != "" {
				walk = append(walk, r.MirrorNode)
			}
		}
		for _, s := range node.Splits {
			walk = append(walk, s.NextNode)
		}
		if r := node.Resolver; r != nil {
			targets[r.Target] = chain.Targets[r.Target]
			if r.Failover != nil {
				for _, id := range r.Failover.Targets {
					targets[id] = chain.Targets[id]
				}
			}
		}
	}
	chain.Nodes, chain.Targets = nodes, targets
}

package catalog

// DiscoveryChain is how one service is reached: a graph of nodes that begins at StartNode, in which every
// path ends at a target. It is worked out of config entries and stored nowhere; one that was made does not
// change.
// Source: https://developer.hashicorp.com/consul/docs/manage-traffic/discovery-chain
type DiscoveryChain struct {
	ServiceName string
	Namespace   string
	Partition   string
	Datacenter  string // the one that entries mean that name none
	// CustomizationHash tells chains apart that overrides made differ; empty when none did.
	CustomizationHash string `json:",omitempty"`
	// Default means that no router, splitter or resolver had a part in it.
	Default     bool              `json:",omitempty"`
	Protocol    string            // of all services in the chain
	ServiceMeta map[string]string `json:",omitempty"` // of the service's defaults
	StartNode   string
	Nodes       map[string]*ChainNode
	Targets     map[string]*ChainTarget
	// AutoVirtualIPs and ManualVirtualIPs are the addresses at which transparent proxies capture traffic for
	// the service; nil when it has none.
	AutoVirtualIPs   []string
	ManualVirtualIPs []string
}

// ChainNodeType says what a node of a chain does.
type ChainNodeType string

// The types of nodes.
const (
	ChainRouter   ChainNodeType = "router"   // picks by what is in a request
	ChainSplitter ChainNodeType = "splitter" // picks by weight
	ChainResolver ChainNodeType = "resolver" // ends the path, at a target
)

// ChainNode is a step of a chain. Of Routes, Splits and Resolver it has the one that its type says.
type ChainNode struct {
	Type     ChainNodeType
	Name     string
	Routes   []ChainRoute   `json:",omitempty"` // the first that matches counts; the last matches everything
	Splits   []ChainSplit   `json:",omitempty"` // their weights make 100
	Resolver *ChainTerminal `json:",omitempty"`
	// LoadBalancer of a splitter is the first among its splits that picks by hash, so that a proxy knows what
	// of a request to hash before it knows where the request goes.
	LoadBalancer *LoadBalancer `json:",omitempty"`
}

// ChainRoute is one route of a router.
type ChainRoute struct {
	Definition *ServiceRoute
	NextNode   string
	// MirrorNode is where copies of the requests go to.
	MirrorNode string `json:",omitempty"`
}

// ChainSplit is one share of a splitter. NextNode is a resolver.
type ChainSplit struct {
	Definition *ServiceSplit `json:",omitempty"`
	Weight     float32       // percent, to 0.01
	NextNode   string
}

// ChainTerminal is how a path ends.
type ChainTerminal struct {
	// Default means that no service-resolver had a part in it.
	Default        bool           `json:",omitempty"`
	ConnectTimeout Duration       `json:",omitempty"`
	RequestTimeout Duration       `json:",omitempty"`
	Target         string         // a key of Targets
	Failover       *ChainFailover `json:",omitempty"`
}

// ChainFailover lists who stands in for a target without healthy instances.
type ChainFailover struct {
	Targets []string        // keys of Targets, in order of preference
	Policy  *FailoverPolicy `json:",omitempty"`
}

// ChainTarget is a set of instances to find in the catalog, and how to connect to them.
type ChainTarget struct {
	ID                   string
	Service              string
	ServiceSubset        string `json:",omitempty"`
	Namespace            string
	Partition            string
	Datacenter           string
	Peer                 string `json:",omitempty"`
	MeshGateway          MeshGateway
	Subset               ServiceSubset
	TransparentProxy     TransparentProxy
	ConnectTimeout       Duration `json:",omitempty"`
	External             bool     `json:",omitempty"` // outside of the cluster: SNI is what its defaults say
	SNI                  string
	Name                 string                // as SNI is for targets inside
	PrioritizeByLocality *PrioritizeByLocality `json:",omitempty"`
}

package dns

import (
	"context"
	"net/netip"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Source is what the names mean. Its methods are called by many goroutines at once, may block until
// their context ends, and must not be surprised by names that do not exist: anyone can ask for those,
// so a Source bounds what it keeps for them. Names are in lower case and match regardless of case.
// An absent thing is an empty result (which may be remembered until it is stale) or an error with code
// catalog.NotFound (which is not); a datacenter out of reach is catalog.NoPath.
// What results point to is never changed, by either side.
type Source interface {
	// Service returns the instances of a service, whatever their health and tags.
	Service(ctx context.Context, q ServiceQuery) (Instances, error)
	// Group returns a sameness group by its name, or with none the one that is the default for failover.
	Group(ctx context.Context, name string) (Group, error)
	// PreparedQuery runs a prepared query and returns the instances that it chose.
	PreparedQuery(ctx context.Context, q PreparedQuery) (Instances, error)
	// Node returns a node.
	Node(ctx context.Context, q NodeQuery) (Node, error)
	// Address returns who has an address in the agent's own datacenter.
	Address(ctx context.Context, addr netip.Addr) (Owners, error)
	// VirtualIP returns the virtual address of a mesh service.
	VirtualIP(ctx context.Context, q VirtualQuery) (Virtual, error)
}

// Mesh says which side of the mesh a service question is about.
type Mesh uint8

// The ways to ask for a service.
const (
	Plain   Mesh = iota // the service itself: <name>.service
	Connect             // its mesh proxies, or itself where it is native: <name>.connect
	Ingress             // the ingress gateways that serve it: <name>.ingress
)

// ServiceQuery asks for the instances of a service.
type ServiceQuery struct {
	Name       string
	Mesh       Mesh
	Datacenter string // never empty, unless there is a Peer
	Peer       string // the cluster peer the service is imported from
	Origin     Origin
}

// PreparedQuery asks for what a prepared query finds.
type PreparedQuery struct {
	Name       string // its name or ID
	Datacenter string // where it is run
	Origin     Origin
}

// NodeQuery asks for a node.
type NodeQuery struct {
	Name       string
	Datacenter string
	Peer       string
}

// VirtualQuery asks for a virtual address.
type VirtualQuery struct {
	Service    string
	Port       string // empty, or the name of a port that the service must have
	Datacenter string
	Peer       string
}

// Origin is where a question comes from.
type Origin struct {
	Client netip.Addr   // who sent the packet
	Subnet netip.Prefix // EDNS client subnet (RFC 7871); invalid if there was none
}

// Freshness says how long a result may be used again. Stale must not block, lock or allocate: it is
// called for every packet. It stays true once it was. A nil Stale means that nobody knows: such a
// result is used again for a moment only.
type Freshness struct {
	Stale func() bool
}

// Instances is the answer to a question for a service or a prepared query.
type Instances struct {
	Freshness
	Instances []*catalog.Instance
	TTL       time.Duration // of a prepared query, when it sets one; HasTTL says so
	HasTTL    bool
	Ordered   bool // nearest first: the order is kept
	PerClient bool // holds for this Origin only
}

// Group is a sameness group: peers in order of preference, "" for this cluster. There is none where it has no clusters.
type Group struct {
	Freshness
	Clusters []string
}

// Node is the answer to a question for a node; Node is nil when there is none.
type Node struct {
	Freshness
	Node *catalog.Node
}

// Owners is the answer to a reverse look-up.
type Owners struct {
	Freshness
	Nodes     []*catalog.Node
	Instances []*catalog.Instance // with that explicit service address; their checks do not matter
}

// Virtual is the answer to a question for a virtual address, which is invalid when there is none.
type Virtual struct {
	Freshness
	Address netip.Addr
}

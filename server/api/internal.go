package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// NodeInfo is a node with all that is on it.
type NodeInfo struct {
	ID              string
	Node            string
	Address         string
	PeerName        string `json:",omitempty"`
	TaggedAddresses map[string]string
	Meta            map[string]string
	Services        []*catalog.Service
	Checks          []*catalog.Check
}

// ServiceInfo is every instance, and what gateways lead to.
type ServiceInfo struct {
	Instances []*catalog.Instance
	Gateways  []*catalog.GatewayService
}

// KindQuery asks for the gateways of a kind.
type KindQuery struct{ Kind catalog.Kind }

// AppendKey implements endpoint.Keyed.
func (q *KindQuery) AppendKey(key []byte) []byte { return appendString(key, string(q.Kind)) }

// Federated is what a datacenter told the others; nil when it told nothing.
type Federated struct{ State *catalog.FederationState }

// Named asks for the one thing with a name.
type Named struct{ Name string }

// AppendKey implements endpoint.Keyed.
func (q *Named) AppendKey(key []byte) []byte { return appendString(key, q.Name) }

// VirtualQuery asks for the virtual addresses of a service.
type VirtualQuery struct {
	Service string
	Port    string // what a port of the service must be named, if not empty
	Peer    string // that the service is of, empty for this cluster
}

// AppendKey implements endpoint.Keyed.
func (q *VirtualQuery) AppendKey(key []byte) []byte {
	return appendString(appendString(appendString(key, q.Service), q.Port), q.Peer)
}

// Virtual is the virtual addresses of a service; nil when it has none.
type Virtual struct{ Addresses *catalog.VirtualAddress }

// VirtualWrite gives a service addresses beside the one that it was assigned.
type VirtualWrite struct {
	Service    string
	ManualVIPs []string
}

// VirtualWritten says whether there is such a service, and from which others an address was taken.
type VirtualWritten struct {
	Found          bool
	UnassignedFrom []UnassignedName
}

// UnassignedName is the name of a service, as the answer spells it.
type UnassignedName struct {
	ServiceName struct{ Name string }
	Peer        string
}

// Verbs behind the web interface, and of federation states.
var (
	NodeDump    = rpc.Method[NodeQuery, []*NodeInfo]{Name: "Internal.NodeDump", From: rpc.FromAgents}
	ServiceDump = rpc.Method[Nothing, ServiceInfo]{Name: "Internal.ServiceDump", From: rpc.FromAgents}

	// Gateways are the instances of one kind of gateways, and MeshServices the names of all services of the mesh.
	Gateways     = rpc.Method[KindQuery, []*catalog.Instance]{Name: "Internal.Gateways", From: rpc.FromAgents}
	MeshServices = rpc.Method[Nothing, []string]{Name: "Internal.MeshServices", From: rpc.FromAgents}

	VirtualRead   = rpc.Method[VirtualQuery, Virtual]{Name: "Internal.VirtualRead", From: rpc.FromAgents}
	VirtualAssign = rpc.Method[VirtualWrite, VirtualWritten]{Name: "Internal.VirtualAssign", From: rpc.FromAgents}

	FederationApply = rpc.Method[catalog.FederationState, Nothing]{Name: "FederationState.Apply", From: rpc.FromAgents}
	FederationRead  = rpc.Method[Named, Federated]{Name: "FederationState.Get", From: rpc.FromAgents}
	FederationList  = rpc.Method[Nothing, []*catalog.FederationState]{Name: "FederationState.List", From: rpc.FromAgents}
	// FederationGateways are the mesh gateways in federation states that a token may see.
	FederationGateways = rpc.Method[Nothing, []*catalog.FederationState]{Name: "FederationState.ListMeshGateways", From: rpc.FromAgents}
)

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

// Federated is what a datacenter told the others; nil when it told nothing.
type Federated struct{ State *catalog.FederationState }

// Named asks for the one thing with a name.
type Named struct{ Name string }

// AppendKey implements endpoint.Keyed.
func (q *Named) AppendKey(key []byte) []byte { return appendString(key, q.Name) }

// Verbs behind the web interface, and of federation states.
var (
	NodeDump    = rpc.Method[NodeQuery, []*NodeInfo]{Name: "Internal.NodeDump"}
	ServiceDump = rpc.Method[Nothing, []*catalog.Instance]{Name: "Internal.ServiceDump"}

	FederationApply = rpc.Method[catalog.FederationState, Nothing]{Name: "FederationState.Apply"}
	FederationRead  = rpc.Method[Named, Federated]{Name: "FederationState.Get"}
	FederationList  = rpc.Method[Nothing, []*catalog.FederationState]{Name: "FederationState.List"}
)

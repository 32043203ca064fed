package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// PeeringWrite begins a peering, with a new token or with that of the other cluster.
type PeeringWrite struct {
	Name  string
	Meta  map[string]string
	Token catalog.PeeringToken
}

// PeeringPut stores a peering if the one in its place was changed last at the index Was; 0 is if there is none.
type PeeringPut struct {
	Peering catalog.Peering
	Was     uint64
}

// PeeringImport is news of what the peer with an id of this cluster's exports: services as they are now, and those that it
// exports no more: with Whole, Keep lists all that it exports, and others go.
type PeeringImport struct {
	ID       string
	Services []*catalog.ImportedService
	Whole    bool
	Keep     []string
}

// PeeringExchange is how a cluster that has a token of another's comes to a peering: it shows the secret of the token and
// says who it is, and by which secret it will be known from now on.
type PeeringExchange struct {
	PeerID        string
	Establishment string
	Stream        string
	// ServerName is that of the servers that dial, and Roots sign their certificates.
	ServerName string
	Roots      []string
}

// PeerTrustQuery asks for what services of peers prove themselves by: of those peers that a service is exported to, of one
// that is named, or of all, which gateways ask for. The service is then who asks.
type PeerTrustQuery struct {
	Service, Peer string
	All           bool
}

// AppendKey implements endpoint.Keyed.
func (q *PeerTrustQuery) AppendKey(key []byte) []byte {
	return appendBool(appendString(appendString(key, q.Service), q.Peer), q.All)
}

// PeeringOpen opens the stream of a peering.
type PeeringOpen struct {
	PeerID string
	Stream string
}

// PeeringRelayed is what a peer has asked of a server that does not lead, for the leader: one of the two. Shown are the
// certificates that it has proven to have there, in DER, its own first, and From is its address.
type PeeringRelayed struct {
	Exchange *PeeringExchange `codec:",omitempty"`
	Open     *PeeringOpen     `codec:",omitempty"`
	Shown    [][]byte
	From     string
}

// ExportedService is a service that other clusters may reach.
type ExportedService struct {
	Service   string
	Consumers ExportConsumers
}

// ExportConsumers are who may reach an exported service.
type ExportConsumers struct {
	Peers []string `json:",omitempty"`
}

// Verbs of the port on which peers meet, and nothing else is answered. They are no verbs of agents: what they need is
// shown to the leader, a secret and a certificate.
var (
	PeerExchange = rpc.Method[PeeringExchange, Nothing]{Name: "Peer.Exchange"}
	PeerStream   = rpc.Method[PeeringOpen, Nothing]{Name: "Peer.Stream"}
)

// PeerCarry is a stream that a peer has opened at a server which does not lead, on its way to the leader. It begins with
// PeeringRelayed, and PeerCarryFrom is who may open it.
const (
	PeerCarry     = "Peering.Carry"
	PeerCarryFrom = rpc.FromServers
)

// Verbs of peerings and of what is exported to them. PeerServers names servers that the mesh gateway with a name leads to. The reply to PeeringGenerate is the token for the other cluster.
// ExportSetPut answers with the set as it is stored.
var (
	PeeringGenerate  = rpc.Method[PeeringWrite, string]{Name: "Peering.GenerateToken", From: rpc.FromAgents}
	PeeringEstablish = rpc.Method[PeeringWrite, Nothing]{Name: "Peering.Establish", From: rpc.FromAgents}
	PeeringRead      = rpc.Method[Named, []*catalog.Peering]{Name: "Peering.Read", From: rpc.FromAgents}
	PeeringList      = rpc.Method[Nothing, []*catalog.Peering]{Name: "Peering.List", From: rpc.FromAgents}
	PeeringDelete    = rpc.Method[Named, Nothing]{Name: "Peering.Delete", From: rpc.FromAgents}
	PeeringStore     = rpc.Method[PeeringPut, bool]{Name: "Peering.Store", From: rpc.FromServers}
	PeeringTake      = rpc.Method[PeeringImport, Nothing]{Name: "Peering.Import", From: rpc.FromServers}
	PeeringRemove    = rpc.Method[Named, Nothing]{Name: "Peering.Remove", From: rpc.FromServers}

	PeerTrust   = rpc.Method[PeerTrustQuery, []*catalog.PeerTrust]{Name: "Peering.Trust", From: rpc.FromAgents}
	PeerServers = rpc.Method[Named, []*catalog.PeerServers]{Name: "Peering.Servers", From: rpc.FromAgents}
	PeerAccept  = rpc.Method[PeeringRelayed, Nothing]{Name: "Peering.Accept", From: rpc.FromServers}

	ExportSetPut    = rpc.Method[catalog.ExportSet, catalog.ExportSet]{Name: "ExportSet.Put", From: rpc.FromAgents}
	ExportSetRead   = rpc.Method[Named, []*catalog.ExportSet]{Name: "ExportSet.Read", From: rpc.FromAgents}
	ExportSetList   = rpc.Method[Nothing, []*catalog.ExportSet]{Name: "ExportSet.List", From: rpc.FromAgents}
	ExportSetDelete = rpc.Method[Named, Nothing]{Name: "ExportSet.Delete", From: rpc.FromAgents}

	ExportedServices = rpc.Method[Named, []ExportedService]{Name: "ConfigEntry.ExportedServices", From: rpc.FromAgents}
)

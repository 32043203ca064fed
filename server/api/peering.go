package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// PeeringWrite makes a peering, or renews the secret of one. Token lacks what Apply adds: the id.
type PeeringWrite struct {
	Peering catalog.Peering
	Token   catalog.PeeringToken
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

// Verbs of peerings and of what is exported to them. The reply to PeeringGenerate is the token for the other cluster.
// ExportSetPut answers with the set as it is stored.
var (
	PeeringGenerate  = rpc.Method[PeeringWrite, string]{Name: "Peering.GenerateToken", From: rpc.FromAgents}
	PeeringEstablish = rpc.Method[PeeringWrite, Nothing]{Name: "Peering.Establish", From: rpc.FromAgents}
	PeeringRead      = rpc.Method[Named, []*catalog.Peering]{Name: "Peering.Read", From: rpc.FromAgents}
	PeeringList      = rpc.Method[Nothing, []*catalog.Peering]{Name: "Peering.List", From: rpc.FromAgents}
	PeeringDelete    = rpc.Method[Named, Nothing]{Name: "Peering.Delete", From: rpc.FromAgents}

	ExportSetPut    = rpc.Method[catalog.ExportSet, catalog.ExportSet]{Name: "ExportSet.Put", From: rpc.FromAgents}
	ExportSetRead   = rpc.Method[Named, []*catalog.ExportSet]{Name: "ExportSet.Read", From: rpc.FromAgents}
	ExportSetList   = rpc.Method[Nothing, []*catalog.ExportSet]{Name: "ExportSet.List", From: rpc.FromAgents}
	ExportSetDelete = rpc.Method[Named, Nothing]{Name: "ExportSet.Delete", From: rpc.FromAgents}

	ExportedServices = rpc.Method[Named, []ExportedService]{Name: "ConfigEntry.ExportedServices", From: rpc.FromAgents}
)

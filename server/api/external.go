package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// Metadata of nodes that have no agent: whose checks others make, and which are pinged as well.
// Source: https://developer.hashicorp.com/consul/docs/register/external/esm
const (
	ExternalNode  = "external-node"
	ExternalProbe = "external-probe"
)

// External is what there is to know for those who make the checks of external nodes.
type External struct {
	Nodes  []*catalog.Node
	Checks []*catalog.Check // of these nodes and their services
	// Probers are the nodes that make such checks, those that are not healthy left out.
	Probers []string
}

// ExternalNodes lists the external nodes.
var ExternalNodes = rpc.Method[Nothing, External]{Name: "External.Nodes", From: rpc.FromAgents}

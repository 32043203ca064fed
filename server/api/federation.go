package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// FederationView is how a datacenter stands to the primary one.
type FederationView struct {
	Datacenter string
	// Primary is the primary datacenter at the moment, and Configured that of primary_datacenter, which differs after a
	// promotion. Epoch counts the promotions.
	Primary, Configured string
	Epoch               uint64
	// Copying is whether this datacenter copies from its primary, and Copies how far that is.
	Copying bool
	Copies  []ReplicaProgress
	// Refusal says why nothing is copied yet, and Loss what would be lost.
	Refusal string `json:",omitempty"`
	Loss    FederationLoss
}

// FederationLoss is what a datacenter has of its own, as kind and key, and its primary lacks, or has in another form.
type FederationLoss struct{ Dropped, Replaced []string }

// Promotion makes the datacenter that is asked the primary one.
type Promotion struct {
	// Force does it without the primary before, which is lost: what was not copied from it is lost too.
	Force bool
}

// Yield asks the primary datacenter to give its place to another one, and to vouch for the root, in PEM, that this will
// sign with.
type Yield struct{ To, Root string }

// Yielded is what is so from then on. Cross is the word for the new root; empty when there is no mesh.
type Yielded struct {
	Primacy catalog.Primacy
	Cross   string
}

// Primacies is which datacenter was promoted; nil when none was.
type Primacies struct{ Primacy *catalog.Primacy }

// Verbs of datacenters and their primary.
var (
	FederationStatus  = rpc.Method[Nothing, FederationView]{Name: "Federation.Status", From: rpc.FromAgents}
	FederationAccept  = rpc.Method[Nothing, FederationLoss]{Name: "Federation.Accept", From: rpc.FromAgents}
	FederationPromote = rpc.Method[Promotion, catalog.Primacy]{Name: "Federation.Promote", From: rpc.FromAgents}
	FederationYield   = rpc.Method[Yield, Yielded]{Name: "Federation.Yield", From: rpc.FromFederation}
	PrimacyRead       = rpc.Method[Nothing, Primacies]{Name: "Federation.Primacy", From: rpc.FromFederation}
	PrimacyApply      = rpc.Method[catalog.Primacy, bool]{Name: "Federation.PrimacyApply", From: rpc.FromServers}
)

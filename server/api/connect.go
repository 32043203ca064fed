package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// SignRequest asks for a certificate. The key stays with who asks.
type SignRequest struct {
	CSR string // in PEM, with the identity as its one URI
}

// IntermediateRequest asks the primary datacenter for a certificate by which another one signs its leaves. The key stays
// with who asks.
type IntermediateRequest struct {
	CSR        string // in PEM, with the trust domain as its one URI
	Datacenter string // that asks
}

// CAWrite stores what a leader has done with the certificate authority. What is nil stays.
type CAWrite struct {
	// CAS is the ModifyIndex of the configuration that this one follows; 0 when it is the first.
	CAS    uint64
	Config *catalog.CAConfig
	Keys   *catalog.CAKeys
	Roots  []*catalog.Root
}

// Verbs of the mesh's certificate authority.
var (
	// CARoots is for everybody: who asks for a first certificate has to name the trust domain.
	CARoots     = rpc.Method[Nothing, catalog.Roots]{Name: "ConnectCA.Roots", From: rpc.FromAnyone}
	CAConfig    = rpc.Method[Nothing, catalog.CAConfig]{Name: "ConnectCA.ConfigurationGet", From: rpc.FromAgents}
	CASet       = rpc.Method[catalog.CAConfig, Nothing]{Name: "ConnectCA.ConfigurationSet", From: rpc.FromAgents}
	ConnectSign = rpc.Method[SignRequest, catalog.IssuedCert]{Name: "ConnectCA.Sign", From: rpc.FromAgents}
	// CASignIntermediate is the primary datacenter's.
	CASignIntermediate = rpc.Method[IntermediateRequest, string]{Name: "ConnectCA.SignIntermediate", From: rpc.FromFederation}
	// CAStore is the leader's own: secrets cannot be sent to it from elsewhere.
	CAStore = rpc.Method[CAWrite, bool]{Name: "ConnectCA.Store", From: rpc.FromServers}
)

package api

import (
	"encoding/binary"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// ChainQuery asks for the discovery chain of a service.
// Source: https://developer.hashicorp.com/consul/api-docs/discovery-chain
type ChainQuery struct {
	Service string
	// EvaluateIn is the datacenter that entries mean that name none; empty is that of the servers.
	EvaluateIn string
	// What the one who asks wants otherwise; zero values leave things as they are.
	OverrideMeshGateway    catalog.MeshGateway
	OverrideProtocol       string
	OverrideConnectTimeout time.Duration
}

// ChainReply is the chain.
type ChainReply struct{ Chain *catalog.DiscoveryChain }

// AppendKey implements endpoint.Keyed.
func (q *ChainQuery) AppendKey(key []byte) []byte {
	for _, part := range []string{q.Service, q.EvaluateIn, q.OverrideMeshGateway.Mode, q.OverrideProtocol} {
		key = appendString(key, part)
	}
	return binary.AppendVarint(key, int64(q.OverrideConnectTimeout))
}

// ChainGet compiles the discovery chain of a service out of the config entries.
var ChainGet = rpc.Method[ChainQuery, ChainReply]{Name: "DiscoveryChain.Get", From: rpc.FromAgents}

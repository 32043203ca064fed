package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// TopologyQuery asks what a service is connected with.
type TopologyQuery struct {
	Service string
	Kind    catalog.Kind // KindTypical or KindIngressGateway
}

// AppendKey implements endpoint.Keyed.
func (q *TopologyQuery) AppendKey(key []byte) []byte {
	return appendString(appendString(key, q.Service), string(q.Kind))
}

// Topology is what a service reaches, and what reaches it.
type Topology struct {
	Protocol         string
	TransparentProxy bool
	Upstreams        []*TopologyLink // by name
	Downstreams      []*TopologyLink // by name
	Filtered         bool            // the token does not see all of it
}

// TopologyLink is a service at the other end.
type TopologyLink struct {
	Name             string
	Source           LinkSource
	Intention        IntentionDecision
	TransparentProxy bool
	Instances        []*catalog.Instance
}

// LinkSource is why there is a link.
type LinkSource string

// Reasons of links. Those by intention are of transparent proxies, which reach what they may.
const (
	LinkRegistered LinkSource = "proxy-registration"
	LinkRouted     LinkSource = "routing-config" // a registered one leads there by its chain
	LinkExact      LinkSource = "specific-intention"
	LinkWildcard   LinkSource = "wildcard-intention"
	LinkDefault    LinkSource = "default-allow"
)

// IntentionDecision is whether connections over a link are allowed.
type IntentionDecision struct {
	DefaultAllow   bool // without an intention
	Allowed        bool
	HasPermissions bool // it depends on requests
	ExternalSource string
	HasExact       bool // the intention names both ends
}

// GatewayLink is a service of a gateway with its instances.
type GatewayLink struct {
	*catalog.GatewayService
	Instances []*catalog.Instance
}

// Verbs behind what the web interface shows of the mesh.
var (
	ServiceTopology   = rpc.Method[TopologyQuery, Topology]{Name: "Internal.ServiceTopology", From: rpc.FromAgents}
	GatewayLinks      = rpc.Method[ServiceQuery, []*GatewayLink]{Name: "Internal.GatewayServiceDump", From: rpc.FromAgents}
	GatewayIntentions = rpc.Method[ServiceQuery, []*catalog.Intention]{Name: "Internal.GatewayIntentions", From: rpc.FromAgents}
)

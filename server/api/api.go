// Package api names the verbs of a server: each with its request and its reply.
package api

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// Nothing is the request or reply of verbs that say nothing.
type Nothing struct{}

// appendString and its siblings write the parts of a question's key so that they cannot run together.
func appendString(key []byte, s string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(s))), s...)
}

func appendStrings(key []byte, list []string) []byte {
	key = binary.AppendUvarint(key, uint64(len(list)))
	for _, s := range list {
		key = appendString(key, s)
	}
	return key
}

func appendMap(key []byte, m map[string]string) []byte {
	key = binary.AppendUvarint(key, uint64(len(m)))
	if len(m) == 0 {
		return key
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		key = appendString(appendString(key, k), m[k])
	}
	return key
}

func appendBool(key []byte, b bool) []byte {
	if b {
		return append(key, 1)
	}
	return append(key, 0)
}

// Verbs about the servers themselves.
var (
	// StatusPeers lists the Raft addresses of the servers.
	StatusPeers = rpc.Method[Nothing, []string]{Name: "Status.Peers", From: rpc.FromAgents}
	// StatusLeader is the Raft address of the leader, empty when there is none.
	StatusLeader = rpc.Method[Nothing, string]{Name: "Status.Leader", From: rpc.FromAgents}
	// Datacenters lists the datacenters, nearest first.
	Datacenters = rpc.Method[Nothing, []string]{Name: "Catalog.Datacenters", From: rpc.FromAgents}
)

// RegisterRequest adds or changes a node and what is on it.
// Source: https://developer.hashicorp.com/consul/api-docs/catalog#register-entity
type RegisterRequest struct {
	ID              string
	Node            string
	Address         string
	Datacenter      string            `json:",omitempty"`
	TaggedAddresses map[string]string `json:",omitempty"`
	NodeMeta        map[string]string `json:",omitempty"`
	Locality        *catalog.Locality `json:",omitempty"`
	SkipNodeUpdate  bool              `json:",omitempty"`
	// KeepNode leaves a node that has this id and address as it is: its agent may just have said more of it.
	KeepNode bool             `json:"-" codec:"KeepNode,omitempty"`
	Service  *catalog.Service `json:",omitempty"`
	// Services is how an agent registers many at once.
	Services []*catalog.Service `json:",omitempty"`
	Check    *catalog.Check     `json:",omitempty"`
	Checks   []*catalog.Check   `json:",omitempty"`
}

// DeregisterRequest removes a check, a service or, with neither, a node with all that is on it.
type DeregisterRequest struct {
	Node       string
	Datacenter string `json:",omitempty"`
	ServiceID  string `json:",omitempty"`
	CheckID    string `json:",omitempty"`
}

// SyncRequest brings the catalog's entries of one node in line with what its agent says: all at once,
// in one log entry.
type SyncRequest struct {
	Register   RegisterRequest
	Deregister []DeregisterRequest `json:",omitempty"`
}

// NodeQuery asks for nodes.
type NodeQuery struct {
	Node string            // empty for all
	Meta map[string]string // pairs that the node must have
	Near string            // sort by round-trip time from this node
	Peer string            // the cluster that the node is of; empty is this one
}

// AppendKey implements endpoint.Keyed.
func (q *NodeQuery) AppendKey(key []byte) []byte {
	return appendString(appendString(appendMap(appendString(key, q.Node), q.Meta), q.Near), q.Peer)
}

// ServiceQuery asks for the instances of a service.
type ServiceQuery struct {
	Service  string
	Tags     []string // all of which an instance must have
	NodeMeta map[string]string
	Near     string
	Passing  bool // only instances whose checks all pass
	Connect  bool // what mesh connections to the service reach, not the service itself
	Ingress  bool // the ingress gateways that expose the service
	Address  string
	Peer     string // the cluster that exports the service; empty is this one
}

// AppendKey implements endpoint.Keyed.
func (q *ServiceQuery) AppendKey(key []byte) []byte {
	key = appendStrings(appendString(key, q.Service), q.Tags)
	key = appendString(appendMap(key, q.NodeMeta), q.Near)
	key = appendBool(appendBool(appendBool(key, q.Passing), q.Connect), q.Ingress)
	return appendString(appendString(key, q.Address), q.Peer)
}

// StateQuery asks for the checks in a state.
type StateQuery struct {
	Status   catalog.Status
	NodeMeta map[string]string
	Near     string
	Peer     string
}

// NodeServices is a node with its services by id.
type NodeServices struct {
	Node     *catalog.Node
	Services map[string]*catalog.Service
}

// NodeServiceList is a node with its services in a list.
type NodeServiceList struct {
	Node     *catalog.Node
	Services []*catalog.Service
}

// AddressQuery asks who has an address.
type AddressQuery struct{ Address string }

// AppendKey implements endpoint.Keyed.
func (q *AddressQuery) AppendKey(key []byte) []byte { return appendString(key, q.Address) }

// Owners are the nodes and instances with an address.
type Owners struct {
	Nodes     []*catalog.Node
	Instances []*catalog.Instance
}

// Verbs of the catalog and of health.
var (
	Register   = rpc.Method[RegisterRequest, Nothing]{Name: "Catalog.Register", From: rpc.FromAgents}
	Deregister = rpc.Method[DeregisterRequest, Nothing]{Name: "Catalog.Deregister", From: rpc.FromAgents}
	Sync       = rpc.Method[SyncRequest, Nothing]{Name: "Catalog.Sync", From: rpc.FromAgents}

	Nodes            = rpc.Method[NodeQuery, []*catalog.Node]{Name: "Catalog.Nodes", From: rpc.FromAgents}
	Services         = rpc.Method[ServiceQuery, map[string][]string]{Name: "Catalog.Services", From: rpc.FromAgents}
	ServiceInstances = rpc.Method[ServiceQuery, []*catalog.CatalogService]{Name: "Catalog.ServiceInstances", From: rpc.FromAgents}
	NodeServiceMap   = rpc.Method[NodeQuery, *NodeServices]{Name: "Catalog.NodeServices", From: rpc.FromAgents}
	NodeServicesList = rpc.Method[NodeQuery, *NodeServiceList]{Name: "Catalog.NodeServiceList", From: rpc.FromAgents}
	GatewayServices  = rpc.Method[ServiceQuery, []*catalog.GatewayService]{Name: "Catalog.GatewayServices", From: rpc.FromAgents}

	AddressOwners = rpc.Method[AddressQuery, Owners]{Name: "Catalog.AddressOwners", From: rpc.FromAgents}

	HealthNode    = rpc.Method[NodeQuery, []*catalog.Check]{Name: "Health.NodeChecks", From: rpc.FromAgents}
	HealthChecks  = rpc.Method[ServiceQuery, []*catalog.Check]{Name: "Health.ServiceChecks", From: rpc.FromAgents}
	HealthService = rpc.Method[ServiceQuery, []*catalog.Instance]{Name: "Health.ServiceInstances", From: rpc.FromAgents}
	HealthState   = rpc.Method[StateQuery, []*catalog.Check]{Name: "Health.ChecksInState", From: rpc.FromAgents}
)

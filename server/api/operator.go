package api

import (
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// RaftServer is a member of the Raft configuration.
type RaftServer struct {
	ID              string
	Node            string
	Address         string
	Leader          bool
	ProtocolVersion string
	Voter           bool
	LastIndex       uint64
}

// RaftConfiguration is the Raft configuration as the leader knows it.
type RaftConfiguration struct {
	Servers []*RaftServer
	Index   uint64
}

// RaftPeer names a server by id or by address.
type RaftPeer struct {
	ID      string
	Address string
}

// StateDigest says what a server holds, so that servers can be compared at one index.
type StateDigest struct {
	Node   string // that answers
	Index  uint64 // of the last entry that it has applied
	Digest string // SHA-256 of all rows, in hex
}

// AutopilotWrite stores autopilot's configuration, with CAS only over the version it was made from.
type AutopilotWrite struct {
	Config catalog.AutopilotConfig
	CAS    bool
}

// ServerHealth is autopilot's view of one server.
type ServerHealth struct {
	ID          string
	Name        string
	Address     string
	SerfStatus  string
	Version     string
	Leader      bool
	LastContact catalog.Duration
	LastTerm    uint64
	LastIndex   uint64
	Healthy     bool
	Voter       bool
	StableSince time.Time
	// ReadReplica servers never vote. Consul's answer does not have this.
	ReadReplica bool `json:"-" codec:"ReadReplica,omitempty"`
}

// ClusterHealth is autopilot's view of all servers.
type ClusterHealth struct {
	Healthy          bool
	FailureTolerance int
	Servers          []ServerHealth
}

// Usage counts what a datacenter holds.
type Usage struct {
	Nodes                    int
	Services                 int
	ServiceInstances         int
	ConnectServiceInstances  map[string]int
	BillableServiceInstances int
}

// Verbs of the operator.
var (
	RaftConfigurationRead = rpc.Method[Nothing, RaftConfiguration]{Name: "Operator.RaftConfiguration", From: rpc.FromAgents}
	StateDigestRead       = rpc.Method[Nothing, StateDigest]{Name: "Operator.StateDigest", From: rpc.FromAgents}
	RaftRemovePeer        = rpc.Method[RaftPeer, Nothing]{Name: "Operator.RaftRemovePeer", From: rpc.FromAgents}
	RaftTransferLeader    = rpc.Method[RaftPeer, bool]{Name: "Operator.RaftTransferLeader", From: rpc.FromAgents}
	AutopilotRead         = rpc.Method[Nothing, catalog.AutopilotConfig]{Name: "Operator.AutopilotConfiguration", From: rpc.FromAgents}
	AutopilotSet          = rpc.Method[AutopilotWrite, bool]{Name: "Operator.AutopilotSet", From: rpc.FromAgents}
	AutopilotHealth       = rpc.Method[Nothing, ClusterHealth]{Name: "Operator.AutopilotHealth", From: rpc.FromAgents}
	UsageRead             = rpc.Method[Nothing, map[string]*Usage]{Name: "Operator.Usage", From: rpc.FromAgents}
)

// CoordinateUpdate stores the coordinates of nodes.
type CoordinateUpdate struct{ Updates []*catalog.NodeCoordinate }

// DatacenterCoordinates are the coordinates of a datacenter's servers.
type DatacenterCoordinates struct {
	Datacenter  string
	AreaID      string
	Coordinates []*catalog.NodeCoordinate
}

// Verbs of coordinates.
var (
	CoordinateSet         = rpc.Method[CoordinateUpdate, Nothing]{Name: "Coordinate.Update", From: rpc.FromAgents}
	CoordinateNodes       = rpc.Method[NodeQuery, []*catalog.NodeCoordinate]{Name: "Coordinate.Nodes", From: rpc.FromAgents}
	CoordinateNode        = rpc.Method[NodeQuery, []*catalog.NodeCoordinate]{Name: "Coordinate.Node", From: rpc.FromAgents}
	CoordinateDatacenters = rpc.Method[Nothing, []DatacenterCoordinates]{Name: "Coordinate.Datacenters", From: rpc.FromAgents}
)

// EventFire spreads a user event in the datacenter.
var EventFire = rpc.Method[catalog.Event, Nothing]{Name: "Event.Fire", From: rpc.FromAgents}

// Reap removes the traces of what was deleted up to an index.
type Reap struct{ Index uint64 }

// GravesReap is the leader's own.
var GravesReap = rpc.Method[Reap, Nothing]{Name: "Graves.Reap", From: rpc.FromServers}

package api

import (
	"encoding/binary"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// QueryOp is what a write does to a prepared query.
type QueryOp string

// The operations on prepared queries.
const (
	QueryCreate QueryOp = "create"
	QueryUpdate QueryOp = "update"
	QueryDelete QueryOp = "delete"
)

// QueryWrite changes prepared queries.
type QueryWrite struct {
	Op    QueryOp
	Query catalog.PreparedQuery
}

// QueryID asks for one prepared query.
type QueryID struct{ ID string }

// AppendKey implements endpoint.Keyed.
func (q *QueryID) AppendKey(key []byte) []byte { return appendString(key, q.ID) }

// QueryRun asks for what a prepared query finds.
type QueryRun struct {
	Name    string // or id
	Near    string // in place of the query's own
	Limit   int    // how many instances at most; 0 is all
	Connect bool   // what mesh connections to the service reach, whatever the query says
	Agent   string // the node of the agent that asks
	Client  string // the address of who asks that agent; may be empty when no query is near to that
}

// AppendKey implements endpoint.Keyed.
func (q *QueryRun) AppendKey(key []byte) []byte {
	key = appendString(appendString(key, q.Name), q.Near)
	key = appendBool(binary.AppendUvarint(key, uint64(q.Limit)), q.Connect)
	return appendString(appendString(key, q.Agent), q.Client)
}

// QueryResult is what a prepared query found.
type QueryResult struct {
	Service    string
	Nodes      []*catalog.Instance
	DNS        catalog.QueryDNS
	Datacenter string // that they are in
	PeerName   string // that they come from
	Failovers  int    // how many other datacenters and peers were asked
	// Found is whether there is such a query at all.
	Found bool `json:"-" codec:"Found"`
	// Ordered instances are in order of round-trip times, which nobody watches.
	Ordered bool `json:"-" codec:"Ordered"`
	// PerClient results hold for QueryRun.Client only.
	PerClient bool `json:"-" codec:"PerClient"`
	// More is whether nothing was found here and there are others to ask.
	More bool `json:"-" codec:"More"`
}

// QueryRemote asks another datacenter for what a prepared query finds there.
type QueryRemote struct {
	Query catalog.PreparedQuery // made ready for the name it is run for
	Limit int
}

// QueryPlan is where a prepared query looks for instances.
type QueryPlan struct {
	Found      bool
	Service    string
	Datacenter string // that runs it
	Peer       string // whose instances it selects where it runs, empty for the datacenter's own
	// Failover is where it looks then. The peers of a sameness group are among the targets.
	Failover catalog.QueryFailover
	// Version grows when the query selects others.
	Version uint64
}

// QueryLeg asks for what mesh connections reach of the instances that a prepared query selects in one of the places of its plan.
type QueryLeg struct {
	Name    string              // or id
	Target  catalog.QueryTarget // empty for where it runs
	Version uint64              // of the plan: instances that another version selects are another question
}

// AppendKey implements endpoint.Keyed.
func (q *QueryLeg) AppendKey(key []byte) []byte {
	key = appendString(appendString(key, q.Name), q.Target.Peer)
	return binary.AppendUvarint(appendString(key, q.Target.Datacenter), q.Version)
}

// QueryExplained is a prepared query as it would be run for a name; nil when there is none.
type QueryExplained struct{ Query *catalog.PreparedQuery }

// Verbs of prepared queries. The reply to a write is the id of the query.
var (
	QueryApply    = rpc.Method[QueryWrite, string]{Name: "PreparedQuery.Apply", From: rpc.FromAgents}
	QueryRead     = rpc.Method[QueryID, []*catalog.PreparedQuery]{Name: "PreparedQuery.Get", From: rpc.FromAgents}
	QueryList     = rpc.Method[Nothing, []*catalog.PreparedQuery]{Name: "PreparedQuery.List", From: rpc.FromAgents}
	QueryExplain  = rpc.Method[QueryRun, QueryExplained]{Name: "PreparedQuery.Explain", From: rpc.FromAgents}
	QueryExecute  = rpc.Method[QueryRun, QueryResult]{Name: "PreparedQuery.Execute", From: rpc.FromAgents}
	QueryFailover = rpc.Method[QueryRun, QueryResult]{Name: "PreparedQuery.Failover", From: rpc.FromAgents}
	QueryPlanned  = rpc.Method[QueryRun, QueryPlan]{Name: "PreparedQuery.Plan", From: rpc.FromAgents}
	QueryAt       = rpc.Method[QueryLeg, []*catalog.Instance]{Name: "PreparedQuery.ExecuteAt", From: rpc.FromAgents}
	QueryAbroad   = rpc.Method[QueryRemote, QueryResult]{Name: "PreparedQuery.ExecuteRemote", From: rpc.FromAgents}
)

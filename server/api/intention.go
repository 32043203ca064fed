package api

import (
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// IntentionOp is what a write does to an intention.
type IntentionOp string

// The operations on intentions. Upsert and Delete name source and destination; the others are those of
// older clients, which name an intention by its id.
const (
	IntentionUpsert   IntentionOp = "upsert"
	IntentionDelete   IntentionOp = "delete"
	IntentionCreate   IntentionOp = "create"
	IntentionUpdate   IntentionOp = "update"
	IntentionDeleteID IntentionOp = "delete-id"
)

// IntentionWrite changes one intention, which is one source of an entry of kind service-intentions.
type IntentionWrite struct {
	Op        IntentionOp
	Intention catalog.Intention
	At        time.Time // set by the leader
}

// MatchBy is the end of intentions that is looked for.
type MatchBy string

// The ends of intentions.
const (
	MatchSource      MatchBy = "source"
	MatchDestination MatchBy = "destination"
)

// IntentionQuery asks for the intention with an ID, or else with exactly the two names; or for all that
// match each of Names By one end; or whether Source may reach Destination.
type IntentionQuery struct {
	ID          string
	Source      string
	Peer        string // that the source belongs to
	Destination string
	By          MatchBy
	Names       []string
}

// AppendKey implements endpoint.Keyed.
func (q *IntentionQuery) AppendKey(key []byte) []byte {
	for _, s := range []string{q.ID, q.Source, q.Peer, q.Destination, string(q.By)} {
		key = appendString(key, s)
	}
	return appendStrings(key, q.Names)
}

// Authorization says whether a connection may be made, and by which intention.
type Authorization struct {
	Allowed bool
	// Source and Destination are those of the intention; empty when none speaks of the connection.
	Source      string
	Destination string
}

// Verbs of intentions. IntentionApply answers with the id of an intention that has one. A missing intention is an empty list.
var (
	IntentionApply = rpc.Method[IntentionWrite, string]{Name: "Intention.Apply", From: rpc.FromAgents}
	IntentionList  = rpc.Method[IntentionQuery, []*catalog.Intention]{Name: "Intention.List", From: rpc.FromAgents}
	IntentionGet   = rpc.Method[IntentionQuery, []*catalog.Intention]{Name: "Intention.Get", From: rpc.FromAgents}
	IntentionMatch = rpc.Method[IntentionQuery, map[string][]*catalog.Intention]{Name: "Intention.Match", From: rpc.FromAgents}
	IntentionCheck = rpc.Method[IntentionQuery, bool]{Name: "Intention.Check", From: rpc.FromAgents}
	// IntentionAuthorize is what a service asks about who connects to it: it needs the right to be that service.
	IntentionAuthorize = rpc.Method[IntentionQuery, Authorization]{Name: "Intention.Authorize", From: rpc.FromAgents}
	// IntentionDefault is whether connections are allowed that no intention speaks of.
	IntentionDefault = rpc.Method[Nothing, bool]{Name: "Intention.Default", From: rpc.FromAgents}
)

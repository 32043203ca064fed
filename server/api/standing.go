package api

import (
	"time"

	"github.com/curia-mesh/curia/rpc"
)

// StandingQuery asks a server how it stands, and may offer it a place in a new cluster.
type StandingQuery struct {
	// ID and Name are those of the server that asks.
	ID, Name string
	// Found lists the ids of the servers that the asking one is about to found a cluster of; empty only asks.
	Found []string
	// Ended is the id of a leader whose process the asking server finds to have ended; empty is none.
	Ended string
}

// Standing is how a server stands in its cluster.
type Standing struct {
	ID, Name string
	// Expect is how many servers it waits for, 0 when it founds no cluster.
	Expect int
	// Servers are the ids of Raft's configuration; none when it is in no cluster.
	Servers []string
	// Leader is the id of the leader it knows.
	Leader string
	// Promised names the founder that it waits for.
	Promised string
	// Agreed is whether it takes the place that it was offered: until PromiseTime is over it founds nothing
	// and takes no other.
	Agreed bool

	LastContact time.Duration // since it heard of the leader; negative is never
	LastTerm    uint64
	LastIndex   uint64

	// Ended is whether this server too finds that the leader that was asked about has ended.
	Ended bool
}

// PromiseTime is how long a server keeps to the founder of a cluster.
const PromiseTime = 5 * time.Second

// StatusCommitted is an index of the store that all writes have which were acknowledged before the leader was asked:
// whoever shows that index shows them.
var StatusCommitted = rpc.Method[Nothing, uint64]{Name: "Status.Committed", From: rpc.FromServers}

// StatusStanding is asked among the servers of a datacenter.
var StatusStanding = rpc.Method[StandingQuery, Standing]{Name: "Status.Standing", From: rpc.FromServers}

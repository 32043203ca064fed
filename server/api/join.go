package api

import (
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// JoinNew asks for a token with which agents join.
type JoinNew struct {
	Role catalog.JoinRole
	Uses int
	TTL  time.Duration
}

// JoinMade is a new token. The text is shown this once.
type JoinMade struct {
	Token *catalog.JoinToken
	Text  catalog.SecretID
}

// JoinSpend takes one use of a token. The leader says what time it is.
type JoinSpend struct {
	ID, Hash string
	Now      time.Time
}

// JoinRequest is what an agent that has a token, and nothing else yet, asks a server.
type JoinRequest struct {
	ID     string
	Secret catalog.SecretID
	Node   string
	// CSR is a request in PEM, of which the key is taken and nothing else.
	CSR string
}

// JoinReply is what such an agent needs. It is a secret.
type JoinReply struct {
	Role                          catalog.JoinRole
	Datacenter, PrimaryDatacenter string
	Domain                        string
	// CA and Certificate are in PEM, the certificate with the CA's behind it. CAKey is for servers.
	CA, Certificate, CAKey string
	// Keys are those of the LAN pool.
	Keys []string
	// Join are gossip addresses of servers.
	Join []string
	// ACL is whether tokens are checked, by DefaultPolicy, and AgentToken the one for the agent.
	ACL           bool
	DefaultPolicy string
	AgentToken    catalog.SecretID
}

// JoinRenewal asks for another certificate in the place of the one that the agent shows, for the same key or another one.
// The answer is the certificate in PEM, with the CA's behind it.
type JoinRenewal struct {
	Node string
	CSR  string // of which the key is taken and nothing else
}

// Verbs of joining with a token.
var (
	JoinCreate = rpc.Method[JoinNew, JoinMade]{Name: "Join.Create", From: rpc.FromAgents}
	JoinList   = rpc.Method[Nothing, []*catalog.JoinToken]{Name: "Join.List", From: rpc.FromAgents}
	JoinRevoke = rpc.Method[Named, bool]{Name: "Join.Revoke", From: rpc.FromAgents}
	JoinStore  = rpc.Method[catalog.JoinToken, Nothing]{Name: "Join.Store", From: rpc.FromServers}
	JoinTake   = rpc.Method[JoinSpend, catalog.JoinToken]{Name: "Join.Take", From: rpc.FromServers}
	// JoinRenew is answered by the server that the agent is connected to, for it is the agent's certificate that is renewed.
	JoinRenew  = rpc.Method[JoinRenewal, string]{Name: "Join.Renew", From: rpc.FromCertified}
	JoinRedeem = rpc.Method[JoinRequest, JoinReply]{Name: "Join.Redeem", From: rpc.FromAnyone}
)

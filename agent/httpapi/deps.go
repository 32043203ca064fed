package httpapi

import (
	"context"
	"io"
	"time"

	"github.com/curia-mesh/curia/agent/event"
	"github.com/curia-mesh/curia/agent/leaf"
	"github.com/curia-mesh/curia/agent/local"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/agent/telemetry"
	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
)

// Deps are the parts of the agent that the API shows.
type Deps struct {
	// Caller reaches the servers.
	Caller rpc.Caller
	// Admit bounds how quickly clients ask a server in this agent: from is the client's address, method the verb. It
	// refuses with an error of code limited. Nil bounds nothing.
	Admit func(from, method string) error
	// Audit records all requests; nil records none.
	Audit Auditor
	// Cache answers those who ask for cached results.
	Cache *watch.Cache
	// Shared is whether those who wait for one change share a query through Cache: the servers are across the
	// network, and what they answered last is kept for when they cannot be reached.
	Shared bool
	// Authorize tells what a token may do: on its own the agent must not answer for more. An error with code denied
	// says that it is none. Nil lets everybody do everything.
	Authorize func(ctx context.Context, token string) (acl.Authorizer, error)
	Node      Node
	Local     *local.State
	Snapshots Snapshots
	Events    *event.Ring
	// Leaves are the certificates of the services on this node.
	Leaves *leaf.Cache
	// Proxy is the one that runs the sidecars of this node; nil where others do.
	Proxy     Proxy
	Telemetry *telemetry.Telemetry
	Logs      *logging.Output
}

// Proxy shows what runs the sidecars.
type Proxy interface {
	// Show answers with a view and its index. With an index it blocks until there is another, no longer than wait. A view
	// that does not exist is not found.
	Show(ctx context.Context, view string, index uint64, wait time.Duration) (any, uint64, error)
}

// Node is the agent as a member of its pools. All methods may be called at once.
type Node interface {
	NodeName() string
	// DefaultToken is the token of requests that carry none.
	DefaultToken() string
	// Self describes the agent, without secrets.
	Self() Self
	// Members lists the members of the LAN pool, or of the WAN pool; an error where there is none.
	Members(wan bool) ([]gossip.Member, error)
	// Join makes the pool known to the one at an address. It blocks until that has answered.
	Join(ctx context.Context, address string, wan bool) error
	// Leave leaves the pools for good, and returns when the others know; it blocks for seconds. The agent ends
	// afterwards, also when ctx ends before that.
	Leave(ctx context.Context) error
	// ForceLeave makes the pool take a failed member for one that left, or forget it.
	ForceLeave(name string, prune, wan bool) error
	// Reload reads the configuration anew.
	Reload(ctx context.Context) error
	// SetToken replaces one of the agent's own tokens.
	SetToken(kind, secret string) error
	// Keyring does something to the keys of the LAN pool, and of the WAN pool unless localOnly. It blocks
	// until the members have answered or ctx ends.
	Keyring(ctx context.Context, op KeyringOp, key gossip.Key, relay int, localOnly bool) ([]KeyringAnswer, error)
	// Fire sends a user event.
	Fire(e *catalog.Event) error
}

// Snapshots saves and restores the servers' state.
type Snapshots interface {
	// SaveSnapshot writes an archive to the writer that begin returns, once there is something to write.
	SaveSnapshot(ctx context.Context, h rpc.Header, begin func(index uint64) io.Writer) error
	// RestoreSnapshot replaces everything by an archive, or changes nothing.
	RestoreSnapshot(ctx context.Context, h rpc.Header, req *api.RestoreRequest, from io.Reader) error
}

// Self is what an agent says of itself.
type Self struct {
	Config      SelfConfig
	DebugConfig map[string]any
	Coord       *gossip.Coordinate
	Member      gossip.Member
	Stats       map[string]map[string]string
	Meta        map[string]string
	XDS         *SelfXDS `json:"xDS,omitempty"`
}

// SelfConfig is the part of an agent's configuration that clients rely on.
type SelfConfig struct {
	Datacenter        string
	PrimaryDatacenter string
	NodeName          string
	NodeID            string
	Revision          string
	Server            bool
	Version           string
	BuildDate         string
}

// SelfXDS says which proxies of others the agent can configure.
type SelfXDS struct {
	SupportedProxies map[string][]string
	Port             int
	Ports            struct{ Plaintext, TLS int }
}

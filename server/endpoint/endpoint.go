// Package endpoint is the one path of every request to a server: route, authorize, consistency, act,
// measure.
//
// A verb is registered once as a Query, a Command or an Action, with its ACL needs beside it. What they
// have in common is done here and nowhere else: forwarding to the datacenter and the leader, the token,
// the consistency of reads, the blocking loop, sharing one answer among all who ask the same, and the
// dispatch of log entries.
package endpoint

import (
	"context"
	"time"

	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
)

// Host is what the registry needs of the server it runs on. All methods may be called at once.
type Host interface {
	// Datacenter is the server's own.
	Datacenter() string
	// Primary is the datacenter that rules over ACLs and config entries; it may be the own one.
	Primary() string
	// Leading reports whether this server leads and has applied everything its predecessors committed.
	Leading() bool
	// Leader is a way to the present leader, an error with code no_leader when there is none.
	Leader() (rpc.Caller, error)
	// AwaitLeader blocks until there is a leader, which may be this server. When lost is not nil, it is the way
	// to one that could not be reached or leads no more, or the registry when this server has just ceased to lead: another one is
	// awaited, or for a moment the same. It returns an error
	// with code no_leader when the time that calls are held, which began at since, is over, and one with code
	// unavailable when ctx ends.
	AwaitLeader(ctx context.Context, lost rpc.Caller, since time.Time) error
	// Remote is a way to a server of another datacenter, an error with code no_path when there is none.
	Remote(datacenter string) (rpc.Caller, error)
	// Confirm blocks until a quorum has agreed that this server still leads.
	Confirm(ctx context.Context) error
	// Leased reports whether no other server can lead yet, if this one does. It does not block.
	Leased() bool
	// Propose blocks until the log entry is committed and applied here, and returns what apply returned.
	Propose(ctx context.Context, entry []byte) (any, error)
	// Contact is how long ago the leader was last heard of, and whether one is known.
	Contact() (ago time.Duration, known bool)
	// CaughtUp reports whether the store is no older than what this server answered before it was started, or has
	// to do as it is.
	CaughtUp() bool
	// Applied is the index of the last log entry in the store.
	Applied() uint64
	// Authorize resolves a token to what it may do.
	Authorize(ctx context.Context, token string) (acl.Authorizer, error)
}

// Query is a verb that reads.
type Query[Req, Rep any] struct {
	Method rpc.Method[Req, Rep]
	// Needs says what the token must be allowed, nil when Visible leaves out what it may not see.
	Needs func(*Req) []acl.Need
	// Open says why nothing is needed of the token. A verb has one of Needs, Visible, Refuse and Open, or it is not
	// registered.
	Open string
	// Refuse returns a reply that says what of the request the token may not do, nil when it may do all. May be nil.
	Refuse func(az acl.Authorizer, req *Req) *Rep
	// Hides reports whether the token may see nothing of the answer at all. May be nil.
	Hides func(az acl.Authorizer, req *Req) bool
	// Check refuses bad requests, with code invalid. May be nil.
	Check func(*Req) error
	// Read answers from one version of the store and says in w what the answer depends on. The index is
	// that of the answer's last change, at least 1.
	Read func(tx *state.Txn, w *state.Watch, req *Req) (*Rep, uint64, error)
	// As returns the token whose view counts instead of the caller's, empty for the caller's. May be nil.
	As func(tx *state.Txn, req *Req) string
	// Visible returns the reply without what az may not see, and whether it left anything out. May be nil.
	Visible func(az acl.Authorizer, rep *Rep) (*Rep, bool)
	// Filter returns the reply with only the elements that keep accepts. Nil means that the reply cannot
	// be filtered.
	Filter func(rep *Rep, keep filter.Keep) (*Rep, error)
	// ReadKept is Read for a reply that does not show what filters speak of any more: it is made of what keep
	// accepts of what az may see. Nil where Filter does.
	ReadKept func(tx *state.Txn, w *state.Watch, req *Req, az acl.Authorizer, keep filter.Keep) (*Rep, uint64, error)
	// Unshared reports whether the answer is shared only while it blocks, because it is cheaper to read
	// than to find, or depends on what neither its index nor its watch counts. May be nil.
	Unshared func(*Req) bool
	// Primary reports whether the primary datacenter must answer a request that another one is asked. Nil is never.
	Primary func(*Req) bool
	// Plain queries carry no index and never block.
	Plain bool
}

// Command is a verb that writes through the Raft log.
type Command[Req, Rep any] struct {
	Method rpc.Method[Req, Rep]
	// Primary reports whether the primary datacenter must answer a request that another one is asked. Nil is never.
	Primary func(*Req) bool
	// Needs says what the token must be allowed.
	Needs func(*Req) []acl.Need
	// Open says why nothing is needed of the token. A verb has one of Needs, Refuse and Open, or it is not registered.
	Open string
	// Refuse returns a reply that says what of the request the token may not do, nil when it may do all. May be nil.
	Refuse func(az acl.Authorizer, req *Req) *Rep
	// Visible returns the reply without what az may not see. May be nil.
	Visible func(az acl.Authorizer, rep *Rep) *Rep
	// Prepare runs on the leader before the entry is proposed: it refuses bad requests and returns the
	// request to propose, changed copies included. May be nil.
	Prepare func(ctx context.Context, req *Req) (*Req, error)
	// Answer runs on the leader after Prepare: a reply here spares the log entry. May be nil.
	Answer func(req *Req) *Rep
	// Apply runs on every server at the same place of the log. It depends on the store, the index and the
	// request alone: no clock, no random, no order of maps. On an error nothing that it wrote is kept.
	Apply func(tx *state.Txn, req *Req) (*Rep, error)
	// Applied runs on the leader that proposed, after the commit. May be nil.
	Applied func(req *Req, rep *Rep)
}

// Action is a verb of the leader that writes no log entry itself.
type Action[Req, Rep any] struct {
	Method rpc.Method[Req, Rep]
	// Needs says what the token must be allowed.
	Needs func(*Req) []acl.Need
	// Open says why nothing is needed of the token. A verb has one of Needs and Open, or it is not registered.
	Open string
	Do   func(ctx context.Context, h rpc.Header, req *Req) (*Rep, rpc.Meta, error)
	// Anywhere actions run on whichever server of the datacenter is asked.
	Anywhere bool
	// Stale actions do when a stale answer is asked for.
	Stale bool
}

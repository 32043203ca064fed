// Package authz tells what tokens may do as an agent knows it: what the servers said last, for as long as that may be
// remembered, and what the operator wants while no server answers.
package authz

import (
	"cmp"
	"context"
	"crypto/subtle"
	"log/slog"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/server/api"
)

// DownPolicy is what holds while a token cannot be resolved.
type DownPolicy string

// The policies. With ExtendCache what was known last still holds, and what was never known is denied. AsyncCache
// besides answers from memory while it asks anew, so that nobody waits for the servers.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/acl (down_policy)
const (
	ExtendCache DownPolicy = "extend-cache"
	AsyncCache  DownPolicy = "async-cache"
	AllowAll    DownPolicy = "allow"
	DenyAll     DownPolicy = "deny"
)

// Options configure a Resolver.
type Options struct {
	// Resolve asks the servers what a secret stands for. It blocks until they answer. An error with code denied says
	// that it stands for nothing; any other one that they cannot be asked.
	Resolve func(ctx context.Context, secret string) (*api.Resolved, error)
	// TTL is how long an answer is remembered. Default 30 s.
	TTL time.Duration
	// Down is what holds while the servers cannot be asked. Default ExtendCache.
	Down DownPolicy
	// Node is the agent's own name, and Recovery the secret that is good for its endpoints without a server; empty is
	// none.
	Node     string
	Recovery func() string
	Log      *slog.Logger
}

const (
	// deniedFor is how long it is remembered that a secret stands for nothing: a token that was just made is good soon,
	// and guessing secrets costs the servers little.
	deniedFor = 2 * time.Second
	// downFor is how long the servers are left alone after they could not be asked.
	downFor = time.Second
	// askTimeout bounds one question.
	askTimeout = 10 * time.Second
	// maxKnown bounds how many secrets are remembered. When there are more all are forgotten.
	maxKnown = 8192
)

// Resolver resolves secrets. It may be used by many goroutines at once.
type Resolver struct {
	o Options

	mu    sync.Mutex
	known map[string]*entry
	told  bool // that the servers cannot be asked
}

// entry is one secret. Resolver.mu guards it.
type entry struct {
	az      acl.Authorizer // what the servers said last; nil when they never said anything good
	expires time.Time      // the end of the token; zero is never
	until   time.Time      // when to ask anew
	err     error          // why it stands for nothing
	down    bool           // the servers could not be asked
	asking  *question      // nil when nobody asks
}

// question is one question to the servers, which all who need the answer wait for.
type question struct{ done chan struct{} }

// New returns a resolver.
func New(o Options) *Resolver {
	o.TTL, o.Down = cmp.Or(o.TTL, 30*time.Second), cmp.Or(o.Down, ExtendCache)
	if o.Recovery == nil {
		o.Recovery = func() string { return "" }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Resolver{o: o, known: map[string]*entry{}}
}

// Recovers returns what the recovery token may do, nil when secret is another one: everything with the agent itself,
// and to see nodes.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/acl (agent_recovery)
func Recovers(secret, recovery, node string) acl.Authorizer {
	if recovery == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(recovery)) == 0 {
		return nil
	}
	return acl.As("agent-recovery:"+node, acl.Compile(acl.Deny, acl.AgentRecovery(node)))
}

// Authorize returns what a secret may do; the empty one is the anonymous token's. It blocks while the servers are
// asked, unless what it knows is good enough. An error with code denied says that the secret stands for nothing.
func (r *Resolver) Authorize(ctx context.Context, secret string) (acl.Authorizer, error) {
	if az := Recovers(secret, r.o.Recovery(), r.o.Node); az != nil {
		return az, nil
	}
	for {
		r.mu.Lock()
		e := r.known[secret]
		if e == nil {
			e = r.enter(secret)
		}
		now := time.Now()
		if now.Before(e.until) && e.alive(now) {
			defer r.mu.Unlock()
			return r.answer(e)
		}
		q := e.asking
		if q == nil {
			q = &question{make(chan struct{})}
			e.asking = q
			go r.ask(secret, e, q) // ends with the servers' answer, or without it after askTimeout
		}
		if r.o.Down == AsyncCache && e.az != nil && e.err == nil && e.alive(now) {
			defer r.mu.Unlock()
			return e.az, nil
		}
		r.mu.Unlock()
		select {
		case <-q.done:
		case <-ctx.Done():
			return nil, catalog.Errorf(catalog.Unavailable, "the caller stopped waiting for what its token may do: %w", ctx.Err())
		}
		r.mu.Lock()
		if e.asking == nil || e.asking == q {
			defer r.mu.Unlock()
			return r.answer(e)
		}
		r.mu.Unlock()
	}
}

// enter makes room for a secret. The lock is held.
func (r *Resolver) enter(secret string) *entry {
	if len(r.known) >= maxKnown {
		r.known = map[string]*entry{}
	}
	e := &entry{}
	r.known[secret] = e
	return e
}

func (e *entry) alive(now time.Time) bool { return e.expires.IsZero() || now.Before(e.expires) }

// answer is what an entry says now. The lock is held.
func (r *Resolver) answer(e *entry) (acl.Authorizer, error) {
	if e.err != nil {
		return nil, e.err
	}
	if !e.alive(time.Now()) {
		return nil, catalog.Errorf(catalog.Denied, "ACL not found: the token has expired")
	}
	if !e.down {
		return e.az, nil
	}
	switch {
	case r.o.Down == AllowAll:
		return acl.Compile(acl.Allow), nil
	case r.o.Down == DenyAll || e.az == nil:
		return acl.DenyAll(), nil
	}
	return e.az, nil
}

// ask asks the servers about a secret.
func (r *Resolver) ask(secret string, e *entry, q *question) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	found, err := r.o.Resolve(ctx, secret)
	var az acl.Authorizer
	if err == nil {
		az, err = authorizer(found)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer close(q.done)
	e.asking = nil
	now := time.Now()
	switch {
	case err == nil:
		e.az, e.err, e.down, e.until, e.expires = az, nil, false, now.Add(r.o.TTL), time.Time{}
		if found.ExpirationTime != nil {
			e.expires = *found.ExpirationTime
		}
		r.told = false
	case catalog.CodeOf(err) == catalog.Denied:
		e.az, e.err, e.down, e.until, e.expires = nil, err, false, now.Add(deniedFor), time.Time{}
	default:
		e.err, e.down, e.until = nil, true, now.Add(downFor)
		if !r.told {
			r.told = true
			r.o.Log.Warn("what tokens may do cannot be asked of the servers; acl.down_policy decides", "policy", r.o.Down, "err", err)
		}
	}
}

// authorizer makes one of what the servers say.
func authorizer(found *api.Resolved) (acl.Authorizer, error) {
	if found.Disabled {
		return acl.AllowAll(), nil
	}
	if found.Management {
		return acl.As(found.AccessorID, acl.ManageAll()), nil
	}
	sets := make([]*acl.Rules, len(found.Rules))
	for i, text := range found.Rules {
		var err error
		if sets[i], err = acl.Parse(text); err != nil {
			return nil, catalog.Errorf(catalog.Denied, "a policy of token %s cannot be read by this agent, is it older than the servers? %w", found.AccessorID, err)
		}
	}
	def := acl.Deny
	if found.DefaultPolicy == acl.Allow.String() {
		def = acl.Allow
	}
	return acl.As(found.AccessorID, acl.Compile(def, sets...)), nil
}

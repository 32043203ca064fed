package endpoint

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
)

// Registry holds the verbs of a server and answers calls to them. It is the rpc.Caller of a server
// agent. Registration ends before the first call.
type Registry struct {
	host    Host
	store   *state.Store
	verbs   map[string]*verb
	answers answers
	// ruling is held for reading while something is proposed that is the primary datacenter's to write, and for writing
	// while another one becomes the primary.
	ruling  sync.RWMutex
	filters filter.Cache
}

// verb is a registered Query, Command or Action without its types.
type verb struct {
	name     string
	from     rpc.From
	kind     kind
	anywhere bool
	stale    bool // actions that may be answered stale
	blank    func() any
	takes    func(body any) bool // whether it is a request of the verb's type
	needs    func(req any) []acl.Need
	primary  func(req any) bool // whether the primary datacenter must answer; nil is never
	guarded  bool               // in another way than by needs
	open     string             // why nothing is needed of the token
	act      func(ctx context.Context, r *Registry, az acl.Authorizer, call *rpc.Call) (rpc.Answer, error)
	apply    func(tx *state.Txn, body []byte) (any, error)
	meter    meter
}

type kind uint8

const (
	query kind = iota
	command
	action
)

// New returns an empty registry over a store.
func New(host Host, store *state.Store) *Registry {
	return &Registry{host: host, store: store, verbs: map[string]*verb{}, answers: answers{open: map[string]*question{}}}
}

func newVerb[Req any](name string, from rpc.From, kind kind) *verb {
	return &verb{
		name: name, from: from, kind: kind,
		blank: func() any { return new(Req) },
		takes: func(body any) bool { req, ok := body.(*Req); return ok && req != nil },
	}
}

func (r *Registry) add(v *verb) {
	if _, ok := r.verbs[v.name]; ok || len(v.name) > 255 {
		panic(fmt.Sprintf("endpoint: verb %q is registered twice or too long", v.name))
	}
	if v.needs == nil && !v.guarded && v.open == "" {
		panic(fmt.Sprintf("endpoint: verb %q does not say what it needs of the token: set Needs, or Open to the reason why it needs nothing", v.name))
	}
	if v.from == 0 {
		panic(fmt.Sprintf("endpoint: verb %q does not say which peers may call it: set From of its rpc.Method", v.name))
	}
	v.meter = newMeter(v)
	r.verbs[v.name] = v
}

// Reign calls do, which may make another datacenter the primary, while nothing is proposed that is the primary's to write.
func (r *Registry) Reign(do func() error) error {
	r.ruling.Lock()
	defer r.ruling.Unlock()
	return do()
}

// Methods returns the names of all verbs, sorted.
func (r *Registry) Methods() []string {
	var names []string
	for name := range r.verbs {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Open returns why a verb needs nothing of the token, "" when it does.
func (r *Registry) Open(method string) string {
	if v := r.verbs[method]; v != nil {
		return v.open
	}
	return ""
}

// Verb is what a verb is, for the reference.
type Verb struct {
	Name string
	// Kind is query, command or action.
	Kind string
	From rpc.From
}

// Verbs returns all verbs, by name.
func (r *Registry) Verbs() []Verb {
	var all []Verb
	for _, name := range r.Methods() {
		v := r.verbs[name]
		all = append(all, Verb{name, [...]string{query: "query", command: "command", action: "action"}[v.kind], v.from})
	}
	return all
}

// From says which peers may call a verb; 0 when there is no such verb.
func (r *Registry) From(method string) rpc.From {
	if v := r.verbs[method]; v != nil {
		return v.from
	}
	return 0
}

// Admit refuses a call that came over the network from a peer that may not make it, before anything of the request is
// decoded. What a verb needs of the token is another matter.
func (r *Registry) Admit(d rpc.Demands, peer rpc.Peer, method string) error {
	v := r.verbs[method]
	if v == nil {
		return noMethod(method)
	}
	if err := d.Refuse(v.from, peer); err != nil {
		return catalog.Errorf(catalog.Denied, "rpc: %s is refused: %w", method, err)
	}
	return nil
}

func noMethod(method string) error {
	return catalog.Errorf(catalog.NotFound, "rpc: no method %q on this server; is it older than the caller?", method)
}

// Reads reports whether a verb is a query.
func (r *Registry) Reads(method string) bool {
	return r.verbs[method] != nil && r.verbs[method].kind == query
}

// NewRequest returns a blank request of a verb to decode a call into, nil when there is no such verb.
func (r *Registry) NewRequest(method string) any {
	if v := r.verbs[method]; v != nil {
		return v.blank()
	}
	return nil
}

// Duties answers the calls of a leader's own duties: here in any case, also while the leader does not lead
// for others yet, and whatever they need.
func (r *Registry) Duties() rpc.Caller { return duties{r} }

type duties struct{ registry *Registry }

// Call implements rpc.Caller.
func (d duties) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	v := d.registry.verbs[call.Method]
	if v == nil {
		return rpc.Answer{}, catalog.Errorf(catalog.NotFound, "rpc: no method %q on this server", call.Method)
	}
	call, err := v.decoded(call)
	if err != nil {
		return rpc.Answer{}, err
	}
	return d.registry.answerAs(ctx, v, acl.AllowAll(), call)
}

// answer answers a call that is this server's to answer. What has waited for a change is for the token as it is
// afterwards: it may have been deleted, or changed.
func (r *Registry) answer(ctx context.Context, v *verb, call *rpc.Call) (rpc.Answer, error) {
	call, err := v.decoded(call)
	if err != nil {
		return rpc.Answer{}, err
	}
	az, err := r.authorize(ctx, v, call.Header.Token)
	if err != nil {
		return rpc.Answer{}, err
	}
	answer, err := r.answerAs(ctx, v, az, call)
	if v.kind != query || call.Header.MinIndex == 0 || err != nil {
		return answer, err
	}
	now, err := r.host.Authorize(ctx, call.Header.Token)
	if err != nil || now.View() == az.View() {
		return answer, err
	}
	anew := *call
	anew.Header.MinIndex = 0
	return r.answerAs(ctx, v, now, &anew)
}

// authorize resolves a token. What servers ask one another before there is a cluster needs none, and does not wait for tokens
// that nobody knows yet.
func (r *Registry) authorize(ctx context.Context, v *verb, token string) (acl.Authorizer, error) {
	if v.anywhere && v.open != "" && !r.host.CaughtUp() {
		return acl.DenyAll(), nil
	}
	return r.host.Authorize(ctx, token)
}

// decoded is the call with its body as the verb takes it.
func (v *verb) decoded(call *rpc.Call) (*rpc.Call, error) {
	if raw, ok := call.Body.(rpc.Raw); ok {
		body := v.blank()
		if err := rpc.Decode(raw, body); err != nil {
			return nil, catalog.Errorf(catalog.Invalid, "rpc: request of %s: %w", v.name, err)
		}
		here := *call
		here.Body, call = body, &here
	}
	if !v.takes(call.Body) {
		return nil, catalog.Errorf(catalog.Internal, "rpc: %s takes a %T, got %T", v.name, v.blank(), call.Body)
	}
	return call, nil
}

// answerAs answers a call for whoever may do what az allows. The body is of the verb's type.
func (r *Registry) answerAs(ctx context.Context, v *verb, az acl.Authorizer, call *rpc.Call) (rpc.Answer, error) {
	if v.needs != nil {
		if err := acl.Enforce(az, v.needs(call.Body)); err != nil {
			return rpc.Answer{}, err
		}
	}
	if v.kind == query {
		if err := r.consistency(ctx, call.Header); err != nil {
			return rpc.Answer{}, err
		}
	}
	start := time.Now()
	answer, err := v.act(ctx, r, az, call)
	if _, parked := err.(*rpc.Parked); parked {
		return answer, err // it will be made again
	}
	v.meter.measure(start, err)
	return answer, err
}

// route returns the way to the server that must answer, nil when it is this one.
func (r *Registry) route(v *verb, call *rpc.Call) (rpc.Caller, error) {
	h := call.Header
	if h.Forwarded > maxForwards {
		return nil, catalog.Errorf(catalog.Internal, "rpc: %s was forwarded %d times: the servers disagree about who answers; is primary_datacenter the same in all datacenters?", v.name, h.Forwarded)
	}
	if h.Datacenter != "" && h.Datacenter != r.host.Datacenter() {
		return r.host.Remote(h.Datacenter)
	}
	if v.anywhere || r.stale(v, h) || r.host.Leading() {
		return nil, nil
	}
	return r.host.Leader()
}

// stale reports whether this server may answer without the leader.
func (r *Registry) stale(v *verb, h rpc.Header) bool {
	return (v.kind == query || v.stale) && h.Consistency == rpc.Stale && r.host.CaughtUp() && r.freshEnough(h)
}

// freshEnough reports whether this server may answer a stale read of its own.
func (r *Registry) freshEnough(h rpc.Header) bool {
	if h.MaxStale == 0 {
		return true
	}
	ago, known := r.host.Contact()
	return ago <= h.MaxStale && (known || ago > 0) // 0 of no leader is never
}

func (r *Registry) consistency(ctx context.Context, h rpc.Header) error {
	if h.Consistency == rpc.Consistent {
		return r.host.Confirm(ctx)
	}
	return nil
}

// meta describes a query's answer.
func (r *Registry) meta(h rpc.Header, index uint64, filtered bool) rpc.Meta {
	m := rpc.Meta{Index: index, Consistency: h.Consistency, Filtered: filtered}
	m.LastContact, m.KnownLeader = r.host.Contact()
	return m
}

package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/handler"
)

// authorizers remembers what secrets stand for. What it remembers counts until the store changes in what it was made
// of: the token, its policies or its roles. A secret that is remembered costs a look into a map that does not change;
// no lock is taken and nothing allocated.
type authorizers struct {
	store      *state.Store
	datacenter string
	def        acl.Effect
	// elsewhere is whether the global tokens are in the primary datacenter, which is asked what they stand for: what is in
	// the store of them is of before. Nil is never.
	elsewhere func() bool

	known atomic.Pointer[map[string]*holder]

	mu     sync.Mutex
	fresh  map[string]*holder        // not in known yet
	missed int                       // look-ups that fresh answered
	rules  map[string]parsed         // by the id of a policy
	made   map[string]acl.Authorizer // of a set of policies, by their ids and hashes: many tokens share one
}

// holder is what one secret stands for.
type holder struct {
	az        acl.Authorizer
	expires   int64 // Unix nanoseconds; 0 is never
	watch     state.Watch
	abandoned <-chan struct{} // the store was replaced by a restore
}

// parsed is the rules of a policy at one index.
type parsed struct {
	text  string
	rules *acl.Rules
}

// maxHolders bounds how many secrets are remembered, and maxParsed how many policies and sets of them. Above that all are
// forgotten.
const (
	maxHolders = 1 << 17
	maxParsed  = 1 << 14
)

func newAuthorizers(store *state.Store, datacenter string, def acl.Effect) *authorizers {
	a := &authorizers{store: store, datacenter: datacenter, def: def, fresh: map[string]*holder{}, rules: map[string]parsed{}, made: map[string]acl.Authorizer{}}
	a.known.Store(&map[string]*holder{})
	return a
}

// authorize returns what a secret may do, an error with code denied when it is none or its time is over.
func (a *authorizers) authorize(secret string) (acl.Authorizer, error) {
	if h := (*a.known.Load())[secret]; h != nil && h.good() {
		return h.az, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.fresh[secret]
	if h == nil || !h.good() {
		var err error
		if h, err = a.look(secret); err != nil {
			a.forget(secret)
			return nil, err
		}
		a.fresh[secret] = h
	}
	if a.missed++; a.missed >= len(a.fresh) {
		a.promote()
	}
	return h.az, nil
}

var errElsewhere = catalog.Errorf(catalog.Denied, "the token is none of this datacenter alone")

// anonymous may do what no rule forbids to everybody.
func (a *authorizers) anonymous() acl.Authorizer {
	return acl.As(catalog.AnonymousAccessor, acl.Compile(a.def))
}

// promote makes what is fresh known. It copies as much as was missed before, so that each look-up costs its share.
func (a *authorizers) promote() {
	known := *a.known.Load()
	if a.missed*4 < len(known) && len(a.fresh)*4 < len(known) {
		return
	}
	next := make(map[string]*holder, len(known)+len(a.fresh))
	for secret, h := range known {
		if h.good() {
			next[secret] = h
		}
	}
	maps.Copy(next, a.fresh)
	if len(next) > maxHolders {
		next = map[string]*holder{}
	}
	a.known.Store(&next)
	clear(a.fresh)
	a.missed = 0
}

// forget drops what is no token any more.
func (a *authorizers) forget(secret string) { delete(a.fresh, secret) }

// good reports whether the holder is still what its secret stands for.
func (h *holder) good() bool {
	if h.expires != 0 && time.Now().UnixNano() >= h.expires {
		return false
	}
	select {
	case <-h.abandoned:
		return false
	default:
		return !h.watch.Fired()
	}
}

// look reads what a secret stands for. The lock is held.
func (a *authorizers) look(secret string) (*holder, error) {
	h := &holder{abandoned: a.store.Abandoned()}
	tx := a.store.Read()
	if a.elsewhere != nil {
		state.Primacy(tx, &h.watch)
		if t := state.TokenOf(tx, &h.watch, cmp.Or(catalog.SecretID(secret), catalog.AnonymousSecret)); a.elsewhere() && (t == nil || !t.Local) {
			return nil, errElsewhere
		}
	}
	t, err := handler.Holder(tx, &h.watch, catalog.SecretID(secret), time.Now())
	if err != nil {
		return nil, err
	}
	if t.ExpirationTime != nil {
		h.expires = t.ExpirationTime.UnixNano()
	}
	list := handler.Effective(tx, &h.watch, t, a.datacenter)
	if handler.Manages(list) {
		h.az = acl.As(t.AccessorID, acl.ManageAll())
		return h, nil
	}
	az, err := a.compile(list)
	if err != nil {
		return nil, catalog.Errorf(catalog.Denied, "token %s: %w", t.AccessorID, err)
	}
	h.az = acl.As(t.AccessorID, az)
	return h, nil
}

// compile returns what policies allow together. The lock is held.
func (a *authorizers) compile(list []*catalog.Policy) (acl.Authorizer, error) {
	var key strings.Builder
	for _, p := range list {
		fmt.Fprintf(&key, "%s %x\n", p.ID, p.Hash)
	}
	if az := a.made[key.String()]; az != nil {
		return az, nil
	}
	sets := make([]*acl.Rules, 0, len(list))
	for _, p := range list {
		rules, err := a.parse(p)
		if err != nil { // it was checked when it was written: only another version can have stored it
			return nil, fmt.Errorf("policy %s cannot be read: write it anew: %w", p.Name, err)
		}
		sets = append(sets, rules)
	}
	if len(a.made) >= maxParsed {
		clear(a.made)
	}
	az := acl.Compile(a.def, sets...)
	a.made[key.String()] = az
	return az, nil
}

// parse reads the rules of a policy, which many tokens share. The lock is held.
func (a *authorizers) parse(p *catalog.Policy) (*acl.Rules, error) {
	if known, ok := a.rules[p.ID]; ok && known.text == p.Rules {
		return known.rules, nil
	}
	rules, err := acl.Parse(p.Rules)
	if err != nil {
		return nil, err
	}
	if len(a.rules) >= maxParsed {
		clear(a.rules)
	}
	a.rules[p.ID] = parsed{p.Rules, rules}
	return rules, nil
}

// Authorize returns what a token may do, as this server knows it; an error with code denied says that it is none.
func (s *Server) Authorize(ctx context.Context, token string) (acl.Authorizer, error) {
	return s.host.Authorize(ctx, token)
}

// Package replica copies what belongs to another datacenter, as a duty of the leader: ACLs, config entries and federation
// states of the primary one, and the keys that config entries name.
package replica

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// Config says what is copied from where.
type Config struct {
	Datacenter string
	// Primary is the datacenter that is copied from, at the moment. Abroad reaches it, when it is asked
	// with the header that Ask returns.
	Primary func() string
	Abroad  rpc.Caller
	Ask     func() rpc.Header
	// ACL is whether policies and roles are copied, and Tokens whether tokens are.
	ACL, Tokens bool
	Log         *slog.Logger
}

// Replica is a leader's care for the copy. Its methods may be called at once.
type Replica struct {
	cfg    Config
	store  *state.Store
	caller rpc.Caller // of this server

	epoch atomic.Uint64 // of the primacy that is copied from

	// accepted is given when the operator has let the primary's data take the place of what is here.
	accepted chan struct{}

	mu      sync.Mutex
	again   context.CancelFunc // ends the loops, so that it is looked anew what may be copied
	running bool
	loops   []*loop
	loss    *Loss // why nothing is copied yet; nil when all is
}

// New returns the care for the copy in a store, which it changes through the verbs of caller.
func New(cfg Config, store *state.Store, caller rpc.Caller) *Replica {
	r := &Replica{cfg: cfg, store: store, caller: caller, accepted: make(chan struct{}, 1)}
	for _, kind := range cfg.Kinds() {
		r.loops = append(r.loops, &loop{task: task{kind: kind, log: cfg.Log, source: cfg.Primary, round: r.round, failed: r.learn}})
	}
	return r
}

// Kinds are those that are copied, each before those that lead to it.
func (c *Config) Kinds() []catalog.ReplicaKind {
	var kinds []catalog.ReplicaKind
	if c.ACL {
		kinds = append(kinds, catalog.ReplicaPolicies, catalog.ReplicaRoles)
	}
	if c.ACL && c.Tokens {
		kinds = append(kinds, catalog.ReplicaTokens)
	}
	return append(kinds, catalog.ReplicaEntries, catalog.ReplicaFederations)
}

// follows reports whether there is a primary to copy from.
func (c *Config) follows() bool { return c.Primary() != c.Datacenter }

// Follows reports whether this datacenter is a secondary one.
func (r *Replica) Follows() bool { return r.cfg.follows() }

// Progress is how far the copies have come, and whether they are made here: by the leader of a secondary.
func (r *Replica) Progress() (list []api.ReplicaProgress, running bool) {
	r.mu.Lock()
	running = r.running
	r.mu.Unlock()
	for _, l := range r.loops {
		list = append(list, l.progress())
	}
	return list, running
}

// Run copies until ctx ends, which is with the leadership.
func (r *Replica) Run(ctx context.Context) {
	for r.awaitPrimary(ctx) {
		r.copy(ctx)
	}
}

// awaitPrimary blocks until there is a primary to copy from. It returns false when ctx ends before.
func (r *Replica) awaitPrimary(ctx context.Context) bool {
	if !r.cfg.follows() && state.Ruler(r.store.Read(), nil) != nil { // what was copied is this datacenter's own now
		r.epoch.Store(epochOf(state.Primacy(r.store.Read(), nil)))
		if err := r.rule(ctx, catalog.Ruler{}); err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn("it could not be stored that nothing is copied here any more; the next leader tries it again", "err", err)
		}
	}
	return r.await(ctx, func(*catalog.Primacy) bool { return r.cfg.follows() })
}

// overruled blocks until another promotion counts than when it was last looked at what may be copied, a snapshot was
// restored here since gone was asked of the store, or ctx ends.
func (r *Replica) overruled(ctx context.Context, gone <-chan struct{}) {
	r.await(ctx, func(p *catalog.Primacy) bool {
		select {
		case <-gone:
			return true
		default:
			return epochOf(p) != r.epoch.Load()
		}
	})
}

// await blocks until the primacy is as wanted. It returns false when ctx ends before.
func (r *Replica) await(ctx context.Context, wanted func(*catalog.Primacy) bool) bool {
	for ctx.Err() == nil {
		var w state.Watch
		gone := r.store.Abandoned()
		if wanted(state.Primacy(r.store.Read(), &w)) {
			return true
		}
		_ = w.Wait(ctx, gone) // it is looked at again in any case
	}
	return false
}

// epochOf is that of a primacy, 0 where nobody was promoted.
func epochOf(p *catalog.Primacy) uint64 {
	if p == nil {
		return 0
	}
	return p.Epoch
}

// copy copies from the primary as long as there is one, until ctx ends.
func (r *Replica) copy(ctx context.Context) {
	r.setRunning(true)
	defer r.setRunning(false)
	for gone := r.store.Abandoned(); r.join(ctx); gone = r.store.Abandoned() {
		turn, again := context.WithCancel(ctx)
		r.mu.Lock()
		r.again = again
		r.mu.Unlock()
		var all sync.WaitGroup
		all.Go(func() {
			r.overruled(turn, gone)
			again()
		})
		for _, l := range r.loops {
			all.Go(func() { l.supervise(turn) })
		}
		all.Wait()
		again()
	}
}

// lookAnew ends the loops: the primary, or what is here, is not what was looked at when they began.
func (r *Replica) lookAnew() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.again()
}

func (r *Replica) setRunning(on bool) {
	r.mu.Lock()
	r.running = on
	r.mu.Unlock()
	for _, l := range r.loops {
		l.begin()
	}
}

// theirs is what the primary has of a kind. With a minimal index it blocks until there is something newer, for up to wait.
func (r *Replica) theirs(ctx context.Context, kind catalog.ReplicaKind, min uint64, wait time.Duration) (*api.ReplicaList, uint64, error) {
	h := r.cfg.Ask()
	ctx, cancel := context.WithTimeout(ctx, wait+callTime)
	defer cancel()
	if min > 0 {
		h.MinIndex, h.MaxWait = min, wait
	}
	list, meta, err := api.ReplicaKeys.Call(ctx, r.cfg.Abroad, h, &api.ReplicaQuery{Kind: kind, From: r.cfg.Datacenter})
	return list, meta.Index, r.advised(err)
}

// advised says what to do where the primary does not let its data be copied.
func (r *Replica) advised(err error) error {
	if err == nil || catalog.CodeOf(err) != catalog.Denied {
		return err
	}
	return catalog.Errorf(catalog.Denied, "the primary datacenter %s does not let it be copied: %w: give the servers of %s, as acl.tokens.replication, a token of %s that allows acl and operator to be written",
		r.cfg.Primary(), err, r.cfg.Datacenter, r.cfg.Primary())
}

// change is what has to be done to make here as there.
type change struct {
	put  []string // keys to copy, those that are here among them
	over []string // of these, those that are here already and say something else
	drop []string // keys that are not there
}

// diff compares what is here with what is there.
func diff(kind catalog.ReplicaKind, here, there []catalog.ReplicaKey) (c change) {
	// Each datacenter makes these, as its version knows them. The anonymous token has the id of one of them.
	builtin := func(key string) bool { return kind == catalog.ReplicaPolicies && catalog.BuiltinPolicy(key) }
	own := make(map[string][]byte, len(here))
	for _, k := range here {
		own[k.Key] = k.Hash
	}
	for _, k := range there {
		hash, known := own[k.Key]
		delete(own, k.Key)
		switch {
		case builtin(k.Key):
		case !known:
			c.put = append(c.put, k.Key)
		case string(hash) != string(k.Hash):
			c.put, c.over = append(c.put, k.Key), append(c.over, k.Key)
		}
	}
	for _, k := range here {
		if _, left := own[k.Key]; left && !builtin(k.Key) {
			c.drop = append(c.drop, k.Key)
		}
	}
	return c
}

const (
	// batch is how many rows are asked for and stored at once.
	batch = 128
	// pace is the pause after each batch, so that a large copy leaves the log to others: about 1000 rows a second.
	pace = 125 * time.Millisecond
	// callTime bounds each question to the primary, and each write.
	callTime = 30 * time.Second
)

// match makes what is here of a kind as it is there, batch by batch, and returns what could not be stored. It calls step
// before each.
func (r *Replica) match(ctx context.Context, kind catalog.ReplicaKind, there []catalog.ReplicaKey, step func()) (refused []string, err error) {
	here, _ := state.ReplicaKeys(r.store.Read(), nil, kind)
	c := diff(kind, here, there)
	for drop := range slices.Chunk(c.drop, batch) {
		step()
		if err := r.write(ctx, &api.ReplicaWrite{Kind: kind, Drop: drop}, &refused); err != nil {
			return refused, err
		}
	}
	for left := c.put; len(left) > 0; {
		step()
		keys := left[:min(len(left), batch)]
		rows, err := r.rows(ctx, kind, keys)
		if err != nil {
			return refused, err
		}
		if rows.Rest < 0 || rows.Rest >= len(keys) {
			return refused, catalog.Errorf(catalog.Internal, "the primary leaves %d of %d rows for later: is it of another version?", rows.Rest, len(keys))
		}
		left = left[len(keys)-rows.Rest:]
		if err := r.write(ctx, &api.ReplicaWrite{Kind: kind, Rows: *rows}, &refused); err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// round is that of a task.
func (r *Replica) round(ctx context.Context, l *loop, from *uint64) error {
	theirs, index, err := r.theirs(ctx, l.kind, *from, roundWait)
	if err != nil {
		return err
	}
	if !rules(state.Ruler(r.store.Read(), nil), r.cfg.Primary(), theirs.ClusterID) {
		r.lookAnew()
		return ctx.Err()
	}
	r.tellLost(l.kind, theirs.Keys, index, *from)
	for tries := 1; ; tries++ {
		refused, err := r.match(ctx, l.kind, theirs.Keys, l.step)
		if err != nil {
			return err
		}
		if len(refused) == 0 {
			break
		}
		if tries == settleTries {
			return notStored(refused)
		}
		if !pause.For(ctx, roundPause) {
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	*from, l.at.Index, l.at.Rows = index, index, len(theirs.Keys)
	return nil
}

// tellLost names what the next copy takes away that nobody may have deleted: the primary is at an index before the one that was
// copied, or this is the first copy of this leader.
func (r *Replica) tellLost(kind catalog.ReplicaKind, there []catalog.ReplicaKey, index, from uint64) {
	here, _ := state.ReplicaKeys(r.store.Read(), nil, kind)
	c := diff(kind, here, there)
	switch {
	case index < from:
		r.cfg.Log.Warn("the primary datacenter is older than it was: was a snapshot restored there? Its state counts here too; write there again what is wanted of what goes here",
			"kind", kind, "primary", r.cfg.Primary(), "index", index, "was", from, "deleted", named(c.drop), "replaced", named(c.over))
	case from == 0 && len(c.drop) > 0:
		r.cfg.Log.Warn("the primary datacenter has no more what was copied from it, so it goes here: was it deleted there while nothing was copied, or a snapshot restored? Write there again what is wanted of it",
			"kind", kind, "primary", r.cfg.Primary(), "deleted", named(c.drop))
	}
}

func notStored(refused []string) error {
	return catalog.Errorf(catalog.Unavailable, "%d rows of the source could not be stored yet: %s", len(refused), strings.Join(refused[:min(len(refused), 3)], "; "))
}

// rules reports whether the ruler that is stored is the primary, and no other cluster of that name.
func rules(ruler *catalog.Ruler, primary, clusterID string) bool {
	return ruler != nil && ruler.Datacenter == primary && (ruler.ClusterID == "" || clusterID == "" || ruler.ClusterID == clusterID)
}

// rows are those of the primary with these keys.
func (r *Replica) rows(ctx context.Context, kind catalog.ReplicaKind, keys []string) (*catalog.ReplicaRows, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	rows, _, err := api.ReplicaRows.Call(ctx, r.cfg.Abroad, r.cfg.Ask(), &api.ReplicaQuery{Kind: kind, From: r.cfg.Datacenter, Keys: keys})
	return rows, err
}

func (r *Replica) write(ctx context.Context, w *api.ReplicaWrite, refused *[]string) error {
	w.Epoch = r.epoch.Load()
	done, _, err := api.ReplicaApply.Call(ctx, r.caller, rpc.Header{}, w)
	if err != nil {
		return err
	}
	*refused = append(*refused, done.Refused...)
	if !pause.For(ctx, pace) {
		return ctx.Err()
	}
	return nil
}

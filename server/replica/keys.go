package replica

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// KeysConfig says how other datacenters are reached.
type KeysConfig struct {
	Datacenter string
	// Abroad reaches them, when it is asked with the header that Ask returns.
	Abroad rpc.Caller
	Ask    func(datacenter string) rpc.Header
	Log    *slog.Logger
}

// Keys is a leader's care for the keys that kv-replication entries bring from other datacenters. Its methods may be called
// at once.
type Keys struct {
	cfg    KeysConfig
	store  *state.Store
	caller rpc.Caller // of this server

	mu      sync.Mutex
	running bool
	copies  map[string]*keyCopy // by the names of their entries
}

// NewKeys returns the care for the keys in a store, which it changes through the verbs of caller.
func NewKeys(cfg KeysConfig, store *state.Store, caller rpc.Caller) *Keys {
	return &Keys{cfg: cfg, store: store, caller: caller, copies: map[string]*keyCopy{}}
}

// Progress is how far the copies have come, by the names of their entries, and whether they are made here: by the leader.
func (k *Keys) Progress() (list []api.KVCopyProgress, running bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.copies {
		list = append(list, c.report())
	}
	slices.SortFunc(list, func(a, b api.KVCopyProgress) int { return strings.Compare(a.Entry, b.Entry) })
	return list, k.running
}

// Run copies what the entries say, as they are at each time, until ctx ends, which is with the leadership.
func (k *Keys) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for ctx.Err() == nil {
		var w state.Watch
		gone := k.store.Abandoned()
		entries, _ := state.ConfigEntries(k.store.Read(), &w, catalog.EntryKVReplication)
		k.take(ctx, &all, entries)
		_ = w.Wait(ctx, gone) // it is looked at again in any case
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running, k.copies = false, map[string]*keyCopy{} // their time ends with ctx
}

// take begins the copies that entries ask for here, and ends those that they do not.
func (k *Keys) take(ctx context.Context, all *sync.WaitGroup, entries []catalog.ConfigEntry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.copies
	k.running, k.copies = true, map[string]*keyCopy{}
	for _, e := range entries {
		entry := e.(*catalog.KVReplication)
		if !entry.ComesTo(k.cfg.Datacenter) {
			continue
		}
		clash := clashes(entry, entries)
		was := before[entry.Name]
		if was != nil && was.entry.ModifyIndex == entry.ModifyIndex && catalog.SameEntry(was.entry, entry) && was.stop != nil == (clash == nil) {
			delete(before, entry.Name)
			k.copies[entry.Name] = was
			continue
		}
		c := k.newCopy(entry)
		k.copies[entry.Name] = c
		if clash != nil {
			c.note(clash)
			continue
		}
		turn, stop := context.WithCancel(ctx)
		c.stop = stop
		all.Go(func() { c.supervise(turn) }) // ends with its turn
	}
	for _, c := range before {
		if c.stop != nil {
			c.stop() // what it is about to write is refused, as its entry has changed
		}
	}
}

// clashes says which other entry is in the way of one. Nobody can write two such; they may meet in a copy of the primary's
// entries that is half done.
func clashes(e *catalog.KVReplication, entries []catalog.ConfigEntry) error {
	for _, other := range entries {
		if o := other.(*catalog.KVReplication); o != e {
			if err := e.Clash(o); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Keys) newCopy(entry *catalog.KVReplication) *keyCopy {
	c := &keyCopy{keys: k, entry: entry, scope: entry.Scope()}
	c.loop = &loop{task: task{
		kind: catalog.ReplicaKV, labels: []metrics.Label{{Name: "entry", Value: entry.Name}}, log: k.cfg.Log.With("entry", entry.Name),
		source: func() string { return entry.Source },
		round:  func(ctx context.Context, _ *loop, from *uint64) error { return c.round(ctx, from) },
	}}
	c.begin()
	return c
}

// report is how far a copy has come.
func (c *keyCopy) report() api.KVCopyProgress {
	out := api.KVCopyProgress{Entry: c.entry.Name, Source: c.entry.Source, Prefixes: c.entry.Prefixes, ReplicaProgress: c.progress()}
	c.mu.Lock()
	defer c.mu.Unlock()
	out.Written, out.Deleted, out.Kept = c.written, c.deleted, c.kept
	return out
}

// Package fsm applies the log's entries to the store, and takes and restores snapshots of it.
package fsm

import (
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/endpoint"
)

// FSM is the state machine that Raft drives. Its methods are called by Raft, one at a time.
type FSM struct {
	store    *state.Store
	registry *endpoint.Registry
	log      *slog.Logger
	applied  atomic.Uint64
	shown    atomic.Uint64
	changing sync.Mutex // held while the store goes from one version, and shown, to the next
}

// New returns a state machine over a store whose commands the registry knows.
func New(store *state.Store, registry *endpoint.Registry, log *slog.Logger) *FSM {
	return &FSM{store: store, registry: registry, log: log}
}

// Outcome is what applying a log entry came to.
type Outcome struct {
	Reply any
	Err   error
}

// Applied is the index of the last entry in the store, or about to be.
func (f *FSM) Applied() uint64 { return f.applied.Load() }

// Shown is the index of the last entry that whoever reads the store sees.
func (f *FSM) Shown() uint64 { return f.shown.Load() }

var applyKey = []string{"fsm", "apply"}

// Apply implements raft.FSM.
func (f *FSM) Apply(entry *raft.Log) any { return f.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch implements raft.BatchingFSM: the entries of a batch share a transaction, for its commit
// costs as much as several writes.
func (f *FSM) ApplyBatch(batch []*raft.Log) []any {
	defer metrics.MeasureSince(applyKey, time.Now())
	out := make([]any, len(batch))
	// Before the commit: whoever reads an index in an answer must find it applied.
	f.applied.Store(batch[len(batch)-1].Index)
	f.changing.Lock()
	defer f.changing.Unlock()
	for done := 0; done < len(batch); {
		done += f.together(batch[done:], out[done:])
	}
	f.shown.Store(batch[len(batch)-1].Index)
	return out
}

// together applies entries in one transaction, as many as can be, and returns how many it has done. An
// entry that fails after it has written something takes the transaction with it: then those before it,
// which do the same again, are applied once more.
func (f *FSM) together(batch []*raft.Log, out []any) (done int) {
	tx := f.store.Write(0)
	for i, entry := range batch {
		if entry.Type != raft.LogCommand {
			continue
		}
		tx.Index = entry.Index
		before := tx.Touched()
		reply, err := f.apply(tx, entry)
		out[i] = Outcome{Reply: reply, Err: err}
		if err == nil || tx.Touched() == before {
			continue
		}
		tx.Abort()
		if i > 0 {
			f.together(batch[:i], out)
		}
		return i + 1
	}
	tx.Commit()
	return len(batch)
}

// apply applies an entry. One that makes the program panic would do so on every server, and again after
// every restart: it counts as failed instead, the same way everywhere.
func (f *FSM) apply(tx *state.Txn, entry *raft.Log) (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.log.Error("a log entry could not be applied: this is a bug, please report it", "index", entry.Index, "panic", p, "stack", string(debug.Stack()))
			reply, err = nil, catalog.Errorf(catalog.Internal, "log entry %d could not be applied: panic: %v", entry.Index, p)
		}
	}()
	return f.registry.Apply(tx, entry.Data)
}

// Snapshot implements raft.FSM. The version it saves is fixed here; saving it takes place later, beside
// new writes.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	return &snapshot{tx: f.store.Read(), index: f.applied.Load()}, nil
}

// Restore implements raft.FSM. It replaces the store whole, or leaves it as it is.
func (f *FSM) Restore(from io.ReadCloser) error {
	defer from.Close()
	start := time.Now()
	l, index, rows, err := read(from, f.store, false)
	if err != nil {
		return err
	}
	f.changing.Lock()
	defer f.changing.Unlock()
	f.applied.Store(index) // before it can be read, as with entries
	l.Finish()
	f.shown.Store(index)
	f.log.Info("restored snapshot", "index", index, "rows", rows, "took", time.Since(start))
	return nil
}

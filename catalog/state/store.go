// Package state is the indexed, watchable, snapshotable store of the catalog's nouns.
//
// It is a set of typed tables over immutable radix trees: reads see one version and collect what they
// depended on in a Watch; writes happen one at a time, each at the index of its Raft log entry, and take
// effect whole when they commit. Reads and writes are free functions, a file for each noun.
package state

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// tables is the one registry of what the store holds, in the order of snapshots: a row comes after those
// it refers to.
var tables = []erased{
	roots,
	nodes, savedChecks{checks}, savedVirtuals{virtuals}, savedInstances{instances}, names, pairs, graves, sessions, coordinates, indexes, settings,
	savedEntries{entries}, queries, peerings, savedImports{imports}, federations, exports, joins,
	policies, roles, methods, bindings, tokens,
}

// version is what the tables hold at one time.
type version struct {
	roots       rows[catalog.Root]
	nodes       rows[catalog.Node]
	checks      rows[catalog.Check]
	instances   rows[catalog.Instance]
	names       rows[nameRow]
	pairs       rows[catalog.KVPair]
	graves      rows[grave]
	sessions    rows[catalog.Session]
	coordinates rows[coordinateRow]
	indexes     rows[indexRow]
	settings    rows[settingRow]
	entries     rows[catalog.AnyEntry]
	queries     rows[catalog.PreparedQuery]
	peerings    rows[catalog.Peering]
	imports     rows[catalog.ImportedService]
	federations rows[catalog.FederationState]
	exports     rows[catalog.ExportSet]
	joins       rows[catalog.JoinToken]
	virtuals    rows[catalog.VirtualAddress]
	tokens      rows[catalog.Token]
	policies    rows[catalog.Policy]
	roles       rows[catalog.Role]
	methods     rows[catalog.AuthMethod]
	bindings    rows[catalog.BindingRule]
}

// Store holds one version after another of the tables.
type Store struct {
	present atomic.Pointer[version]
	delays  lockDelays

	writing sync.Mutex // held from Write to Commit or Abort
	serial  uint64     // of the last edit
	shared  interner
	tallies tallies

	abandoned sync.Mutex
	gone      chan struct{} // closed when a restore replaces everything
}

// New returns an empty store.
func New() *Store {
	s := &Store{gone: make(chan struct{}), tallies: tallies{}}
	s.present.Store(emptyVersion())
	s.delays.now = time.Now
	return s
}

func emptyVersion() *version {
	v := &version{}
	for _, t := range tables {
		t.clear(v)
	}
	return v
}

// Txn is one version of the tables to read, or the next version in the making.
type Txn struct {
	// Index is the Raft index that writes happen at; 0 when the transaction only reads.
	Index uint64

	now     *version
	store   *Store
	edit    *edit                    // nil when the transaction only reads
	touched int                      // rows written
	stale   map[instanceKey]struct{} // instances to rebuild before the commit
	dropped map[string]struct{}      // services that may have no use for their virtual address any more
	delayed []delay
	tallied []tallied
	scratch [3][]byte // keys in the making: of a row, of the one in its place, of a look-up
}

// Read returns the present version. It needs no closing and may be used by one goroutine at a time.
func (s *Store) Read() *Txn { return &Txn{now: s.present.Load(), store: s} }

// Write begins the version at index. Only one write runs at a time; others block here. Commit or Abort
// ends it.
func (s *Store) Write(index uint64) *Txn {
	s.writing.Lock()
	now := *s.present.Load()
	s.serial++
	return &Txn{Index: index, now: &now, store: s, edit: &edit{serial: s.serial}}
}

// editing counts a row that is written.
func (tx *Txn) editing() *edit {
	if tx.edit == nil {
		panic("state: write in a transaction that only reads") // a programming error
	}
	tx.touched++
	return tx.edit
}

// key joins the parts of a key to look up. It is good until the next call.
func (tx *Txn) key(parts ...string) []byte {
	tx.scratch[2] = joined(tx.scratch[2][:0], parts...)
	return tx.scratch[2]
}

// raw is a key that is not joined of parts. It is good until the next call.
func (tx *Txn) raw(key string) []byte {
	tx.scratch[2] = append(tx.scratch[2][:0], key...)
	return tx.scratch[2]
}

// Touched is how many rows the transaction has written so far.
func (tx *Txn) Touched() int { return tx.touched }

// Settle brings rows that derive from others up to date. It ends every command.
func (tx *Txn) Settle() {
	settleVirtuals(tx)
	if len(tx.stale) == 0 {
		return
	}
	ofNodes := map[string][]*catalog.Check{}
	for key := range tx.stale { // the order does not matter: each stands alone
		ofNode, ok := ofNodes[key.node]
		if !ok {
			ofNode = nodeChecks(tx, key.node)
			ofNodes[key.node] = ofNode
		}
		rebuildInstance(tx, key, ofNode)
	}
	clear(tx.stale)
}

// Commit makes the version the present one and wakes who watched what it changed.
func (tx *Txn) Commit() {
	tx.Settle()
	tx.store.present.Store(tx.now)
	tx.edit.publish()
	tx.store.delays.add(tx.delayed)
	tx.store.writing.Unlock()
}

// Abort forgets the version.
func (tx *Txn) Abort() {
	for _, t := range tx.tallied {
		t.by = -t.by
		tx.store.tallies.add(t)
	}
	tx.store.writing.Unlock()
}

// Abandoned is closed when a restore replaces the whole store; watches of the old version never fire.
func (s *Store) Abandoned() <-chan struct{} {
	s.abandoned.Lock()
	defer s.abandoned.Unlock()
	return s.gone
}

// replace makes what another store holds the present version.
func (s *Store) replace(by *Store) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.abandoned.Lock()
	defer s.abandoned.Unlock()
	s.serial = max(s.serial, by.serial)
	s.shared, s.tallies = by.shared, by.tallies
	s.present.Store(by.present.Load())
	close(s.gone)
	s.gone = make(chan struct{})
}

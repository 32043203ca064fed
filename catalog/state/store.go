// Package state is the indexed, watchable, snapshotable store of the catalog's nouns.
//
// It is a set of typed tables over go-memdb: reads see one immutable version and collect what they
// depended on in a Watch; writes happen one at a time, each at the index of its Raft log entry, and take
// effect whole when they commit. Reads and writes are free functions, a file for each noun.
package state

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	memdb "github.com/hashicorp/go-memdb"
)

// tables is the one registry of what the store holds, in the order of snapshots: a row comes after those
// it refers to.
var tables = []erased{
	nodes, checks, savedInstances{instances}, names, tallies, pairs, graves, sessions, coordinates, indexes, settings,
}

// Store holds one version after another of the tables.
type Store struct {
	db     atomic.Pointer[memdb.MemDB]
	delays lockDelays

	abandoned sync.Mutex
	gone      chan struct{} // closed when a restore replaces everything
}

// New returns an empty store.
func New() *Store {
	s := &Store{gone: make(chan struct{})}
	s.db.Store(emptyDB())
	s.delays.now = time.Now
	return s
}

func emptyDB() *memdb.MemDB {
	schema := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, t := range tables {
		schema.Tables[t.title()] = t.schema()
	}
	db, err := memdb.NewMemDB(schema)
	if err != nil {
		panic(fmt.Sprintf("state: schema: %v", err)) // the tables are constants of the program
	}
	return db
}

// Txn is one version of the tables to read, or the next version in the making.
type Txn struct {
	// Index is the Raft index that writes happen at; 0 when the transaction only reads.
	Index uint64

	db      *memdb.Txn
	store   *Store
	touched int                      // rows written
	stale   map[instanceKey]struct{} // instances to rebuild before the commit
	delayed []delay
}

// Read returns the present version. It needs no closing and may be used by one goroutine at a time.
func (s *Store) Read() *Txn { return &Txn{db: s.db.Load().Txn(false), store: s} }

// Write begins the version at index. Only one write runs at a time; others block here. Commit or Abort
// ends it.
func (s *Store) Write(index uint64) *Txn {
	return &Txn{Index: index, db: s.db.Load().Txn(true), store: s}
}

// Touched is how many rows the transaction has written so far.
func (tx *Txn) Touched() int { return tx.touched }

// Settle brings rows that derive from others up to date. It ends every command.
func (tx *Txn) Settle() { rebuildInstances(tx) }

// Commit makes the version the present one and wakes who watched what it changed.
func (tx *Txn) Commit() {
	tx.Settle()
	tx.db.Commit()
	tx.store.delays.add(tx.delayed)
}

// Abort forgets the version.
func (tx *Txn) Abort() { tx.db.Abort() }

// Abandoned is closed when a restore replaces the whole store; watches of the old version never fire.
func (s *Store) Abandoned() <-chan struct{} {
	s.abandoned.Lock()
	defer s.abandoned.Unlock()
	return s.gone
}

func (s *Store) replace(db *memdb.MemDB) {
	s.abandoned.Lock()
	defer s.abandoned.Unlock()
	s.db.Store(db)
	close(s.gone)
	s.gone = make(chan struct{})
}

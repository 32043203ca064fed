package state

import (
	"fmt"
	"iter"
	"strings"

	memdb "github.com/hashicorp/go-memdb"

	"github.com/curia-mesh/curia/catalog"
)

// primary is the name that memdb demands for a table's first index.
const primary = "id"

// table is a typed view of one memdb table. Every index is unique: its key ends with what tells one row
// from another, so that a prefix of the key selects a group of rows and has one watch channel.
type table[T any] struct {
	name    string
	indexes map[string]func(*T) []byte // nil from a function: the row is not in that index
}

// erased is what the store needs of a table without its row type.
type erased interface {
	title() string
	schema() *memdb.TableSchema
	save(tx *Txn, put func(row any) error) error
	blank() any
	load(l *Loader, row any) error
}

func (t *table[T]) title() string { return t.name }

func (t *table[T]) schema() *memdb.TableSchema {
	s := &memdb.TableSchema{Name: t.name, Indexes: map[string]*memdb.IndexSchema{}}
	for name, key := range t.indexes {
		s.Indexes[name] = &memdb.IndexSchema{Name: name, Unique: true, AllowMissing: name != primary, Indexer: indexer[T](key)}
	}
	return s
}

// indexer turns rows into keys without reflection.
type indexer[T any] func(*T) []byte

func (key indexer[T]) FromObject(row any) (bool, []byte, error) {
	k := key(row.(*T))
	return k != nil, k, nil
}

func (indexer[T]) FromArgs(args ...any) ([]byte, error) {
	if k, ok := args[0].([]byte); ok && len(args) == 1 {
		return k, nil
	}
	return nil, fmt.Errorf("state: an index takes one key, got %v", args)
}

func (key indexer[T]) PrefixFromArgs(args ...any) ([]byte, error) { return key.FromArgs(args...) }

// get returns the row with the key, nil when there is none. w watches it.
func (t *table[T]) get(tx *Txn, w *Watch, index string, key []byte) *T {
	ch, row, err := tx.db.FirstWatch(t.name, index, key)
	if err != nil {
		panic(fmt.Sprintf("state: table %s: %v", t.name, err)) // no such index: a programming error
	}
	w.add(ch)
	if row == nil {
		return nil
	}
	return row.(*T)
}

// scan yields the rows whose key begins with prefix, in key order. w watches them all with one channel.
// Rows may not be changed while it runs.
func (t *table[T]) scan(tx *Txn, w *Watch, index string, prefix []byte) iter.Seq[*T] {
	rows, err := tx.db.Get(t.name, index+"_prefix", prefix)
	if err != nil {
		panic(fmt.Sprintf("state: table %s: %v", t.name, err))
	}
	w.add(rows.WatchCh())
	return func(yield func(*T) bool) {
		for row := rows.Next(); row != nil; row = rows.Next() {
			if !yield(row.(*T)) {
				return
			}
		}
	}
}

// all collects a scan, so that its rows may be changed.
func (t *table[T]) all(tx *Txn, index string, prefix []byte) []*T {
	var rows []*T
	for row := range t.scan(tx, nil, index, prefix) {
		rows = append(rows, row)
	}
	return rows
}

func (t *table[T]) put(tx *Txn, row *T) {
	tx.touched++
	if err := tx.db.Insert(t.name, row); err != nil {
		panic(fmt.Sprintf("state: table %s: %v", t.name, err))
	}
}

func (t *table[T]) remove(tx *Txn, row *T) {
	tx.touched++
	if err := tx.db.Delete(t.name, row); err != nil {
		panic(fmt.Sprintf("state: table %s: %v", t.name, err))
	}
}

func (t *table[T]) save(tx *Txn, put func(any) error) error {
	for row := range t.scan(tx, nil, primary, nil) {
		if err := put(row); err != nil {
			return err
		}
	}
	return nil
}

func (t *table[T]) blank() any { return new(T) }

func (t *table[T]) load(l *Loader, row any) error {
	r, ok := row.(*T)
	if !ok {
		return fmt.Errorf("state: table %s: row is a %T", t.name, row)
	}
	t.put(l.tx, r)
	if c, ok := row.(*catalog.Check); ok {
		l.keep(c)
	}
	return nil
}

// joined makes a key of parts, each ended by a zero byte so that none is a prefix of another.
func joined(parts ...string) []byte {
	n := len(parts)
	for _, p := range parts {
		n += len(p)
	}
	key := make([]byte, 0, n)
	for _, p := range parts {
		key = append(append(key, p...), 0)
	}
	return key
}

// fold is the form of a name in keys: names are told apart regardless of case.
func fold(name string) string { return strings.ToLower(name) }

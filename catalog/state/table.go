package state

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
)

// primary is a table's first index, which tells its rows apart.
const primary = 0

// rows is one version of a table: a tree for each index.
type rows[T any] [5]*node[T]

// table is a typed view of one table of a version. Every index is unique: its key ends with what tells
// one row from another, so that a prefix of the key selects a group of rows and has one cell to watch.
type table[T any] struct {
	name string
	of   func(*version) *rows[T]
	// keys append each index's key of a row to an empty buffer; nil means that the row is not in that
	// index.
	keys []func(key []byte, row *T) []byte
}

// erased is what the store needs of a table without its row type.
type erased interface {
	title() string
	clear(v *version)
	save(tx *Txn, put func(row any) error) error
	blank() any
	load(l *Loader, row any) error
	verify(tx *Txn, report func(format string, args ...any))
}

func (t *table[T]) title() string { return t.name }

func (t *table[T]) clear(v *version) {
	for i := range t.keys {
		t.of(v)[i] = newRoot[T]()
	}
}

// get returns the row with the key, nil when there is none. w watches it.
func (t *table[T]) get(tx *Txn, w *Watch, index int, key []byte) *T {
	row, c := t.of(tx.now)[index].get(key)
	w.add(c)
	return row
}

// scan yields the rows whose key begins with prefix, in key order. w watches them all with one cell.
// Rows of the table may not be changed while it runs.
func (t *table[T]) scan(tx *Txn, w *Watch, index int, prefix []byte) iter.Seq[*T] {
	top, c := t.of(tx.now)[index].seek(prefix)
	w.add(c)
	return func(yield func(*T) bool) {
		if top != nil {
			top.each(yield)
		}
	}
}

// after yields the rows whose key comes after one, in key order, and watches nothing. Rows of the table may not be changed while
// it runs, nor the key.
func (t *table[T]) after(tx *Txn, index int, key []byte) iter.Seq[*T] {
	root := t.of(tx.now)[index]
	return func(yield func(*T) bool) { root.eachAfter(key, yield) }
}

// all collects a scan, so that its rows may be changed.
func (t *table[T]) all(tx *Txn, index int, prefix []byte) []*T {
	var found []*T
	for row := range t.scan(tx, nil, index, prefix) {
		found = append(found, row)
	}
	return found
}

// key returns a row's key in an index, in one of the transaction's buffers.
func (t *table[T]) key(tx *Txn, buffer, index int, row *T) []byte {
	key := t.keys[index](tx.scratch[buffer][:0], row)
	if key != nil {
		tx.scratch[buffer] = key
	}
	return key
}

// put writes a row in place of the one with its primary key, and returns that.
func (t *table[T]) put(tx *Txn, row *T) (old *T) {
	e := tx.editing()
	at := t.of(tx.now)
	at[primary], old = at[primary].insert(e, t.key(tx, 0, primary, row), row)
	for i := primary + 1; i < len(t.keys); i++ {
		key := t.key(tx, 0, i, row)
		if old != nil {
			if was := t.key(tx, 1, i, old); was != nil && !bytes.Equal(was, key) {
				at[i], _ = at[i].remove(e, was)
			}
		}
		if key != nil {
			at[i], _ = at[i].insert(e, key, row)
		}
	}
	return old
}

// remove removes the row with row's primary key, if there is one.
func (t *table[T]) remove(tx *Txn, row *T) {
	e := tx.editing()
	at := t.of(tx.now)
	var old *T
	at[primary], old = at[primary].remove(e, t.key(tx, 0, primary, row))
	if old == nil {
		return
	}
	for i := primary + 1; i < len(t.keys); i++ {
		if key := t.key(tx, 0, i, old); key != nil {
			at[i], _ = at[i].remove(e, key)
		}
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
	return nil
}

// joined appends the parts of a key, each ended by a zero byte so that none is a prefix of another.
func joined(key []byte, parts ...string) []byte {
	for _, p := range parts {
		key = append(append(key, p...), 0)
	}
	return key
}

// fold is the form of a name in keys: names are told apart regardless of case. A zero byte, which only
// look-ups can bring, is told from the end of a part.
func fold(name string) string {
	if strings.IndexByte(name, 0) >= 0 {
		name = strings.ReplaceAll(name, "\x00", "\x00\xff")
	}
	return strings.ToLower(name)
}

package state

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

var queries = &table[catalog.PreparedQuery]{
	name: "queries",
	of:   func(v *version) *rows[catalog.PreparedQuery] { return &v.queries },
	keys: []func([]byte, *catalog.PreparedQuery) []byte{
		primary: func(key []byte, q *catalog.PreparedQuery) []byte { return joined(key, q.ID) },
		queryByName: func(key []byte, q *catalog.PreparedQuery) []byte {
			if q.Templated() || q.Name == "" {
				return nil
			}
			return joined(key, fold(q.Name))
		},
		queryByPrefix: func(key []byte, q *catalog.PreparedQuery) []byte {
			if !q.Templated() {
				return nil
			}
			return joined(key, fold(q.Name))
		},
		queryBySession: func(key []byte, q *catalog.PreparedQuery) []byte {
			if q.Session == "" {
				return nil
			}
			return joined(key, q.Session, q.ID)
		},
	},
}

// Indexes of queries beside the one by id.
const (
	queryByName    = iota + 1 // of those that are no templates
	queryByPrefix             // of templates
	queryBySession            // of those that end with one
)

// Queries returns all prepared queries.
func Queries(tx *Txn, w *Watch) ([]*catalog.PreparedQuery, uint64) {
	index, found := max(1, indexOf(tx, queriesIndex)), []*catalog.PreparedQuery{}
	for q := range queries.scan(tx, w, primary, nil) {
		index = max(index, q.ModifyIndex)
		found = append(found, q)
	}
	return found, index
}

// Query returns the prepared query with an id, nil when there is none.
func Query(tx *Txn, w *Watch, id string) (*catalog.PreparedQuery, uint64) {
	if q := queries.get(tx, w, primary, tx.key(id)); q != nil {
		return q, q.ModifyIndex
	}
	return nil, max(1, indexOf(tx, queriesIndex))
}

// FindQuery returns the prepared query that answers for an id or a name, nil when there is none: the one
// with the id, else the one with the name, else the template whose name is the longest beginning of it.
// The index counts every change that could make it another.
func FindQuery(tx *Txn, w *Watch, name string) (*catalog.PreparedQuery, uint64) {
	if len(name) > maxQueryLookup {
		return nil, 1
	}
	index := max(1, indexOf(tx, queriesIndex))
	if catalog.IsUUID(name) {
		if q := queries.get(tx, w, primary, tx.key(strings.ToLower(name))); q != nil {
			return q, max(index, q.ModifyIndex)
		}
	}
	folded := fold(name)
	if q := queries.get(tx, w, queryByName, tx.key(folded)); q != nil {
		return q, max(index, q.ModifyIndex)
	}
	queries.scan(tx, w, queryByPrefix, nil)
	for size := len(folded); size >= 0; size-- {
		if q := queries.get(tx, nil, queryByPrefix, tx.key(folded[:size])); q != nil {
			return q, max(index, q.ModifyIndex)
		}
	}
	return nil, index
}

// maxQueryLookup is the longest name in bytes that is looked for: each byte is a look-up.
const maxQueryLookup = 1024

// PutQuery adds a prepared query, or changes the one with its id. Its session must exist and its name be
// free among queries of its kind.
func PutQuery(tx *Txn, q *catalog.PreparedQuery) error {
	if q.Session != "" && sessions.get(tx, nil, primary, tx.key(q.Session)) == nil {
		return catalog.Errorf(catalog.Invalid, "prepared query %q: session %q does not exist", q.Name, q.Session)
	}
	row := *q
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	old := queries.get(tx, nil, primary, tx.key(q.ID))
	if old != nil {
		row.CreateIndex = old.CreateIndex
	}
	if other := sameQueryName(tx, q); other != nil && other.ID != q.ID {
		return catalog.Errorf(catalog.Conflict, "prepared query %q: the name is taken by query %s: change that one, or choose another name", q.Name, other.ID)
	}
	queries.put(tx, &row)
	setIndex(tx, queriesIndex)
	return nil
}

// sameQueryName returns the query whose place among the names q takes.
func sameQueryName(tx *Txn, q *catalog.PreparedQuery) *catalog.PreparedQuery {
	switch {
	case q.Templated():
		return queries.get(tx, nil, queryByPrefix, tx.key(fold(q.Name)))
	case q.Name != "":
		return queries.get(tx, nil, queryByName, tx.key(fold(q.Name)))
	}
	return nil
}

// DeleteQuery removes a prepared query and reports whether it was there.
func DeleteQuery(tx *Txn, id string) bool {
	q := queries.get(tx, nil, primary, tx.key(id))
	if q == nil {
		return false
	}
	queries.remove(tx, q)
	setIndex(tx, queriesIndex)
	return true
}

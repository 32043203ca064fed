package state

import "github.com/curia-mesh/curia/catalog"

var joins = &table[catalog.JoinToken]{
	name: "joins",
	of:   func(v *version) *rows[catalog.JoinToken] { return &v.joins },
	keys: []func([]byte, *catalog.JoinToken) []byte{
		primary: func(key []byte, t *catalog.JoinToken) []byte { return joined(key, t.ID) },
	},
}

// JoinToken returns the token with an id, nil when there is none.
func JoinToken(tx *Txn, id string) *catalog.JoinToken { return joins.get(tx, nil, primary, tx.key(id)) }

// JoinTokens returns all tokens by id.
func JoinTokens(tx *Txn, w *Watch) ([]*catalog.JoinToken, uint64) {
	index, found := max(1, indexOf(tx, joinsIndex)), []*catalog.JoinToken{}
	for t := range joins.scan(tx, w, primary, nil) {
		index = max(index, t.ModifyIndex)
		found = append(found, t)
	}
	return found, index
}

// PutJoinToken adds a token or replaces the one with its id.
func PutJoinToken(tx *Txn, t *catalog.JoinToken) error {
	if err := zeroless("join token", t.ID); err != nil {
		return err
	}
	row := *t
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old := JoinToken(tx, t.ID); old != nil {
		row.CreateIndex = old.CreateIndex
	}
	joins.put(tx, &row)
	return nil
}

// DeleteJoinToken removes a token, if it is there.
func DeleteJoinToken(tx *Txn, id string) {
	if t := JoinToken(tx, id); t != nil {
		joins.remove(tx, t)
		setIndex(tx, joinsIndex)
	}
}

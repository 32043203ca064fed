package state

import (
	"bytes"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

var pairs = &table[catalog.KVPair]{
	name: "kv",
	of:   func(v *version) *rows[catalog.KVPair] { return &v.pairs },
	keys: []func([]byte, *catalog.KVPair) []byte{
		primary: func(key []byte, p *catalog.KVPair) []byte { return append(key, p.Key...) },
		pairBySession: func(key []byte, p *catalog.KVPair) []byte {
			if p.Session == "" {
				return nil
			}
			return append(joined(key, p.Session), p.Key...)
		},
	},
}

const pairBySession = 1

func pair(tx *Txn, key string) *catalog.KVPair { return pairs.get(tx, nil, primary, tx.raw(key)) }

// KVGet returns a pair, nil when there is none. The index of a missing pair counts its removal.
func KVGet(tx *Txn, w *Watch, key string) (*catalog.KVPair, uint64) {
	if p := pairs.get(tx, w, primary, tx.raw(key)); p != nil {
		return p, p.ModifyIndex
	}
	return nil, buried(tx, graveKV, key)
}

// KVList returns the pairs whose key begins with prefix, in order.
func KVList(tx *Txn, w *Watch, prefix string) ([]*catalog.KVPair, uint64) {
	index := buriedUnder(tx, graveKV, prefix)
	var found []*catalog.KVPair
	for p := range pairs.scan(tx, w, primary, tx.raw(prefix)) {
		index = max(index, p.ModifyIndex)
		found = append(found, p)
	}
	return found, index
}

// KVKeys returns the keys that begin with prefix, each cut behind the first separator after prefix.
func KVKeys(tx *Txn, w *Watch, prefix, separator string) ([]string, uint64) {
	index := buriedUnder(tx, graveKV, prefix)
	var found []string
	for p := range pairs.scan(tx, w, primary, tx.raw(prefix)) {
		index = max(index, p.ModifyIndex)
		key := p.Key
		if separator != "" {
			if at := strings.Index(key[len(prefix):], separator); at >= 0 {
				key = key[:len(prefix)+at+len(separator)]
			}
		}
		if len(found) == 0 || found[len(found)-1] != key {
			found = append(found, key)
		}
	}
	return found, index
}

// KVCount counts all pairs.
func KVCount(tx *Txn) int {
	n := 0
	for range pairs.scan(tx, nil, primary, nil) {
		n++
	}
	return n
}

// KVSet writes a pair's value and flags and returns the stored row. A lock on the key stays as it is.
func KVSet(tx *Txn, p *catalog.KVPair) *catalog.KVPair {
	row := catalog.KVPair{Key: p.Key, Value: p.Value, Flags: p.Flags}
	old := pair(tx, p.Key)
	if old != nil {
		row.Session, row.LockIndex = old.Session, old.LockIndex
	}
	return putPair(tx, old, &row)
}

// putPair writes row over old, which is nil for a new key. A pair that says the same again is left as
// it is.
func putPair(tx *Txn, old, row *catalog.KVPair) *catalog.KVPair {
	if len(row.Value) == 0 {
		row.Value = nil
	}
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old == nil {
		row.LockIndex = max(row.LockIndex, buriedLock(tx, row.Key))
	} else {
		row.CreateIndex = old.CreateIndex
		if old.Flags == row.Flags && old.Session == row.Session && old.LockIndex == row.LockIndex && old.Origin == row.Origin && bytes.Equal(old.Value, row.Value) {
			return old
		}
	}
	pairs.put(tx, row)
	return row
}

// buriedLock is the LockIndex that a key had when it was removed, 0 when that is unknown.
func buriedLock(tx *Txn, key string) uint64 {
	if g := graves.get(tx, nil, primary, graveKey(tx, graveKV, key)); g != nil {
		return g.LockIndex
	}
	return 0
}

// KVSetCAS writes the pair if its ModifyIndex is still cas; 0 means that the key must not exist. It
// returns nil when the index is another.
func KVSetCAS(tx *Txn, p *catalog.KVPair, cas uint64) *catalog.KVPair {
	old := pair(tx, p.Key)
	if old == nil && cas != 0 || old != nil && old.ModifyIndex != cas {
		return nil
	}
	return KVSet(tx, p)
}

// KVLock writes the pair and takes its lock for p.Session, which must exist. It returns nil when
// another session holds the lock. A holder may lock again, which changes only the value.
//
// Every new holder gets a higher LockIndex than all before, so that it can fence off those who think
// that they still hold the lock; it goes on counting when the key was removed in between.
func KVLock(tx *Txn, p *catalog.KVPair) (*catalog.KVPair, error) {
	if p.Session == "" {
		return nil, catalog.Errorf(catalog.Invalid, "lock of key %q: missing session", p.Key)
	}
	if sessions.get(tx, nil, primary, tx.key(p.Session)) == nil {
		return nil, catalog.Errorf(catalog.Invalid, "lock of key %q: invalid session %q", p.Key, p.Session)
	}
	row := catalog.KVPair{Key: p.Key, Value: p.Value, Flags: p.Flags, Session: p.Session}
	old := pair(tx, p.Key)
	switch {
	case old == nil:
		row.LockIndex = max(buriedLock(tx, p.Key), indexOf(tx, locksIndex)) + 1
	case old.Session == p.Session:
		row.LockIndex = old.LockIndex
	case old.Session != "":
		return nil, nil
	case old.LockIndex == 0: // it may have had locks before it was removed
		row.LockIndex = indexOf(tx, locksIndex) + 1
	default:
		row.LockIndex = old.LockIndex + 1
	}
	return putPair(tx, old, &row), nil
}

// KVUnlock writes the pair and gives up its lock, which p.Session must hold. It returns nil when it
// does not.
func KVUnlock(tx *Txn, p *catalog.KVPair) (*catalog.KVPair, error) {
	if p.Session == "" {
		return nil, catalog.Errorf(catalog.Invalid, "unlock of key %q: missing session", p.Key)
	}
	old := pair(tx, p.Key)
	if old == nil || old.Session != p.Session {
		return nil, nil
	}
	return putPair(tx, old, &catalog.KVPair{Key: p.Key, Value: p.Value, Flags: p.Flags, LockIndex: old.LockIndex}), nil
}

// KVDelete removes a pair if it is there.
func KVDelete(tx *Txn, key string) {
	if p := pair(tx, key); p != nil {
		removePair(tx, p)
	}
}

func removePair(tx *Txn, p *catalog.KVPair) {
	pairs.remove(tx, p)
	graves.put(tx, &grave{Kind: graveKV, Key: p.Key, Index: tx.Index, LockIndex: p.LockIndex})
}

// KVDeleteCAS removes a pair if its ModifyIndex is still cas and reports whether it did. A pair that is
// not there counts as removed.
func KVDeleteCAS(tx *Txn, key string, cas uint64) bool {
	p := pair(tx, key)
	if p != nil && p.ModifyIndex != cas {
		return false
	}
	KVDelete(tx, key)
	return true
}

// KVDeleteTree removes every pair whose key begins with prefix.
func KVDeleteTree(tx *Txn, prefix string) {
	for _, p := range pairs.all(tx, primary, tx.raw(prefix)) {
		removePair(tx, p)
	}
}

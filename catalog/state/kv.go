package state

import (
	"bytes"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

var pairs = &table[catalog.KVPair]{name: "kv", indexes: map[string]func(*catalog.KVPair) []byte{
	primary: func(p *catalog.KVPair) []byte { return []byte(p.Key) },
	"session": func(p *catalog.KVPair) []byte {
		if p.Session == "" {
			return nil
		}
		return append(joined(p.Session), p.Key...)
	},
}}

// KVGet returns a pair, nil when there is none. The index of a missing pair counts its removal.
func KVGet(tx *Txn, w *Watch, key string) (*catalog.KVPair, uint64) {
	if p := pairs.get(tx, w, primary, []byte(key)); p != nil {
		return p, p.ModifyIndex
	}
	return nil, buried(tx, graveKV, key, false)
}

// KVList returns the pairs whose key begins with prefix, in order.
func KVList(tx *Txn, w *Watch, prefix string) ([]*catalog.KVPair, uint64) {
	index := buried(tx, graveKV, prefix, true)
	var found []*catalog.KVPair
	for p := range pairs.scan(tx, w, primary, []byte(prefix)) {
		index = max(index, p.ModifyIndex)
		found = append(found, p)
	}
	return found, index
}

// KVKeys returns the keys that begin with prefix, each cut behind the first separator after prefix.
func KVKeys(tx *Txn, w *Watch, prefix, separator string) ([]string, uint64) {
	index := buried(tx, graveKV, prefix, true)
	var found []string
	for p := range pairs.scan(tx, w, primary, []byte(prefix)) {
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
	if old, _ := KVGet(tx, nil, p.Key); old != nil {
		if old.Flags == p.Flags && bytes.Equal(old.Value, p.Value) {
			return old
		}
		row.Session, row.LockIndex = old.Session, old.LockIndex
	}
	return putPair(tx, &row)
}

func putPair(tx *Txn, row *catalog.KVPair) *catalog.KVPair {
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old, _ := KVGet(tx, nil, row.Key); old != nil {
		row.CreateIndex = old.CreateIndex
	}
	pairs.put(tx, row)
	return row
}

// KVSetCAS writes the pair if its ModifyIndex is still cas; 0 means that the key must not exist. It
// returns nil when the index is another.
func KVSetCAS(tx *Txn, p *catalog.KVPair, cas uint64) *catalog.KVPair {
	old, _ := KVGet(tx, nil, p.Key)
	if old == nil && cas != 0 || old != nil && old.ModifyIndex != cas {
		return nil
	}
	return KVSet(tx, p)
}

// KVLock writes the pair and takes its lock for p.Session, which must exist. It returns nil when
// another session holds the lock. A holder may lock again, which changes only the value.
func KVLock(tx *Txn, p *catalog.KVPair) (*catalog.KVPair, error) {
	if p.Session == "" {
		return nil, catalog.Errorf(catalog.Invalid, "lock of key %q: no session given", p.Key)
	}
	if sessions.get(tx, nil, primary, joined(p.Session)) == nil {
		return nil, catalog.Errorf(catalog.Invalid, "lock of key %q: invalid session %q", p.Key, p.Session)
	}
	row := catalog.KVPair{Key: p.Key, Value: p.Value, Flags: p.Flags, Session: p.Session, LockIndex: 1}
	if old, _ := KVGet(tx, nil, p.Key); old != nil {
		switch old.Session {
		case p.Session:
			row.LockIndex = old.LockIndex
		case "":
			row.LockIndex = old.LockIndex + 1
		default:
			return nil, nil
		}
	}
	return putPair(tx, &row), nil
}

// KVUnlock writes the pair and gives up its lock, which p.Session must hold. It returns nil when it
// does not.
func KVUnlock(tx *Txn, p *catalog.KVPair) (*catalog.KVPair, error) {
	if p.Session == "" {
		return nil, catalog.Errorf(catalog.Invalid, "unlock of key %q: no session given", p.Key)
	}
	old, _ := KVGet(tx, nil, p.Key)
	if old == nil || old.Session != p.Session {
		return nil, nil
	}
	return putPair(tx, &catalog.KVPair{Key: p.Key, Value: p.Value, Flags: p.Flags, LockIndex: old.LockIndex}), nil
}

// KVDelete removes a pair if it is there.
func KVDelete(tx *Txn, key string) {
	if p, _ := KVGet(tx, nil, key); p != nil {
		pairs.remove(tx, p)
		bury(tx, graveKV, key)
	}
}

// KVDeleteCAS removes a pair if its ModifyIndex is still cas and reports whether it did. A pair that is
// not there counts as removed.
func KVDeleteCAS(tx *Txn, key string, cas uint64) bool {
	p, _ := KVGet(tx, nil, key)
	if p != nil && p.ModifyIndex != cas {
		return false
	}
	KVDelete(tx, key)
	return true
}

// KVDeleteTree removes every pair whose key begins with prefix.
func KVDeleteTree(tx *Txn, prefix string) {
	for _, p := range pairs.all(tx, primary, []byte(prefix)) {
		pairs.remove(tx, p)
		bury(tx, graveKV, p.Key)
	}
}

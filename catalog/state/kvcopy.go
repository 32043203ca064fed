package state

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"iter"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// KVIn yields the pairs whose keys are in a set, in order, and watches them.
func KVIn(tx *Txn, w *Watch, scope *catalog.KVScope) iter.Seq[*catalog.KVPair] {
	scans := make([]iter.Seq[*catalog.KVPair], len(scope.Prefixes))
	for i, prefix := range scope.Prefixes {
		scans[i] = pairs.scan(tx, w, primary, tx.raw(prefix))
	}
	return func(yield func(*catalog.KVPair) bool) {
		for _, scan := range scans {
			for p := range scan {
				if scope.Covers(p.Key) && !yield(p) {
					return
				}
			}
		}
	}
}

// KVWithin yields the pairs of a set whose keys are in a span, in order. It looks at no others but those of the set's bounds.
func KVWithin(tx *Txn, scope *catalog.KVScope, span *catalog.KVSpan) iter.Seq[*catalog.KVPair] {
	return func(yield func(*catalog.KVPair) bool) {
		for _, prefix := range scope.Prefixes {
			scan := pairs.scan(tx, nil, primary, tx.raw(prefix))
			switch {
			case strings.HasPrefix(span.After, prefix):
				scan = pairs.after(tx, primary, []byte(span.After))
			case span.After > prefix:
				continue // all of them come before
			}
			for p := range scan {
				if !strings.HasPrefix(p.Key, prefix) {
					break
				}
				if !span.Has(p.Key) {
					return // it is behind the span
				}
				if scope.Covers(p.Key) && !yield(p) {
					return
				}
			}
		}
	}
}

// KVHash stands for what a pair says to its readers: two with the same say the same.
func KVHash(p *catalog.KVPair) []byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, p.Flags))
	h.Write(p.Value)
	return h.Sum(nil)[:16]
}

// KVHashes lists the pairs of a span with their hashes, about as many as maxRows bytes hold, and whether there are more.
func KVHashes(tx *Txn, scope *catalog.KVScope, span *catalog.KVSpan) (list []catalog.ReplicaKey, more bool) {
	size := 0
	for p := range KVWithin(tx, scope, span) {
		if size > maxRows {
			return list, true
		}
		list = append(list, catalog.ReplicaKey{Key: p.Key, Hash: KVHash(p)})
		size += len(p.Key) + 64
	}
	return list, false
}

// KVIndex is that of the last change of a set of keys.
func KVIndex(tx *Txn, scope *catalog.KVScope) uint64 {
	index := uint64(0)
	for _, prefix := range scope.Prefixes {
		index = max(index, buriedUnder(tx, graveKV, prefix))
	}
	for p := range KVIn(tx, nil, scope) {
		index = max(index, p.ModifyIndex)
	}
	return index
}

const (
	// spanKeys is how many keys a span has at least, but for the last one.
	spanKeys = 512
	// maxSpans bounds about how many spans keys are divided into.
	maxSpans = 1024
)

// KVSpans divides the pairs of a set that count into spans, and digests each. It returns how many pairs count.
func KVSpans(tx *Txn, scope *catalog.KVScope, counts func(*catalog.KVPair) bool) (spans []catalog.KVSpan, n int) {
	for p := range KVIn(tx, nil, scope) {
		if counts(p) {
			n++
		}
	}
	each, in := max(spanKeys, n/maxSpans), 0
	d, span := newDigest(), catalog.KVSpan{}
	for p := range KVIn(tx, nil, scope) {
		if !counts(p) {
			continue
		}
		if in == each {
			span.Digest = d.Sum(nil)
			spans = append(spans, span)
			d, span, in = newDigest(), catalog.KVSpan{After: span.To}, 0
		}
		d.add(p)
		span.To, in = p.Key, in+1
	}
	span.To, span.Digest = "", d.Sum(nil)
	return append(spans, span), n
}

// KVDiffering returns which of the spans, that follow one another, have another digest here. Without spans it digests
// nothing.
func KVDiffering(tx *Txn, w *Watch, scope *catalog.KVScope, spans []catalog.KVSpan) (differ []int) {
	at, d := 0, newDigest()
	end := func() {
		if string(d.Sum(nil)) != string(spans[at].Digest) {
			differ = append(differ, at)
		}
		at, d = at+1, newDigest()
	}
	for p := range KVIn(tx, w, scope) {
		for at < len(spans) && spans[at].To != "" && p.Key > spans[at].To {
			end()
		}
		if at == len(spans) {
			return differ
		}
		d.add(p)
	}
	for at < len(spans) {
		end()
	}
	return differ
}

// digest is one of pairs in the order of their keys.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(p *catalog.KVPair) {
	d.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p.Key))))
	d.Write([]byte(p.Key))
	d.Write(KVHash(p))
}

// KVRows returns the pairs of a set with these keys, about as many as maxRows bytes hold and at least one, and how many of
// the keys, the last ones, are left for another time. Keys that are not there are left out.
func KVRows(tx *Txn, scope *catalog.KVScope, keys []string) (list []*catalog.KVPair, rest int) {
	size := 0
	for i, key := range keys {
		if size > maxRows {
			return list, len(keys) - i
		}
		if p := pair(tx, key); p != nil && scope.Covers(key) {
			list = append(list, p)
			size += len(p.Key) + len(p.Value) + 64
		}
	}
	return list, 0
}

// KVCopy writes the value and flags of a pair of another datacenter. A lock on the key stays as it is.
func KVCopy(tx *Txn, p *catalog.KVPair, origin string) {
	row := catalog.KVPair{Key: p.Key, Value: p.Value, Flags: p.Flags, Origin: origin}
	old := pair(tx, p.Key)
	if old != nil {
		row.Session, row.LockIndex = old.Session, old.LockIndex
	}
	putPair(tx, old, &row)
}

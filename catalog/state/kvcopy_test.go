package state

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
)

// A span of a set has the pairs of the set that are in it, in order, wherever it begins.
func TestKVWithin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		tx := s.Write(1)
		key := rapid.StringMatching(`[abc]{1,4}`)
		for _, k := range rapid.SliceOfN(key, 0, 40).Draw(t, "keys") {
			KVSet(tx, &catalog.KVPair{Key: k, Value: []byte(k)})
		}
		tx.Commit()
		prefixes := rapid.SampledFrom([][]string{{""}, {"a"}, {"a", "c"}, {"ab", "b", "ca"}}).Draw(t, "prefixes")
		scope := &catalog.KVScope{Prefixes: prefixes, Exclude: rapid.SampledFrom([][]string{nil, {"ac"}, {"b", "cab"}}).Draw(t, "exclude")}
		bound := rapid.OneOf(rapid.Just(""), key)
		span := &catalog.KVSpan{After: bound.Draw(t, "after"), To: bound.Draw(t, "to")}
		read := s.Read()
		var got, want []string
		for p := range KVWithin(read, scope, span) {
			got = append(got, p.Key)
		}
		for p := range KVIn(read, nil, scope) {
			if span.Has(p.Key) {
				want = append(want, p.Key)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v of %+v has %q, want %q", span, scope, got, want)
		}
	})
}

// A page at the end of many keys costs as much as one at their beginning.
func BenchmarkKVHashes(b *testing.B) {
	s := New()
	tx := s.Write(1)
	const n = 200_000
	for i := range n {
		KVSet(tx, &catalog.KVPair{Key: fmt.Sprintf("config/%07d", i), Value: []byte("value")})
	}
	tx.Commit()
	read, scope := s.Read(), &catalog.KVScope{Prefixes: []string{"config/"}}
	for name, from := range map[string]int{"first": 0, "last": n - 512} {
		span := &catalog.KVSpan{After: fmt.Sprintf("config/%07d", from), To: fmt.Sprintf("config/%07d", from+511)}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				KVHashes(read, scope, span)
			}
		})
	}
}

package balance

import (
	"cmp"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// Hash returns the hash of what a request is placed by (a header, a cookie, an address), the same in every process.
// It is FNV-1a with a finalizer, for the ring looks at the high bits.
// Source: http://www.isthe.com/chongo/tech/comp/fnv
func Hash(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return mix(h)
}

// mix spreads every bit of h over all.
// Source: SplitMix64, https://prng.di.unimi.it/splitmix64.c
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// ring places endpoints at points of a circle, by weight; a hash belongs to the next point.
// Source: Karger and others, Consistent Hashing and Random Trees, 1997
type ring struct {
	points []point
}

type point struct {
	at   uint64
	slot int
}

func newRing(slots []slot, least, most int) *ring {
	lightest, sum := slots[0].weight, 0.0
	for _, s := range slots {
		lightest, sum = min(lightest, s.weight), sum+s.weight
	}
	// The lightest has at least one point, and the whole at least as many as are asked for. The points of one do not
	// change with every other one that comes or goes, only when the scale doubles.
	scale := math.Exp2(math.Ceil(math.Log2(max(float64(least)/sum, 1/lightest))))
	if sum*scale > float64(most) {
		scale = float64(most) / sum
	}
	r := &ring{}
	for i, s := range slots {
		for n := range max(1, int(s.weight*scale+0.5)) {
			r.points = append(r.points, point{Hash(s.key + "\x00" + strconv.Itoa(n)), i})
		}
	}
	slices.SortFunc(r.points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(slots[a.slot].key, slots[b.slot].key))
	})
	return r
}

func (r *ring) pick(_ *level, _ *Policy, _ time.Duration, hash uint64) int {
	if hash == 0 {
		hash = rand.Uint64()
	}
	lo, hi := 0, len(r.points)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); r.points[mid].at < hash {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(r.points) {
		lo = 0
	}
	return r.points[lo].slot
}

// maglev gives every entry of a table to an endpoint: evenly, and few entries change hands when one comes or goes.
type maglev struct {
	table []uint32
}

// maglevSize is prime and as in Envoy and in the paper's smaller evaluation.
const maglevSize = 65537

func newMaglev(slots []slot) *maglev {
	type walk struct {
		at, skip uint64
		credit   float64
	}
	heaviest := 0.0
	walks := make([]walk, len(slots))
	// Whose turn it is first does not depend on how the members were listed.
	order := make([]int, len(slots))
	for i, s := range slots {
		h := Hash(s.key)
		walks[i] = walk{at: h % maglevSize, skip: mix(h+1)%(maglevSize-1) + 1}
		heaviest = max(heaviest, s.weight)
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(slots[a].key, slots[b].key) })
	const free = ^uint32(0)
	m := &maglev{table: make([]uint32, maglevSize)}
	for i := range m.table {
		m.table[i] = free
	}
	for filled := 0; filled < maglevSize; {
		for _, i := range order {
			w := &walks[i]
			if w.credit += slots[i].weight / heaviest; w.credit < 1 {
				continue
			}
			w.credit--
			for m.table[w.at] != free {
				w.at = (w.at + w.skip) % maglevSize
			}
			m.table[w.at] = uint32(i)
			if filled++; filled == maglevSize {
				break
			}
		}
	}
	return m
}

func (m *maglev) pick(_ *level, _ *Policy, _ time.Duration, hash uint64) int {
	if hash == 0 {
		hash = rand.Uint64()
	}
	at, _ := bits.Mul64(hash, maglevSize)
	return int(m.table[at])
}

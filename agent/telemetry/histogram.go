package telemetry

import (
	"math"
	"sync/atomic"
)

// Buckets of a histogram: sixteen to each power of two from 2^-14 (61 ns, of milliseconds) to 2^34. A value is told
// to within 3 %. What lies outside counts in the first or last bucket.
const (
	perOctave = 16
	minExp    = -14
	maxExp    = 34
	buckets   = (maxExp - minExp) * perOctave
)

// histogram holds the distribution of a sample over the last two intervals, for Prometheus' quantiles, which tell of
// the last 10 to 20 s. Observing takes no lock; 6 KiB each.
type histogram struct {
	window atomic.Uint32
	counts [2][buckets]atomic.Uint32
}

// bucketOf reads exponent and leading bits of the fraction off the float's representation (IEEE 754).
func bucketOf(v float64) int {
	if v <= 0 {
		return 0
	}
	b := int(math.Float64bits(v)>>(52-4)) - (1023+minExp)*perOctave
	return max(0, min(b, buckets-1))
}

// middle is the value that stands for a bucket.
func middle(bucket int) float64 {
	low := math.Float64frombits(uint64(bucket+(1023+minExp)*perOctave) << (52 - 4))
	high := math.Float64frombits(uint64(bucket+1+(1023+minExp)*perOctave) << (52 - 4))
	return (low + high) / 2
}

func (h *histogram) observe(v float64) {
	h.counts[h.window.Load()&1][bucketOf(v)].Add(1)
}

// turn begins a new interval and forgets the one before the last.
func (h *histogram) turn() {
	next := (h.window.Load() + 1) & 1
	for i := range h.counts[next] {
		h.counts[next][i].Store(0)
	}
	h.window.Store(next)
}

// quantiles are the values below which each share of the observations lies, NaN without observations.
func (h *histogram) quantiles(shares ...float64) map[float64]float64 {
	var merged [buckets]uint64
	var total uint64
	for i := range merged {
		merged[i] = uint64(h.counts[0][i].Load()) + uint64(h.counts[1][i].Load())
		total += merged[i]
	}
	out := make(map[float64]float64, len(shares))
	for _, share := range shares {
		out[share] = math.NaN()
		rank := uint64(math.Ceil(share * float64(total)))
		var seen uint64
		for i := range merged {
			if seen += merged[i]; total > 0 && seen >= rank {
				out[share] = middle(i)
				break
			}
		}
	}
	return out
}

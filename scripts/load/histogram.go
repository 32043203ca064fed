//go:build linux

package main

import (
	"math/bits"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// subBits sets the resolution of a histogram: 64 steps to each power of two, so no value is off by more
// than 1.6 %.
const subBits = 6

// histogram counts durations in log-linear steps; the zero value is empty.
type histogram struct {
	counts [(64 - subBits) << subBits]uint32
	n      uint64
}

// record adds one duration; a negative one counts as zero.
func (h *histogram) record(d time.Duration) {
	h.counts[step(uint64(max(d, 0)))]++
	h.n++
}

func step(ns uint64) int {
	shift := max(bits.Len64(ns)-subBits-1, 0)
	return shift<<subBits + int(ns>>shift)
}

// quantile returns the duration that the share q (0 to 1) of all recorded ones does not exceed, zero of an
// empty histogram.
func (h *histogram) quantile(q float64) time.Duration {
	rank, seen := report.Rank(int(h.n), q), 0
	for i, c := range h.counts {
		if seen += int(c); seen > rank {
			return middle(i)
		}
	}
	return 0
}

// middle returns the value in the middle of step i.
func middle(i int) time.Duration {
	shift := max(i>>subBits-1, 0)
	return time.Duration(uint64(i-shift<<subBits)<<shift + 1<<shift/2)
}

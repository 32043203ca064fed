package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

type peakEWMA struct{}

func (peakEWMA) pick(l *level, p *Policy, now time.Duration, _ uint64) int {
	a := l.draw(p, now)
	b := l.other(p, now, a)
	if a != b && l.slots[b].score(p, now) < l.slots[a].score(p, now) {
		return b
	}
	return a
}

type leastRequest struct{}

func (leastRequest) pick(l *level, p *Policy, now time.Duration, _ uint64) int {
	best := l.draw(p, now)
	for range p.Choices - 1 {
		if i := l.other(p, now, best); l.slots[i].load() < l.slots[best].load() {
			best = i
		}
	}
	return best
}

type random struct{}

func (random) pick(l *level, p *Policy, now time.Duration, _ uint64) int { return l.draw(p, now) }

// roundRobin goes through a schedule in which every endpoint is as often as its weight says, evenly spread.
type roundRobin struct {
	next     atomic.Uint64
	schedule []uint16 // slots; nil when all weights are equal
}

// maxSchedule bounds a schedule's length. Weights that need a longer one are rounded.
const maxSchedule = 1 << 12

func newRoundRobin(slots []slot) *roundRobin {
	r := &roundRobin{}
	r.next.Store(rand.Uint64N(1 << 16)) // pools that are made together do not begin with one endpoint
	turns, sum := make([]int, len(slots)), 0
	for i, s := range slots {
		turns[i] = int(s.weight)
	}
	if slices.Min(turns) == slices.Max(turns) || len(slots) > maxSchedule/2 {
		return r
	}
	for d := divisor(turns); sum == 0; {
		for i := range turns {
			turns[i] /= d
			sum += turns[i]
		}
	}
	if sum > maxSchedule {
		scale := float64(maxSchedule-len(slots)) / float64(sum)
		sum = 0
		for i := range turns {
			turns[i] = max(1, int(math.Round(float64(turns[i])*scale)))
			sum += turns[i]
		}
	}
	// Each turn goes to who is furthest behind its share.
	behind := make([]int, len(slots))
	for range sum {
		first := 0
		for i := range behind {
			if behind[i] += turns[i]; behind[i] > behind[first] {
				first = i
			}
		}
		behind[first] -= sum
		r.schedule = append(r.schedule, uint16(first))
	}
	return r
}

// divisor returns the greatest common divisor.
func divisor(of []int) int {
	d := 0
	for _, n := range of {
		for n != 0 {
			d, n = n, d%n
		}
	}
	return d
}

func (r *roundRobin) pick(l *level, p *Policy, now time.Duration, _ uint64) int {
	for range len(l.slots) {
		i := int(r.turn(len(l.slots)))
		if s := l.slots[i]; p.SlowStart <= 0 || s.warm(p, now) {
			return i
		}
	}
	return l.draw(p, now)
}

func (r *roundRobin) turn(slots int) uint64 {
	n := r.next.Add(1)
	if r.schedule == nil {
		return n % uint64(slots)
	}
	return uint64(r.schedule[n%uint64(len(r.schedule))])
}

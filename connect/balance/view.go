package balance

import (
	"math/rand/v2"
	"time"
)

// slot is an endpoint in a view.
type slot struct {
	*Endpoint
	weight float64
}

// view is the endpoints of a pool at one time. It does not change.
type view struct {
	policy Policy
	levels []level
	total  float64 // of the loads of all levels
	panics bool
}

// level is the endpoints that are equally far away and get traffic now.
type level struct {
	slots  []slot
	sums   []float64 // of the weights up to each slot, nil while all are equal
	load   float64   // its share of the traffic, of view.total
	picker picker
}

// picker chooses from a level by the policy's method. It is used by many goroutines.
type picker interface {
	pick(l *level, p *Policy, now time.Duration, hash uint64) int
}

// never is a moment that does not come.
const never = time.Duration(1<<63 - 1)

// newLevel prepares a level to be picked from.
func newLevel(p *Policy, slots []slot, load float64) level {
	l := level{slots: slots, load: load}
	for _, s := range slots[1:] {
		if s.weight == slots[0].weight {
			continue
		}
		sum := 0.0
		l.sums = make([]float64, len(slots))
		for i, s := range slots {
			sum += s.weight
			l.sums[i] = sum
		}
		break
	}
	switch p.Method {
	case LeastRequest:
		l.picker = leastRequest{}
	case RoundRobin:
		l.picker = newRoundRobin(slots)
	case Random:
		l.picker = random{}
	case RingHash:
		l.picker = newRing(slots, p.MinRing, p.MaxRing)
	case Maglev:
		l.picker = newMaglev(slots)
	default:
		l.picker = peakEWMA{}
	}
	return l
}

// choose returns the level of one request.
func (v *view) choose() *level {
	if len(v.levels) == 1 {
		return &v.levels[0]
	}
	at := rand.Float64() * v.total
	for i := range v.levels {
		if at -= v.levels[i].load; at < 0 {
			return &v.levels[i]
		}
	}
	return &v.levels[len(v.levels)-1]
}

// draw returns one at random, by weight. Those that are new are drawn the less often the newer they are.
func (l *level) draw(p *Policy, now time.Duration) int {
	if i := l.any(); p.SlowStart <= 0 || l.slots[i].warm(p, now) {
		return i
	}
	return l.any()
}

// warm is whether an endpoint takes what falls to it: one that is new does not always.
func (s slot) warm(p *Policy, now time.Duration) bool {
	if !s.warming.Load() {
		return true
	}
	age := now - s.added
	if age >= p.SlowStart {
		s.warming.Store(false)
		return true
	}
	return rand.Float64() <= max(float64(age)/float64(p.SlowStart), minShare)
}

// minShare is of its share what a new endpoint gets at least, so that it becomes warm.
const minShare = 0.1

func (l *level) any() int {
	if l.sums == nil {
		return rand.IntN(len(l.slots))
	}
	at := rand.Float64() * l.sums[len(l.sums)-1]
	lo, hi := 0, len(l.sums)-1
	for lo < hi {
		if mid := (lo + hi) / 2; l.sums[mid] > at {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// other returns another one than i at random, where there is one.
func (l *level) other(p *Policy, now time.Duration, i int) int {
	if len(l.slots) == 1 {
		return i
	}
	for range 4 {
		if j := l.draw(p, now); j != i {
			return j
		}
	}
	j := rand.IntN(len(l.slots) - 1)
	if j >= i {
		j++
	}
	return j
}

// score is how dear a request to the endpoint is.
func (s slot) score(p *Policy, now time.Duration) float64 {
	return s.cost.at(now, float64(p.Decay), p.FirstLatency) * s.load()
}

// load is how many requests it would have with one more, as one of weight 1 has them.
func (s slot) load() float64 { return 1 + float64(s.inflight.Load())/s.weight }

package balance

import "time"

// Budget bounds retries by how much else there is to do: a service that fails for everybody is not asked much more
// often for it, and one with few requests may still retry them.
// Source: https://linkerd.io/2/features/retries-and-timeouts (retry budgets)
type Budget struct {
	percent, floor int64
	window         window // kind 0: requests; 1: retries of them
}

// NewBudget allows retries of percent of the requests of the last ten seconds, and perSecond more a second.
func NewBudget(percent, perSecond int) *Budget {
	b := &Budget{percent: int64(percent), floor: int64(perSecond) * budgetSpan}
	b.window.span = budgetSpan * time.Second
	return b
}

// budgetSpan is in seconds.
const budgetSpan = 10

// Request counts a request that is no retry.
func (b *Budget) Request(now time.Duration) { b.window.add(now, 0) }

// Retry counts a retry and reports whether it may be made; if not it is not counted.
func (b *Budget) Retry(now time.Duration) bool {
	if n := b.window.sum(now); n[1] >= n[0]*b.percent/100+b.floor {
		return false
	}
	b.window.add(now, 1)
	return true
}

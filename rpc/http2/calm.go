package http2

import "time"

// calm bounds how much a peer may make us do that leads to nothing: pings, settings, priorities, resets, frames without
// data. What is of use earns more of it.
type calm struct {
	left int
	last time.Time
}

const (
	calmBurst = 2000
	calmRate  = 200 // a second
	calmMost  = 20000
)

func (a *calm) begin(now time.Time) { a.left, a.last = calmBurst, now }

// spend takes n. It reports whether that is too much.
func (a *calm) spend(n int) bool {
	if a.left -= n; a.left >= 0 {
		return false
	}
	now := time.Now()
	more := int(now.Sub(a.last) * calmRate / time.Second)
	if more > 0 {
		a.left, a.last = min(a.left+more, calmBurst), now
	}
	return a.left < 0
}

func (a *calm) earn(n int) { a.left = min(a.left+n, calmMost) }

package check

import (
	"math"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// A check that keeps changing its state is held at the worst one it was in, so that its changes do not
// wake everybody who watches its service. Each change adds one to a penalty, which halves in each half-life;
// from holdAt on the check is held, until the penalty has come down to freeAt.
// Source: RFC 2439 (BGP route flap damping), with one kind of change.
const (
	holdAt     = 6
	freeAt     = 2
	maxPenalty = 12 // so that a check which has settled is free after less than three half-lives
)

// damper counts the changes of one check.
type damper struct {
	halfLife time.Duration // 0 damps nothing
	penalty  float64
	at       time.Time      // when the penalty was that
	last     catalog.Status // result
	held     catalog.Status // what the check is held at, "" when it is free
}

// add takes a result and returns the state of the check.
func (d *damper) add(result catalog.Status, now time.Time) catalog.Status {
	if d.halfLife <= 0 {
		return result
	}
	d.penalty *= math.Exp2(-float64(now.Sub(d.at)) / float64(d.halfLife))
	d.at = now
	if result != d.last {
		d.last = result
		d.penalty = min(d.penalty+1, maxPenalty)
	}
	switch {
	case d.held == "" && d.penalty >= holdAt:
		d.held = result
	case d.held != "" && d.penalty <= freeAt:
		d.held = ""
	}
	if d.held == "" {
		return result
	}
	d.held = catalog.Aggregate([]*catalog.Check{{Status: d.held}, {Status: result}})
	return d.held
}

// heldOutput tells in a held check's output that it is, and what the last result was.
func heldOutput(result catalog.Status, output string) string {
	return "Held at its worst state because it keeps changing; the last result is " + string(result) + ". " + output
}

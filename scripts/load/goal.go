//go:build linux

package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/curia-mesh/curia/scripts/report"
)

// goal is what PERFORMANCE asks of a row of requests.
type goal struct {
	text   string
	ratio  float64  // of our rate to the best of these peers', 0 asks nothing
	of     []string // their names
	cpu    float64  // µs of server CPU per operation at most, 0 asks nothing
	rising string   // a row that the rate has to exceed: load must not slow the server down
}

// verdict compares our figure with the goal: "yes", "no: " and what is short, or "-" when a peer is missing.
func (g goal) verdict(ours figure, peers map[string]figure, rows map[string]figure) string {
	if !ours.known() {
		return "-"
	}
	var misses []string
	best, missing := 0.0, false
	for _, name := range g.of {
		best = max(best, peers[name].rate)
		missing = missing || !peers[name].known()
	}
	if best > 0 && ours.rate < g.ratio*best {
		misses = append(misses, fmt.Sprintf("%.2f× of %.2f×", math.Floor(ours.rate/best*100)/100, g.ratio))
	}
	if g.cpu > 0 && micros(ours.cpu) > g.cpu {
		misses = append(misses, fmt.Sprintf("%s µs of %s", report.Short(micros(ours.cpu)), report.Short(g.cpu)))
	}
	if other := rows[g.rising]; g.rising != "" {
		missing = missing || !other.known()
		if ours.rate <= other.rate {
			misses = append(misses, "does not rise with load")
		}
	}
	if ours.failures > 0 {
		misses = append(misses, fmt.Sprintf("%d failures (%s)", ours.failures, ours.reason))
	}
	switch {
	case len(misses) > 0:
		return "no: " + strings.Join(misses, ", ")
	case missing:
		return "-"
	}
	return "yes"
}

// event is a row about one quantity that is no rate of requests.
type event struct {
	what, unit string
	runs       []float64
	consul     string  // its recorded cell
	recorded   float64 // the same as a number, 0 when there is none
	most       float64 // what the goal allows, 0 asks nothing
	least      float64 // what the goal demands, 0 asks nothing
	goal       string
}

func (e event) value() float64 { return report.Median(e.runs) }

func (e event) verdict() string {
	switch v := e.value(); {
	case len(e.runs) == 0 || e.most == 0 && e.least == 0:
		return "-"
	case e.most > 0 && v > e.most, e.least > 0 && v < e.least:
		return "no"
	}
	return "yes"
}

// better is how many times better we are than a peer that shows v; 0 when either is unknown.
func (e event) better(v float64) float64 {
	switch ours := e.value(); {
	case ours == 0 || v == 0:
		return 0
	case e.least > 0:
		return ours / v
	default:
		return v / ours
	}
}

// times prints a ratio.
func times(r float64) string {
	switch {
	case r == 0:
		return "-"
	case r < 10:
		return fmt.Sprintf("%.2f×", r)
	}
	return fmt.Sprintf("%.0f×", r)
}

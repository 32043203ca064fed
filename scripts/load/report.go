//go:build linux

package main

import "github.com/curia-mesh/curia/scripts/report"

// events writes a table of events; consul has what Consul showed in the same run, by what and unit.
func events(r report.Report, all []event, consul map[string]event) {
	var rows [][]string
	for _, e := range all {
		ours := "-"
		if len(e.runs) > 0 {
			ours = report.Short(e.value()) + " " + e.unit
		}
		theirs, v := recordedMark+e.consul, e.recorded
		if c, ok := consul[e.what]; ok && len(c.runs) > 0 {
			theirs, v = report.Short(c.value())+" "+e.unit, c.value()
		} else if e.consul == "" {
			theirs = "-"
		}
		rows = append(rows, []string{e.what, ours, theirs, times(e.better(v)), e.goal, e.verdict()})
	}
	r.Table([]string{"event", "Curia", "Consul", "× better", "goal", "met"}, rows)
}

// costs writes what the load generator took, see busy, and a warning when others took much; crowd is how
// many cores they took in each row.
func costs(r report.Report, head []string, rows [][]string, crowd []float64) {
	r.Line("\nThe load generator: µs of its own per operation, its share of one core (near 100 %% it is the limit, not the server); " +
		"share of one core that neither it nor the server used but others and the kernel:\n")
	r.Table(head, rows)
	if c := report.Median(crowd); c > 0.3 {
		r.Line("\n**The machine was busy**: others took %.0f %% of a core. Rates and latencies are worse than they would be; ratios and CPU "+
			"per operation hold better.", c*100)
	}
}

// recordedMark stands before figures that are not of this run.
const recordedMark = "rec. "

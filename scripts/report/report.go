//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// report is Markdown in the making.
type report struct{ out io.Writer }

func (r report) heading(s string)             { fmt.Fprintf(r.out, "\n## %s\n\n", s) }
func (r report) line(format string, a ...any) { fmt.Fprintf(r.out, format+"\n", a...) }

// table writes rows below their head in columns of even width, so that the text reads well as it is.
func (r report) table(head []string, rows [][]string) {
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(r.out, "| %s%s ", cell, strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(r.out, "|")
	}
	line(head)
	for _, w := range width {
		fmt.Fprint(r.out, "|", strings.Repeat("-", w+2))
	}
	fmt.Fprintln(r.out, "|")
	for _, row := range rows {
		line(row)
	}
}

// events writes a table of events; consul has what Consul showed in the same run, by what and unit.
func (r report) events(all []event, consul map[string]event) {
	var rows [][]string
	for _, e := range all {
		ours := "-"
		if len(e.runs) > 0 {
			ours = short(e.value()) + " " + e.unit
		}
		theirs, v := recordedMark+e.consul, e.recorded
		if c, ok := consul[e.what]; ok && len(c.runs) > 0 {
			theirs, v = short(c.value())+" "+e.unit, c.value()
		} else if e.consul == "" {
			theirs = "-"
		}
		rows = append(rows, []string{e.what, ours, theirs, times(e.better(v)), e.goal, e.verdict()})
	}
	r.table([]string{"event", "Curia", "Consul", "× better", "goal", "met"}, rows)
}

// generator writes what the load generator took, see busy, and a warning when others took much; crowd is how
// many cores they took in each row.
func (r report) generator(head []string, rows [][]string, crowd []float64) {
	r.line("\nThe load generator: µs of its own per operation, its share of one core (near 100 %% it is the limit, not the server); " +
		"share of one core that neither it nor the server used but others and the kernel:\n")
	r.table(head, rows)
	if c := median(crowd); c > 0.3 {
		r.line("\n**The machine was busy**: others took %.0f %% of a core. Rates and latencies are worse than they would be; ratios and CPU "+
			"per operation hold better.", c*100)
	}
}

// recordedMark stands before figures that are not of this run.
const recordedMark = "rec. "

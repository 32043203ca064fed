// Package report writes what scripts measured as Markdown that reads well as it is.
package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Report is Markdown in the making.
type Report struct{ Out io.Writer }

// Heading begins a section.
func (r Report) Heading(s string) { fmt.Fprintf(r.Out, "\n## %s\n\n", s) }

// Line writes one line.
func (r Report) Line(format string, a ...any) { fmt.Fprintf(r.Out, format+"\n", a...) }

// Table writes rows below their head in columns of even width.
func (r Report) Table(head []string, rows [][]string) {
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(r.Out, "| %s%s ", cell, strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(r.Out, "|")
	}
	line(head)
	for _, w := range width {
		fmt.Fprint(r.Out, "|", strings.Repeat("-", w+2))
	}
	fmt.Fprintln(r.Out, "|")
	for _, row := range rows {
		line(row)
	}
}

// Short prints a number with two or three digits that count.
func Short(v float64) string {
	switch {
	case v < 1:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Rank is the place, from 0, of the quantile q (0 to 1) among n sorted values, by the nearest rank: the first one that at least
// the share q of all does not exceed. n is at least 1.
func Rank(n int, q float64) int { return min(max(int(math.Ceil(q*float64(n))), 1), n) - 1 }

// Quantile returns the value at that place of sorted ones, zero of none.
func Quantile[T any](sorted []T, q float64) T {
	if len(sorted) == 0 {
		var zero T
		return zero
	}
	return sorted[Rank(len(sorted), q)]
}

// Median returns the quantile 0.5 of values in any order: of two in the middle the lower; zero of none.
func Median[T cmp.Ordered](values []T) T {
	return Quantile(slices.Sorted(slices.Values(values)), 0.5)
}

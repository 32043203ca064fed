package report_test

import (
	"testing"

	"github.com/curia-mesh/curia/scripts/report"
)

func TestQuantile(t *testing.T) {
	f := func(n int, q float64, want int) {
		t.Helper()
		var sorted []int
		for i := range n {
			sorted = append(sorted, i+1)
		}
		if got := report.Quantile(sorted, q); got != want {
			t.Errorf("quantile %v of 1 to %d: %d, want %d", q, n, got, want)
		}
	}
	f(4, 0.5, 2)
	f(4, 0.99, 4)
	f(4, 1, 4)
	f(4, 0.01, 1)
	f(4, 0, 1)
	f(5, 0.5, 3)
	f(100, 0.99, 99)
	f(101, 0.99, 100)
	f(1000, 0.999, 999)
	f(0, 0.5, 0)
	if got := report.Median([]int{3, 1, 2}); got != 2 {
		t.Errorf("the median of 3, 1 and 2 is %d", got)
	}
}

//go:build linux

package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// TestHistogramAgainstSorting holds every quantile to within a step of the exact one.
func TestHistogramAgainstSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, scale := range []int64{40, 100_000, 3_000_000_000, 1 << 62} {
		h, all := new(histogram), []time.Duration{}
		for range 5000 {
			d := time.Duration(r.Int64N(scale))
			h.record(d)
			all = append(all, d)
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.001, 0.5, 0.99, 1} {
			want, got := report.Quantile(all, q), h.quantile(q)
			if diff := (got - want).Abs(); diff > want/60+1 {
				t.Errorf("up to %d, quantile %v: got %d, want %d", scale, q, got, want)
			}
		}
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestVerdict(t *testing.T) {
	f := func(g goal, ours figure, peers map[string]figure, want string) {
		t.Helper()
		if got := g.verdict(ours, peers, map[string]figure{"one": {rate: 500}}); got != want {
			t.Errorf("%+v: got %q, want %q", g, got, want)
		}
	}
	ours := figure{rate: 1000, cpu: 50 * time.Microsecond}
	peers := map[string]figure{"a": {rate: 500}, "b": {rate: 800}}
	both := []string{"a", "b"}
	f(goal{ratio: 1.2, of: both, cpu: 50}, ours, peers, "yes")
	f(goal{ratio: 1.3, of: both, cpu: 49}, ours, peers, "no: 1.25× of 1.30×, 50.0 µs of 49.0")
	f(goal{ratio: 1, of: []string{"a", "c"}}, ours, peers, "-")
	f(goal{ratio: 3, of: []string{"a", "c"}}, ours, peers, "no: 2.00× of 3.00×")
	f(goal{rising: "one"}, ours, nil, "yes")
	f(goal{rising: "one"}, figure{rate: 400}, nil, "no: does not rise with load")
	f(goal{rising: "two"}, ours, nil, "-")
	f(goal{}, figure{rate: 9, failures: 1, reason: "500"}, nil, "no: 1 failures (500)")
	f(goal{}, figure{}, nil, "-")
}

func TestEvents(t *testing.T) {
	var b strings.Builder
	events(report.Report{Out: &b}, []event{
		{what: "time", unit: "ms", runs: []float64{90, 10, 20}, consul: "100 ms", recorded: 100, most: 20, goal: "≤ 20 ms"},
		{what: "rate", unit: "/s", runs: []float64{20}, consul: "10 /s", recorded: 10, least: 21, goal: "≥ 21"},
		{what: "not measured", most: 1},
	}, map[string]event{"rate": {unit: "/s", runs: []float64{5}}})
	want := `
| event        | Curia   | Consul      | × better | goal    | met |
|--------------|---------|-------------|----------|---------|-----|
| time         | 20.0 ms | rec. 100 ms | 5.00×    | ≤ 20 ms | yes |
| rate         | 20.0 /s | 5.0 /s      | 4.00×    | ≥ 21    | no  |
| not measured | -       | -           | -        |         | -   |
`
	if got := "\n" + b.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

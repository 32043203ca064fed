//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// halfTitle is the row of the latency at half of the load.
const halfTitle = "half load"

// benchHalfLoad sends all ways the same requests at the same steady rate: half of what the slowest of those that are
// compared reaches.
func (m *mesh) benchHalfLoad(ctx context.Context, r report.Report) error {
	if !m.wanted(halfTitle) {
		return nil
	}
	names := []string{"Curia", "HAProxy, HTTP/1", "HAProxy, HTTP/2", "nginx"}
	row := traffic{name: halfTitle, path: "/1k", conns: 50}
	rate := 0.0
	for _, name := range names {
		f, err := m.measure(ctx, row, name)
		if err != nil {
			return fmt.Errorf("%s over %s: %w", row.name, name, err)
		}
		if f.rate > 0 && (rate == 0 || f.rate < rate) {
			rate = f.rate
		}
	}
	rate /= 2
	halves, tails := map[string][]time.Duration{}, map[string][]time.Duration{}
	for run := range m.runs {
		for _, name := range names {
			h, err := m.pace(ctx, row, name, rate)
			if err != nil {
				return fmt.Errorf("%s over %s: %w", row.name, name, err)
			}
			if h == nil {
				continue
			}
			progress("%s, %s, run %d: p50 %s, p99 %s", row.name, name, run+1, millis(h.quantile(0.5)), millis(h.quantile(0.99)))
			halves[name], tails[name] = append(halves[name], h.quantile(0.5)), append(tails[name], h.quantile(0.99))
		}
	}
	var rows [][]string
	for _, name := range names {
		line := []string{name, "-", "-", "-"}
		if len(tails[name]) > 0 {
			line[1], line[2] = millis(report.Median(halves[name])), millis(report.Median(tails[name]))
			if name != "Curia" {
				line[3] = fmt.Sprintf("%.2f×", float64(report.Median(tails["Curia"]))/float64(report.Median(tails[name])))
			}
		}
		rows = append(rows, line)
	}
	r.Heading("Latency at half of the load")
	r.Line("HTTP/1.1, 1 KiB, %d connections, %.0f requests a second whether those before are answered or not; medians of %d runs. Goal: a p99 within 1.20× of HAProxy's.\n", row.conns, rate, m.runs)
	r.Table([]string{"way", "p50", "p99", "Curia's p99"}, rows)
	return nil
}

// pace sends requests over a way at a rate; nil where a program is missing.
func (m *mesh) pace(ctx context.Context, row traffic, name string, rate float64) (*histogram, error) {
	w, err := m.open(ctx, row, name)
	if w == nil || err != nil {
		return nil, err
	}
	defer w.stop()
	e, err := dial("tcp", w.at, row.conns, func(int) wire { return newHTTP1("GET", row.path, "") })
	if err != nil {
		return nil, err
	}
	defer e.close()
	if _, err := paced(ctx, e, rate, m.warm, new(histogram)); err != nil {
		return nil, err
	}
	h := new(histogram)
	if _, err := paced(ctx, e, rate, m.length, h); err != nil {
		return nil, err
	}
	if n := e.failures(); n > 0 {
		return nil, fmt.Errorf("%d answers failed: %s", n, e.reason())
	}
	return h, nil
}

//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// figure is what one run of a closed loop showed, or the median of several.
type figure struct {
	rate     float64       // answers per second
	p50, p99 time.Duration // from the request written to the answer read
	cpu      time.Duration // of the server, per answer
	own      time.Duration // of this program, per answer
	others   float64       // cores that neither of them used meanwhile but somebody else
	reason   string        // of one of the failures
	failures int           // answers that told of a failure, and datagrams without one
}

// known says whether there is a figure at all.
func (f figure) known() bool { return f.rate > 0 }

// micros is a duration in µs.
func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// String is a cell of the tables: operations/s (p50/p99 ms; server CPU µs per operation).
func (f figure) String() string {
	if !f.known() {
		return "-"
	}
	s := fmt.Sprintf("%.0f (%s/%s; %s)", f.rate, report.Short(micros(f.p50)/1e3), report.Short(micros(f.p99)/1e3), report.Short(micros(f.cpu)))
	if f.failures > 0 {
		s += fmt.Sprintf(" %d failed", f.failures)
	}
	return s
}

// loop keeps every connection at one request under way for a while, at most limit requests together, and
// returns how many were answered and in what time.
func loop(ctx context.Context, e *engine, length time.Duration, limit int, h *histogram) (int, time.Duration, error) {
	start := time.Now()
	if limit < len(e.conns) {
		return 0, 0, fmt.Errorf("a limit of %d requests is below one for each of %d connections", limit, len(e.conns))
	}
	end, sent, answers, last := start.Add(length), len(e.conns), 0, start
	if err := e.sendAll(); err != nil {
		return 0, 0, err
	}
	err := e.pump(ctx, func(c *conn, now time.Time) bool {
		h.record(now.Sub(c.sent))
		answers++
		last = now
		if sent >= limit || now.After(end) {
			return false
		}
		sent++
		return true
	})
	return answers, last.Sub(start), err
}

// running is what is measured: a process, or several that do one work.
type running interface {
	cpu() time.Duration
	gone() error
}

// mostRequests bounds one run whatever its length is.
const mostRequests = 5_000_000

// measure runs the loop once to warm up and once for the record. It closes the engine.
func measure(ctx context.Context, server running, e *engine, warm, length time.Duration) (figure, error) {
	defer e.close()
	if _, _, err := loop(ctx, e, warm, mostRequests, new(histogram)); err != nil {
		return figure{}, err
	}
	failed, theirs, own := e.failures(), server.cpu(), cpuOf(os.Getpid())
	h, idle, start := new(histogram), idleTime(), time.Now()
	n, took, err := loop(ctx, e, length, mostRequests, h)
	if err != nil {
		return figure{}, err
	}
	if gone := server.gone(); gone != nil {
		return figure{}, gone
	}
	theirs, own = server.cpu()-theirs, cpuOf(os.Getpid())-own
	wall := time.Since(start)
	others := wall*time.Duration(runtime.NumCPU()) - (idleTime() - idle) - theirs - own
	count := time.Duration(max(n, 1))
	return figure{
		rate: float64(n) / took.Seconds(), p50: h.quantile(0.5), p99: h.quantile(0.99), failures: e.failures() - failed, reason: e.reason(),
		cpu: theirs / count, own: own / count, others: max(0, float64(others)/float64(wall)),
	}, nil
}

// medianOf takes the median of each quantity by itself, and the sum of the failures.
func medianOf(runs []figure) figure {
	if len(runs) == 0 {
		return figure{}
	}
	f := figure{
		rate: report.Median(pick(runs, func(f figure) float64 { return f.rate })),
		p50:  report.Median(pick(runs, func(f figure) time.Duration { return f.p50 })),
		p99:  report.Median(pick(runs, func(f figure) time.Duration { return f.p99 })),
		cpu:  report.Median(pick(runs, func(f figure) time.Duration { return f.cpu })),
		own:  report.Median(pick(runs, func(f figure) time.Duration { return f.own })),

		others: report.Median(pick(runs, func(f figure) float64 { return f.others })),
	}
	for _, r := range runs {
		f.failures += r.failures
		f.reason = cmp.Or(f.reason, r.reason)
	}
	return f
}

func pick[T any](runs []figure, quantity func(figure) T) []T {
	var all []T
	for _, r := range runs {
		all = append(all, quantity(r))
	}
	return all
}

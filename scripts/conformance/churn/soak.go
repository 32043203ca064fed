//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// Goals of P6, which a run of less than an hour says little about: how much a process may grow, in MiB an hour, and by what share the
// number of its goroutines and files.
const (
	growsBy   = 1.0
	flat      = 0.1
	soakFloor = time.Hour
)

const (
	sampleEvery = 5 * time.Second
	changeEvery = 500 * time.Millisecond // while the mesh soaks
	leaveEvery  = 30 * time.Second
	rotateEvery = 5 * time.Minute
)

// sample is what a process has at a time.
type sample struct {
	at                     time.Duration
	rss, goroutines, files float64 // rss in MiB
}

// process is one that soaks.
type process struct {
	what    string
	pid     int
	count   func(context.Context) (int, error) // its goroutines
	samples []sample
}

// soak goes on with all changes at a slow pace, and watches the node's agent and the proxy of its sidecars.
func (c *changes) soak(ctx context.Context) error {
	if c.size.soak == 0 {
		return nil
	}
	var status struct{ Process struct{ Pid int } }
	if err := c.get(ctx, c.client, "/v1/agent/connect/proxy/status", &status); err != nil {
		return err
	}
	c.soaked = []*process{
		{what: "the agent", pid: c.client.cmd.Process.Pid, count: c.goroutines(c.client.http + "/v1/agent/metrics?format=prometheus")},
		{what: "the proxy of its sidecars", pid: status.Process.Pid, count: c.goroutines(c.metrics + "/metrics")},
	}
	begun := time.Now()
	next := map[time.Duration]time.Duration{leaveEvery: leaveEvery, rotateEvery: rotateEvery, sampleEvery: 0}
	due := func(every time.Duration) bool {
		at := time.Since(begun)
		if at < next[every] {
			return false
		}
		next[every] += every
		return true
	}
	progress("the mesh soaks for %s", c.size.soak)
	for n := 0; time.Since(begun) < c.size.soak && ctx.Err() == nil; n++ {
		if due(sampleEvery) {
			for _, p := range c.soaked {
				if err := p.take(ctx, time.Since(begun)); err != nil {
					return fmt.Errorf("%s: %w", p.what, err)
				}
			}
		}
		if err := c.entry(ctx); err != nil {
			return err
		}
		if due(leaveEvery) {
			if err := c.restart(ctx, c.apps[n%len(c.apps)]); err != nil {
				return err
			}
		}
		if due(rotateEvery) {
			if err := c.rotation(ctx); err != nil {
				return err
			}
		}
		pause(ctx, changeEvery)
	}
	return ctx.Err()
}

// goroutines counts those of a process that tells its metrics at an address.
func (m *mesh) goroutines(at string) func(context.Context) (int, error) {
	return func(ctx context.Context) (n int, err error) {
		if err = m.metric(ctx, at, "go_goroutines", func(_ string, value int) { n = value }); err == nil && n == 0 {
			err = fmt.Errorf("no go_goroutines at %s", at)
		}
		return n, err
	}
}

// take takes a sample.
func (p *process) take(ctx context.Context, at time.Duration) error {
	dir := filepath.Join("/proc", strconv.Itoa(p.pid))
	text, err := os.ReadFile(filepath.Join(dir, "statm"))
	if err != nil {
		return err
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return err
	}
	n, err := p.count(ctx)
	if err != nil {
		return err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return fmt.Errorf("statm says %q", text)
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return err
	}
	p.samples = append(p.samples, sample{at, float64(pages*os.Getpagesize()) / (1 << 20), float64(n), float64(len(files))})
	return nil
}

// warm are the samples after the first quarter of the time, in which caches fill.
func (p *process) warm() []sample { return p.samples[len(p.samples)/4:] }

// slope is by how much a value grows in an hour: the line of which the squares of the distances are least.
func slope(all []sample, of func(sample) float64) float64 {
	var n, x, y, xx, xy float64
	for _, s := range all {
		h := s.at.Hours()
		n, x, y, xx, xy = n+1, x+h, y+of(s), xx+h*h, xy+h*of(s)
	}
	if d := n*xx - x*x; d > 0 {
		return (n*xy - x*y) / d
	}
	return 0
}

// quarters are the medians of the first and the last quarter of some samples.
func quarters(all []sample, of func(sample) float64) (first, last float64) {
	middle := func(part []sample) float64 {
		var values []float64
		for _, s := range part {
			values = append(values, of(s))
		}
		return report.Median(values)
	}
	n := max(len(all)/4, 1)
	return middle(all[:n]), middle(all[len(all)-n:])
}

// soaked reports what was seen of a process in so long a time.
func (r *results) soaked(p *process, long time.Duration) {
	short := long < soakFloor
	goal := func(s string) string {
		if short {
			return s + fmt.Sprint(" in ", soakFloor, " or more")
		}
		return s
	}
	all := p.warm()
	grows := slope(all, func(s sample) float64 { return s.rss })
	r.check(short || grows < growsBy, fmt.Sprintf("P6 memory of %s, in %s", p.what, long), goal(fmt.Sprintf("< %+.0f MiB/h", growsBy)),
		"%+.2f MiB/h, %.1f MiB in the end", grows, all[len(all)-1].rss)
	for _, f := range []struct {
		what string
		of   func(sample) float64
	}{{"goroutines", func(s sample) float64 { return s.goroutines }}, {"open files", func(s sample) float64 { return s.files }}} {
		first, last := quarters(all, f.of)
		r.check(short || last <= first*(1+flat), fmt.Sprintf("P6 %s of %s", f.what, p.what), goal("flat"), "%.0f after warming up, %.0f in the end", first, last)
	}
}

//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// The mesh is measured as client → A → mTLS → B → application, all on this machine, so the rate is what all of them
// leave one another. What A and B cost is told in units of what the application costs in the same run, which is the
// same work in all of them: this cancels how slow the machine happens to be.

const meshDomain = "11111111-2222-3333-4444-555555555555.consul"

// way is a pair of hops in use.
type way struct {
	name string
	at   netip.AddrPort
	hops []*process
}

// traffic is a row of the table of the mesh.
type traffic struct {
	name  string
	path  string
	conns int
	tcp   bool
	goals map[string]float64 // by peer: how many times less than it A and B should cost
}

func traffics() []traffic {
	h1 := map[string]float64{"HAProxy, HTTP/1": 1.4, "HAProxy, HTTP/2": 1, "nginx": 1.4, "ReverseProxy": 3, "Caddy": 3}
	return []traffic{
		{"HTTP/1.1, 1 KiB, 50 connections", "/1k", 50, false, h1},
		{"HTTP/1.1, 1 KiB, 200 connections", "/1k", 200, false, h1},
		{"HTTP/1.1, 64 KiB, 50 connections", "/64k", 50, false, map[string]float64{"HAProxy, HTTP/1": 0.95}},
		{"TCP, 1 KiB, 50 connections", "/1k", 50, true, map[string]float64{"HAProxy, TCP": 0.95}},
	}
}

// meshFigure is what one run showed.
type meshFigure struct {
	rate     float64
	p50, p99 time.Duration
	hops     time.Duration // CPU of both, for each request
	app      time.Duration
	failures int
	reason   string
}

// units is what the hops cost in what the application costs.
func (f meshFigure) units() float64 { return float64(f.hops) / float64(max(f.app, 1)) }

func (f meshFigure) String() string {
	if f.rate == 0 {
		return "-"
	}
	s := fmt.Sprintf("%.2f (%.0f/s; %s/%s ms; %s µs)", f.units(), f.rate, report.Short(micros(f.p50)/1e3), report.Short(micros(f.p99)/1e3), report.Short(micros(f.hops)))
	if f.failures > 0 {
		s += fmt.Sprintf(" %d failed (%s)", f.failures, f.reason)
	}
	return s
}

// benchMesh measures all rows over all ways.
func benchMesh(ctx context.Context, r report.Report, o options) error {
	if o.nginx == "" {
		return fmt.Errorf("nginx is missing: it is the application")
	}
	r.Line("- peers: %s; %s; both with TLS of OpenSSL as packaged", peerVersion(ctx, "HAProxy", o.haproxy, "-v"), peerVersion(ctx, "nginx", o.nginx, "-v"))
	m, err := newMesh(o)
	if err != nil {
		return err
	}
	defer m.stop()
	if err := m.benchTraffic(ctx, r); err != nil {
		return err
	}
	if err := m.benchHalfLoad(ctx, r); err != nil {
		return err
	}
	if err := m.benchIdle(ctx, r); err != nil {
		return err
	}
	return benchNodeProxy(ctx, r, o)
}

// benchTraffic measures what the hops of each way cost.
func (m *mesh) benchTraffic(ctx context.Context, r report.Report) error {
	names := []string{"Curia", "HAProxy, HTTP/1", "HAProxy, HTTP/2", "HAProxy, TCP", "nginx", "ReverseProxy", "Caddy"}
	var table [][]string
	for _, row := range traffics() {
		if !m.wanted(row.name) {
			continue
		}
		runs := map[string][]meshFigure{}
		for run := range m.runs {
			for _, name := range append([]string{"direct"}, names...) {
				f, err := m.measure(ctx, row, name)
				if err != nil {
					return fmt.Errorf("%s over %s: %w", row.name, name, err)
				}
				if f.rate == 0 {
					continue
				}
				progress("%s, %s, run %d: %s", row.name, name, run+1, f)
				runs[name] = append(runs[name], f)
			}
		}
		got := map[string]meshFigure{}
		for name, all := range runs {
			got[name] = typical(all)
		}
		line := []string{row.name, fmt.Sprintf("%.0f/s", got["direct"].rate)}
		var met []string
		for _, name := range names {
			line = append(line, got[name].String())
			if want := row.goals[name]; want > 0 && got[name].rate > 0 && got["Curia"].rate > 0 {
				have := got[name].units() / got["Curia"].units()
				met = append(met, fmt.Sprintf("%s: %.2f× of %.2f×", name, have, want))
			}
		}
		table = append(table, append(line, strings.Join(met, "; ")))
	}
	if len(table) == 0 {
		return nil
	}
	r.Heading("Two hops with mTLS between them")
	r.Line("CPU of both hops for each request, in units of the application's (requests/s; p50/p99; µs of both hops)\n")
	r.Table(append(append([]string{"traffic", "direct"}, names...), "times less, of goal"), table)
	return nil
}

// typical is the run whose units are the median, the one whose rate is where there are none, with the failures of all.
func typical(all []meshFigure) meshFigure {
	slices.SortFunc(all, func(a, b meshFigure) int {
		return cmp.Or(cmp.Compare(a.units(), b.units()), cmp.Compare(a.rate, b.rate))
	})
	f := all[len(all)/2]
	f.failures = 0
	for _, other := range all {
		f.failures += other.failures
		f.reason = cmp.Or(f.reason, other.reason)
	}
	return f
}

// mesh is what all ways share.
type mesh struct {
	options
	app    *process
	appAt  netip.AddrPort
	root   string
	leaves map[string][2]string
	ways   map[string]*way
}

func newMesh(o options) (*mesh, error) {
	m := &mesh{options: o, leaves: map[string][2]string{}, ways: map[string]*way{}}
	if err := m.certificates(); err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	m.appAt = netip.AddrPortFrom(loopback, ports[0])
	for name, size := range map[string]int{"1k": 1 << 10, "64k": 64 << 10} {
		if err := os.WriteFile(filepath.Join(o.dir, name), bytes.Repeat([]byte("x"), size), 0o644); err != nil {
			return nil, err
		}
	}
	m.app, err = m.nginxProcess("app", fmt.Sprintf("server { listen %s; root %s; location = /1k { return 200 %q; } }", m.appAt, o.dir, strings.Repeat("x", 1<<10)))
	return m, err
}

func (m *mesh) stop() {
	for _, w := range m.ways {
		for _, p := range w.hops {
			p.stop()
		}
	}
	m.app.stop()
}

// measure measures a row over a way, which is started for it and stopped after it; nothing where a program is missing
// or the way is not for such traffic.
func (m *mesh) measure(ctx context.Context, row traffic, name string) (meshFigure, error) {
	w, err := m.open(ctx, row, name)
	if w == nil || err != nil {
		return meshFigure{}, err
	}
	defer w.stop()
	e, err := dial("tcp", w.at, row.conns, func(int) wire { return newHTTP1("GET", row.path, "") })
	if err != nil {
		return meshFigure{}, err
	}
	defer e.close()
	if _, _, err := loop(ctx, e, m.warm, mostRequests, new(histogram)); err != nil {
		return meshFigure{}, err
	}
	failed, app, hops, h := e.failures(), m.app.cpu(), w.cpu(), new(histogram)
	n, took, err := loop(ctx, e, m.length, mostRequests, h)
	if err != nil {
		return meshFigure{}, err
	}
	count := time.Duration(max(n, 1))
	return meshFigure{
		rate: float64(n) / took.Seconds(), p50: h.quantile(0.5), p99: h.quantile(0.99), failures: e.failures() - failed, reason: e.reason(),
		hops: (w.cpu() - hops) / count, app: (m.app.cpu() - app) / count,
	}, nil
}

func (w *way) cpu() (sum time.Duration) {
	for _, p := range w.hops {
		sum += p.cpu()
	}
	return sum
}

// await waits until a request passes all of the way.
func (w *way) await(ctx context.Context) error {
	var last error
	for range 250 {
		e, err := dial("tcp", w.at, 1, func(int) wire { return newHTTP1("GET", "/1k", "") })
		if err == nil {
			var n int
			n, _, err = loop(ctx, e, time.Millisecond, 1, new(histogram))
			failed := e.failures()
			e.close()
			if err == nil && n > 0 && failed == 0 {
				return nil
			}
		}
		last = err
		for _, p := range w.hops {
			if gone := p.gone(); gone != nil {
				return gone
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s passes nothing on: %v", w.name, last)
}

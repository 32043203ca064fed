//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

const (
	watched          = "bench-watch"
	watchedInstances = 10
	changes          = 3 // per server
)

// benchWatchers parks many blocking queries on one service, changes one of its instances, and looks at when
// the last of them is answered and what that costs.
func benchWatchers(ctx context.Context, r report.Report, o options) error {
	// Recorded: last answer and CPU per change of Consul, in the middle of its ranges; then ours to reach.
	sizes := []struct {
		n                        int
		last, cpu, rss           float64
		lastCell, cpuCell        string
		mostLast, mostCPU, mostK float64
	}{
		{1000, 230, 310, 35, "164 to 299 ms", "260 to 360 ms", 40, 40, 0},
		{5000, 1325, 2115, 35, "1066 to 1584 ms", "1640 to 2590 ms", 200, 200, 15},
	}
	var all []event
	consul := map[string]event{}
	for _, s := range sizes {
		name := fmt.Sprintf("%d watchers", s.n)
		if !o.wanted(name) {
			continue
		}
		for _, b := range agents(o) {
			set := []event{
				{what: name + ", one change: last answered", unit: "ms", consul: s.lastCell, recorded: s.last, most: s.mostLast,
					goal: fmt.Sprintf("≤ %.0f ms", s.mostLast)},
				{what: name + ", one change: server CPU", unit: "ms", consul: s.cpuCell, recorded: s.cpu, most: s.mostCPU,
					goal: fmt.Sprintf("≤ %.0f ms", s.mostCPU)},
				{what: name + ", one change: median answered", unit: "ms"},
				{what: name + ", RSS per parked watcher", unit: "KB"},
			}
			if s.mostK > 0 {
				set[3].consul, set[3].recorded, set[3].most, set[3].goal = "35 KB", s.rss, s.mostK, fmt.Sprintf("≤ %.0f KB", s.mostK)
			}
			for range o.runs {
				if err := watch(ctx, o, b, s.n, set, ""); err != nil {
					return fmt.Errorf("%s, %s: %w", name, b.name, err)
				}
			}
			if b.name == "Curia" {
				all = append(all, set...)
				if o.profiles != "" {
					if err := watch(ctx, o, b, s.n, make([]event, len(set)), o.profiles); err != nil {
						return err
					}
				}
			} else {
				for _, e := range set {
					consul[e.what] = e
				}
			}
		}
	}
	if len(all) > 0 {
		r.Heading(fmt.Sprintf("Watchers of one service of %d instances", watchedInstances))
		events(r, all, consul)
	}
	return nil
}

// program is a binary that speaks Consul's interface.
type program struct{ name, path string }

// agents are Curia and, where there is one, Consul.
func agents(o options) []program {
	all := []program{{"Curia", o.curia}}
	if o.consul != "" {
		all = append(all, program{"Consul", o.consul})
	}
	return all
}

// watch starts a server, parks n watchers and makes a few changes; it adds what it saw to the events.
func watch(ctx context.Context, o options, b program, n int, into []event, profiles string) error {
	a, err := newAgent(b.name, b.path, o.dir, true, profiles != "")
	if err != nil {
		return err
	}
	if err := a.up(ctx); err != nil {
		return err
	}
	defer a.stop()
	for i := 0; i < watchedInstances && err == nil; i++ {
		err = a.put(ctx, "/v1/catalog/register", instance(watched, i, 8080))
	}
	if err != nil {
		return err
	}
	index := 0
	path := "/v1/health/service/" + watched
	e, err := dial("tcp", a.http, n, func(int) wire {
		return newHTTP1("GET", path+"?wait=5m&index=##########", "", func(int) int { return index })
	})
	if err != nil {
		return err
	}
	defer e.close()
	e.patience = time.Minute
	a.settle(ctx, 5*time.Second)
	idle := a.rss()
	for change := range changes {
		head, _, err := a.call(ctx, "GET", path, "")
		if err != nil {
			return err
		}
		if index, err = strconv.Atoi(head.Get("X-Consul-Index")); err != nil {
			return fmt.Errorf("the index of %s: %w", path, err)
		}
		if err := e.sendAll(); err != nil {
			return err
		}
		a.settle(ctx, 10*time.Second)
		if change == 0 {
			into[3].runs = append(into[3].runs, float64(a.rss()-idle)/1e3/float64(n))
		}
		if profiles != "" {
			if err := saveProfile(ctx, a, "/debug/pprof/heap", profiles, fmt.Sprintf("%d watchers heap", n)); err != nil {
				return err
			}
		}
		if e.early() {
			return fmt.Errorf("a watcher was answered before anything changed (index %d)", index)
		}
		run := func() error { return oneChange(ctx, a, e, change, into) }
		if profiles == "" {
			err = run()
		} else {
			err = profiled(ctx, a, profiles, fmt.Sprintf("%d watchers %d", n, change+1), 2, run)
		}
		if err != nil {
			return err
		}
	}
	if f := e.failures(); f > 0 {
		return fmt.Errorf("%d of %d answers failed: %s", f, n*changes, e.reason())
	}
	return nil
}

// oneChange changes one instance and reads all the answers.
func oneChange(ctx context.Context, a *agent, e *engine, change int, into []event) error {
	cpu, start := a.cpu(), time.Now()
	registered := make(chan error, 1)
	go func() { registered <- a.put(ctx, "/v1/catalog/register", instance(watched, 0, 9000+change)) }() // ends with the answer
	var last time.Time
	h := new(histogram)
	err := e.pump(ctx, func(_ *conn, now time.Time) bool {
		h.record(now.Sub(start))
		last = now
		return false
	})
	if rerr := <-registered; err == nil {
		err = rerr
	}
	if err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond) // what the change still costs after the last answer
	spent := a.cpu() - cpu
	progress("%d watchers: last answered %s, server CPU %s", len(e.conns), last.Sub(start), spent)
	into[0].runs = append(into[0].runs, last.Sub(start).Seconds()*1e3)
	into[1].runs = append(into[1].runs, spent.Seconds()*1e3)
	into[2].runs = append(into[2].runs, h.quantile(0.5).Seconds()*1e3)
	return nil
}

//go:build linux

package main

import (
	"context"
	"os"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// benchLifecycle measures starts and rest.
func benchLifecycle(ctx context.Context, r report.Report, o options) error {
	if !o.wanted("start") && !o.wanted("idle") {
		return nil
	}
	var all []event
	consul := map[string]event{}
	for _, b := range agents(o) {
		set := []event{
			{what: "start to leader, -dev", unit: "ms", consul: "156 ms", recorded: 156, most: 80, goal: "≤ 80 ms"},
			{what: "start to leader, empty persistent server", unit: "ms", consul: "8.1 s", recorded: 8100, most: 400, goal: "≤ 400 ms"},
			{what: "start to the first write, the same server", unit: "ms"},
			{what: "idle: RSS", unit: "MB", consul: "98 MB", recorded: 98, most: 35, goal: "≤ 35 MB"},
			{what: "idle: CPU", unit: "% of a core", consul: "1.7 %", recorded: 1.7, most: 0.3, goal: "≤ 0.3 %"},
			{what: "binary", unit: "MB", consul: "184 MB", recorded: 184, most: 30, goal: "≤ 30 MB"},
		}
		info, err := os.Stat(b.path)
		if err != nil {
			return err
		}
		set[5].runs = []float64{float64(info.Size()) / 1e6}
		if err := starts(ctx, o, b, set); err != nil {
			return err
		}
		if err := idle(ctx, o, b, set); err != nil {
			return err
		}
		if b.name == "Curia" {
			all = set
			continue
		}
		for _, e := range set {
			consul[e.what] = e
		}
	}
	r.Heading("Start and idle")
	events(r, all, consul)
	return nil
}

// starts starts new servers, five for each row or as many as there are runs.
func starts(ctx context.Context, o options, b program, into []event) error {
	for i, persistent := range []bool{false, true} {
		for range max(5, o.runs) {
			a, err := newAgent(b.name, b.path, o.dir, persistent, false)
			if err != nil {
				return err
			}
			if err := a.launch(); err != nil {
				return err
			}
			led, err := a.leader(ctx)
			var wrote time.Duration
			if err == nil {
				wrote, err = a.firstWrite(ctx)
			}
			a.stop()
			if err != nil {
				return err
			}
			into[i].runs = append(into[i].runs, led.Seconds()*1e3)
			if persistent {
				into[2].runs = append(into[2].runs, wrote.Seconds()*1e3)
			}
		}
		progress("%s: %s: %s ms", into[i].what, b.name, report.Short(into[i].value()))
	}
	return nil
}

// idle looks at a persistent server that nobody asks anything.
func idle(ctx context.Context, o options, b program, into []event) error {
	a, err := newAgent(b.name, b.path, o.dir, true, false)
	if err != nil {
		return err
	}
	if err := a.up(ctx); err != nil {
		return err
	}
	defer a.stop()
	length := 10 * time.Second
	if o.quick {
		length = 4 * time.Second
	}
	for range o.runs + 1 { // the first is the end of the start
		before := a.cpu()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(length):
		}
		into[3].runs = append(into[3].runs, float64(a.rss())/1e6)
		into[4].runs = append(into[4].runs, float64(a.cpu()-before)/float64(length)*100)
	}
	into[3].runs, into[4].runs = into[3].runs[1:], into[4].runs[1:]
	progress("idle: %s: RSS %s MB, CPU %s %%", b.name, report.Short(into[3].value()), report.Short(into[4].value()))
	return a.gone()
}

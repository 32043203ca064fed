//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/scripts/report"
)

// memoryTitle is the rows of the memory.
const memoryTitle = "memory"

// idleConns is how many connections of clients stay without a request.
const idleConns = 5000

// benchIdle measures what a client's connection takes that was used and rests.
func (m *mesh) benchIdle(ctx context.Context, r report.Report) error {
	if !m.wanted(memoryTitle) {
		return nil
	}
	var rows [][]string
	for _, name := range []string{"Curia", "HAProxy, HTTP/1", "nginx"} {
		var runs []float64
		for range m.runs {
			kib, err := m.idleConn(ctx, name)
			if err != nil {
				return fmt.Errorf("memory of %s: %w", name, err)
			}
			if kib > 0 {
				runs = append(runs, kib)
			}
		}
		if len(runs) > 0 {
			progress("%s: an idle connection of a client takes %.1f KiB", name, report.Median(runs))
			rows = append(rows, []string{name, fmt.Sprintf("%.1f KiB", report.Median(runs))})
		}
	}
	r.Heading("Idle connections")
	r.Line("RSS of the hop of the client for each of %d connections that had one request, one after the other, and rest. Goal: ≤ 10 KiB.\n", idleConns)
	r.Table([]string{"way", "a connection"}, rows)
	return nil
}

func (m *mesh) idleConn(ctx context.Context, name string) (kib float64, err error) {
	w, err := m.open(ctx, traffic{path: "/1k"}, name)
	if w == nil || err != nil {
		return 0, err
	}
	defer w.stop()
	hop := w.hops[len(w.hops)-1]
	if !pause.For(ctx, rest) {
		return 0, ctx.Err()
	}
	before := hop.rss()
	for range idleConns {
		e, err := dial("tcp", w.at, 1, func(int) wire { return newHTTP1("GET", "/1k", "") })
		if err != nil {
			return 0, err
		}
		defer e.close() // after all
		if _, _, err := loop(ctx, e, 0, 1, new(histogram)); err != nil {
			return 0, err
		}
		if n := e.failures(); n > 0 {
			return 0, fmt.Errorf("an answer failed: %s", e.reason())
		}
	}
	if !pause.For(ctx, rest) {
		return 0, ctx.Err()
	}
	return float64(hop.rss()-before) / idleConns / 1024, nil
}

// rest is how long is waited before memory is looked at: by then a process has given back what it does not need.
const rest = 15 * time.Second

// pairs is how many sidecars, each with an upstream, are added to the first, and others how many services that they have
// nothing to do with.
const (
	pairs  = 100
	others = 10_000
)

// benchNodeProxy measures the memory of a node's proxy in a process of its own, as an agent starts it.
func benchNodeProxy(ctx context.Context, r report.Report, o options) error {
	if !o.wanted(memoryTitle) {
		return nil
	}
	set := []event{
		{what: "node's proxy with one sidecar and its upstream: RSS", unit: "MB", most: 25, goal: "≤ 25 MB"},
		{what: "each further sidecar with an upstream", unit: "KiB", most: 30, goal: "≤ 30 KiB"},
		{what: "more with 10,000 other services in the catalog", unit: "MB", most: 1, goal: "flat"},
	}
	for range o.runs {
		if err := nodeProxy(ctx, o, set); err != nil {
			return err
		}
	}
	r.Heading("The node's proxy")
	var rows [][]string
	for _, e := range set {
		rows = append(rows, []string{e.what, fmt.Sprintf("%s %s", report.Short(e.value()), e.unit), e.goal, e.verdict()})
	}
	r.Table([]string{"what", "Curia", "goal", "met"}, rows)
	return nil
}

func nodeProxy(ctx context.Context, o options, into []event) error {
	a, err := newAgent("mesh", o.curia, o.dir, true, false, map[string]any{"connect": map[string]any{"enabled": true, "proxy": "process"}})
	if err != nil {
		return err
	}
	if err := a.up(ctx); err != nil {
		return err
	}
	defer a.stop()
	ports, err := freePorts(2 * (pairs + 1))
	if err != nil {
		return err
	}
	declare := func(from, to int) error {
		for i := from; i < to; i++ {
			if err := a.put(ctx, "/v1/agent/service/register", fmt.Sprintf(`{"Name":"web-%d","Port":1,"Connect":{"SidecarService":{"Port":%d,"Proxy":{"Upstreams":[{"DestinationName":"web-0","LocalBindPort":%d}]}}}}`,
				i, ports[2*i], ports[2*i+1])); err != nil {
				return err
			}
		}
		return nil
	}
	proxy := 0
	defer func() { // it outlives its agent
		if proxy > 0 {
			syscall.Kill(proxy, syscall.SIGTERM)
		}
	}()
	look := func(sidecars int) (float64, error) {
		var err error
		if proxy, err = a.nodeProxy(ctx, 2*sidecars); err != nil {
			return 0, err
		}
		if !pause.For(ctx, rest) {
			return 0, ctx.Err()
		}
		return float64(rssOf(proxy)), nil
	}
	var seen [3]float64
	for i, step := range []func() error{
		func() error { return declare(0, 1) },
		func() error { return declare(1, pairs+1) },
		func() error { _, err := send(ctx, a, otherServices()); return err },
	} {
		if err := step(); err != nil {
			return err
		}
		if seen[i], err = look([]int{1, pairs + 1, pairs + 1}[i]); err != nil {
			return err
		}
	}
	into[0].runs = append(into[0].runs, seen[0]/1e6)
	into[1].runs = append(into[1].runs, (seen[1]-seen[0])/pairs/1024)
	into[2].runs = append(into[2].runs, (seen[2]-seen[1])/1e6)
	progress("the node's proxy: %.1f MB, with %d sidecars more %.1f MB, with %d other services %.1f MB", seen[0]/1e6, pairs, seen[1]/1e6, others, seen[2]/1e6)
	return a.gone()
}

// nodeProxy waits until the proxy's process has so many listeners open, and no others, and returns its id.
func (a *agent) nodeProxy(ctx context.Context, listeners int) (pid int, err error) {
	_, err = a.await(ctx, "the node's proxy", func(ctx context.Context) (bool, error) {
		text, err := a.get(ctx, "/v1/agent/connect/proxy/status")
		if err != nil {
			return false, err
		}
		var status struct {
			Synced    bool
			Process   *struct{ Pid int }
			Listeners []struct{ Open bool }
		}
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			return false, err
		}
		open := 0
		for _, l := range status.Listeners {
			if l.Open {
				open++
			}
		}
		if status.Process == nil || !status.Synced || open != listeners {
			return false, fmt.Errorf("the proxy has %d of %d listeners open", open, listeners)
		}
		pid = status.Process.Pid
		return true, nil
	})
	return pid, err
}

// otherServices are the requests that register services on another node.
func otherServices() [][]byte {
	ops := []string{`{"Node":{"Verb":"set","Node":{"Node":"other","Address":"10.0.0.1"}}}`}
	for i := range others {
		ops = append(ops, fmt.Sprintf(`{"Service":{"Verb":"set","Node":"other","Service":{"ID":"other-%d","Service":"other-%d","Port":%d}}}`, i, i, 20_000+i))
	}
	return txnRequests(ops)
}

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

const (
	nodes        = 10_000
	perNode      = 5
	services     = 500
	perService   = nodes * perNode / services
	opsPerTxn    = 64
	catalogTitle = "10,000 nodes × 5 services"
)

// benchCatalog fills a server with 50,000 instances, reads them, saves them and starts the server again.
func benchCatalog(ctx context.Context, r report.Report, o options) error {
	if !o.wanted(catalogTitle) {
		return nil
	}
	requests := transactions()
	var all []event
	consul := map[string]event{}
	for _, b := range agents(o) {
		set := []event{
			{what: "registered by txn, one client", unit: "instances/s", consul: "4055 instances/s", recorded: 4055, least: 3 * 4055, goal: "3×"},
			{what: "server CPU per instance", unit: "µs"},
			{what: "RSS after", unit: "MB", consul: "608 MB", recorded: 608, most: 150, goal: "≤ 150 MB"},
			{what: "RSS under reads", unit: "MB", consul: "952 MB", recorded: 952, most: 150, goal: "≤ 150 MB"},
			{what: "reads of it, 100 of 50,000 instances, 16 clients", unit: "/s"},
			{what: "snapshot saved", unit: "s", consul: "1.8 s", recorded: 1.8, most: 0.5, goal: "≤ 0.5 s"},
			{what: "its size", unit: "MB"},
			{what: "restart to the first consistent read", unit: "s", consul: "24 to 37 s", recorded: 30, most: 2, goal: "≤ 2 s"},
			{what: "RSS after the restart", unit: "MB"},
		}
		for range o.runs {
			if err := fill(ctx, o, b, requests, set, ""); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
		}
		if b.name == "Curia" {
			all = set
			if o.profiles == "" {
				continue
			}
			if err := fill(ctx, o, b, requests, make([]event, len(set)), o.profiles); err != nil {
				return err
			}
			continue
		}
		for _, e := range set {
			consul[e.what] = e
		}
	}
	r.Heading(fmt.Sprintf("%s by txn, %d operations each", catalogTitle, opsPerTxn))
	events(r, all, consul)
	return nil
}

// fill is one run: a server of its own, filled, read, saved and started again. One that saves profiles ends
// when it is read.
func fill(ctx context.Context, o options, b program, requests [][]byte, into []event, profiles string) error {
	a, err := newAgent(b.name, b.path, o.dir, true, profiles != "")
	if err != nil {
		return err
	}
	if err := a.up(ctx); err != nil {
		return err
	}
	defer func() { a.stop() }() // the process that runs then
	add := func(i int, v float64) {
		into[i].runs = append(into[i].runs, v)
		if profiles != "" {
			return // a run that is slowed down counts for nothing
		}
		progress("%s, %s: %s: %s %s", catalogTitle, b.name, into[i].what, report.Short(v), into[i].unit)
	}
	cpu := a.cpu()
	var took time.Duration
	register := func() error { took, err = send(ctx, a, requests); return err }
	if profiles == "" {
		err = register()
	} else {
		err = profiled(ctx, a, profiles, "catalog by txn", 4, register)
	}
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	add(0, nodes*perNode/took.Seconds())
	add(1, micros(a.cpu()-cpu)/(nodes*perNode))
	if err := complete(ctx, a); err != nil {
		return err
	}
	a.settle(ctx, 5*time.Second)
	add(2, float64(a.rss())/1e6)
	if profiles != "" {
		if err := saveProfile(ctx, a, "/debug/pprof/heap", profiles, "catalog heap"); err != nil {
			return err
		}
	}
	if err := readAll(ctx, o, a, add); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if profiles != "" {
		return saveProfile(ctx, a, "/debug/pprof/heap", profiles, "catalog heap after reads")
	}
	start := time.Now()
	size, err := saveSnapshot(ctx, a)
	if err != nil {
		return fmt.Errorf("save a snapshot: %w", err)
	}
	add(5, time.Since(start).Seconds())
	add(6, float64(size)/1e6)
	a.stop()
	if err := a.launch(); err != nil {
		return err
	}
	ready, err := a.await(ctx, "a consistent read", func(ctx context.Context) (bool, error) {
		body, err := a.get(ctx, "/v1/health/service/"+serviceName(0)+"?consistent")
		return entries(body) == perService, err
	})
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	add(7, ready.Seconds())
	a.settle(ctx, 5*time.Second)
	add(8, float64(a.rss())/1e6)
	return complete(ctx, a)
}

// send sends each request once, one after the other, and returns the time that all took.
func send(ctx context.Context, a *agent, requests [][]byte) (time.Duration, error) {
	next := 0
	w := &http1{source: func() []byte { next++; return requests[next-1] }}
	e, err := dial("tcp", a.http, 1, func(int) wire { return w })
	if err != nil {
		return 0, err
	}
	defer e.close()
	_, took, err := loop(ctx, e, 10*time.Minute, len(requests), new(histogram))
	if err == nil && (w.failed > 0 || next < len(requests)) {
		err = fmt.Errorf("%d of %d transactions sent, %d failed: %s", next, len(requests), w.failed, w.why)
	}
	return took, err
}

// transactions are the requests that register every node and its services, in an order where a service
// comes after its node.
func transactions() [][]byte {
	var ops []string
	for n := range nodes {
		node := fmt.Sprintf("node-%05d", n)
		address := fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)
		ops = append(ops, fmt.Sprintf(`{"Node":{"Verb":"set","Node":{"ID":"00000000-0000-4000-9000-%012x","Node":%q,"Address":%q}}}`, n, node, address))
		for s := range perNode {
			name := serviceName((n*perNode + s) % services)
			ops = append(ops, fmt.Sprintf(`{"Service":{"Verb":"set","Node":%q,"Service":{"ID":"%s-%d","Service":%q,"Address":%q,"Port":%d}}}`,
				node, name, s, name, address, 20_000+s))
		}
	}
	return txnRequests(ops)
}

// txnRequests are those that do operations in their order.
func txnRequests(ops []string) (requests [][]byte) {
	for len(ops) > 0 {
		n := min(opsPerTxn, len(ops))
		requests = append(requests, newHTTP1("PUT", "/v1/txn", "["+strings.Join(ops[:n], ",")+"]").next())
		ops = ops[n:]
	}
	return requests
}

func serviceName(i int) string { return fmt.Sprintf("service-%04d", i) }

// complete looks at the first and the last service for all their instances.
func complete(ctx context.Context, a *agent) error {
	for _, i := range []int{0, services - 1} {
		body, err := a.get(ctx, "/v1/health/service/"+serviceName(i)+"?consistent")
		if err != nil {
			return err
		}
		if n := entries(body); n != perService {
			return fmt.Errorf("%s has %d instances, %d were registered", serviceName(i), n, perService)
		}
	}
	return nil
}

func entries(body string) int {
	var list []json.RawMessage
	if json.Unmarshal([]byte(body), &list) != nil {
		return -1
	}
	return len(list)
}

// readAll reads service after service and looks at the memory meanwhile.
func readAll(ctx context.Context, o options, a *agent, add func(int, float64)) error {
	const clients = 16
	e, err := dial("tcp", a.http, clients, func(i int) wire {
		return newHTTP1("GET", "/v1/health/service/service-####", "", among(services, i, clients))
	})
	if err != nil {
		return err
	}
	stop, most := make(chan struct{}), make(chan int)
	go func() { // ends with the reads
		peak := 0
		for {
			peak = max(peak, a.rss())
			select {
			case <-stop:
				most <- peak
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	f, err := measure(ctx, a.process, e, o.warm, o.length)
	close(stop)
	peak := <-most
	if err != nil {
		return err
	}
	if f.failures > 0 {
		return fmt.Errorf("%d answers failed: %s", f.failures, f.reason)
	}
	add(3, float64(peak)/1e6)
	add(4, f.rate)
	progress("%s: reads: %s, generator %s", catalogTitle, f, busy(f))
	return nil
}

// saveSnapshot reads a snapshot to its end and returns its size.
func saveSnapshot(ctx context.Context, a *agent) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+a.http.String()+"/v1/snapshot", nil)
	if err != nil {
		return 0, err
	}
	answer, err := a.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	size, err := io.Copy(io.Discard, io.LimitReader(answer.Body, 4<<30))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET /v1/snapshot: %s", answer.Status)
	}
	return size, err
}

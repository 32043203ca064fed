//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// farRead compares what a read takes at a server with what the same takes of another datacenter through it.
func farRead(ctx context.Context, r *run) error {
	home, far := r.world.dcs[0], r.world.dcs[1]
	for _, c := range []*cluster{home, far} {
		if _, err := c.api.ask(ctx, c.servers[0], "PUT", "/v1/kv/near", []byte("x")); err != nil {
			return err
		}
		for _, s := range c.servers {
			if err := eventually(ctx, settled, func(ctx context.Context) error {
				_, err := c.api.ask(ctx, s, "GET", "/v1/kv/near?stale", nil)
				return err
			}); err != nil {
				return err
			}
		}
	}
	n := 300
	if r.long {
		n = 3000
	}
	for _, mode := range []string{"stale", "default", "consistent"} {
		near, there := &calls{what: "at home"}, &calls{what: "there"}
		ask := func(k *calls, dc *cluster) {
			k.do(ctx, wait, func(ctx context.Context) (string, error) {
				_, err := home.api.ask(ctx, home.servers[0], "GET", "/v1/kv/near?dc="+dc.dc.Name+"&"+mode, nil)
				return "", err
			})
		}
		for range n {
			ask(near, home)
			ask(there, far)
		}
		if near.failed+there.failed > 0 {
			return fmt.Errorf("reads failed: %w", errors.Join(near.first, there.first))
		}
		adds := report.Quantile(there.sorted(), 0.5) - report.Quantile(near.sorted(), 0.5)
		r.figure(adds <= roundTrip+2*time.Millisecond, mode+" read of another datacenter adds at p50", fmt.Sprintf("≤ %s", roundTrip+2*time.Millisecond),
			"%s of %d: p50 %s and %s, p99 %s and %s", tenth(adds), n, tenth(report.Quantile(near.sorted(), 0.5)), tenth(report.Quantile(there.sorted(), 0.5)),
			tenth(report.Quantile(near.sorted(), 0.99)), tenth(report.Quantile(there.sorted(), 0.99)))
	}
	return nil
}

func tenth(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }

// parked is how many wait in farWait, for so many different things.
const parked, different = 10_000, 5

// farWait has 10,000 wait at one server for changes of five services of another datacenter, and counts what crosses the link.
func farWait(ctx context.Context, r *run) error {
	home, far := r.world.dcs[0], r.world.dcs[1]
	s := home.servers[0]
	register := func(ctx context.Context, port int) error {
		for i := range different {
			var ok bool
			body := map[string]any{"Node": "parked", "Address": "192.0.2.9", "Service": map[string]any{"Service": fmt.Sprint("parked-", i), "Port": port}}
			if err := far.api.json(ctx, far.servers[0], "PUT", "/v1/catalog/register", body, &ok); err != nil {
				return err
			}
		}
		return nil
	}
	if err := register(ctx, 1); err != nil {
		return err
	}
	w := &waiters{r: r, home: home, far: far.dc.Name, at: s, next: make([]string, different)}
	for i := range different {
		a, err := w.ask(ctx, i, "")
		if err != nil {
			return err
		}
		w.next[i] = a.header.Get("X-Consul-Index")
	}
	before, err := home.crossed(ctx, s, far)
	if err != nil {
		return err
	}
	all, stop := context.WithCancel(ctx)
	defer stop()
	start := time.Now()
	for i := range parked {
		w.wg.Go(func() { w.wait(all, i%different) })
		if i%100 == 99 {
			pause(ctx, 400*time.Millisecond) // the lab carries their packets itself, and makes a thread for each connection
		}
	}
	if err := eventually(ctx, 4*settled, w.allAsked); err != nil {
		return err
	}
	parkedAt := time.Since(start)
	pause(ctx, time.Second) // what was sent last has come then
	after, err := home.crossed(ctx, s, far)
	if err != nil {
		return err
	}
	r.check(after-before <= different, fmt.Sprintf("queries that cross the link when %d wait at a server for %d services there", parked, different), fmt.Sprintf("≤ %d", different),
		"%d; all had come after %s", after-before, short(parkedAt))
	changed := time.Now()
	if err := register(ctx, 2); err != nil {
		return err
	}
	w.wg.Wait()
	answered := time.Since(changed)
	last, err := home.crossed(ctx, s, far)
	if err != nil {
		return err
	}
	r.check(w.failed == 0, "of those who wait are told of a change", fmt.Sprint(parked), "%d, the last after %s%s", parked-w.failed, short(answered), because(w.first))
	r.check(last-after <= 4*different, "queries that crossed the link for that", fmt.Sprintf("≤ %d", 4*different), "%d", last-after)
	return nil
}

// waiters wait for services of another datacenter.
type waiters struct {
	r    *run
	home *cluster
	far  string
	at   *server
	next []string // the index of each service
	wg   sync.WaitGroup

	asked  atomic.Int64
	mu     sync.Mutex
	failed int
	first  error
}

// ask asks for a service, or waits for its next change.
func (w *waiters) ask(ctx context.Context, i int, index string) (answer, error) {
	path := fmt.Sprintf("/v1/health/service/parked-%d?dc=%s", i, w.far)
	if index != "" {
		path += "&wait=5m&index=" + index
	}
	a, err := w.home.api.do(ctx, w.at, "GET", path, nil)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("status %d: %.200s", a.status, a.body)
	}
	return a, err
}

func (w *waiters) wait(ctx context.Context, i int) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { w.asked.Add(1) }})
	a, err := w.ask(ctx, i, w.next[i])
	if err == nil && a.header.Get("X-Consul-Index") == w.next[i] {
		err = fmt.Errorf("nothing has changed")
	}
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.failed++; w.first == nil {
			w.first = err
		}
	}
}

// allAsked says whether all have sent what they ask.
func (w *waiters) allAsked(context.Context) error {
	if n := w.asked.Load(); n < parked {
		return fmt.Errorf("%d of %d have asked", n, parked)
	}
	return nil
}

// crossed is how many queries a server has sent to a datacenter.
func (c *cluster) crossed(ctx context.Context, s *server, to *cluster) (int, error) {
	all, err := c.metrics(ctx, s)
	return int(all[`consul_rpc_cross_dc{datacenter="`+to.dc.Name+`"}`]), err
}

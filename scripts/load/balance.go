//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/connect/proxy"
	"github.com/curia-mesh/curia/scripts/report"
)

// The experiment: so many replicas, of which one answers too late for a while, are sent so many requests a second.
// Source of its form: https://linkerd.io/2016/03/16/beyond-round-robin-load-balancing-for-latency
const (
	replicas   = 11
	perSecond  = 300
	usual      = 5 * time.Millisecond // the median of what a replica takes, by a log-normal distribution
	spread     = 0.5
	slow       = 2 * time.Second
	tooLate    = time.Second // for the caller
	goodBefore = 5 * time.Second
	slowFor    = 12 * time.Second
	goodAfter  = 5 * time.Second
)

// tried is what came of one method.
type tried struct {
	name      string
	latencies histogram
	sent, ok  int
	toSlow    int64 // requests, while it was slow
	meanwhile int   // requests in that time
}

// benchBalance drives the proxy with each method and shows what callers see.
func benchBalance(ctx context.Context, r report.Report, o options) error {
	scale := time.Duration(1)
	if o.quick {
		scale = 2
	}
	var all []*tried
	for _, m := range []struct {
		name   string
		method balance.Method
	}{{"round robin", balance.RoundRobin}, {"least requests", balance.LeastRequest}, {"peak EWMA", balance.PeakEWMA}} {
		progress("%s", m.name)
		t, err := tryMethod(ctx, m.name, m.method, scale)
		if err != nil {
			return err
		}
		all = append(all, t)
	}
	r.Heading("One slow replica")
	r.Line("%d replicas that take %v (median), %d requests a second; one of them takes %v for %v of %v. A caller waits for %v. Nothing is taken out of service and nothing is sent again.",
		replicas, usual, perSecond, slow, slowFor/scale, (goodBefore+slowFor+goodAfter)/scale, tooLate)
	r.Line("")
	var rows [][]string
	for _, t := range all {
		row := []string{t.name, fmt.Sprintf("%.2f %%", 100*float64(t.ok)/float64(t.sent)), fmt.Sprintf("%.2f %%", 100*float64(t.toSlow)/float64(t.meanwhile))}
		for _, q := range []float64{0.5, 0.95, 0.99, 0.999} {
			row = append(row, millis(t.latencies.quantile(q)))
		}
		rows = append(rows, row)
	}
	r.Table([]string{"method", "in time", "went to the slow one meanwhile", "p50", "p95", "p99", "p99.9"}, rows)
	if o.plot == "" {
		return nil
	}
	return os.WriteFile(o.plot, []byte(plot(all)), 0o644)
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// tryMethod runs the experiment with one method.
func tryMethod(ctx context.Context, name string, m balance.Method, scale time.Duration) (*tried, error) {
	var isSlow atomic.Bool
	var toSlow atomic.Int64
	to := &proxy.Target{Name: "replicas", RequestTimeout: tooLate, KeepIdle: time.Minute, Balance: balance.Policy{Method: m, Outliers: balance.Outliers{Disabled: true}}}
	var servers sync.WaitGroup
	defer servers.Wait()
	for i := range replicas {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			d := time.Duration(float64(usual) * math.Exp(rand.NormFloat64()*spread))
			if i == 0 && isSlow.Load() {
				toSlow.Add(1)
				d = slow
			}
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
		})}
		servers.Go(func() { s.Serve(l) }) // ends with the experiment
		defer s.Close()
		to.Endpoints = append(to.Endpoints, proxy.Endpoint{Network: "tcp", Address: l.Addr().String()})
	}
	p := proxy.New(proxy.Options{Log: slog.New(slog.DiscardHandler), DrainTime: time.Second})
	l := &proxy.Listener{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP, TrustForwarded: true, Routes: proxy.Direct(to)}
	if err := p.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{l}}); err != nil {
		return nil, err
	}
	own, stop := context.WithCancel(ctx)
	servers.Go(func() { p.Run(own) }) // ends with the experiment
	defer stop()
	t := &tried{name: name}
	err := t.drive(ctx, "http://"+p.Addr("l").String()+"/", &isSlow, scale)
	t.toSlow = toSlow.Load()
	return t, err
}

// drive sends requests at a steady rate, whether those before are answered or not.
func (t *tried) drive(ctx context.Context, url string, isSlow *atomic.Bool, scale time.Duration) error {
	transport := &http.Transport{MaxIdleConns: 0, MaxIdleConnsPerHost: 4 * perSecond}
	defer transport.CloseIdleConnections()
	var mu sync.Mutex
	var all sync.WaitGroup
	defer all.Wait()
	every := time.NewTicker(time.Second / perSecond)
	defer every.Stop()
	begun := time.Now()
	from, until, end := goodBefore/scale, (goodBefore+slowFor)/scale, (goodBefore+slowFor+goodAfter)/scale
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-every.C:
		}
		at := time.Since(begun)
		if at >= end {
			break
		}
		isSlow.Store(at >= from && at < until)
		t.sent++
		if isSlow.Load() {
			t.meanwhile++
		}
		all.Go(func() { // ends with the answer, which comes in time or in place of one
			sent := time.Now()
			r, _ := http.NewRequest(http.MethodGet, url, nil)
			res, err := transport.RoundTrip(r)
			good := err == nil && res.StatusCode == http.StatusOK
			if err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			took := min(time.Since(sent), tooLate)
			mu.Lock()
			defer mu.Unlock()
			t.latencies.record(took)
			if good {
				t.ok++
			}
		})
	}
	all.Wait()
	if t.sent == 0 {
		return errors.New("no request was sent")
	}
	return nil
}

// plot draws the latency that a share of the requests does not exceed, both logarithmic.
func plot(all []*tried) string {
	const width, height, left, bottom, top, right = 720, 360, 64, 44, 24, 130
	x := func(nines float64) float64 { return left + (width-left-right)*nines/4 } // of 10^-nines
	y := func(d time.Duration) float64 {
		decades := math.Log10(float64(max(d, time.Millisecond)) / float64(time.Millisecond)) // 1 ms to 1 s
		return height - bottom - (height-bottom-top)*decades/3.1
	}
	colors := []string{"#c0392b", "#d68910", "#1e8449"}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n<title>Latency by percentile with one slow replica of %d</title>\n", width, height, replicas)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	for i, name := range []string{"0 %", "90 %", "99 %", "99.9 %", "99.99 %"} {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(float64(i)), top, x(float64(i)), height-bottom, x(float64(i)), height-bottom+18, name)
	}
	for _, d := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%v</text>`+"\n", left, y(d), width-right, y(d), left-6, y(d)+4, d)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">share of requests that take no longer</text>`+"\n", (left+width-right)/2, height-8)
	for i, t := range all {
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, colors[i%len(colors)])
		for n := 0.0; n <= 4; n += 0.02 {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(n), y(t.latencies.quantile(1-math.Pow(10, -n))))
		}
		fmt.Fprintf(&b, `"/><text x="%d" y="%d" fill="%s">%s</text>`+"\n", width-right+10, top+20+18*i, colors[i%len(colors)], t.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/telemetry"
	metrics "github.com/hashicorp/go-metrics"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet leaves out what differs from run to run.
var quiet = []string{"-consul.runtime"}

// start runs a telemetry until the test ends. It returns once go-metrics feeds it, so call it in a bubble.
func start(t *testing.T, cfg telemetry.Config) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- tel.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return tel
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSummary: the shape that clients of /v1/agent/metrics parse, through go-metrics' package functions.
func TestSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, telemetry.Config{HostName: "node-1", PrefixFilter: quiet})
		if got, want := asJSON(t, tel.Snapshot()),
			`{"Timestamp":"2000-01-01 00:00:00 +0000 UTC","Gauges":[],"Points":[],"Counters":[],"Samples":[]}`; got != want {
			t.Errorf("nothing emitted yet: %s", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait() // for the interval to end
		labels := []metrics.Label{{Name: "method", Value: "GET"}, {Name: "path", Value: "v1_kv"}}
		metrics.SetGauge([]string{"raft", "applied index"}, 0.1)
		metrics.SetGaugeWithLabels([]string{"peering"}, 3, labels[:1])
		metrics.SetPrecisionGauge([]string{"host", "uptime"}, 1<<40+1)
		metrics.SetGauge([]string{"not", "a", "number"}, float32(math.NaN()))
		metrics.IncrCounter([]string{"rpc", "request"}, 1)
		metrics.IncrCounter([]string{"rpc", "request"}, 3)
		for _, ms := range []float32{2, 4, 4, 4, 5, 5, 7, 9} {
			metrics.AddSampleWithLabels([]string{"api", "http"}, ms, labels)
		}
		begun := time.Now()
		time.Sleep(5 * time.Second)
		metrics.MeasureSince([]string{"fsm", "kvs"}, begun)
		tel.Timer([]string{"fsm", "kvs"}).Observe(time.Second)
		tel.Counter([]string{"rpc", "request"}).Add(2)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want := `{"Timestamp":"2000-01-01 00:00:10 +0000 UTC",` +
			`"Gauges":[{"Name":"consul.node-1.host.uptime","Value":1099511627777,"Labels":{}},` +
			`{"Name":"consul.node-1.peering","Value":3,"Labels":{"method":"GET"}},` +
			`{"Name":"consul.node-1.raft.applied_index","Value":0.1,"Labels":{}}],` +
			`"Points":[],` +
			`"Counters":[{"Name":"consul.rpc.request","Count":3,"Rate":0.6,"Sum":6,"Min":1,"Max":3,"Mean":2,"Stddev":1,"Labels":{}}],` +
			`"Samples":[{"Name":"consul.api.http","Count":8,"Rate":4,"Sum":40,"Min":2,"Max":9,"Mean":5,` +
			`"Stddev":2.138089935299395,"Labels":{"method":"GET","path":"v1_kv"}},` +
			`{"Name":"consul.fsm.kvs","Count":2,"Rate":600,"Sum":6000,"Min":1000,"Max":5000,"Mean":3000,` +
			`"Stddev":2828.42712474619,"Labels":{}}]}`
		if got := asJSON(t, tel.Snapshot()); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
		// Counters and samples are of one interval; a gauge holds for a minute.
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := tel.Snapshot(); len(got.Gauges) != 3 || len(got.Counters) != 0 || len(got.Samples) != 0 {
			t.Errorf("an interval later: %s", asJSON(t, got))
		}
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if got := tel.Snapshot(); len(got.Gauges) != 0 {
			t.Errorf("a minute later: %s", asJSON(t, got))
		}
	})
}

// TestRuntimeGaugesAreThereAtOnce, under the name that Consul's client test waits for, and stay.
func TestRuntimeGaugesAreThereAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, telemetry.Config{HostName: "node-1"})
		for range 3 {
			found := false
			for _, g := range tel.Snapshot().Gauges {
				found = found || g.Name == "consul.node-1.runtime.alloc_bytes" && g.Value > 0
			}
			if !found {
				t.Errorf("at %v: no alloc_bytes in %s", time.Now(), asJSON(t, tel.Snapshot()))
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
	})
}

func TestNames(t *testing.T) {
	f := func(cfg telemetry.Config, want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			tel := start(t, cfg)
			metrics.SetGauge([]string{"g"}, 1)
			metrics.IncrCounter([]string{"c"}, 1)
			var got []string
			for _, g := range tel.Snapshot().Gauges {
				if !strings.Contains(g.Name, "runtime") {
					got = append(got, g.Name)
				}
			}
			if got = append(got, tel.Snapshot().Counters[0].Name); strings.Join(got, " ") != want {
				t.Errorf("got %q, want %s", got, want)
			}
		})
	}
	f(telemetry.Config{HostName: "a.b"}, "consul.a.b.g consul.c")
	f(telemetry.Config{HostName: "a", MetricsPrefix: "curia"}, "curia.a.g curia.c")
	f(telemetry.Config{HostName: "a", DisableHostname: true}, "consul.g consul.c")
}

func TestPrefixFilter(t *testing.T) {
	f := func(blockRest bool, rules string, want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			cfg := telemetry.Config{HostName: "node-1", BlockByDefault: blockRest, PrefixFilter: strings.Fields(rules)}
			tel := start(t, cfg)
			emit := func() string {
				for _, name := range []string{"raft.apply", "http.GET", "http.PUT", "rpc.server.call"} {
					metrics.IncrCounter(strings.Split(name, "."), 1)
				}
				metrics.SetGauge([]string{"raft", "peers"}, 1)
				var got []string
				for _, g := range tel.Snapshot().Gauges {
					if !strings.Contains(g.Name, "runtime") {
						got = append(got, strings.TrimPrefix(g.Name, "consul.node-1."))
					}
				}
				for _, c := range tel.Snapshot().Counters {
					got = append(got, strings.TrimPrefix(c.Name, "consul."))
				}
				return strings.Join(got, " ")
			}
			if got := emit(); got != want {
				t.Errorf("%q lets pass %s, want %s", rules, got, want)
			}
			// The same rules by way of a reload.
			if err := tel.SetFilter([]string{"-consul"}); err != nil {
				t.Fatal(err)
			}
			if got := emit(); got != "" {
				t.Errorf("blocked, and yet %s", got)
			}
			if err := tel.SetFilter(cfg.PrefixFilter); err != nil {
				t.Fatal(err)
			}
			if got := emit(); got != want {
				t.Errorf("%q after a reload lets pass %s, want %s", rules, got, want)
			}
		})
	}
	f(false, "", "raft.peers http.GET http.PUT raft.apply")
	f(true, "", "")
	f(false, "+consul.raft.apply -consul.http +consul.http.GET", "raft.peers http.GET raft.apply")
	f(true, "+consul.raft", "raft.peers raft.apply")
	f(true, "+consul.node-1.raft", "raft.peers")
	f(true, "+consul.http -consul.http", "")
	f(true, "+consul.rpc.server.call", "rpc.server.call")
	f(true, "+consul.rpc", "")
}

func TestConfigErrors(t *testing.T) {
	f := func(cfg telemetry.Config, want string) {
		t.Helper()
		if _, err := telemetry.New(cfg, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(telemetry.Config{PrefixFilter: []string{"consul.raft"}}, `telemetry: prefix_filter: "consul.raft" is no rule`)
	f(telemetry.Config{PrefixFilter: []string{""}}, `telemetry: prefix_filter: "" is no rule`)
	f(telemetry.Config{StatsdAddr: "localhost"}, `telemetry: statsd_address: "localhost" is no address: use host:port`)
	f(telemetry.Config{StatsiteAddr: ":8125"}, `telemetry: statsite_address: ":8125" is no address`)
	f(telemetry.Config{DogstatsdAddr: "x:"}, `telemetry: dogstatsd_addr: "x:" is no address`)
	f(telemetry.Config{DogstatsdTags: []string{"a|b"}}, `telemetry: dogstatsd_tags: "a|b" is no tag`)
	f(telemetry.Config{PrometheusRetention: -1}, `telemetry: prometheus_retention_time is -1ns`)
}

// TestStream: one summary for every interval, until the reader or the context ends.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, telemetry.Config{PrefixFilter: quiet})
		ctx, cancel := context.WithCancel(t.Context())
		counter := tel.Counter([]string{"n"})
		counter.Add(1)
		var got []string
		err := tel.Stream(ctx, func(s *telemetry.Summary) error {
			if len(s.Counters) == 1 {
				got = append(got, fmt.Sprint(s.Timestamp[17:19], " ", s.Counters[0].Sum))
			}
			if counter.Add(float64(len(got)) + 1); len(got) == 3 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || strings.Join(got, ", ") != "00 1, 10 2, 20 3" {
			t.Errorf("got %q, %v", got, err)
		}
		broken := errors.New("the client went away")
		if err := tel.Stream(t.Context(), func(*telemetry.Summary) error { return broken }); err != broken {
			t.Errorf("got %v", err)
		}
	})
}

func TestDump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, telemetry.Config{HostName: "h", PrefixFilter: quiet})
		for i := range 8 {
			metrics.IncrCounterWithLabels([]string{"n"}, float32(i), []metrics.Label{{Name: "b", Value: "2"}, {Name: "a", Value: "1"}})
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		metrics.SetGauge([]string{"g"}, 1.5)
		var buf bytes.Buffer
		if err := tel.Dump(&buf); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(buf.String(), "\n")
		want := "[2000-01-01 00:00:20 +0000 UTC][C] 'consul.n;a=1;b=2': Count: 1 Min: 2.000 Mean: 2.000 Max: 2.000 Stddev: 0.000 Sum: 2.000"
		if len(lines) != 7 || lines[0] != want { // six intervals, the oldest first
			t.Errorf("got %d lines: %s", len(lines), &buf)
		}
	})
}

// TestNobodyIsFedAfterRun: a telemetry that ended leaves go-metrics to whoever runs now, or to nobody.
func TestNobodyIsFedAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := func() (*telemetry.Telemetry, func()) {
			tel, err := telemetry.New(telemetry.Config{PrefixFilter: quiet}, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			go func() { _ = tel.Run(ctx) }()
			synctest.Wait()
			return tel, func() { stop(); synctest.Wait() }
		}
		first, stopFirst := run()
		second, stopSecond := run()
		stopFirst()
		metrics.IncrCounter([]string{"n"}, 1)
		stopSecond()
		metrics.IncrCounter([]string{"n"}, 1)
		if n := len(first.Snapshot().Counters); n != 0 {
			t.Errorf("the first has %d counters", n)
		}
		if c := second.Snapshot().Counters; len(c) != 1 || c[0].Sum != 1 {
			t.Errorf("the second has %+v", c)
		}
	})
}

// TestSeriesAreBounded: names from requests cannot fill the memory, and what is bound already goes on.
func TestSeriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tel, err := telemetry.New(telemetry.Config{PrefixFilter: quiet}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- tel.Run(ctx) }()
		synctest.Wait()
		bound := tel.Counter([]string{"bound"})
		metrics.IncrCounter([]string{strings.Repeat("x", 2000)}, 1)
		metrics.IncrCounter(nil, 1)
		for i := range 12_000 {
			metrics.IncrCounter([]string{"user", fmt.Sprint(i)}, 1)
		}
		bound.Add(7)
		tel.Timer([]string{"no", "room"}).Observe(time.Second)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		got := tel.Snapshot()
		if n := len(got.Counters); n > 10_000 || n < 9_000 || got.Counters[0].Sum != 7 {
			t.Errorf("%d counters, the first %+v", n, got.Counters[0])
		}
		// After a minute of silence there is room again, and the bound one is still the same.
		time.Sleep(80 * time.Second)
		synctest.Wait()
		metrics.IncrCounter([]string{"late"}, 1)
		bound.Add(1)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := tel.Snapshot(); len(got.Counters) != 2 {
			t.Errorf("later: %s", asJSON(t, got))
		}
		stop()
		<-ended
		if !strings.Contains(log.String(), "metrics dropped: too many series") {
			t.Errorf("nobody was told: %s", &log)
		}
	})
}

func TestNilInstrumentsDiscard(t *testing.T) {
	var tel *telemetry.Telemetry
	tel.Timer([]string{"x"}).Since(time.Now())
	tel.Counter([]string{"x"}).Add(1)
	(*telemetry.Timer)(nil).Observe(1)
	(*telemetry.Counter)(nil).Add(1)
}

// TestSpoiledValues: one value that is no number must not spoil the sums, nor the JSON.
func TestSpoiledValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, telemetry.Config{PrefixFilter: quiet})
		c := tel.Counter([]string{"c"})
		for _, v := range []float64{1, math.NaN(), math.Inf(1), -5, 2} {
			c.Add(v)
		}
		tel.Counter([]string{"huge"}).Add(math.MaxFloat64)
		for range 3 { // the squares' difference rounds below zero
			metrics.AddSample([]string{"s"}, 0.1)
		}
		got := tel.Snapshot()
		if len(got.Counters) != 1 || got.Counters[0].Sum != 3 || !strings.Contains(asJSON(t, got), `"Mean":0.1`) {
			t.Errorf("got %s", asJSON(t, got))
		}
	})
}

// TestEmittersAndReaders is for the race detector, and loses nothing.
func TestEmittersAndReaders(t *testing.T) {
	tel, err := telemetry.New(telemetry.Config{PrometheusRetention: time.Minute, PrefixFilter: quiet}, nil)
	if err != nil {
		t.Fatal(err)
	}
	timer := tel.Timer([]string{"t"})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				timer.Observe(time.Millisecond)
			}
		})
		wg.Go(func() {
			for range 20 {
				tel.Snapshot()
				scrape(t, tel)
				_ = tel.SetFilter(quiet)
			}
		})
	}
	wg.Wait()
	if s := tel.Snapshot().Samples; len(s) != 1 || s[0].Count != 4000 || s[0].Sum != 4000 {
		t.Errorf("got %+v", s)
	}
}

// TestEmittingAllocatesNothing once the series is there.
func TestEmittingAllocatesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, telemetry.Config{PrometheusRetention: time.Minute, HostName: "h"})
		timer, key, now := tel.Timer([]string{"t"}), []string{"rpc", "request"}, time.Now()
		if n := testing.AllocsPerRun(100, func() {
			timer.Since(now)
			metrics.IncrCounter(key, 1)
			metrics.SetGauge(key, 1)
			metrics.MeasureSince(key, now)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func BenchmarkTimer(b *testing.B) {
	tel, err := telemetry.New(telemetry.Config{PrometheusRetention: time.Minute}, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- tel.Run(ctx) }()
	name := []string{"api", "http"}
	labels := []metrics.Label{{Name: "method", Value: "GET"}, {Name: "path", Value: "v1_kv"}}
	timer, start := tel.Timer(name, labels...), time.Now()
	b.Run("bound", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				timer.Since(start)
			}
		})
	})
	b.Run("go-metrics", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				metrics.MeasureSinceWithLabels(name, start, labels)
			}
		})
	})
	stop()
	<-ended
}

package telemetry

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"
)

const (
	interval  = 10 * time.Second // of a summary
	summaries = int(retain / interval)
)

// Telemetry gathers the agent's metrics and hands them out. It is safe for concurrent use.
type Telemetry struct {
	cfg     Config
	logger  *slog.Logger
	table   *table
	metrics *metrics.Metrics // go-metrics' door to table
	prom    http.Handler     // nil while Prometheus is off

	began  atomic.Int64 // when the running interval began, Unix nanoseconds
	latest atomic.Pointer[finished]

	mu     sync.Mutex
	recent []*Summary // of the last minute, oldest first
}

// finished is the last finished interval, nil in the first one, and the news that there is a later one.
type finished struct {
	summary *Summary
	over    chan struct{} // closed when a later one is there
}

// New checks cfg and prepares everything; Run does the work. The runtime's gauges are there at once. A nil logger
// discards.
func New(cfg Config, logger *slog.Logger) (*Telemetry, error) {
	if err := cfg.resolve(); err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	t := &Telemetry{cfg: cfg, logger: logger}
	f, err := newFilter(&t.cfg, cfg.PrefixFilter)
	if err != nil {
		return nil, err
	}
	pushers, err := newPushers(&t.cfg, logger)
	if err != nil {
		return nil, err
	}
	t.table = &table{cfg: &t.cfg, filter: f, pushers: pushers, byKey: map[string]*series{}, help: map[string]string{}}
	for _, d := range cfg.Definitions {
		t.table.declare(d)
	}
	if cfg.PrometheusRetention > 0 {
		t.prom = newPrometheus(t.table, logger)
	}
	if t.metrics, err = metrics.New(t.goMetrics(), t.table); err != nil {
		return nil, err
	}
	t.began.Store(time.Now().Truncate(interval).UnixNano())
	t.latest.Store(&finished{over: make(chan struct{})})
	t.metrics.EmitRuntimeStats()
	return t, nil
}

// goMetrics leaves prefix, host name, filter and runtime statistics to us: each would cost every emitter something,
// or start a goroutine that never ends.
func (t *Telemetry) goMetrics() *metrics.Config {
	return &metrics.Config{TimerGranularity: time.Millisecond, FilterDefault: true}
}

// Run makes t the instance that go-metrics' package functions feed, and ends an interval every 10 s, until ctx ends;
// then it returns nil, its goroutines having ended. It may be called once.
func (t *Telemetry) Run(ctx context.Context) error {
	global, err := metrics.NewGlobal(t.goMetrics(), t.table)
	if err != nil {
		return err
	}
	defer func() {
		if metrics.Default() == global { // nobody ran after us
			_, _ = metrics.NewGlobal(&metrics.Config{}, &metrics.BlackholeSink{})
		}
	}()
	var running sync.WaitGroup
	defer running.Wait()
	for _, p := range t.table.pushers {
		running.Go(func() { p.run(ctx) }) // ends with ctx
	}
	if t.cfg.EnableHostMetrics {
		running.Go(func() { t.watchHost(ctx) }) // ends with ctx
	}
	for wait(ctx) {
		t.metrics.EmitRuntimeStats()
		t.turn()
	}
	return nil
}

// wait waits for the next multiple of the interval; false if ctx ended first.
func wait(ctx context.Context) bool {
	now := time.Now()
	next := time.NewTimer(now.Truncate(interval).Add(interval).Sub(now))
	defer next.Stop()
	select {
	case <-next.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// turn ends the running interval and publishes it.
func (t *Telemetry) turn() {
	began := time.Unix(0, t.began.Swap(time.Now().Truncate(interval).UnixNano()))
	sum := t.table.turn(began)
	t.mu.Lock()
	t.recent = append(t.recent, sum)
	t.recent = t.recent[max(0, len(t.recent)-summaries):]
	t.mu.Unlock()
	close(t.latest.Swap(&finished{sum, make(chan struct{})}).over)

	if n := t.table.refused.Swap(0); n > 0 {
		t.logger.Warn("metrics dropped: too many series, or too long a name", "updates", n, "limit", maxSeries)
	}
	for _, p := range t.table.pushers {
		if n := p.dropped.Swap(0); n > 0 {
			t.logger.Debug("metrics dropped on their way out", "setting", p.setting, "updates", n)
		}
	}
}

// watchHost emits the host's gauges now and every interval. It has a goroutine of its own because
// asking a file system for its size can take long.
func (t *Telemetry) watchHost(ctx context.Context) {
	h := &hostStats{dataDir: t.cfg.DataDir}
	told := false
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := h.collect(ctx, t.metrics); err != nil && !told && ctx.Err() == nil {
			told = true
			t.logger.Warn("some host metrics cannot be read", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// SetFilter replaces the prefix_filter rules, for a configuration reload.
func (t *Telemetry) SetFilter(rules []string) error {
	f, err := newFilter(&t.cfg, rules)
	if err != nil {
		return err
	}
	t.table.refilter(f)
	return nil
}

// Snapshot is the last finished interval, or the running one as long as that is the first.
func (t *Telemetry) Snapshot() *Summary {
	if last := t.latest.Load().summary; last != nil {
		return last
	}
	return t.table.peek(time.Unix(0, t.began.Load()))
}

// Stream calls send with every interval as it ends, for /v1/agent/metrics/stream, until ctx ends or send fails, and
// returns the error of either. A send that takes longer than an interval misses those that end meanwhile. Many
// streams share one Summary: send must not change it.
func (t *Telemetry) Stream(ctx context.Context, send func(*Summary) error) error {
	last := t.latest.Load()
	for {
		select {
		case <-last.over:
		case <-ctx.Done():
			return ctx.Err()
		}
		last = t.latest.Load()
		if err := send(last.summary); err != nil {
			return err
		}
	}
}

// Prometheus serves the metrics to Prometheus; it is nil while the retention time is 0, see PrometheusOff.
func (t *Telemetry) Prometheus() http.Handler { return t.prom }

// Dump writes the intervals of the last minute as text, which operators of Consul know from SIGUSR1.
func (t *Telemetry) Dump(w io.Writer) error {
	t.mu.Lock()
	recent := append([]*Summary(nil), t.recent...)
	t.mu.Unlock()
	if len(recent) == 0 {
		recent = append(recent, t.Snapshot())
	}
	buf := bufio.NewWriter(w)
	for _, sum := range recent {
		sum.dump(buf)
	}
	return buf.Flush()
}
